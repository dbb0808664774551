/** What strangers, losses and bad moments on an OpenStack bus must not do. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  ConnectionDisposedError,
  createConnection,
  implement,
  InvalidValueError,
  NoRouteError,
  Service,
  TimeoutError,
} from "../../mod.ts";
import {
  Endless,
  failureOf,
  onEachBus,
  type Raw,
  sumHandlers,
  sums,
} from "../rpc/support.ts";
import { logged } from "../setup/logged.ts";
import { until } from "../setup/probe.ts";
import { proxyTo } from "../setup/proxy.ts";
import { CloudBus, setups } from "./bus.ts";

type Body = Record<string, unknown>;

function onCloud(name: string, test: (bus: CloudBus) => Promise<void>): void {
  Deno.test(`OpenStack's bus: ${name} (rabbitmq)`, async () => {
    await using bus = await CloudBus.open(setups.default!);
    await test(bus);
  });
}

/** A service whose `wait` runs until it is told to end. */
async function holding(bus: CloudBus) {
  const aborted: string[] = [];
  const open = Promise.withResolvers<void>();
  const handlers = sumHandlers({
    wait: async ({ tag }, { signal }) => {
      const ended = Promise.withResolvers<void>();
      signal.addEventListener("abort", () => {
        aborted.push(`${tag}: ${signal.reason.message}`);
        ended.resolve();
      });
      await Promise.race([open.promise, ended.promise]);
    },
  });
  const manager = implement(sums(bus.topic), handlers);
  const service = await bus.service(manager, { grace: 500 });
  return { service, aborted, open };
}

/** Asks as a stranger. */
function ask(
  raw: Raw,
  bus: CloudBus,
  body: Body,
  options: { readonly expiration?: string } = {},
): void {
  const text = Buffer.from(JSON.stringify({ args: {}, ...body }));
  raw.channel.publish(bus.topic, bus.topic, text, options);
}

/** A stranger's queue, and what comes there. */
async function mailbox(raw: Raw, queue: string) {
  const came: Body[] = [];
  await raw.channel.assertQueue(queue, { exclusive: true });
  await raw.channel.consume(queue, (message) => {
    if (message) came.push(JSON.parse(message.content.toString()));
  }, { noAck: true });
  return came;
}

onEachBus(
  "a caller who gives up at once hurts nobody, whoever he asks",
  async (bus) => {
    const options = { profile: "nova", dialect: "folsom" } as const;
    const endless = new Endless();
    const handlers = sumHandlers({
      wait: (_, { signal }) => endless.run(signal),
    });
    await using _worker = await bus.serve(sums(bus.topic), handlers, {
      ...options,
      grace: 0,
    });
    const connection = await bus.connect(options);
    const client = connection.client(sums(bus.topic));
    for (let n = 0; n < 20; n++) {
      const stop = new AbortController();
      const call = failureOf(client.call("wait", {}, { signal: stop.signal }));
      if (n % 2 === 0) await Promise.resolve();
      stop.abort(new Error("gave up"));
      assert.match((await call).message, /gave up/);
    }
    const calls = Array.from(
      { length: 10 },
      () => failureOf(client.call("wait")),
    );
    await connection[Symbol.asyncDispose]();
    for (const call of calls) {
      assert.ok(await call instanceof ConnectionDisposedError);
    }
  },
);

onCloud(
  "a call with a queue of its own outlives a half-closed connection",
  async (bus) => {
    const { service, open } = await holding(bus);
    await using _service = service;
    await using proxy = proxyTo(bus.url);
    await using connection = await createConnection(proxy.url(bus.url), {
      profile: bus.profile,
      dialect: "folsom",
    });
    const events: string[] = [];
    for (const event of ["connected", "failed"] as const) {
      connection.addEventListener(event, () => events.push(event));
    }
    const client = connection.client(sums(bus.topic));
    const call = client.call("wait", {}, { timeout: 30_000 });
    await until("it is in hand", () => service.stats.active === 1);
    proxy.reset();
    await until("it is back", () => events.length > 0, 20_000);
    open.resolve();
    await call;
    assert.deepEqual(events, ["connected"]);
  },
);

