/** A ledger store that is lost, hangs or forgets, and handlers that record at bad moments: nothing is lost, nothing hangs. */
import assert from "node:assert/strict";
import { type LedgerStore, memoryLedgerStore } from "../../mod.ts";
import { until } from "../setup/probe.ts";
import { aborted, Bus } from "../rpc/support.ts";
import { bound, type Handler, jobs, worker } from "./workers.ts";
import { retryStore } from "../../src/ledger/lease.ts";

const LEASE = 1_000;

Deno.test("a query to the store that has no answer within a lease is repeated", async () => {
  const store = { lease: 50 } as LedgerStore;
  let queries = 0;
  const query = () =>
    ++queries === 1 ? new Promise<string>(() => {}) : Promise.resolve("held");
  const deadline = { at: performance.now() + 30_000 };
  assert.equal(await retryStore(store, query, deadline), "held");
  assert.equal(queries, 2);
});

/** A test on a bus in the process, with a store whose leases are short. */
function test(
  name: string,
  fn: (bus: Bus, store: LedgerStore) => Promise<void>,
): void {
  Deno.test({
    name,
    timeout: 60_000,
    fn: async () => {
      await using bus = new Bus(`memory:${crypto.randomUUID()}`);
      await fn(bus, memoryLedgerStore({ lease: LEASE }));
    },
  });
}

const untilAborted: Handler = async (_, { signal }) => {
  await aborted(signal);
  throw signal.reason;
};

test(
  "a call that a stop aborts is run and answered by another worker",
  async (bus, store) => {
    let began = false;
    const first = await worker(bus, store, (id, context) => {
      began = true;
      return untilAborted(id, context);
    });
    await using caller = await bus.connect();
    const answer = caller.client(jobs(bus.topic)).call("work", { id: "a" });
    await until("it began", () => began);
    await first[Symbol.asyncDispose]();
    await using second = await worker(bus, store, () => Promise.resolve("two"));
    assert.equal(await answer, "two");
    assert.equal(second.stats.repeated, 0);
  },
);

test("a stop ends though the store does not answer", async (bus, store) => {
  let began = false;
  const hangs = { ...bound(store), release: () => new Promise<void>(() => {}) };
  const served = await worker(bus, hangs, (id, context) => {
    began = true;
    return untilAborted(id, context);
  });
  await using caller = await bus.connect();
  await caller.client(jobs(bus.topic)).cast("work", { id: "a" });
  await until("it began", () => began);
  const since = performance.now();
  await served[Symbol.asyncDispose]();
  assert.ok(performance.now() - since < 5_000);
});

test(
  "work after it was recorded is not taken for another's",
  async (bus, store) => {
    let renewed = false;
    const told = {
      ...bound(store),
      renew: async (claim: Parameters<LedgerStore["renew"]>[0]) => {
        const held = await store.renew(claim);
        renewed ||= !held;
        return held;
      },
    };
    const ends: unknown[] = [];
    await using served = await worker(bus, told, async (_, context) => {
      const { record, signal } = context;
      signal.addEventListener("abort", () => ends.push(signal.reason));
      await record({}, "result");
      await until("a lease has gone by", lapse(LEASE));
      return "result";
    });
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    assert.equal(await client.call("work", { id: "a" }), "result");
    assert.deepEqual(ends, []);
    assert.equal(served.stats.fenced, 0);
    assert.ok(!renewed, "what is recorded is not renewed");
  },
);

/** True once so many milliseconds have gone by since it was made. */
function lapse(ms: number): () => boolean {
  const end = performance.now() + ms;
  return () => performance.now() >= end;
}

test(
  "a transaction that is tried again is refused, and the caller has the first result",
  async (bus, store) => {
    const errors: string[] = [];
    await using _served = await worker(bus, store, async (_, { record }) => {
      await record({}, "first");
      await record({}, "second").catch((error) => errors.push(error.message));
      return "third";
    });
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    assert.equal(await client.call("work", { id: "a" }), "first");
    assert.match(`${errors}`, /recorded already/);
  },
);

test(
  "a store that lost all it knew: what runs goes on, and is done",
  async (bus, store) => {
    let current = store;
    const failsOver: LedgerStore = {
      lease: LEASE,
      claim: (key, content) => current.claim(key, content),
      renew: (claim) => current.renew(claim),
      done: (claim, answers) => current.done(claim, answers),
      release: (claim) => current.release(claim),
      keep: (request) => current.keep(request),
      sweep: (queues) => current.sweep(queues),
      returned: (claim) => current.returned(claim),
    };
    const began = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    let runs = 0;
    await using served = await worker(
      bus,
      failsOver,
      async (id, { signal }) => {
        runs++;
        began.resolve();
        await open.promise;
        signal.throwIfAborted();
        return id;
      },
    );
    await using caller = await bus.connect();
    const answer = caller.client(jobs(bus.topic)).call("work", { id: "a" });
    await began.promise;
    const empty = memoryLedgerStore({ lease: LEASE });
    let claims = 0;
    current = {
      ...bound(empty),
      claim: (key, content) => (claims++, empty.claim(key, content)),
    };
    await until("it is claimed anew", () => claims > 0);
    open.resolve();
    assert.equal(await answer, "a");
    assert.deepEqual([runs, served.stats.fenced], [1, 0]);
  },
);

