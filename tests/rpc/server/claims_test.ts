/** Workers that share a ledger: no request is recorded twice, whoever dies, stalls or comes back. */
import assert from "node:assert/strict";
// @ts-types="npm:@types/pg@^8"
import type pg from "npm:pg@^8";
import {
  type ConnectionContext,
  ConnectionFailedError,
  implement,
  InvalidValueError,
  type LedgerStore,
  memoryLedgerStore,
  type RequestContext,
  Service,
} from "../../../mod.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { until } from "../../setup/probe.ts";
import { Bus, type Raw } from "../support.ts";
import {
  bound,
  Gate,
  type Handler,
  jobs,
  stranger,
  worker,
} from "../../ledger/workers.ts";
import {
  newTable,
  onEachStore,
  onPostgres,
  type TestStore,
} from "../../ledger/stores.ts";

const LEASE = 1_000;

/** A test with RabbitMQ, on each store. */
function onRabbitAndStore(
  name: string,
  test: (bus: Bus, store: TestStore) => Promise<void>,
  lease?: number,
): void {
  onEachStore(name, async (store) => {
    await using bus = new Bus(await brokerUrl());
    await test(bus, store);
  }, lease === undefined ? {} : { lease });
}

onRabbitAndStore(
  "what is done is not run again by another worker: it gets the same answer",
  async (bus, { store }) => {
    let runs = 0;
    const handle = (id: string) => Promise.resolve(`${id} run ${++runs}`);
    const first = await worker(bus, store, handle);
    await using peer = await stranger(bus);
    peer.ask("a");
    await until("it is answered", () => peer.answers.length === 1);
    await first[Symbol.asyncDispose]();
    await using second = await worker(bus, store, handle);
    peer.ask("a");
    await until("it is answered again", () => peer.answers.length === 2);
    const [one, two] = peer.answers;
    assert.equal(one?.result, "a run 1");
    assert.deepEqual(one, two);
    assert.equal(runs, 1);
    await until("it is settled", () => second.stats.active === 0);
    assert.equal(second.stats.repeated, 1);
  },
);

onRabbitAndStore(
  "what is done is not given up, however often it was interrupted",
  async (bus, { store }) => {
    const handle = (id: string) => Promise.resolve(`${id} is done`);
    await using peer = await stranger(bus);
    {
      await using _first = await worker(bus, store, handle);
      peer.ask("a");
      await until("it is answered", () => peer.answers.length === 1);
    }
    await using second = await worker(bus, store, handle);
    peer.interrupted("a", 5);
    await until("it is answered again", () => peer.answers.length === 2);
    const [one, two] = peer.answers;
    assert.deepEqual(one, two);
    peer.interrupted("b", 5);
    await until("the other is given up", () => peer.answers.length === 3);
    assert.match(`${peer.answers[2]?.failure}`, /Interrupted 5 times/);
    await until("all is settled", () => second.stats.active === 0);
    assert.equal(second.stats.handled, 0);
  },
);

onRabbitAndStore(
  "who is slow to come back finds its request taken over, and its end does not count",
  async (bus, { store, expire }) => {
    const gate = new Gate();
    // Its renewals do not get through, as if the process stood still.
    const stalled: LedgerStore = {
      ...bound(store),
      renew: () => new Promise<boolean>(() => {}),
    };
    const handler = (name: string): Handler => async (_, { record }) => {
      assert.equal(typeof record, "function");
      await gate.pass(name);
      return name;
    };
    await using zombie = await worker(bus, stalled, handler("zombie"));
    await using peer = await stranger(bus);
    peer.ask("a");
    await gate.begun(1);
    await using other = await worker(bus, store, handler("other"));
    peer.ask("a");
    await until("it waits", () => other.stats.active === 1);
    await expire();
    await gate.begun(2);
    gate.open(0);
    await until("it is fenced", () => zombie.stats.fenced === 1);
    assert.equal(peer.answers.length, 0);
    gate.open(1);
    await until("it is answered", () => peer.answers.length === 1);
    assert.equal(peer.answers[0]?.result, "other");
    assert.deepEqual(gate.started, ["zombie", "other"]);
    assert.equal(other.stats.fenced, 0);
  },
);