onCloud("a caller's queue may be away for a moment", async (bus) => {
  const { service, aborted, open } = await holding(bus);
  await using _service = service;
  const raw = await bus.raw();
  const queue = `reply_${bus.topic}`;
  ask(raw, bus, {
    method: "wait",
    _msg_id: "call",
    _reply_q: queue,
    _timeout: 1,
    _unique_id: "u",
  });
  await until("it is in hand", () => service.stats.active === 1);
  open.resolve(); // the answer finds no queue
  const came = await mailbox(raw, queue);
  await until("the answer came", () => came.length === 1);
  assert.equal(came[0]?.ending, true);
  assert.deepEqual(aborted, []);
});

onCloud(
  "who makes up the id of another's call neither ends it nor takes its answer away",
  async (bus) => {
    const { service, aborted, open } = await holding(bus);
    await using _service = service;
    const raw = await bus.raw();
    const victim = await mailbox(raw, `reply_v${bus.topic}`);
    const thief = await mailbox(raw, `reply_t${bus.topic}`);
    const ids = { _msg_id: "call", _unique_id: "u" };
    const wait = { method: "wait", ...ids, _timeout: null };
    // The same request by somebody whose queue is nowhere, with signs of life; then the victim's; then one who asks for the
    // same, as he might with an id of his own; and other things under that id.
    ask(raw, bus, { ...wait, _reply_q: "nowhere", _timeout: 1 });
    ask(raw, bus, { ...wait, _reply_q: `reply_v${bus.topic}` });
    ask(raw, bus, {
      ...wait,
      _reply_q: `reply_t${bus.topic}`,
      _msg_id: "mine",
    });
    const evil = { ...wait, args: { tag: "evil" } };
    ask(raw, bus, {
      ...evil,
      _reply_q: `reply_t${bus.topic}`,
      _msg_id: "evil",
    });
    await until("the other request is refused", () => thief.length === 1);
    assert.equal(thief[0]?._msg_id, "evil");
    assert.match(String(thief[0]?.failure), /RequestConflictError/);
    await until("all others are in hand", () => service.stats.active === 3);
    open.resolve();
    await until(
      "all have their answers",
      () => victim.length + thief.length === 3,
    );
    assert.deepEqual(victim.map(({ _msg_id }) => _msg_id), ["call"]);
    assert.deepEqual(thief.map(({ _msg_id }) => _msg_id), ["evil", "mine"]);
    assert.deepEqual(aborted, []); // the run goes on, although its first reply queue is nowhere
    assert.equal(service.stats.repeated, 2);
  },
);

onCloud(
  "the expiration of a call bounds its handler, and what asks for nothing is answered",
  async (bus) => {
    const { service, aborted } = await holding(bus);
    await using _service = service;
    const raw = await bus.raw();
    const queue = `reply_${bus.topic}`;
    const came = await mailbox(raw, queue);
    const address = { _reply_q: queue, _timeout: null };
    const wait = { method: "wait", _msg_id: "c", _unique_id: "u", ...address };
    ask(raw, bus, wait, { expiration: "200" });
    await until("its handler is ended", () => aborted.length === 1);
    assert.match(String(aborted[0]), /deadline passed/);
    ask(raw, bus, { _msg_id: "none", _unique_id: "v", ...address });
    await until("it is answered", () => came.length === 1);
    assert.equal(came[0]?._msg_id, "none");
    assert.match(String(came[0]?.failure), /wrong method/);
  },
);