test(
  "what the store does not keep is not begun, and goes back",
  async (bus, store) => {
    const runs: boolean[] = [];
    let kept = 0;
    const refuses = {
      ...bound(store),
      keep: (request: Parameters<LedgerStore["keep"]>[0]) =>
        ++kept === 1 ? Promise.resolve(false) : store.keep(request),
    };
    await using served = await worker(bus, refuses, (_, { signal }) => {
      runs.push(signal.aborted);
      return Promise.resolve("");
    });
    await using caller = await bus.connect();
    await caller.client(jobs(bus.topic)).cast("long", { id: "a" });
    await until("it is done", () => served.stats.handled === 1);
    assert.deepEqual([runs, kept, served.stats.fenced], [[false], 2, 1]);
  },
);

test("a renewal that hangs is not the last one", async (bus, store) => {
  let renewals = 0;
  const hangs = {
    ...bound(store),
    renew: (claim: Parameters<LedgerStore["renew"]>[0]) =>
      ++renewals === 1 ? new Promise<boolean>(() => {}) : store.renew(claim),
  };
  const open = Promise.withResolvers<void>();
  await using served = await worker(bus, hangs, async (id) => {
    await open.promise;
    return id;
  });
  await using caller = await bus.connect();
  const answer = caller.client(jobs(bus.topic)).call("work", { id: "a" });
  await until("it goes on", () => renewals >= 3);
  open.resolve();
  assert.equal(await answer, "a");
  assert.equal(served.stats.fenced, 0);
});

/** A request as a worker has kept it. */
const requestOf = (id: string) => {
  const said = { method: "work", args: { id }, version: "1.0" };
  const body = btoa(JSON.stringify({ ...said, _unique_id: `u-${id}` }));
  return JSON.stringify([{ headers: {}, body }]);
};

test(
  "a request that lost its worker comes back once, however long it then waits",
  async (bus, store) => {
    let given = 0;
    const counted = {
      ...bound(store),
      sweep: async (queues: readonly string[]) => {
        const kept = await store.sweep(queues);
        given += kept.length;
        return kept;
      },
    };
    const key = "by one that is gone";
    const claimed = await store.claim(key, "content");
    assert.ok(claimed.state === "held");
    const { epoch } = claimed;
    const request = requestOf("orphan");
    await store.keep({ key, epoch, queue: bus.topic, request });
    const open = Promise.withResolvers<void>();
    const seen: string[] = [];
    await using served = await worker(bus, counted, async (id) => {
      seen.push(id);
      if (seen.length === 1) await open.promise;
      return id;
    }, { concurrency: 1, prefetch: 4 });
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    await client.cast("work", { id: "busy" });
    await until("it is busy", () => seen.length > 0);
    await until("the other is brought back", () => given > 0);
    await until("some leases have gone by", lapse(3 * LEASE));
    assert.equal(given, 1);
    open.resolve();
    await until("both are done", () => served.stats.handled === 2);
    assert.deepEqual(seen, ["busy", "orphan"]);
  },
);

test(
  "a kept request that cannot go back does not keep others from it",
  async (bus, store) => {
    let sweeps = 0;
    const good = { key: "k", epoch: 1, queue: bus.topic };
    const lost = { ...good, request: "no JSON" };
    const request = requestOf("good");
    const swept = {
      ...bound(store),
      sweep: (queues: readonly string[]) => {
        const first = queues.length > 0 && sweeps++ === 0;
        return Promise.resolve(first ? [lost, { ...good, request }] : []);
      },
    };
    const seen: string[] = [];
    await using _served = await worker(bus, swept, (id) => {
      seen.push(id);
      return Promise.resolve(id);
    });
    await until("the good one is back", () => seen.includes("good"));
  },
);

test(
  "what waits too long for its turn goes to the end of its queue, and is not taken for interrupted",
  async (bus, store) => {
    const open = Promise.withResolvers<void>();
    const seen: string[] = [];
    let returned = 0;
    const options = { concurrency: 1, prefetch: 2, consumerTimeout: 400 };
    await using busy = await worker(bus, store, async (id) => {
      seen.push(`busy ${id}`);
      await open.promise;
      return id;
    }, options);
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    await client.cast("work", { id: "1" });
    await until("it is busy", () => seen.length === 1);
    await client.cast("work", { id: "2" });
    await until("the next is in hand", () => busy.stats.active === 2);
    await using free = await worker(bus, store, (id) => {
      seen.push(`free ${id}`);
      returned++;
      return Promise.resolve(id);
    });
    await until("the other worker has it", () => returned === 1);
    assert.deepEqual(seen, ["busy 1", "free 2"]);
    assert.deepEqual([busy.stats.interrupted, free.stats.interrupted], [0, 0]);
    open.resolve();
    await until("it is done", () => busy.stats.active === 0);
  },
);