onRabbitAndStore(
  "a handler whose request was taken over is told by its signal",
  async (bus, { store, expire }) => {
    const told = Promise.withResolvers<unknown>();
    let renewed = false;
    const watched: LedgerStore = {
      ...bound(store),
      renew: async (claim) => {
        const held = await store.renew(claim);
        renewed = true;
        return held;
      },
    };
    await using _zombie = await worker(bus, watched, (_, { signal }) => {
      signal.addEventListener("abort", () => told.resolve(signal.reason));
      return told.promise.then(() => "zombie");
    });
    await using peer = await stranger(bus);
    peer.ask("a");
    await until("it is renewed", () => renewed);
    await using _other = await worker(
      bus,
      store,
      () => Promise.resolve("other"),
    );
    peer.ask("a");
    await expire();
    await until("it is answered", () => peer.answers.length > 0);
    assert.match(String(await told.promise), /taken the request over/);
    assert.equal(peer.answers[0]?.result, "other");
  },
  LEASE,
);

onRabbitAndStore(
  "what a worker had in hand when it stopped is free at once",
  async (bus, { store }) => {
    const began = Promise.withResolvers<void>();
    const never = Promise.withResolvers<string>();
    const first = await worker(bus, store, () => {
      began.resolve();
      return never.promise;
    });
    await using caller = await bus.connect();
    await caller.client(jobs(bus.topic)).cast("work", { id: "a" });
    await began.promise;
    const done = Promise.withResolvers<string>();
    await using _second = await worker(bus, store, (id) => {
      done.resolve(id);
      return Promise.resolve(id);
    });
    const stopped = performance.now();
    await first[Symbol.asyncDispose]();
    assert.equal(await done.promise, "a");
    assert.ok(performance.now() - stopped < store.lease / 2);
    never.resolve("late");
  },
);

onRabbitAndStore(
  "a cast that fails has its attempts, each recorded, and one dead letter",
  async (bus, { store }) => {
    const seen: number[] = [];
    const handle: Handler = (_, { attempt }) => {
      seen.push(attempt);
      return Promise.reject(new Error("no"));
    };
    bus.owns(`${bus.topic}.delay.100`);
    await using one = await worker(bus, store, handle);
    await using two = await worker(bus, store, handle);
    await using caller = await bus.connect();
    await caller.client(jobs(bus.topic)).cast("flaky", { id: "a" });
    await until("it is dead", () => one.stats.dead + two.stats.dead === 1);
    assert.deepEqual(seen, [1, 2]);
    assert.equal(one.stats.retried + two.stats.retried, 1);
  },
);

onRabbitAndStore(
  "while the store is away requests wait, and none is lost",
  async (bus, { store }) => {
    let away = true;
    const flaky = (verb: "claim" | "done") => (...args: never[]) =>
      away
        ? Promise.reject(new Error("away"))
        : (store[verb] as (...args: never[]) => Promise<never>)(...args);
    const ledger = {
      ...bound(store),
      claim: flaky("claim"),
      done: flaky("done"),
    };
    const runs: string[] = [];
    await using served = await worker(bus, ledger, (id) => {
      runs.push(id);
      away = runs.length === 1; // and it is away again before the first is done
      return Promise.resolve(id);
    }, { concurrency: 4, prefetch: 4 });
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    const calls = ["a", "b"].map((id) => client.call("work", { id }));
    await until("they wait", () => served.stats.active === 2);
    assert.deepEqual(runs, []);
    away = false;
    await until("one has run", () => runs.length > 0);
    away = false;
    assert.deepEqual(await Promise.all(calls), ["a", "b"]);
    assert.deepEqual(runs.sort(), ["a", "b"]);
  },
);

onRabbitAndStore(
  "what takes long is acknowledged early, and goes to another worker if its own is gone",
  async (bus, { store }) => {
    const began = Promise.withResolvers<void>();
    const never = Promise.withResolvers<string>();
    const options = { prefetch: 1, concurrency: 4 };
    const first = await worker(bus, store, () => {
      began.resolve();
      return never.promise;
    }, options);
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    await client.cast("long", { id: "a" });
    await began.promise;
    // With a prefetch of 1 the next one comes only because the first was acknowledged.
    assert.equal(
      await Promise.race([
        client.call("work", { id: "b" }),
        began.promise.then(() =>
          until("two are in hand", () => {
            return first.stats.active === 2;
          })
        ).then(() => "in hand"),
      ]),
      "in hand",
    );
    const got: string[] = [];
    await using _second = await worker(bus, store, (id) => {
      got.push(id);
      return Promise.resolve(id);
    }, options);
    await first[Symbol.asyncDispose]();
    await until("both are handled", () => got.length === 2, 20_000);
    assert.deepEqual(got.sort(), ["a", "b"]);
    never.resolve("late");
  },
  LEASE,
);

