/** Periodic tasks on a clock of the test's own, for any spacing, delay, duration and failure. */
import assert from "node:assert/strict";
import { mock } from "node:test";
import fc from "npm:fast-check@^4.10.2";
import { PeriodicTasks } from "../../../src/service/periodic/periodic_tasks.ts";
import type { PeriodicTask } from "../../../src/service/periodic/task_runner.ts";
import { FakeClock } from "./fake_clock.ts";

/** How one run goes. */
interface Run {
  readonly takes: number;
  readonly fails: boolean;
}

interface Plan {
  readonly every: number;
  readonly initialDelay: number | undefined;
  readonly runs: readonly Run[];
}

const plans: fc.Arbitrary<Plan> = fc.record({
  every: fc.integer({ min: 1, max: 50 }),
  initialDelay: fc.option(fc.integer({ min: 0, max: 100 }), { nil: undefined }),
  runs: fc.array(
    fc.record({ takes: fc.integer({ min: 0, max: 120 }), fails: fc.boolean() }),
    { minLength: 1, maxLength: 8 },
  ),
});

/** A task that goes by a plan, and writes down when it ran. */
class Planned {
  readonly starts: number[] = [];
  readonly ends: number[] = [];
  readonly task: PeriodicTask;
  overlaps = 0;
  #running = 0;

  constructor(plan: Plan, clock: FakeClock) {
    const { every, initialDelay, runs } = plan;
    const run = async (signal: AbortSignal) => {
      if (this.#running++ > 0) this.overlaps++;
      const { takes, fails } = runs[this.starts.length % runs.length] as Run;
      this.starts.push(clock.now());
      await clock.sleep(takes, new AbortController().signal);
      this.#running--;
      this.ends.push(clock.now());
      if (fails) throw new Error(`planned ${signal.aborted}`);
    };
    this.task = { every, initialDelay, run };
  }

  /** When it should have started, by the plan alone. */
  expected({ every, initialDelay = every, runs }: Plan, until: number) {
    const starts: number[] = [];
    for (let at = initialDelay; at <= until;) {
      const { takes } = runs[starts.length % runs.length] as Run;
      starts.push(at);
      at += Math.max(every, takes);
    }
    return starts;
  }
}

Deno.test("a task starts every so often, later only if its own run took longer, whatever fails", async () => {
  await fc.assert(
    fc.asyncProperty(plans, plans, async (one, two) => {
      const clock = new FakeClock();
      const both = [one, two].map((plan) => new Planned(plan, clock));
      const tasks = new PeriodicTasks(both.map(({ task }) => task), { clock });
      await clock.advance(300);
      both.forEach((planned, at) => {
        const plan = [one, two][at] as Plan;
        assert.deepEqual(planned.starts, planned.expected(plan, 300));
        assert.equal(planned.overlaps, 0);
        const state = tasks.states[at];
        assert.equal(state?.runs, planned.ends.length);
        const failed = planned.ends.filter((_, n) =>
          plan.runs[n % plan.runs.length]?.fails
        );
        assert.equal(state?.failures, failed.length);
      });
      const ended = tasks[Symbol.asyncDispose]();
      await clock.advance(200);
      await ended;
    }),
    { numRuns: 40 },
  );
});

Deno.test("stopping in the middle of a run waits for it, and starts no other", async () => {
  await fc.assert(
    fc.asyncProperty(
      plans,
      fc.integer({ min: 0, max: 200 }),
      async (plan, when) => {
        const clock = new FakeClock();
        const planned = new Planned(plan, clock);
        const tasks = new PeriodicTasks([planned.task], { clock });
        await clock.advance(when);
        const { starts: { length: started } } = planned;
        let over = false;
        const ended = tasks[Symbol.asyncDispose]().then(() => over = true);
        await clock.advance(0);
        assert.equal(over, planned.ends.length === started);
        await clock.advance(500);
        await ended;
        assert.equal(planned.starts.length, started);
        assert.equal(planned.ends.length, started);
      },
    ),
    { numRuns: 40 },
  );
});

Deno.test("a jump of the wall clock disturbs no task", async () => {
  const clock = new FakeClock();
  const plan = {
    every: 10,
    initialDelay: 0,
    runs: [{ takes: 0, fails: false }],
  };
  const planned = new Planned(plan, clock);
  mock.timers.enable({ apis: ["Date"], now: 1_000_000 });
  try {
    await using tasks = new PeriodicTasks([planned.task], { clock });
    await clock.advance(25);
    mock.timers.setTime(9_000_000);
    await clock.advance(25);
    assert.deepEqual(planned.starts, [0, 10, 20, 30, 40, 50]);
    assert.equal(tasks.states[0]?.lastRun, 9_000_000);
    assert.equal(tasks.states[0]?.nextRun, 9_000_010);
  } finally {
    mock.timers.reset();
  }
});

Deno.test("jitter delays each run by less than it says", async () => {
  const clock = new FakeClock();
  const starts: number[] = [];
  {
    await using _tasks = new PeriodicTasks([{
      every: 100,
      jitter: 20,
      run: () => void starts.push(clock.now()),
    }], { clock });
    await clock.advance(2_000);
  }
  const gaps = starts.map((at, n) => at - (starts[n - 1] ?? 0));
  assert.ok(starts.length >= 16);
  assert.ok(gaps.every((gap) => gap >= 100 && gap < 120), gaps.join());
  assert.ok(new Set(gaps).size > 1);
});

Deno.test("a new spacing holds from then on, counted from the start of the last run", async () => {
  const spacing = fc.integer({ min: 1, max: 60 });
  await fc.assert(
    fc.asyncProperty(plans, spacing, spacing, async (plan, when, every) => {
      const clock = new FakeClock();
      const planned = new Planned(plan, clock);
      const task = { ...planned.task, name: "one" };
      const tasks = new PeriodicTasks([task], { clock });
      await clock.advance(when);
      const { starts } = planned;
      const before = starts.length;
      tasks.setTaskIntervals({ one: every, another: 1 });
      await clock.advance(300);
      assert.equal(planned.overlaps, 0);
      // What is due by then: at once, if the new spacing says that it should have been.
      const takes = (n: number) =>
        (plan.runs[n % plan.runs.length] as Run).takes;
      for (let n = Math.max(before, 1); n < starts.length; n++) {
        const due = Number(starts[n - 1]) + Math.max(every, takes(n - 1));
        assert.equal(starts[n], n === before ? Math.max(due, when) : due);
      }
      if (before === 0) {
        const first = plan.initialDelay ?? Math.max(every, when);
        assert.equal(starts[0], first);
      }
      tasks.setTaskIntervals({});
      const ended = tasks[Symbol.asyncDispose]();
      await clock.advance(200);
      await ended;
    }),
    { numRuns: 100 },
  );
});
