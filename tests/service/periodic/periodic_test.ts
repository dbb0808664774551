/** Periodic tasks: never twice at once, not ended by a failure, waited for. */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { z } from "npm:zod@^4.6.7";
import {
  type Capabilities,
  contract,
  implement,
  InvalidValueError,
  SchedulerDependentManager,
  Service,
} from "../../../mod.ts";
import { aborted, Bus, sumHandlers, sums } from "../../rpc/support.ts";
import { until } from "../../setup/probe.ts";
import { periodicTasksOf } from "../../../src/service/manager.ts";
import { PeriodicTasks } from "../../../src/service/periodic/periodic_tasks.ts";

Deno.test("a periodic task does not overlap with itself, and does not hold up another", async () => {
  let running = 0, most = 0, slow = 0, quick = 0;
  {
    await using _tasks = new PeriodicTasks([
      {
        every: 1,
        run: async () => {
          most = Math.max(most, ++running);
          const from = quick;
          await until("the other one ran meanwhile", () => quick > from + 2);
          running--;
          slow++;
        },
      },
      { every: 1, run: () => void quick++ },
    ]);
    await until("both ran often", () => slow >= 3);
  }
  assert.equal(most, 1);
  assert.ok(quick > slow); // a timer that outlived its disposal would fail the test
});

Deno.test("a periodic task that fails comes again", async () => {
  let runs = 0;
  await using _tasks = new PeriodicTasks([{
    every: 1,
    run: () => {
      if (++runs % 2) throw new Error("sync");
      return Promise.reject(new Error("async"));
    },
  }]);
  await until("it ran again", () => runs >= 4);
  assert.ok(runs >= 4);
});

Deno.test("disposal tells a running task, and waits for it", async () => {
  const begun = Promise.withResolvers<void>();
  let ended = false;
  const tasks = new PeriodicTasks([{
    every: 1,
    run: async (signal) => {
      begun.resolve();
      await aborted(signal);
      await Promise.resolve();
      ended = true;
    },
  }]);
  await begun.promise;
  await tasks[Symbol.asyncDispose]();
  assert.ok(ended);
});

Deno.test("a period that is no duration is refused, and no task has begun", () => {
  for (const every of [0, -1, NaN, undefined as unknown as number]) {
    const tasks = [{ every: 60_000, run: () => {} }, { every, run: () => {} }];
    assert.throws(() => new PeriodicTasks(tasks), InvalidValueError);
  }
});

Deno.test("a service runs its managers' tasks until it stops", async () => {
  await using bus = new Bus(`memory:${crypto.randomUUID()}`);
  let runs = 0;
  const ended = Promise.withResolvers<string>();
  const manager = implement(sums(bus.topic), sumHandlers(), {
    periodic: [
      { every: 1, run: () => void runs++ },
      {
        every: 1,
        run: async (signal) => (await aborted(signal), ended.resolve("told")),
      },
    ],
  });
  const service = await Service.start({ url: bus.url, host: "one", manager });
  await until("they ran", () => runs > 3);
  await service.stop();
  assert.equal(await ended.promise, "told");
});

Deno.test("a SchedulerDependentManager tells every scheduler what it can do", async () => {
  await using bus = new Bus(`memory:${crypto.randomUUID()}`);
  const told: unknown[] = [];
  const scheduler = contract({
    topic: "scheduler",
    version: "1.0",
    procedures: {
      update_service_capabilities: { args: z.record(z.string(), z.unknown()) },
    },
  });
  const note = {
    update_service_capabilities: (args: unknown) => void told.push(args),
  };
  await using _one = await bus.serve(scheduler, note);
  await using _two = await bus.serve(scheduler, note);
  class Compute extends SchedulerDependentManager {
    readonly contract = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: {},
    });
    override readonly periodic = [{ every: 5, run: () => {} }];
    ram: Capabilities | undefined;
    capabilities() {
      return this.ram;
    }
  }
  const manager = new Compute();
  const [report, own, ...others] = periodicTasksOf(manager);
  assert.deepEqual([report?.every, own?.every, others], [60_000, 5, []]);
  const spacing = { update_service_capabilities: 20 };
  const options = {
    url: bus.url,
    host: "one",
    manager,
    taskIntervals: spacing,
  };
  await using service = await Service.start(options);
  const runs = () =>
    service.tasks.find(({ name }) => name === report?.name)?.runs ?? 0;
  await until("it had nothing to tell", () => runs() > 2);
  assert.deepEqual(told, []);
  const heard = (capabilities: unknown) =>
    until(JSON.stringify(capabilities), () => {
      const [one, two] = told.splice(0).slice(-2);
      const expected = { service_name: bus.topic, host: "one", capabilities };
      return isDeepStrictEqual([one, two], [expected, expected]);
    });
  manager.ram = { ram: 512 };
  await heard({ ram: 512 });
  manager.ram = [{ ram: 512 }, { ram: 16 }];
  await heard([{ ram: 512 }, { ram: 16 }]);
  const before = runs();
  await until("it goes on", () => runs() > before + 2);
});

Deno.test("spacing is by the name of a task, from the start and while a service runs", async () => {
  await using bus = new Bus(`memory:${crypto.randomUUID()}`);
  const runs = { fast: 0, slow: 0, other: 0 };
  const task = (name: keyof typeof runs) => ({
    name,
    every: 60_000,
    run: () => void runs[name]++,
  });
  const manager = implement(sums(bus.topic), sumHandlers(), {
    periodic: [task("fast"), task("slow"), task("other")],
  });
  await using service = await Service.start({
    url: bus.url,
    host: "one",
    manager,
    taskIntervals: { fast: 1, nobody: 5 },
  });
  await until("the fast one runs", () => runs.fast > 3);
  assert.deepEqual([runs.slow, runs.other], [0, 0]);
  service.setTaskIntervals({ slow: 1 });
  await until("the slow one runs", () => runs.slow > 3);
  const { fast } = runs;
  await until("it goes on", () => runs.slow > 10);
  assert.equal(runs.fast, fast, "back to its own");
  assert.equal(runs.other, 0);
  assert.throws(() => service.setTaskIntervals({ slow: 0 }), InvalidValueError);
  const wrong = { url: bus.url, manager, taskIntervals: { slow: NaN } };
  await assert.rejects(Service.start(wrong), InvalidValueError);
});