onRabbitAndStore(
  "a long one goes on elsewhere when its worker stops, without waiting, and as often as that is",
  async (bus, { store }) => {
    const ran: number[] = [];
    const never = Promise.withResolvers<string>();
    await using caller = await bus.connect();
    const first = await worker(bus, store, () => {
      ran.push(0);
      return never.promise;
    });
    await caller.client(jobs(bus.topic)).cast("long", { id: "a" });
    let current = first;
    for (let n = 1; n <= 6; n++) {
      await until("it runs", () => ran.length === n);
      await current[Symbol.asyncDispose]();
      assert.equal(current.stats.refused, 0);
      current = await worker(bus, store, () => {
        ran.push(n);
        return n === 6 ? Promise.resolve("done") : never.promise;
      });
    }
    await until("it is handled", () => current.stats.handled === 1);
    assert.deepEqual(ran, [0, 1, 2, 3, 4, 5, 6]);
    const { dead, refused, interrupted } = current.stats;
    assert.deepEqual([dead, refused, interrupted], [0, 0, 0]);
    await current[Symbol.asyncDispose]();
    never.resolve("late");
  },
);

onRabbitAndStore(
  "a long one that fails for good is a dead letter, though it was acknowledged",
  async (bus, { store }) => {
    await using served = await worker(
      bus,
      store,
      () => Promise.reject(new Error("no")),
    );
    await using caller = await bus.connect();
    await caller.client(jobs(bus.topic)).cast("long", { id: "a" });
    await until("it is dead", () => served.stats.dead === 1);
    await using raw = await bus.raw() as Raw;
    const { messageCount } = await raw.channel.checkQueue(`${bus.topic}.dead`);
    assert.equal(messageCount, 1);
    assert.deepEqual(await store.sweep([bus.topic]), []);
  },
);

/** A table of effects, and a handler that writes there in the transaction that records its request. */
async function effects(database: pg.Pool) {
  const table = newTable();
  await database.query(`CREATE TABLE ${table} (id text, by text)`);
  const work = async (
    id: string,
    by: string,
    { record }: RequestContext,
    between: () => Promise<void> = () => Promise.resolve(),
  ) => {
    const client = await database.connect();
    try {
      await client.query("BEGIN");
      await client.query(`INSERT INTO ${table} VALUES ($1, $2)`, [id, by]);
      await between();
      await record(client, `done by ${by}`);
      await client.query("COMMIT");
    } catch (error) {
      await client.query("ROLLBACK");
      throw error;
    } finally {
      client.release();
    }
    return `done by ${by}`;
  };
  const rows = async () =>
    (await database.query(`SELECT id, by FROM ${table}`)).rows;
  return { work, rows };
}

/** A worker whose handler does all in a transaction. */
function recording(
  bus: Bus,
  store: LedgerStore,
  work: Awaited<ReturnType<typeof effects>>["work"],
  by: string,
  between?: () => Promise<void>,
): Promise<ConnectionContext> {
  return worker(
    bus,
    store,
    (id, context) => work(id, by, context, between),
  );
}

onPostgres(
  "an effect in the transaction that records is there once, though two workers ran",
  async ({ store, expire, database }) => {
    await using bus = new Bus(await brokerUrl());
    const { work, rows } = await effects(database);
    const gate = new Gate();
    const stalled: LedgerStore = {
      ...bound(store),
      renew: () => new Promise<boolean>(() => {}),
    };
    const held = () => gate.pass("zombie");
    await using zombie = await recording(bus, stalled, work, "zombie", held);
    await using peer = await stranger(bus);
    peer.ask("a");
    await gate.begun(1);
    await using _other = await recording(bus, store, work, "other");
    peer.ask("a");
    await expire();
    await until("it is answered", () => peer.answers.length === 1);
    gate.open(0);
    await until("it is fenced", () => zombie.stats.fenced === 1);
    assert.deepEqual(await rows(), [{ id: "a", by: "other" }]);
    const results = new Set(peer.answers.map(({ result }) => result));
    assert.deepEqual([...results], ["done by other"]);
  },
);

onPostgres(
  "what was recorded is the answer, also if the handler throws after it",
  async ({ store, database }) => {
    await using bus = new Bus(await brokerUrl());
    const { work, rows } = await effects(database);
    await using _served = await worker(bus, store, async (id, context) => {
      await work(id, "one", context);
      throw new Error("after the commit");
    });
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    assert.equal(await client.call("work", { id: "a" }), "done by one");
    assert.equal((await rows()).length, 1);
  },
);

