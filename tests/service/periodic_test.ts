/** Periodic tasks: never twice at once, not ended by a failure, waited for. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  implement,
  InvalidValueError,
  SchedulerDependentManager,
  Service,
} from "../../mod.ts";
import { aborted, Bus, sumHandlers, sums } from "../rpc/bus.ts";
import { until } from "../setup/probe.ts";
import { periodicTasksOf } from "../../src/service/manager.ts";
import { PeriodicTasks } from "../../src/service/periodic.ts";

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
    capabilities() {
      return { ram: 512 };
    }
  }
  const manager = new Compute();
  const service = await Service.start({ url: bus.url, host: "one", manager });
  const [report, own, ...others] = periodicTasksOf(manager);
  assert.deepEqual([report?.every, own?.every, others], [60_000, 5, []]);
  await report?.run(new AbortController().signal);
  await until("both schedulers know", () => told.length === 2);
  const expected = {
    service_name: bus.topic,
    host: "one",
    capabilities: { ram: 512 },
  };
  assert.deepEqual(told, [expected, expected]);
  await service.stop();
});
