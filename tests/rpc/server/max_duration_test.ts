/** Handlers that do not end: `maxDuration` ends them, and without it they are named. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import { contract, implement, Service, TimeoutError } from "../../../mod.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { failureOf, onEachBus } from "../support.ts";

const MAX = 150;
const args = z.object({ id: z.string() });

const api = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      cast: {
        args,
        maxDuration: MAX,
        retry: { attempts: 2, backoff: [100] },
      },
      call: { args, result: z.string(), maxDuration: MAX },
      items: { args, yields: z.string(), maxDuration: MAX },
      quick: { args, result: z.string() },
      endless: { args },
    },
  });

/** Handlers, of which a test gives those that it looks at. */
const handlers = {
  cast: () => {},
  call: (): string | Promise<string> => "",
  async *items(): AsyncGenerator<string> {},
  quick: ({ id }: { id: string }) => id,
  endless: () => {},
};

onEachBus(
  "casts that hang give their places to others, fail, and are tried again",
  async (bus) => {
    await using log = await logged();
    bus.owns(`${bus.topic}.delay.100`);
    const hung = Promise.withResolvers<void>();
    const reasons: unknown[] = [];
    const attempts: string[] = [];
    await using worker = await bus.serve(api(bus.topic), {
      ...handlers,
      cast: async ({ id }, { attempt, signal }) => {
        attempts.push(`${id} ${attempt}`);
        signal.addEventListener("abort", () => reasons.push(signal.reason));
        if (id === "dead" || attempt === 1) await hung.promise;
      },
    }, { concurrency: 2 });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    await client.cast("cast", { id: "good" });
    await client.cast("cast", { id: "dead" });
    assert.equal(await client.call("quick", { id: "others" }), "others");
    await until("one is a dead letter", () => worker.stats.dead === 1);
    await until("all is settled", () => worker.stats.active === 0);
    assert.deepEqual(attempts.sort(), ["dead 1", "dead 2", "good 1", "good 2"]);
    const { handled, failed, retried } = worker.stats;
    assert.deepEqual([handled, failed, retried], [2, 3, 2]);
    assert.equal(reasons.length, 3);
    assert.ok(reasons.every((reason) => reason instanceof TimeoutError));
    assert.equal(log.times(/has run for 150 ms, its maxDuration/), 3);
    hung.resolve();
  },
);

onEachBus(
  "a call that hangs fails at its caller, and one that ends when told is answered",
  async (bus) => {
    const hung = Promise.withResolvers<string>();
    await using worker = await bus.serve(api(bus.topic), {
      ...handlers,
      call: ({ id }, { signal }) =>
        id === "hangs" ? hung.promise : new Promise((resolve) => {
          signal.addEventListener("abort", () => resolve("in time"));
        }),
    }, { concurrency: 1, longRunning: 10 });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    const error = await failureOf(client.call("call", { id: "hangs" }));
    assert.ok(error instanceof TimeoutError && error.inDoubt);
    assert.match(error.message, /call has run for 150 ms, its maxDuration/);
    assert.equal(await client.call("call", { id: "ends" }), "in time");
    await until("all is settled", () => worker.stats.active === 0);
    const { handled, failed } = worker.stats;
    assert.deepEqual([handled, failed], [1, 1]);
    const { longRunning } = worker.stats;
    assert.deepEqual([longRunning.count, longRunning.slots], [1, 0]);
    hung.resolve("too late");
    await until("it has ended", () => worker.stats.longRunning.count === 0);
  },
);

onEachBus(
  "a handler whose caller has given up is ended as well",
  async (bus) => {
    await using worker = await bus.serve(api(bus.topic), {
      ...handlers,
      call: () => new Promise<string>(() => {}),
    });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    const asked = client.call("call", { id: "a" }, { timeout: MAX / 2 });
    await failureOf(asked);
    await until("nothing is in hand", () => worker.stats.active === 0);
  },
);

onEachBus(
  "a stream ends with an error when its time is over, quiet or not",
  async (bus) => {
    const ended: string[] = [];
    const hung = Promise.withResolvers<void>();
    await using _worker = await bus.serve(api(bus.topic), {
      ...handlers,
      async *items({ id }, { signal }) {
        try {
          yield id;
          if (id === "quiet") await hung.promise;
          while (!signal.aborted) {
            await new Promise((resolve) => setTimeout(resolve, 5));
            yield id;
          }
          yield "after the end";
        } finally {
          ended.push(id);
        }
      },
    });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    for (const id of ["quiet", "busy"]) {
      const seen = new Set<string>();
      const read = async () => {
        for await (const item of client.multicall("items", { id })) {
          seen.add(item);
        }
      };
      const error = await failureOf(read());
      assert.ok(error instanceof TimeoutError);
      assert.match(error.message, /items has run for 150 ms, its maxDuration/);
      assert.deepEqual([...seen], [id]);
    }
    hung.resolve();
    await until("both sources have ended", () => ended.length === 2);
  },
);

onEachBus(
  "handlers that run for long are named by stats and the log, and end when they want",
  async (bus) => {
    await using log = await logged();
    const hung = Promise.withResolvers<void>();
    await using worker = await bus.serve(api(bus.topic), {
      ...handlers,
      endless: () => hung.promise,
    }, { concurrency: 2, longRunning: 50 });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    await client.cast("endless", { id: "a" });
    const found = () => worker.stats.longRunning;
    await until("it has run for long", () => found().count === 1);
    assert.equal(found().slots, 1);
    assert.equal(found().handlers[0]?.procedure, `${bus.topic}.endless`);
    await until(
      "the log says so",
      () => log.times(/endless"? still runs/) === 1,
    );
    assert.equal(await client.call("quick", { id: "others" }), "others");
    hung.resolve();
    await until("it has ended", () => worker.stats.handled === 2);
    assert.equal(found().count, 0);
    assert.equal(log.times(/still runs/), 1);
  },
);

onEachBus(
  "a service whose places are all taken by handlers that run for long is not ready, and says by which",
  async (bus) => {
    await using _log = await logged();
    const hung = Promise.withResolvers<void>();
    const manager = implement(api(bus.topic), {
      ...handlers,
      endless: () => hung.promise,
    });
    await using service = await Service.start({
      ...{ url: bus.url, host: "one", manager, signals: false },
      ...{ concurrency: 2, longRunning: 50, grace: 0 },
      ...{ healthPort: 0, healthHostname: "127.0.0.1" },
    });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    const readiness = async () => {
      const response = await fetch(`${service.healthUrl}/readyz`);
      const { longRunning = [] } = await response.json();
      return [response.status, longRunning.length] as const;
    };
    for (const [taken, status] of [[1, 200], [2, 503]] as const) {
      await client.cast("endless", { id: "a" });
      await until("it runs for long", async () => {
        const [, found] = await readiness();
        return found === taken;
      });
      assert.equal((await readiness())[0], status);
    }
    hung.resolve();
    await until(
      "it is ready again",
      async () => (await readiness()).join() === "200,0",
    );
  },
);
