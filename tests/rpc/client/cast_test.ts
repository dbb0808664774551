/** The verbs that leave a message behind: `cast`, `fanoutCast`. */
import assert from "node:assert/strict";
import {
  createConnection,
  NoRouteError,
  UnconfirmedError,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import {
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../support.ts";

/** Handlers that write down the tags of what they were asked. */
function noting(tags: string[], fail = false) {
  return sumHandlers({
    wait: ({ tag = "" }) => {
      tags.push(tag);
      if (fail) throw new Error("a cast that fails is told to nobody");
    },
  });
}

onEachBus("cast reaches one worker, or the host that it names", async (bus) => {
  const api = sums(bus.topic);
  const one: string[] = [], two: string[] = [];
  await using _one = await bus.serve(api, noting(one), { hosts: ["one"] });
  await using _two = await bus.serve(api, noting(two), { hosts: ["two"] });
  await using connection = await bus.connect();
  const client = connection.client(api);
  for (let i = 0; i < 100; i++) await client.cast("wait", { tag: "any" });
  await client.cast("wait", { tag: "host" }, { host: "two" });
  await connection.cast({ topic: bus.topic, host: "one" }, "wait", {
    tag: "host",
  });
  await until("all arrived", () => one.length + two.length === 102);
  assert.equal(one.filter((tag) => tag === "host").length, 1);
  assert.equal(two.filter((tag) => tag === "host").length, 1);
});

onEachBus(
  "cast of an unknown topic or host fails at once with NoRouteError",
  async (bus) => {
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const error = await failureOf(
      client.cast("wait", {}, { timeout: 600_000 }),
    );
    assert.ok(error instanceof NoRouteError);
    await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
    const host = client.cast("wait", {}, { host: "nowhere", timeout: 600_000 });
    assert.ok(await failureOf(host) instanceof NoRouteError);
  },
);

onEachBus(
  "fanoutCast reaches every worker, and nobody is fine too",
  async (bus) => {
    const api = sums(bus.topic);
    const one: string[] = [], two: string[] = [];
    await using connection = await bus.connect();
    const client = connection.client(api);
    await client.fanoutCast("wait", { tag: "nobody" });
    await using _one = await bus.serve(api, noting(one));
    await using _two = await bus.serve(api, noting(two));
    await client.fanoutCast("wait", { tag: "all" });
    await until("both have it", () => one.length + two.length === 2);
    assert.deepEqual([one, two], [["all"], ["all"]]);
  },
);

onEachBus(
  "cast waits in its queue for a worker that comes back",
  async (bus) => {
    const api = sums(bus.topic);
    // A memory bus goes with its last lease.
    await using connection = await bus.connect();
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    const client = connection.client(api);
    await client.cast("wait", { tag: "first" });
    await client.cast("wait", { tag: "second" });
    const tags: string[] = [];
    await using _worker = await bus.serve(api, noting(tags));
    await until("both arrived", () => tags.length === 2);
    assert.deepEqual(tags, ["first", "second"]);
  },
);

onEachBus("cast is dropped when its ttl is over", async (bus) => {
  const api = sums(bus.topic);
  await using connection = await bus.connect();
  await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
  const client = connection.client(api);
  await client.cast("wait", { tag: "short" }, { ttl: 50 });
  await client.cast("wait", { tag: "long" }, { ttl: 600_000 });
  // The second of two short ones is gone only if the first is, and its own timer has run out as well.
  const gone = Date.now() + 200;
  await until("the short one is too old", () => Date.now() > gone);
  const tags: string[] = [];
  await using _worker = await bus.serve(api, noting(tags));
  await until("the long one arrived", () => tags.length > 0);
  assert.deepEqual(tags, ["long"]);
});

onEachBus("cast whose handler throws is done: it comes once", async (bus) => {
  const api = sums(bus.topic);
  const tags: string[] = [];
  await using worker = await bus.serve(api, noting(tags, true));
  await using connection = await bus.connect();
  const client = connection.client(api);
  await client.cast("wait", { tag: "once" });
  await until("the handler failed", () => worker.stats.failed === 1);
  assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
  assert.deepEqual(tags, ["once"]);
});

onEachBus(
  "a stream that is cast is refused before it begins, and hurts nobody",
  async (bus) => {
    let begun = 0;
    const api = sums(bus.topic);
    await using worker = await bus.serve(
      api,
      sumHandlers({
        async *count() {
          for (begun++;;) yield begun; // awaits nothing, and never ends
        },
      }),
    );
    await using connection = await bus.connect();
    await connection.cast({ topic: bus.topic }, "count", { to: 1 });
    await until("it was refused", () => worker.stats.failed === 1);
    const client = connection.client(api);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    assert.equal(begun, 0);
  },
);

onRabbit(
  "cast resolves when the message is in its queue, on disk",
  async (bus) => {
    const api = sums(bus.topic);
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    await using connection = await bus.connect();
    await connection.client(api).cast("wait", { tag: "x" });
    await using raw = await bus.raw();
    const message = await raw!.channel.get(bus.topic, { noAck: true });
    assert.ok(message);
    assert.equal(message.properties.deliveryMode, 2);
    assert.equal(message.properties.contentType, "application/json");
    assert.equal(message.properties.expiration, undefined);
  },
);

const unconfirmed = { confirm: false };

onEachBus(
  "casts without a confirm reach their workers, by an option of the verb or of the client",
  async (bus) => {
    const api = sums(bus.topic);
    const one: string[] = [], two: string[] = [];
    await using _one = await bus.serve(api, noting(one), { hosts: ["one"] });
    await using _two = await bus.serve(api, noting(two));
    await using connection = await bus.connect();
    const client = connection.client(api, {
      ...unconfirmed,
      interceptors: [(request, next) => next(request)],
    });
    await client.cast("wait", { tag: "client" }, { host: "one" });
    await client.fanoutCast("wait", { tag: "client, all" });
    const target = { topic: bus.topic };
    const host = { ...unconfirmed, host: "one" };
    await connection.cast(target, "wait", { tag: "verb" }, host);
    const tag = "verb, all";
    await connection.fanoutCast(target, "wait", { tag }, unconfirmed);
    await until("all arrived", () => one.length + two.length === 6);
    assert.deepEqual(one.sort(), [
      "client",
      "client, all",
      "verb",
      "verb, all",
    ]);
    assert.deepEqual(two.sort(), ["client, all", "verb, all"]);
  },
);

onEachBus(
  "a cast without a confirm to an unknown topic is lost without notice, and waits for no queue",
  async (bus) => {
    await using connection = await bus.connect({ waitForRoute: true });
    const client = connection.client(sums(bus.topic), unconfirmed);
    await client.cast("wait", { tag: "lost" });
    await client.fanoutCast("wait", { tag: "lost" });
    const confirmed = { confirm: true, timeout: 300 };
    const error = await failureOf(client.cast("wait", {}, confirmed));
    assert.ok(error instanceof NoRouteError);
    const tags: string[] = [];
    await using _worker = await bus.serve(sums(bus.topic), noting(tags));
    await client.cast("wait", { tag: "served" });
    await until("the other arrived", () => tags.length > 0);
    assert.deepEqual(tags, ["served"]);
  },
);

onEachBus("calls ignore the option confirm of their client", async (bus) => {
  const api = sums(bus.topic);
  await using connection = await bus.connect();
  const client = connection.client(api, unconfirmed);
  const call = () => client.call("add", { a: 1, b: 2 });
  assert.ok(await failureOf(call()) instanceof NoRouteError);
  await using _worker = await bus.serve(api, sumHandlers());
  assert.equal(await call(), 3);
});

onEachBus("confirm is true or false", async (bus) => {
  await using connection = await bus.connect();
  const wrong = { confirm: "no" as unknown as boolean };
  const client = connection.client(sums(bus.topic), wrong);
  for (const cast of [client.cast("wait"), client.fanoutCast("wait")]) {
    const error = await failureOf(cast);
    assert.match(error.message, /Invalid option confirm "?no"?: give true or/);
    assert.equal(Reflect.get(error, "code"), "INVALID");
  }
});

onRabbit(
  "a cast without a confirm is not stored on disk, and is sent before its connection is disposed",
  async (bus) => {
    const api = sums(bus.topic);
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    const connection = await bus.connect();
    const client = connection.client(api, unconfirmed);
    const casts = Array.from(
      { length: 100 },
      (_, n) => client.cast("wait", { tag: `${n}` }, { ttl: 600_000 }),
    );
    await Promise.all(casts);
    await connection[Symbol.asyncDispose]();
    await using raw = await bus.raw();
    for (let n = 0; n < 100; n++) {
      const message = await raw!.channel.get(bus.topic, { noAck: true });
      assert.ok(message);
      const { args } = JSON.parse(`${message.content}`);
      assert.equal(args.tag, `${n}`);
      assert.equal(message.properties.deliveryMode, 1);
      assert.equal(message.properties.expiration, "600000");
    }
  },
);

onRabbit(
  "a cast without a confirm resolves although the broker confirms nothing; what is lost with the connection is not sent again",
  async (bus) => {
    const api = sums(bus.topic);
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    const proxy = proxyTo(bus.url);
    const connection = await createConnection(proxy.url(bus.url));
    const client = connection.client(api);
    await client.cast("wait", { tag: "before" });
    await client.cast("wait", { tag: "before, unconfirmed" }, unconfirmed);
    proxy.swallow(true);
    await client.cast("wait", { tag: "sent" }, unconfirmed);
    const confirmed = client.cast("wait", { tag: "unsure" }, { timeout: 200 });
    assert.ok(await failureOf(confirmed) instanceof UnconfirmedError);
    proxy.blackhole(true);
    await client.cast("wait", { tag: "lost" }, unconfirmed);
    const back = new Promise((resolve) =>
      connection.addEventListener("connected", resolve, { once: true })
    );
    proxy.swallow(false);
    proxy.reset();
    proxy.blackhole(false);
    await back;
    await client.cast("wait", { tag: "after" }, unconfirmed);
    await connection[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
    const tags: string[] = [];
    await using _worker = await bus.serve(api, noting(tags));
    await until("the others arrived", () => tags.length >= 5);
    assert.deepEqual(tags.sort(), [
      "after",
      "before",
      "before, unconfirmed",
      "sent",
      "unsure",
    ]);
  },
);

onRabbit(
  "a cast without a confirm fails at its deadline while there is no connection",
  async (bus) => {
    const api = sums(bus.topic);
    await (await bus.serve(api, sumHandlers()))[Symbol.asyncDispose]();
    const proxy = proxyTo(bus.url);
    const connection = await createConnection(proxy.url(bus.url));
    const client = connection.client(api, unconfirmed);
    await client.cast("wait", { tag: "before" });
    proxy.refuse(true);
    const lost = new Promise((resolve) =>
      connection.addEventListener("disconnected", resolve, { once: true })
    );
    proxy.reset();
    await lost;
    const limit = { timeout: 100 };
    for (
      const cast of [
        client.cast("wait", {}, limit),
        client.fanoutCast("wait", {}, limit),
      ]
    ) {
      assert.equal(Reflect.get(await failureOf(cast), "inDoubt"), false);
    }
    await connection[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
  },
);
