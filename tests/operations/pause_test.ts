/** An operator pauses queues: calls fail, casts wait, and are handled after the resumption. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  implement,
  operations,
  PausedError,
  Service,
  type ServiceOptions,
} from "../../mod.ts";
import { dependenciesOf } from "../../src/connection/connection_context.ts";
import { topicAddress } from "../../src/transport/address.ts";
import {
  type Bus,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../rpc/support.ts";
import { until } from "../setup/probe.ts";

const soon = { timeout: 300 };

const transportIn = (of: Parameters<typeof dependenciesOf>[0]) =>
  dependenciesOf(of).resources.transport;

/** A service on a host, which writes down the tags of its casts. */
async function serve(
  bus: Bus,
  done: string[],
  options: Partial<ServiceOptions> = {},
): Promise<Service> {
  const handlers = sumHandlers({ wait: ({ tag = "" }) => void done.push(tag) });
  const manager = implement(sums(bus.topic), handlers);
  for (const end of ["paused", "parked"]) {
    bus.owns(`${bus.topic}.${end}`);
    bus.owns(`${bus.topic}.one.${end}`);
  }
  const common = { url: bus.url, host: "one", signals: false };
  return await Service.start({
    ...common,
    remoteControl: true,
    ...options,
    manager,
  } as ServiceOptions);
}

/** Numbers of the casts that wait and of the records, of the queue of a topic; undefined for a queue that is not there. */
async function beside(connection: ConnectionContext, topic: string) {
  const of = topicAddress(topic, undefined);
  const at = { at: performance.now() + 5_000 };
  const transport = transportIn(connection);
  const parked = await transport.inspect({ kind: "parked", of }, at);
  const paused = await transport.inspect({ kind: "paused", of }, at);
  return [parked?.messages, paused?.messages];
}

/** Casts ten, with the numbers from `first` on. */
async function castTen(
  connection: ConnectionContext,
  topic: string,
  first: number,
): Promise<string[]> {
  const client = connection.client(sums(topic));
  const tags = Array.from({ length: 10 }, (_, n) => `${first + n}`);
  for (const tag of tags) await client.cast("wait", { tag });
  return tags;
}

onEachBus(
  "a paused queue refuses calls and keeps casts, which run in order after the resumption",
  async (bus) => {
    const { topic } = bus;
    const done: string[] = [];
    await using service = await serve(bus, done);
    await using connection = await bus.connect();
    const client = connection.client(sums(topic));
    const steering = operations(connection);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    const before = Date.now();
    const paused = await steering.pause({ topic }, {
      reason: "a broken disk",
      ...soon,
    });
    assert.deepEqual(paused.hosts, ["one"]);
    assert.equal(paused.pause.by?.pid, Deno.pid);
    const error = await failureOf(client.call("add", { a: 1, b: 2 }));
    assert.ok(error instanceof PausedError, `${error}`);
    assert.deepEqual(
      [error.code, error.inDoubt, error.data.reason],
      ["PAUSED", false, "a broken disk"],
    );
    assert.ok(Number(error.data.since) >= before);
    // The queue of the host is another one.
    const host = connection.client(sums(topic), { host: "one" });
    assert.equal(await host.call("add", { a: 1, b: 2 }), 3);
    const tags = await castTen(connection, topic, 0);
    await until("all wait", async () => {
      const [waiting] = await steering.pauses({ topic }, soon);
      return waiting?.waiting === 10;
    });
    const list = await steering.pauses({}, soon);
    const own = list.find((each) => each.topic === topic);
    assert.deepEqual(
      [own?.reason, own?.waiting, own?.state, own?.by?.pid],
      ["a broken disk", 10, "paused", Deno.pid],
    );
    assert.deepEqual(done, []);
    assert.equal(service.stats.active, 0);
    assert.deepEqual(service.stats.paused, [topic]);
    const [status] = await Array.fromAsync(
      connection.services({ topic, ask: "stats", timeout: 300 }),
    );
    assert.deepEqual([status?.state, status?.stats?.paused], ["up", [topic]]);
    const resumed = await steering.resume({ topic }, soon);
    assert.deepEqual(resumed, { moved: 10, hosts: ["one"] });
    await until("all are handled", () => done.length === 10);
    assert.deepEqual(done, tags);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    assert.deepEqual(await steering.pauses({ topic }, soon), []);
    assert.deepEqual(await beside(connection, topic), [undefined, undefined]);
    const again = await steering.resume({ topic }, soon);
    assert.equal(again.moved, 0);
  },
);