onCloud(
  "a call to a topic that went with its last server finds no route",
  async () => {
    await using other = await CloudBus.open({
      profile: { autoDelete: true },
      options: [],
    });
    const manager = implement(sums(other.topic), sumHandlers());
    const common = { url: other.url, profile: other.profile, signals: false };
    const service = await Service.start({ ...common, host: "one", manager });
    const connection = await other.connect();
    const client = connection.client(sums(other.topic), { timeout: 5_000 });
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await service.stop();
    const error = await failureOf(client.call("add", { a: 1, b: 2 }));
    assert.ok(error instanceof NoRouteError, String(error));
  },
);

onCloud(
  "a server that turns old again is found after one call that got no answer",
  async (bus) => {
    const raw = await bus.raw();
    const { channel } = raw;
    await channel.assertExchange(bus.topic, "topic", { durable: false });
    await channel.assertQueue(bus.topic, { durable: false });
    await channel.bindQueue(bus.topic, bus.topic, bus.topic);
    let old = false;
    await channel.consume(bus.topic, async (message) => {
      const { _msg_id, _reply_q } = JSON.parse(String(message?.content));
      const result = { result: old ? "old" : "new", failure: null };
      const ending = { result: null, failure: null, ending: true };
      const to = old ? "" : _reply_q;
      if (old) {
        const options = { durable: false, autoDelete: true };
        await channel.assertExchange(_msg_id, "direct", options);
      }
      for (const each of [result, ending]) {
        const body = Buffer.from(
          JSON.stringify(old ? each : { ...each, _msg_id }),
        );
        if (old) channel.publish(_msg_id, _msg_id, body);
        else channel.sendToQueue(to, body);
      }
    }, { noAck: true });
    const connection = await bus.connect();
    const call = () =>
      connection.call({ topic: bus.topic }, "m", {}, { timeout: 500 });
    assert.equal(await call(), "new");
    old = true;
    assert.ok(await failureOf(call()) instanceof TimeoutError);
    assert.equal(await call(), "old");
  },
);

onEachBus("services are found in every dialect", async (bus) => {
  for (const dialect of ["folsom", "grizzly", "oslo"] as const) {
    const manager = implement(sums(bus.topic), sumHandlers());
    const common = { url: bus.url, dialect, host: "one", signals: false };
    await using _service = await Service.start({ ...common, manager });
    await using connection = await bus.connect({ dialect });
    const services = connection.services({ topic: bus.topic, timeout: 5_000 });
    const { value } = await services.next(); // as soon as it is found
    assert.equal(value?.host, "one", dialect);
    await services.return();
  }
});

onEachBus("no server of Folsom can be monitored", async (bus) => {
  await using connection = await bus.connect({ dialect: "folsom" });
  const call = connection.call({ topic: bus.topic }, "m", {}, {
    monitor: 2_000,
  });
  assert.ok(await failureOf(call) instanceof InvalidValueError);
});

onEachBus(
  "a driver that hangs holds up no event beyond its deadline",
  async (bus) => {
    await using connection = await bus.connect({
      notifications: { drivers: [() => new Promise<void>(() => {})] },
    });
    await connection.notify("lab.thing", null, { timeout: 100 });
  },
);

onEachBus(
  "what an error carries is masked in the log, and so is what a schema says of a secret",
  async (bus) => {
    await using log = await logged();
    class Refused extends Error {
      readonly data = {
        auth_token: "T0KEN",
        nested: { password: "PW" },
        id: 7,
      };
    }
    const handlers = sumHandlers({
      wait: () => {
        throw new Refused("no", { cause: new Refused("deeper") });
      },
    });
    await using _worker = await bus.serve(sums(bus.topic), handlers);
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    await failureOf(client.call("wait"));
    await client.cast("wait");
    await until(
      "both are logged",
      () =>
        log.lines.filter((line) => /wait" (?:failed|of topic)/.test(line))
          .length === 2,
    );
    const text = log.lines.join("");
    assert.ok(!/T0KEN|PW/.test(text), text);
    assert.match(text, /<SANITIZED>/);
  },
);
