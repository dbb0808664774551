/** Functions around the runs of periodic tasks. */
import assert from "node:assert/strict";
import {
  implement,
  InvalidValueError,
  type PeriodicTask,
  runPeriodicTasks,
  Service,
  type ServiceOptions,
  type TaskInterceptor,
  type TaskRun,
} from "../../../mod.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import {
  aborted,
  type Bus,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../../rpc/support.ts";
import { PeriodicTasks } from "../../../src/service/periodic/periodic_tasks.ts";
import { aroundRuns } from "../../../src/service/periodic/task_interceptors.ts";
import { FakeClock } from "./fake_clock.ts";

/** A service on host `one` with periodic tasks. */
function serve(
  bus: Bus,
  periodic: readonly PeriodicTask[],
  taskInterceptors: readonly TaskInterceptor[],
  options: Partial<ServiceOptions> = {},
): Promise<Service> {
  const manager = implement(sums(bus.topic), sumHandlers(), { periodic });
  const { url } = bus;
  const own = { url, host: "one", manager, signals: false, taskInterceptors };
  return Service.start({ ...own, ...options, manager });
}

onEachBus(
  "interceptors are around each run of a task, the first outermost, and get its facts",
  async (bus) => {
    const steps: string[] = [];
    const facts: TaskRun[] = [];
    const done = Promise.withResolvers<void>();
    const step = (name: string): TaskInterceptor => async (run, next) => {
      facts.push(run);
      steps.push(`${name} before`);
      assert.equal(await next(), undefined);
      steps.push(`${name} after`);
      if (name === "outer") done.resolve();
    };
    const before = Date.now();
    const task: PeriodicTask = {
      name: "sweep",
      every: 60_000,
      initialDelay: 5,
      leader: true,
      run: (signal) => {
        assert.equal(signal, facts[0]?.signal);
        steps.push("run");
      },
    };
    const retried = { ...task, every: 5, jitter: 1 };
    await using service = await serve(bus, [retried], [
      step("outer"),
      step("inner"),
    ]);
    await done.promise;
    const order = ["outer before", "inner before", "run"];
    assert.deepEqual(steps.slice(0, 5), [
      ...order,
      "inner after",
      "outer after",
    ]);
    const { due, signal, ...others } = facts[0] as TaskRun;
    const { topic } = bus;
    assert.deepEqual(others, {
      topic,
      host: "one",
      task: "sweep",
      leader: true,
    });
    assert.ok(due >= before && due <= Date.now(), `${due}`);
    assert.equal(signal.aborted, false);
    assert.equal(facts[1], facts[0]);
    assert.ok(Object.isFrozen(facts[0]));
    await service.stop();
    assert.equal(signal.aborted, true);
  },
);

onEachBus(
  "an interceptor may skip a run; one that throws is a failure of the task, and the next run comes",
  async (bus) => {
    await using log = await logged();
    let calls = 0;
    let runs = 0;
    const gate: TaskInterceptor = ({ leader, task }, next) => {
      assert.equal(leader, false);
      assert.equal(task, "task-1");
      calls++;
      if (calls === 1) return "skipped";
      if (calls === 2) throw new RangeError("not now");
      return next();
    };
    const task = { every: 1, run: () => void runs++ };
    await using service = await serve(bus, [task], [gate]);
    await until("it ran", () => runs > 0);
    const [state] = service.tasks;
    assert.equal(state?.failures, 1);
    assert.ok((state?.runs ?? 0) >= 2);
    assert.equal(log.times(/Periodic task .* failed: .*not now/), 1);
  },
);

onEachBus(
  "interceptors see the error of the task, and may handle it",
  async (bus) => {
    await using _log = await logged();
    const seen: unknown[] = [];
    let runs = 0;
    const task = {
      every: 1,
      run: () => {
        runs++;
        return Promise.reject(new RangeError(`run ${runs}`));
      },
    };
    const handle: TaskInterceptor = async (_run, next) => {
      try {
        await next();
      } catch (error) {
        seen.push(`${error}`);
        if (runs > 1) throw error;
      }
    };
    await using service = await serve(bus, [task], [handle]);
    await until(
      "the second failed",
      () => (service.tasks[0]?.failures ?? 0) > 0,
    );
    assert.deepEqual(seen.slice(0, 2), [
      "RangeError: run 1",
      "RangeError: run 2",
    ]);
  },
);