onEachBus(
  "a pause holds for services that start later, also of one host",
  async (bus) => {
    const { topic } = bus;
    const done: string[] = [];
    await using connection = await bus.connect();
    const steering = operations(connection);
    await using _first = await serve(bus, done, { host: "two" });
    const target = { topic, host: "one" };
    const paused = await steering.pause(target, { reason: "moves", ...soon });
    assert.deepEqual(paused.hosts, []);
    await using _later = await serve(bus, done);
    await using _other = await serve(bus, done);
    const client = connection.client(sums(topic), { host: "one" });
    for (let n = 0; n < 5; n++) {
      const error = await failureOf(client.call("add", { a: 1, b: 2 }));
      assert.ok(error instanceof PausedError, `${error}`);
      assert.equal(error.data.reason, "moves");
    }
    const any = connection.client(sums(topic));
    assert.equal(await any.call("add", { a: 1, b: 2 }), 3);
    const two = connection.client(sums(topic), { host: "two" });
    assert.equal(await two.call("add", { a: 1, b: 2 }), 3);
    const list = await steering.pauses(target, soon);
    assert.deepEqual(list.map(({ host }) => host), ["one"]);
    await steering.resume(target, soon);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
  },
);

onEachBus("operators who pause and resume at once do no harm", async (bus) => {
  const { topic } = bus;
  const done: string[] = [];
  await using _one = await serve(bus, done);
  await using _two = await serve(bus, done, { host: "two" });
  await using connection = await bus.connect();
  await using other = await bus.connect();
  const both = [operations(connection), operations(other)];
  const reasons = ["first", "second"];
  const sent: string[] = [];
  for (let round = 0; round < 3; round++) {
    await Promise.all(
      both.map((each, n) =>
        each.pause({ topic }, { reason: reasons[n] ?? "", ...soon })
      ),
    );
    const [, records = 0] = await beside(connection, topic);
    assert.ok(records >= 1);
    sent.push(...await castTen(connection, topic, 10 * round));
    await Promise.all(both.map((each) => each.resume({ topic }, soon)));
    await until("all are handled", () => new Set(done).size === sent.length);
  }
  // At last one pauses while the other resumes.
  await Promise.all([
    both[0]?.pause({ topic }, { reason: "last", ...soon }),
    both[1]?.resume({ topic }, soon),
    castTen(connection, topic, 30).then((tags) => sent.push(...tags)),
  ]);
  await both[0]?.resume({ topic }, soon);
  await until("all are handled", () => new Set(done).size === sent.length);
  assert.deepEqual(await beside(connection, topic), [undefined, undefined]);
  const client = connection.client(sums(topic));
  assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
});

onEachBus(
  "a worker that misses a resumption finds out by itself",
  async (bus) => {
    const { topic } = bus;
    const done: string[] = [];
    await using _service = await serve(bus, done);
    await using connection = await bus.connect();
    const steering = operations(connection);
    await steering.pause({ topic }, { reason: "a test", ...soon });
    // Nobody tells the worker that the record is gone.
    const of = topicAddress(topic, undefined);
    const { removePause } = await import(
      "../../src/rpc/steering/resumption.ts"
    );
    const { dependenciesOf } = await import(
      "../../src/connection/connection_context.ts"
    );
    const { session, transport } = dependenciesOf(connection).resources;
    await removePause({ session, transport }, of);
    const tags = await castTen(connection, topic, 0);
    await until("all are handled", () => new Set(done).size === 10);
    assert.deepEqual([...new Set(done)].sort(), tags.sort());
    const client = connection.client(sums(topic));
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await steering.resume({ topic }, soon);
    assert.deepEqual(await beside(connection, topic), [undefined, undefined]);
  },
);

onEachBus("requests that wait for a handler are held back too", async (bus) => {
  const { topic } = bus;
  const gate = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  const done: string[] = [];
  const handlers = sumHandlers({
    wait: async ({ tag = "" }) => {
      if (tag === "first") began.resolve(), await gate.promise;
      done.push(tag);
    },
  });
  bus.owns(`${topic}.paused`);
  bus.owns(`${topic}.parked`);
  await using service = await Service.start({
    ...{ url: bus.url, host: "one", signals: false, remoteControl: true },
    ...{ concurrency: 1, prefetch: 10 },
    manager: implement(sums(topic), handlers),
  });
  await using connection = await bus.connect();
  const client = connection.client(sums(topic));
  await client.cast("wait", { tag: "first" });
  await began.promise;
  await client.cast("wait", { tag: "second" });
  await until("both are here", () => service.stats.active === 2);
  const steering = operations(connection);
  await steering.pause({ topic }, { reason: "a test", ...soon });
  gate.resolve();
  await until("the second waits", async () => {
    const [waiting] = await beside(connection, topic);
    return waiting === 1;
  });
  assert.deepEqual(done, ["first"]);
  await steering.resume({ topic }, soon);
  await until("both are handled", () => done.length === 2);
});
