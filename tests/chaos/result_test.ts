/** The check of the fault matrix sees what it is there to see: each count by an invented history. */
import assert from "node:assert/strict";
import type { Line, Outcome, Told } from "./history.ts";
import { type Facts, type Result, resultOf } from "./result.ts";
import { breachesOf } from "./run.ts";

const facts: Facts = {
  from: 0,
  to: 1_000,
  heals: [1_000],
  removals: [],
  cutOff: 0,
  prefetch: 10,
  dead: [],
  waiting: [],
  stuck: [],
  died: [],
  lasting: ["w0"],
};

const settings = { queue: "classic", ledger: "memory", seed: 1 } as const;

function by(from: string, ...told: Told[]): Line[] {
  return told.map((each) => ({
    ...each,
    from,
    seen: "at" in each ? each.at : 0,
  }));
}

const out = (id: string, more: Partial<Outcome> = {}): Line => ({
  ...{ t: "out", verb: "cast", id, at: 0, settled: 10, due: 5_000 },
  ...more,
  from: "caller",
  seen: 0,
});

function ran(id: string, from = "w0"): Line[] {
  const run = { id, attempt: 1, at: 10 };
  return by(from, { t: "start", ...run }, { t: "end", ...run });
}

/** A call after the fault, without which nothing has healed. */
const well = [
  out("call-1", { verb: "call", settled: 1_010 }),
  ...ran("call-1"),
];

function counted(history: Line[], more: Partial<Facts> = {}): Result {
  return resultOf([...well, ...history], { ...facts, ...more });
}

const breaches = (history: Line[], more?: Partial<Facts>) =>
  breachesOf(counted(history, more), settings);

Deno.test("Chaos: a history in which all is well has no breach", () => {
  assert.deepEqual(breaches([out("cast-1"), ...ran("cast-1")]), []);
});

Deno.test("Chaos: a cast that resolved is lost unless it finished, is kept, expired, or went with its queue", () => {
  const began = by("w0", { t: "start", id: "cast-1", attempt: 1, at: 5 });
  assert.deepEqual(counted([out("cast-1"), ...began]).lost, ["cast-1"]);
  assert.match(`${breaches([out("cast-1")])}`, /^lost: 1 \(cast-1\)$/);
  assert.deepEqual(counted([out("cast-1", { ttl: 1 })]).lost, []);
  assert.deepEqual(counted([out("cast-1", { code: "TIMEOUT" })]).lost, []);
  assert.deepEqual(counted([out("cast-1")], { dead: ["cast-1"] }).lost, []);
  assert.deepEqual(counted([out("cast-1")], { waiting: ["cast-1"] }).lost, []);
  const removals = [{ from: 20, to: 30, messages: 1 }];
  const { lost, removed } = counted([
    out("cast-1"),
    out("cast-2", { at: 40, settled: 50 }),
  ], { removals });
  assert.deepEqual([lost, removed], [["cast-2"], ["cast-1"]]);
});

Deno.test("Chaos: finished twice, as far as it was not in hand at a cut", () => {
  const twice = [out("cast-1"), ...ran("cast-1"), ...ran("cast-1", "w1")];
  assert.match(`${breaches(twice)}`, /^finished twice: 1 .*, 0 were in hand$/);
  assert.deepEqual(breaches(twice, { cutOff: 1 }), []);
  const cut = by("w0", { t: "event", name: "disconnected", at: 5 });
  assert.deepEqual(breaches([...twice, ...cut]), []);
  const lost = by("caller", { t: "event", name: "disconnected", at: 5 });
  assert.equal(counted([...twice, ...lost]).inHand, 2, "the cast and the call");
  const shared = { ...settings, ledger: "postgres" } as const;
  assert.equal(breachesOf(counted(twice, { cutOff: 1 }), shared).length, 1);
  assert.equal(
    breachesOf(counted(twice, { cutOff: 1 }), shared, true).length,
    0,
  );
  const told = [out("fanout-1"), ...ran("fanout-1"), ...ran("fanout-1", "w1")];
  assert.deepEqual(counted(told).finishedTwice, []);
});

Deno.test("Chaos: hung is what settles after its deadline, the slack and the caller's own lag, or never", () => {
  const late = out("cast-1", { settled: 5_300, due: 5_000, code: "TIMEOUT" });
  assert.match(`${breaches([late])}`, /hung: 1 \(cast-1: 300 ms after/);
  const lag = by("caller", { t: "lag", at: 5_310, ms: 60 });
  assert.deepEqual(breaches([late, ...lag]), []);
  const before = by("caller", { t: "lag", at: 4_000, ms: 60 });
  assert.equal(counted([late, ...before]).hung.length, 1);
  const never = by("caller", { t: "done", open: ["call-9"] });
  assert.deepEqual(counted(never).hung, ["call-9"]);
});

Deno.test("Chaos: what is stuck, has died, is wrong or was recorded twice is told", () => {
  const told = breaches([out("stream-1", { wrong: "item 2 in place of 1" })], {
    stuck: ["<topic>: 1 ready"],
    died: ["w0 ended with 1"],
    recorded: ["a#1", "a#1"],
    dead: ["stream-1"],
  });
  assert.deepEqual(told.map((each) => each.split(/[: ]/)[0]), [
    "stuck",
    "wrong",
    "died",
    "1",
  ]);
});

Deno.test("Chaos: recovery, silence and growth", () => {
  const call = (settled: number) =>
    out(`call-${settled}`, { verb: "call", settled });
  const rss = (at: number, mebibytes: number): Told => ({
    ...{ t: "rss", at, bytes: mebibytes * 1_048_576, clock: 0 },
  });
  const grown = by("w0", rss(-10, 100), rss(990, 140));
  const heals = [100, 700];
  const result = counted([call(50), call(650), call(720), ...grown], { heals });
  assert.deepEqual(
    [result.recovery, result.silence, result.workerGrowth],
    [550, 600, 40],
  );
  assert.equal(resultOf([], facts).recovery, Infinity);
});

Deno.test("Chaos: casts that the fault held up do not count as the time that calls need", () => {
  const settings = { heals: [100], lasting: ["caller", "w0"], prefetch: 2 };
  const call = out("call-1", { verb: "call", at: 90, settled: 500 });
  const cast = (id: string, at: number) => out(id, { at, settled: 110 });
  const run = (id: string, start: number, end: number) =>
    by(
      "w0",
      { t: "start", id, attempt: 1, at: start },
      { t: "end", id, attempt: 1, at: end },
    );
  const before = [cast("cast-1", 50), ...run("cast-1", 60, 300)]; // 200 ms of two slots
  const after = [cast("cast-2", 105), ...run("cast-2", 110, 400)];
  const still = [cast("cast-3", 50), ...run("cast-3", 400, 900)]; // until the call: 100 ms
  const history = [call, ...before, ...after, ...still];
  const { recovery, ownRecovery } = counted(history, settings);
  assert.deepEqual([recovery, ownRecovery], [400, 250]);
});
