/** `connection.services()`: who is there, what they serve and have done, and what changes of them. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  ConnectionDisposedError,
  contract,
  implement,
  InvalidValueError,
  type Manager,
  memoryServiceStore,
} from "../../../mod.ts";
import { ServiceTracker } from "../../../src/rpc/discovery/service_tracker.ts";
import {
  REPORT,
  REPORTS,
} from "../../../src/rpc/discovery/service_contract.ts";
import { identityOf } from "../../../src/service/registry/self_description.ts";
import { all, failureOf, onEachBus, sumHandlers, sums } from "../support.ts";
import { until } from "../../setup/probe.ts";
import { found, serve, Watch } from "./fleet.ts";

onEachBus(
  "services tells who serves a topic, and on which host",
  async (bus) => {
    await using connection = await bus.connect();
    assert.deepEqual(await found(connection, bus), []);
    await using one = await serve(bus, { zone: "north", binary: "summer" });
    await using _two = await serve(bus, { host: "two", version: "7.1" });
    const services = await found(connection, bus);
    const byHost = new Map(services.map((status) => [status.host, status]));
    assert.deepEqual([...byHost.keys()].sort(), ["one", "two"]);
    const { id, startedAt, reportCount, roundTrip, ...first } = byHost
      .get("one") ?? assert.fail();
    assert.deepEqual(first, {
      host: "one",
      topic: bus.topic,
      binary: "summer",
      version: "1.0",
      zone: "north",
      state: "up",
      interval: 100,
    });
    assert.match(id, /^[0-9a-f]{32}$/);
    assert.ok(Math.abs(Date.now() - startedAt) < 60_000);
    assert.ok(reportCount >= 1);
    assert.ok(Number(roundTrip) > 0);
    const second = byHost.get("two");
    assert.deepEqual([second?.binary, second?.version, second?.zone], [
      bus.topic,
      "7.1",
      undefined,
    ]);
    const only = await found(connection, bus, { host: "two" });
    assert.deepEqual(only.map(({ host }) => host), ["two"]);
    await one.stop();
    const left = await found(connection, bus);
    assert.deepEqual(left.map(({ host }) => host), ["two"]);
  },
);

onEachBus("a service of several topics is told once for each", async (bus) => {
  const other = bus.name("other");
  bus.owns(`${other}.one`);
  const empty = (topic: string, version: string) =>
    implement(contract({ topic, version, procedures: {} }), {});
  const managers = [empty(bus.topic, "1.1"), empty(other, "2.0")] as const;
  const options = { manager: managers as unknown as Manager };
  await using _service = await serve(bus, options);
  await using connection = await bus.connect();
  const told = async (topic: string) => {
    const [status, ...more] = await found(connection, bus, { topic });
    assert.deepEqual(more, []);
    return [status?.topic, status?.version, status?.binary];
  };
  assert.deepEqual(await told(bus.topic), [bus.topic, "1.1", bus.topic]);
  assert.deepEqual(await told(other), [other, "2.0", bus.topic]);
  await using raw = await bus.raw();
  await raw?.channel.deleteExchange(`${other}_fanout`);
});

onEachBus("info tells the contracts with their JSON Schema", async (bus) => {
  const api = contract({
    topic: bus.topic,
    version: "1.2",
    namespace: "n",
    procedures: {
      grow: {
        args: z.object({ by: z.number().default(1) }),
        result: z.iso.datetime().transform((text) => new Date(text)),
        since: "1.1",
        delivery: "at-most-once",
      },
      tail: { yields: z.string() },
      odd: { result: z.custom<string>((value) => value === "odd") },
      poke: {},
    },
  });
  const manager = implement(api, {
    grow: () => "2026-01-01T00:00:00Z",
    async *tail() {},
    odd: () => "odd",
    poke: () => {},
  });
  await using _service = await serve(bus, {
    manager,
    concurrency: 3,
    prefetch: 5,
  });
  await using connection = await bus.connect();
  const [status] = await found(connection, bus, { ask: "info" });
  const { process, contracts, ...rest } = status?.info ?? assert.fail();
  assert.equal(process.pid, Deno.pid);
  assert.equal(process.runtime, `deno ${Deno.version.deno}`);
  assert.deepEqual(rest, {
    consumers: [bus.topic, `${bus.topic}.one`, `${bus.topic}_fanout`],
    concurrency: 3,
    prefetch: 5,
  });
  const [told] = contracts;
  assert.deepEqual([told?.topic, told?.version, told?.namespace], [
    bus.topic,
    "1.2",
    "n",
  ]);
  const $schema = "https://json-schema.org/draft/2020-12/schema";
  const { grow, tail, odd, poke } = told?.procedures ?? {};
  const { result, ...growing } = grow ?? assert.fail();
  assert.equal((result as { type?: string }).type, "string");
  assert.deepEqual(growing, {
    args: {
      $schema,
      type: "object",
      properties: { by: { type: "number", default: 1 } },
    },
    since: "1.1",
    delivery: "at-most-once",
  });
  const usual = { since: "1.0", delivery: "at-least-once" };
  assert.deepEqual(tail, { yields: { $schema, type: "string" }, ...usual });
  assert.deepEqual(odd, { result: {}, ...usual });
  assert.deepEqual(poke, usual);
});

onEachBus("stats tells what a service has done, and its tasks", async (bus) => {
  const manager = implement(
    sums(bus.topic),
    sumHandlers({
      wait: () => {
        throw new Error("expected");
      },
    }),
    {
      periodic: [{
        name: "sweep",
        every: 60_000,
        initialDelay: 0,
        run: () => Promise.reject(new Error("no\nbroom, token=T")),
      }],
    },
  );
  await using service = await serve(bus, { manager });
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  await client.call("add", { a: 1, b: 2 });
  await failureOf(client.call("wait"));
  await until("the task ran", () => service.tasks[0]?.runs === 1);
  const [status] = await found(connection, bus, { ask: "stats" });
  const { latency, tasks, ...counts } = status?.stats ?? assert.fail();
  assert.deepEqual(counts, {
    handled: 1,
    failed: 1,
    refused: 0,
    dropped: 0,
    redelivered: 0,
    interrupted: 0,
    fenced: 0,
    evicted: 0,
    repeated: 0,
    retried: 0,
    dead: 0,
    blocked: 0,
    active: 0,
    paused: [],
    longRunning: { count: 0, slots: 0, handlers: [] },
  });
  assert.ok(latency.max > 0 && latency.p50 <= latency.p99);
  const [sweep, ...others] = tasks;
  assert.deepEqual(others, []);
  const { name, runs, failures, running, lastError } = sweep ?? assert.fail();
  assert.deepEqual([name, runs, failures, running, lastError], [
    "sweep",
    1,
    1,
    false,
    "Error: no\\nbroom, token=<SANITIZED>",
  ]);
  assert.ok(Number(sweep?.lastRun) <= Date.now());
  assert.ok(Number(sweep?.nextRun) > Date.now() + 30_000);
});

onEachBus(
  "PING is answered within 250 ms while 64 handlers are busy and 1000 calls wait",
  async (bus) => {
    const open = Promise.withResolvers<void>();
    const manager = implement(
      sums(bus.topic),
      sumHandlers({ wait: () => open.promise }),
    );
    await using service = await serve(bus, { manager });
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const calls = Promise.allSettled(
      Array.from({ length: 1_064 }, () => client.call("wait")),
    );
    await until("64 are in hand", () => service.stats.active === 64);
    for (let round = 0; round < 5; round++) {
      for (const ask of ["ping", "info", "stats"] as const) {
        const [status] = await found(connection, bus, { ask, timeout: 300 });
        assert.ok(
          Number(status?.roundTrip) < 250,
          `${ask} ${status?.roundTrip}`,
        );
        assert.equal(service.stats.active, 64);
      }
    }
    open.resolve();
    const outcomes = await calls;
    assert.ok(outcomes.every(({ status }) => status === "fulfilled"));
  },
);

onEachBus(
  "a service that starts answers, and says that it is not up",
  async (bus) => {
    const goOn = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const manager = implement(sums(bus.topic), sumHandlers(), {
      initHost: async () => {
        begun.resolve();
        await goOn.promise;
      },
    });
    const starting = serve(bus, { manager });
    await begun.promise;
    await using connection = await bus.connect();
    const [status] = await found(connection, bus);
    assert.equal(status?.state, "starting");
    goOn.resolve();
    await using _service = await starting;
  },
);

onEachBus("watch tells what comes, changes and goes", async (bus) => {
  await using connection = await bus.connect();
  const watch = new Watch(connection, bus);
  await using _watch = watch;
  await using early = await serve(bus);
  const { id } = await watch.until("up");
  await using late = await serve(bus, { host: "two" });
  const second = await watch.until("up");
  assert.notEqual(second.id, id);
  assert.equal(second.host, "two");
  await late.stop();
  const stopping = await watch.next();
  const stopped = await watch.next();
  assert.deepEqual([stopping.state, stopping.id], ["stopping", second.id]);
  assert.deepEqual([stopped.state, stopped.id], ["stopped", second.id]);
  await early.kill();
  assert.equal((await watch.until("removed")).id, id);
});

onEachBus(
  "watch ends with the connection, with its signal, and when it is left",
  async (bus) => {
    await using _service = await serve(bus);
    const connection = await bus.connect();
    const stop = new AbortController();
    const options = { topic: bus.topic, watch: true, signal: stop.signal };
    const aborted = connection.services(options);
    await aborted.next();
    const next = failureOf(aborted.next());
    stop.abort(new Error("expected"));
    assert.match((await next).message, /expected/);
    const left = connection.services({ ...options, signal: undefined });
    for await (const { state } of left) {
      assert.equal(state, "up");
      break;
    }
    const watch = connection.services({ topic: bus.topic, watch: true });
    await watch.next();
    const ended = failureOf(watch.next());
    await connection[Symbol.asyncDispose]();
    assert.ok(await ended instanceof ConnectionDisposedError);
    assert.throws(() => connection.services(), ConnectionDisposedError);
  },
);

onEachBus("wrong options of services are refused", async (bus) => {
  await using connection = await bus.connect();
  const wrong = [{ timeout: 0 }, { ask: "all" as never }, { topic: "a b" }];
  for (const options of wrong) {
    const error = await failureOf(all(connection.services(options)));
    assert.ok(error instanceof InvalidValueError, String(error));
  }
});

onEachBus(
  "what a stranger broadcasts as a report harms nobody",
  async (bus) => {
    await using connection = await bus.connect();
    await using watch = new Watch(connection, bus, { timeout: 100 });
    await using stranger = await bus.connect();
    await using _service = await serve(bus);
    await watch.until("up");
    const report = {
      id: "x",
      host: "forged",
      topic: bus.topic,
      binary: "b",
      version: "1",
      reportCount: 1,
      state: "up",
      interval: 1e9,
      startedAt: 0,
    };
    const bodies = [
      {},
      { reports: 7 },
      { reports: [{}] },
      { reports: [{ ...report, interval: -1 }] },
      { reports: [{ ...report, host: "h".repeat(300) }] },
    ];
    for (const body of bodies) await stranger.fanoutCast(REPORTS, REPORT, body);
    await stranger.fanoutCast(REPORTS, "constructor", { reports: [report] });
    // A newer service may say more, and have words that nobody here knows.
    const good = { ...report, host: "two", state: "new", more: { news: true } };
    const reports = [{ ...report, id: 7 }, good];
    await stranger.fanoutCast(REPORTS, REPORT, { reports });
    assert.equal((await watch.next()).host, "two");
  },
);

onEachBus(
  "with a store, those that do not answer are told as it knows them",
  async (bus) => {
    const store = memoryServiceStore();
    await using connection = await bus.connect();
    await using one = await serve(bus, { store });
    const report = {
      topic: bus.topic,
      binary: bus.topic,
      version: "1.0",
      reportCount: 9,
      interval: 100,
      startedAt: 1,
    };
    const now = Date.now();
    const dead = { ...report, id: "d", host: "dead", state: "up" } as const;
    const gone = {
      ...report,
      id: "g",
      host: "gone",
      state: "stopped",
    } as const;
    const slow = { ...report, id: "s", host: "slow", state: "up" } as const;
    await store.put({ ...dead, updatedAt: now - 301 });
    await store.put({ ...gone, updatedAt: now - 1e9 });
    await store.put({ ...slow, interval: 60_000, updatedAt: now - 1_000 });
    const states = async () => {
      const services = await found(connection, bus, { store });
      return services.map(({ host, state, roundTrip }) =>
        `${host} ${state}${roundTrip === undefined ? "" : " answers"}`
      ).sort();
    };
    assert.deepEqual(await states(), [
      "dead down",
      "gone stopped",
      "one up answers",
      "slow up",
    ]);
    await one.stop();
    assert.ok((await states()).includes("one stopped"));
    await one.kill();
    assert.ok(!(await states()).some((line) => line.startsWith("one")));
    const broken = { list: () => Promise.reject(new Error("expected")) };
    const options = { store: broken };
    assert.deepEqual(await found(connection, bus, options), []);
  },
);

onEachBus("a watch can be left while it waits", async (bus) => {
  await using connection = await bus.connect();
  await using _service = await serve(bus);
  const watch = connection.services({ topic: bus.topic, watch: true });
  while ((await watch.next()).value?.state !== "up");
  const waiting = watch.next(); // nothing changes any more
  await watch.return();
  assert.deepEqual(await waiting, { done: true, value: undefined });
});

Deno.test("Sightings tell of thousands that fall silent together, in time", async () => {
  const down: string[] = [];
  using sightings = new ServiceTracker({}, true, ({ host, state }) => {
    if (state === "down") down.push(host);
  });
  const report = {
    topic: "t",
    binary: "b",
    version: "1",
    reportCount: 1,
    state: "up",
    interval: 100,
    startedAt: 1,
  } as const;
  for (let n = 0; n < 10_000; n++) {
    sightings.onReport({ ...report, id: `${n}`, host: `h${n}` });
  }
  sightings.onReport({
    ...report,
    id: "next",
    host: "h7",
    startedAt: 2,
    interval: 1e6,
  });
  await until("all but one are down", () => down.length >= 9_999);
  assert.ok(!down.includes("h7"), "its next run is up");
});

Deno.test("Sightings ignore reports that arrive after their end, and leave no timer", () => {
  let told = 0;
  const sightings = new ServiceTracker({}, true, () => void told++);
  sightings[Symbol.dispose]();
  const report = {
    ...{ topic: "t", binary: "b", version: "1", reportCount: 1 },
    ...{ id: "late", host: "h", interval: 1_000, startedAt: 1 },
    state: "up",
  } as const;
  sightings.onReport(report);
  sightings.onRecord([{ ...report, updatedAt: Date.now() }]);
  assert.equal(told, 0);
});

Deno.test("a run started later by the wall clock, also after that was set, and never before an earlier run", () => {
  const start = () => identityOf([], "one", {}).startedAt;
  const { now } = Date;
  try {
    const first = start();
    Date.now = () => now() + 3_600_000;
    const ahead = start();
    Date.now = now;
    assert.ok(ahead >= first + 3_500_000, `${ahead - first} ms`);
    assert.ok(start() > ahead);
  } finally {
    Date.now = now;
  }
});