onPostgres(
  "what was recorded and rolled back is recorded when the handler ends",
  async ({ store, database }) => {
    await using bus = new Bus(await brokerUrl());
    await using _served = await worker(bus, store, async (_, { record }) => {
      const client = await database.connect();
      await client.query("BEGIN");
      await record(client, "rolled back");
      await client.query("ROLLBACK");
      client.release();
      return "in the end";
    });
    await using peer = await stranger(bus);
    for (const count of [1, 2]) {
      peer.ask("a");
      await until("it is answered", () => peer.answers.length === count);
    }
    const results = peer.answers.map(({ result }) => result);
    assert.deepEqual(results, ["in the end", "in the end"]);
  },
);

onPostgres(
  "a cast that was recorded has no further attempt, though its handler throws",
  async ({ store, database }) => {
    await using bus = new Bus(await brokerUrl());
    const { work, rows } = await effects(database);
    await using served = await worker(bus, store, async (id, context) => {
      await work(id, "one", context);
      throw new Error("after the commit");
    });
    await using caller = await bus.connect();
    await caller.client(jobs(bus.topic)).cast("work", { id: "a" });
    await until("it has run", () => served.stats.failed === 1);
    await until("it is settled", () => served.stats.active === 0);
    assert.equal((await rows()).length, 1);
    assert.deepEqual([served.stats.retried, served.stats.dead], [0, 0]);
  },
);

onPostgres(
  "a worker that dies after the commit leaves an answer behind",
  async ({ store, database }) => {
    await using bus = new Bus(await brokerUrl());
    const { work, rows } = await effects(database);
    const committed = Promise.withResolvers<void>();
    const never = Promise.withResolvers<string>();
    const dies = await worker(bus, store, async (id, context) => {
      await work(id, "one", context);
      committed.resolve();
      return await never.promise;
    });
    await using caller = await bus.connect();
    const client = caller.client(jobs(bus.topic));
    const answer = client.call("work", { id: "a" });
    await committed.promise;
    await dies[Symbol.asyncDispose]();
    await using _other = await recording(bus, store, work, "other");
    assert.equal(await answer, "done by one");
    assert.deepEqual(await rows(), [{ id: "a", by: "one" }]);
    never.resolve("late");
  },
);

Deno.test("to record without a ledger, or to all workers, is refused", async () => {
  await using bus = new Bus(`memory:${crypto.randomUUID()}`);
  const errors: unknown[] = [];
  const handle: Handler = async (id, { record }) => {
    await record({}).catch((error) => errors.push(error));
    return id;
  };
  await using _plain = await bus.serve(jobs(bus.topic), {
    work: ({ id }, context) => handle(id, context),
    flaky: () => {},
    long: () => {},
  });
  await using caller = await bus.connect();
  await caller.client(jobs(bus.topic)).call("work", { id: "a" });
  const [error] = errors;
  assert.ok(error instanceof InvalidValueError);
  assert.match(error.message, /ledger store/);
});

Deno.test("a handler that is longer than the broker waits needs a ledger, and both remedies are named", async () => {
  const manager = implement(jobs("ledger-long"), {
    work: ({ id }) => id,
    flaky: () => {},
    long: () => {},
  });
  const url = `memory:${crypto.randomUUID()}`;
  const start = (options: object) =>
    Service.start({ url, host: "a", manager, ...options });
  await assert.rejects(start({}), (error) => {
    assert.ok(error instanceof InvalidValueError);
    assert.match(error.message, /ledger-long\.long.*1800000 ms/);
    assert.match(error.message, /`ledger` store/);
    assert.match(error.message, /consumer_timeout.*`consumerTimeout`/);
    return error.data.path === "procedures.long.maxDuration";
  });
  const remedies = [
    { ledger: memoryLedgerStore() },
    { consumerTimeout: 3_600_000 },
  ];
  for (const remedy of remedies) {
    await using service = await start(remedy);
    assert.equal(service.state, "up");
  }
  await assert.rejects(start({ ledger: {} }), /no method claim/);
  const unleased = { ...bound(memoryLedgerStore()), lease: undefined };
  await assert.rejects(start({ ledger: unleased }), /ledger\.lease undefined/);
  const broken = {
    ...bound(memoryLedgerStore()),
    sweep: () => Promise.reject(new Error("relation does not exist")),
  };
  await assert.rejects(start({ ledger: broken }), (error) => {
    assert.ok(error instanceof ConnectionFailedError);
    return /ledger store: relation does not exist/.test(error.message);
  });
  await assert.rejects(start({ consumerTimeout: 0 }), /consumerTimeout/);
});
