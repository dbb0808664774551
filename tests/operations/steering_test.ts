/** An operator sees and steers what workers do: requests in hand, cancellation, concurrency, periodic tasks. */
import assert from "node:assert/strict";
import {
  CancelledError,
  ControlRefusedError,
  createConnection,
  implement,
  InvalidValueError,
  memoryLedgerStore,
  operations,
  type PeriodicTask,
  Service,
  type ServiceOptions,
} from "../../mod.ts";
import {
  type Bus,
  Endless,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../rpc/support.ts";
import { logged } from "../setup/logged.ts";
import { until } from "../setup/probe.ts";

/** A service of the bus's topic, whose `wait` goes on until it is told to end. */
async function serve(
  bus: Bus,
  work: Endless,
  options: Partial<ServiceOptions> = {},
  periodic: readonly PeriodicTask[] = [],
): Promise<Service> {
  const handlers = sumHandlers({ wait: (_, { signal }) => work.run(signal) });
  const manager = implement(sums(bus.topic), handlers, { periodic });
  const common = { url: bus.url, host: "one", signals: false };
  return await Service.start({
    ...common,
    remoteControl: true,
    ...options,
    manager,
  } as ServiceOptions);
}

const soon = { timeout: 500 };

onEachBus(
  "requests in hand are listed with their state",
  async (bus) => {
    const work = new Endless();
    await using _service = await serve(bus, work, {
      concurrency: 1,
      prefetch: 2,
    });
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const call = client.call("wait", { tag: "a" }, { timeout: 30_000 });
    call.catch(() => {});
    await work.began;
    await client.cast("wait", { tag: "b" });
    const steering = operations(connection);
    const { requests } = await until("both are listed", async () => {
      const running = await steering.running({ topic: bus.topic }, soon);
      return running.requests.length === 2 && running;
    });
    const [first, second] = requests;
    assert.equal(first?.verb, "call");
    assert.equal(first?.state, "running");
    assert.equal(first?.procedure, "wait");
    assert.equal(first?.host, "one");
    assert.ok((first?.deadline ?? 0) > Date.now());
    assert.ok(Math.abs((first?.since ?? 0) - Date.now()) < 30_000);
    assert.deepEqual(
      [second?.verb, second?.state, second?.attempt],
      ["cast", "waiting", 1],
    );
    const { requests: none } = await steering.running({ topic: "other" }, soon);
    assert.deepEqual(none, []);
    for (const { id } of requests) await steering.cancel(id, soon);
  },
);

onEachBus("a cancelled call fails at once", async (bus) => {
  const work = new Endless();
  await using log = await logged();
  await using _service = await serve(bus, work);
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  const failed = failureOf(client.call("wait", {}, { timeout: 30_000 }));
  await work.began;
  const steering = operations(connection);
  const [request] = (await steering.running({}, soon)).requests
    .filter(({ topic }) => topic === bus.topic);
  const result = await steering.cancel(request?.id ?? "", soon);
  assert.equal(result.found, true);
  assert.deepEqual(
    result.workers.map(({ host, outcome, procedure }) => [
      host,
      outcome,
      procedure,
    ]),
    [["one", "cancelled", "wait"]],
  );
  const error = await failed;
  assert.ok(error instanceof CancelledError, `${error}`);
  assert.equal(error.code, "CANCELLED");
  assert.ok(await work.ended instanceof CancelledError);
  const again = await steering.cancel(request?.id ?? "", soon);
  assert.deepEqual([again.found, again.workers], [false, []]);
  const line = log.lines.find((each) => /Command "?cancel/.test(each)) ?? "";
  assert.match(line, new RegExp(`process ${Deno.pid} on `));
  if (bus.url.startsWith("amqp")) assert.match(line, /guest/);
});

for (const withLedger of [false, true]) {
  onEachBus(
    `a cancelled cast becomes a dead letter, also before it runs${
      withLedger ? ", with a ledger" : ""
    }`,
    async (bus) => {
      const work = new Endless();
      await using service = await serve(bus, work, {
        concurrency: 1,
        prefetch: 2,
        ...(withLedger && { ledger: memoryLedgerStore() }),
      });
      await using connection = await bus.connect();
      const client = connection.client(sums(bus.topic));
      await client.cast("wait", { tag: "runs" });
      await work.began;
      await client.cast("wait", { tag: "waits" });
      const steering = operations(connection);
      const { requests } = await until("both are listed", async () => {
        const running = await steering.running({ topic: bus.topic }, soon);
        return running.requests.length === 2 && running;
      });
      for (const { id } of requests.toReversed()) {
        const { workers } = await steering.cancel(id, soon);
        assert.deepEqual(workers.map(({ outcome }) => outcome), [
          "deadLettered",
        ]);
      }
      await work.ended;
      await until("nothing is in hand", () => service.stats.active === 0);
      const letters = await deadLetters(bus);
      if (bus.url.startsWith("amqp")) {
        assert.equal(letters.length, 2);
        assert.match(letters.join(" "), /An operator cancelled wait/);
      }
      assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    },
  );
}

/** The reasons of the dead letters of a topic, on RabbitMQ. */
async function deadLetters(bus: Bus): Promise<string[]> {
  await using raw = await bus.raw();
  const letters: string[] = [];
  for (;;) {
    const letter = await raw?.channel.get(`${bus.topic}.dead`, { noAck: true });
    if (!letter) return letters;
    letters.push(JSON.stringify(letter.properties.headers));
  }
}

onEachBus(
  "the concurrency is set of one host, or of all",
  async (bus) => {
    const work = new Endless();
    await using one = await serve(bus, work);
    await using two = await serve(bus, work, { host: "two" });
    await using connection = await bus.connect();
    const steering = operations(connection);
    const { topic } = bus;
    const single = await steering.setConcurrency(
      { topic, host: "two" },
      3,
      soon,
    );
    assert.deepEqual(single.workers.map(({ worker: _, ...rest }) => rest), [
      { host: "two", before: 64, concurrency: 3 },
    ]);
    assert.deepEqual([one.concurrency, two.concurrency], [64, 3]);
    const all = await steering.setConcurrency({ topic }, 5, soon);
    assert.deepEqual(all.workers.map(({ before }) => before).sort(), [3, 64]);
    assert.deepEqual([one.concurrency, two.concurrency], [5, 5]);
    const error = await failureOf(steering.setConcurrency({ topic }, 0));
    assert.ok(error instanceof InvalidValueError);
  },
);

onEachBus("a periodic task runs now, and not twice at once", async (bus) => {
  const gate = Promise.withResolvers<void>();
  const began = Promise.withResolvers<void>();
  const task = (name: string, more: Partial<PeriodicTask>): PeriodicTask => ({
    name,
    every: 3_600_000,
    run: () => {},
    ...more,
  });
  const held = () => (began.resolve(), gate.promise);
  const fail = () => Promise.reject(new Error("a test"));
  const tasks = [
    task("quick", {}),
    task("held", { run: held }),
    task("failing", { run: fail }),
    task("led", { leader: true }),
  ];
  const work = new Endless();
  await using service = await serve(bus, work, {}, tasks);
  await using _two = await serve(bus, work, { host: "two" }, tasks);
  await using connection = await bus.connect();
  const steering = operations(connection);
  const target = { topic: bus.topic, host: "one" };
  const quick = await steering.runTask(target, "quick");
  assert.equal(quick.host, "one");
  assert.ok(quick.duration >= 0 && quick.error === undefined);
  const ran = service.tasks.find(({ name }) => name === "quick");
  assert.equal(ran?.runs, 1);
  const failing = await steering.runTask(target, "failing");
  assert.match(failing.error ?? "", /a test/);
  const first = steering.runTask(target, "held");
  await began.promise;
  const error = await failureOf(steering.runTask(target, "held"));
  assert.ok(error instanceof ControlRefusedError, `${error}`);
  assert.equal(error.data.reason, "running");
  gate.resolve();
  await first;
  const led = await until(
    "there is a leader",
    () => steering.runTask({ topic: bus.topic }, "led").catch(() => undefined),
  );
  assert.ok(led.host === "one" || led.host === "two");
  const unknown = await failureOf(steering.runTask(target, "none"));
  assert.ok(unknown instanceof InvalidValueError, `${unknown}`);
});

onEachBus("a service without remoteControl refuses", async (bus) => {
  const work = new Endless();
  await using service = await serve(bus, work, { remoteControl: false });
  await using connection = await bus.connect();
  const steering = operations(connection);
  const { topic } = bus;
  const refused = [
    () => steering.running({ topic }, soon),
    () => steering.setConcurrency({ topic }, 1, soon),
    () => steering.runTask({ topic }, "quick"),
    () => steering.pause({ topic }, { reason: "a test", ...soon }),
  ];
  for (const each of refused) {
    const error = await failureOf(each());
    assert.ok(error instanceof ControlRefusedError, `${error}`);
    assert.deepEqual(error.data.hosts, ["one"]);
    assert.match(error.message, /remoteControl/);
  }
  assert.equal(service.concurrency, 64);
  assert.deepEqual(await steering.pauses({ topic }, soon), []);
  const client = connection.client(sums(topic));
  assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
});

onEachBus("wrong input of a stranger does nothing", async (bus) => {
  await using _log = await logged();
  await using service = await serve(bus, new Endless());
  await using connection = await bus.connect();
  const target = {
    topic: "warren.services",
    version: "1.0",
    namespace: "warren.control",
  };
  const by = { host: "h", pid: 1 };
  const wrong: readonly [string, Record<string, unknown>][] = [
    ["setConcurrency", { by, handlers: 0 }],
    ["setConcurrency", { by, handlers: "7" }],
    ["setConcurrency", { handlers: 7 }],
    ["setConcurrency", { by, handlers: 7, more: true }],
    ["setConcurrency", { by: { host: 1, pid: -1 }, handlers: 7 }],
    ["setConcurrency", { by, topic: {}, handlers: 7 }],
    ["cancel", { by, request: "" }],
    ["look", { by, pause: { reason: 1 } }],
    ["__proto__", { by }],
    ["none", { by }],
  ];
  for (const [method, args] of wrong) {
    await connection.fanoutCast(target, method, args);
  }
  const steering = operations(connection);
  const answered = await steering.setConcurrency({ topic: bus.topic }, 9, soon);
  assert.deepEqual(answered.workers.map(({ before }) => before), [64]);
  assert.equal(service.concurrency, 9);
});

Deno.test("arguments of operations are checked", async () => {
  const url = `memory:${crypto.randomUUID()}`;
  await using connection = await createConnection(url);
  const steering = operations(connection);
  const calls: readonly [string, () => Promise<unknown>][] = [
    ["id", () => steering.cancel("")],
    ["reason", () => steering.pause({ topic: "a" }, { reason: "" })],
    ["topic", () => steering.resume({ topic: "a.paused" })],
    ["topic", () => steering.resume({} as never)],
    ["host", () => steering.running({ host: "a.parked" })],
    ["timeout", () => steering.running({}, { timeout: -1 })],
    ["none", () => steering.running({ none: 1 } as never)],
    ["concurrency", () => steering.setConcurrency({}, 1.5)],
    ["task", () => steering.runTask({ topic: "a" }, "")],
  ];
  for (const [path, call] of calls) {
    const error = await failureOf(call());
    assert.ok(error instanceof InvalidValueError, `${path}: ${error}`);
    assert.equal(error.data.path, path);
  }
});
