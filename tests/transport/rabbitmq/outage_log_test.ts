/** What the log says of outages: one line for each, and no repeated lines. */
import assert from "node:assert/strict";
import { TimeoutError, TopologyError } from "../../../src/errors.ts";
import { OutageLog } from "../../../src/transport/rabbitmq/connection/connection_health.ts";
import type { ConsumerSpec } from "../../../src/transport/rabbitmq/consuming/consumer_spec.ts";
import { RestorationLog } from "../../../src/transport/rabbitmq/consuming/restoration_log.ts";
import { logged } from "../../setup/logged.ts";

/** Runs a function with a clock that only `pass` moves. */
function withClock(run: (pass: (ms: number) => void) => void): void {
  const clock = performance.now;
  let now = clock.call(performance);
  performance.now = () => now;
  try {
    run((ms) => void (now += ms));
  } finally {
    performance.now = clock;
  }
}

Deno.test("the end of an outage is a line of the log after five seconds", async () => {
  await using log = await logged();
  withClock((pass) => {
    const outages = new OutageLog([new URL("amqp://broker")]);
    for (const ms of [4_900, 5_100]) {
      outages.lost(`lost for ${ms} ms`);
      pass(ms);
      outages.unreachable("still away");
      outages.ended();
    }
  });
  const shown = log.lines.filter((line) => line.includes("[WRN]"));
  assert.equal(shown.length, 3, `${shown}`);
  assert.match(`${shown[2]}`, /Connected to the broker again, after 5\.1 s/);
});

Deno.test("a start is an outage once one of both connections has tried all nodes", async () => {
  await using log = await logged();
  const urls = ["a", "b", "c"].map((node) => new URL(`amqp://${node}`));
  const outages = new OutageLog(urls);
  for (let round = 0; round < 2; round++) {
    for (let attempt = 1; attempt <= 4; attempt++) outages.unreachable("away");
    if (round === 0) outages.ended();
  }
  const warnings = () => log.lines.filter((line) => line.includes("[WRN]"));
  assert.deepEqual(warnings(), []);
  outages.unreachable("nowhere");
  outages.unreachable("nowhere again");
  assert.equal(warnings().length, 1);
  assert.match(`${warnings()}`, /nowhere/);
});

Deno.test("restored consumers name each queue once, and a silent broker once after ten seconds", async () => {
  await using log = await logged();
  const spec = (queue: string, optional = false) =>
    ({
      route: { queue: { name: queue } },
      options: { optional },
    }) as ConsumerSpec;
  const [one, two, lock] = [spec("one"), spec("two"), spec("lock", true)];
  withClock((pass) => {
    const restoration = new RestorationLog();
    const silence = new TimeoutError("The broker does not answer");
    const refusal = new TopologyError("It does not exist");
    for (const ms of [3_000, 6_000, 3_000, 3_000]) {
      pass(ms);
      for (const each of [lock, one, two]) {
        restoration.failed(each, silence, true);
      }
      restoration.failed(one, refusal, false);
    }
    restoration.failed(two, refusal, true);
    pass(3_000);
    restoration.failed(two, refusal, true);
  });
  const shown = log.lines.filter((line) => line.includes("[WRN]"));
  assert.equal(shown.length, 2, `${shown}`);
  assert.match(`${shown[0]}`, /Cannot consume "?one"? yet: .*TimeoutError/);
  assert.match(`${shown[1]}`, /Cannot consume "?two"? yet: .*TopologyError/);
});