onEachBus(
  "taskInterceptors that are no functions are refused before a service connects",
  async (bus) => {
    for (const wrong of [1, {}, [1], [() => {}, null], "x"]) {
      const starting = serve(bus, [], wrong as unknown as TaskInterceptor[], {
        url: "amqp://127.0.0.1:1",
      });
      const error = await failureOf(starting);
      assert.ok(error instanceof InvalidValueError);
      assert.equal(error.data.path, "taskInterceptors");
      assert.match(error.message, /give an array of functions$/);
    }
  },
);

/** One task with interceptors, on a clock of the test. */
function tasksOn(
  clock: FakeClock,
  run: PeriodicTask["run"],
  ...interceptors: TaskInterceptor[]
): PeriodicTasks {
  const around = aroundRuns(interceptors, { topic: "t", host: "h" });
  return new PeriodicTasks([{ every: 10, run }], { clock, around });
}

Deno.test("a task does not overlap with itself, whatever its interceptors wait for", async () => {
  const clock = new FakeClock();
  let running = 0, most = 0, runs = 0;
  const gate = { open: Promise.withResolvers<void>() };
  const refused: string[] = [];
  const task = async () => {
    most = Math.max(most, ++running);
    await gate.open.promise;
    running--;
    runs++;
  };
  let late: (() => Promise<void>) | undefined;
  await using tasks = tasksOn(clock, task, (_run, next) => {
    late ??= next;
    void next(); // nobody waits for it
    next().catch((error) => refused.push(`${error.message}`));
  });
  await clock.advance(35);
  assert.deepEqual([running, runs, tasks.states[0]?.running], [1, 0, true]);
  gate.open.resolve();
  await clock.advance(30);
  assert.equal(most, 1);
  assert.ok(runs > 1);
  assert.match(
    `${refused[0]}`,
    /^Cannot call next of a periodic task: the task still runs/,
  );
  const error = await failureOf(late!());
  assert.match(error.message, /the run is over/);
});

Deno.test("an error of a task that no interceptor waits for is a failure of the task", async () => {
  await using _log = await logged();
  const clock = new FakeClock();
  const task = async () => {
    await Promise.resolve();
    await Promise.resolve();
    throw new RangeError("late");
  };
  await using tasks = tasksOn(clock, task, (_run, next) => void next());
  await clock.advance(10);
  assert.equal(tasks.states[0]?.failures, 1);
  assert.ok(tasks.states[0]?.lastError instanceof RangeError);
});

Deno.test("next may be called again after the task has failed", async () => {
  const clock = new FakeClock();
  let attempts = 0;
  const task = () => {
    if (++attempts < 3) throw new Error("again");
  };
  await using tasks = tasksOn(clock, task, async (_run, next) => {
    await next().catch(() => next()).catch(() => next());
  });
  await clock.advance(10);
  assert.equal(attempts, 3);
  const { runs, failures } = tasks.states[0]!;
  assert.deepEqual([runs, failures], [1, 0]);
});

Deno.test("an interceptor that waits for the signal of its run ends with the service", async () => {
  const clock = new FakeClock();
  let ended = false;
  const tasks = tasksOn(clock, () => {}, async ({ signal }, next) => {
    await aborted(signal);
    await next();
    ended = true;
  });
  await clock.advance(10);
  await tasks[Symbol.asyncDispose]();
  assert.ok(ended);
});

Deno.test("the time at which a run was due is its own, also if the one before took longer", async () => {
  const clock = new FakeClock();
  const late: number[] = [];
  const gate = Promise.withResolvers<void>();
  let runs = 0;
  const task = () => (runs++ === 0 ? gate.promise : undefined);
  await using _tasks = tasksOn(clock, task, async ({ due }, next) => {
    late.push(Math.round(Date.now() - due));
    await next();
  });
  await clock.advance(45); // due at 10; the run goes on until 45
  gate.resolve();
  await clock.advance(10);
  assert.ok(late.length >= 2);
  for (const ms of late) assert.ok(ms >= 0 && ms <= 1, `${late}`);
});

Deno.test("runPeriodicTasks runs the tasks of a manager without interceptors", async () => {
  let runs = 0;
  const periodic = [{ every: 1, run: () => void runs++ }];
  const manager = implement(sums("t"), sumHandlers(), { periodic });
  await runPeriodicTasks(manager, { raiseOnError: true });
  assert.equal(runs, 1);
});
