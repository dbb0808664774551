/** Handlers that keep the event loop from everything else are named. */
import assert from "node:assert/strict";
import {
  EventLoopMonitor,
  type Watched,
} from "../../../src/rpc/server/event_loop_monitor.ts";
import { answerIn } from "../../../src/rpc/discovery/service_contract.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { all, onEachBus, onRabbit, sumHandlers, sums } from "../support.ts";

/** Computes without a pause. */
function compute(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

const warnings = (lines: readonly string[]) =>
  lines.filter((line) => line.includes("stood still"));

onEachBus(
  "a handler that begins with a long computation is named alone",
  async (bus) => {
    await using log = await logged();
    const over = Promise.withResolvers<void>();
    const handlers = sumHandlers({
      add: ({ a, b }) => (compute(a), a + b),
      wait: () => over.promise,
      async *count() {
        yield 1;
        compute(1_100);
        yield 2;
      },
    });
    await using worker = await bus.serve(sums(bus.topic), handlers);
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const waiting = client.call("wait");
    await until("it is in hand", () => worker.stats.active === 1);
    await client.call("add", { a: 1, b: 1 });
    assert.equal(worker.stats.blocked, 0);
    await client.call("add", { a: 1_100, b: 1 });
    assert.equal(worker.stats.blocked, 1);
    await all(client.multicall("count", { to: 2 }));
    assert.equal(worker.stats.blocked, 2);
    over.resolve();
    await waiting;
    const [first = "", second = "", ...more] = warnings(log.lines);
    assert.deepEqual(more, []);
    assert.match(first, /stood still for 1[1-9]\d\d ms in .*\.add"?, which/);
    assert.doesNotMatch(first, /\.wait/);
    assert.match(second, /stood still for 1[1-9]\d\d ms in .*\.count"?, which/);
  },
);

onEachBus(
  "where nobody can be named, all that was in hand is",
  async (bus) => {
    await using log = await logged();
    const handlers = sumHandlers({
      wait: async () => {
        await new Promise((resolve) => setTimeout(resolve));
        compute(1_600);
      },
    });
    await using worker = await bus.serve(sums(bus.topic), handlers);
    await using connection = await bus.connect();
    await connection.client(sums(bus.topic)).call("wait");
    await until("it is told", () => worker.stats.blocked === 1);
    const [line = "", ...more] = warnings(log.lines);
    assert.deepEqual(more, []);
    assert.match(line, /stood still for 1\d\d\d ms: .*in hand: .*\.wait/);
  },
);

Deno.test("EventLoopMonitor names five procedures, each once, in one line, and looks at nothing without any", async () => {
  await using log = await logged();
  using watch = new EventLoopMonitor();
  const one = (name: string): Watched => ({ name });
  const names = ["a\nb", "t.2", "t.3", "t.4", "t.5", "t.6", "t.7", "t.2"];
  const held = names.map(one);
  const handles = held.map((each) => watch.start(each));
  compute(1_300);
  for (const handle of handles) watch.stop(handle, 2_000);
  assert.equal(watch.blocked, 1);
  const [line = ""] = warnings(log.lines);
  assert.match(line, /in hand: "?a.*nb, t\.2, t\.3, t\.4, t\.5 and 2 more/);
  compute(1_300);
  watch.stop(watch.start(one("t.8")), 0);
  assert.equal(watch.blocked, 1);
  watch.start(one("t.9")); // its timer ends with the watch
});

Deno.test("the statistics of an earlier version can be read", () => {
  const counts = {
    handled: 1,
    failed: 0,
    refused: 0,
    dropped: 0,
    redelivered: 0,
    repeated: 0,
    retried: 0,
    dead: 0,
    inHand: 0,
  };
  const latency = { p50: 1, p90: 1, p99: 1, max: 1 };
  const stats = { ...counts, latency, tasks: [] };
  assert.equal(answerIn({ reports: [], stats }).stats?.blocked, 0);
});

onRabbit(
  "what comes again because heartbeats were missed meanwhile is not run again",
  async (bus) => {
    let runs = 0;
    const handlers = sumHandlers({
      wait: () => {
        runs++;
        compute(5_000);
      },
    });
    const api = sums(bus.topic);
    await using worker = await bus.serve(api, handlers, { heartbeat: 1 });
    let losses = 0;
    worker.addEventListener("disconnected", () => losses++);
    await using connection = await bus.connect();
    await connection.client(api).cast("wait");
    await until("it came again", () => worker.stats.repeated > 0, 60_000);
    await until("nothing is in hand", () => worker.stats.active === 0);
    assert.equal(runs, 1);
    assert.ok(losses > 0);
    assert.ok(worker.stats.redelivered > 0);
    assert.ok(worker.stats.blocked > 0);
    assert.equal(await connection.client(api).call("add", { a: 1, b: 2 }), 3);
  },
);
