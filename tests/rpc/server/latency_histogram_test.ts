import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import { LatencyHistogram } from "../../../src/rpc/server/latency_histogram.ts";

Deno.test("A percentile is at most a quarter too high, and never too low", () => {
  const some = fc.array(
    fc.double({ min: 0.1, max: 86_400_000, noNaN: true }),
    { minLength: 1, maxLength: 200 },
  );
  fc.assert(fc.property(some, (durations) => {
    const latency = new LatencyHistogram();
    for (const ms of durations) latency.add(ms);
    const sorted = durations.toSorted((a, b) => a - b);
    const { p50, p90, p99, max } = latency.stats;
    for (
      const [share, told] of [[0.5, p50], [0.9, p90], [0.99, p99]] as const
    ) {
      const exact = sorted[Math.ceil(share * sorted.length) - 1] ?? 0;
      assert.ok(
        told >= exact * 0.999 && told <= exact * 1.251,
        `${told} for ${exact}`,
      );
    }
    assert.equal(max, sorted.at(-1));
  }));
});

Deno.test("What takes no time, or a week, is counted as well", () => {
  const latency = new LatencyHistogram();
  assert.deepEqual(latency.stats, { p50: 0, p90: 0, p99: 0, max: 0 });
  latency.add(0);
  assert.equal(latency.stats.p99, 0);
  const week = 7 * 86_400_000;
  latency.add(week);
  assert.equal(latency.stats.max, week);
  assert.ok(latency.stats.p99 > 86_400_000);
});
