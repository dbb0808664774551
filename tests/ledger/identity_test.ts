/** A request that comes again with another reply queue, and another request of the same id, at workers that share a ledger. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  postgresLedgerStore,
  RequestConflictError,
} from "../../mod.ts";
import { fromFailure } from "../../src/wire/mod.ts";
import { until } from "../setup/probe.ts";
import { brokerUrl } from "../setup/broker.ts";
import { Bus, type Raw } from "../rpc/support.ts";
import { newTable, onEachStore, onPostgres, pool } from "./stores.ts";
import { Gate, worker } from "./workers.ts";

type Answer = Record<string, unknown>;

/** A caller whose reply queue is renewed: it asks the same with each queue. */
async function caller(bus: Bus) {
  const raw = await bus.raw() as Raw;
  const answers: Record<string, Answer[]> = {};
  const open = async (queue: string) => {
    const name = `reply_${bus.topic}_${queue}`;
    await raw.channel.assertQueue(name, { exclusive: true });
    const received: Answer[] = answers[queue] = [];
    await raw.channel.consume(name, (message) => {
      if (!message || message.properties.headers?.["warren-beat"]) return;
      received.push(JSON.parse(String(message.content)));
    }, { noAck: true });
  };
  const ask = (queue: string, id: string, args: object, stream = false) => {
    const body = {
      ...{ method: stream ? "follow" : "work", args, version: "1.0" },
      ...{ _msg_id: id, _unique_id: id, _timeout: null },
      _reply_q: `reply_${bus.topic}_${queue}`,
    };
    const credit = stream ? { "warren-credit": "32" } : {};
    const headers = { warren: "1", "warren-to": bus.topic, ...credit };
    const content = Buffer.from(JSON.stringify(body));
    raw.channel.publish("warren", bus.topic, content, { headers });
  };
  return {
    ...{ raw, answers, open, ask },
    remove: (queue: string) =>
      raw.channel.deleteQueue(`reply_${bus.topic}_${queue}`),
    [Symbol.asyncDispose]: () => raw[Symbol.asyncDispose](),
  };
}

/** The error of an answer. */
function errorOf(answer: Answer | undefined): Error {
  const { class: type, module, message } = JSON.parse(`${answer?.failure}`);
  return fromFailure({ type, module, message, data: {}, traceback: [] }, {});
}

onEachStore(
  "a call asked again with a new reply queue runs once at two workers, and is answered there",
  async ({ store }) => {
    await using bus = new Bus(await brokerUrl());
    const gate = new Gate();
    const handler = async (id: string) => (await gate.pass(id), `done ${id}`);
    await using one = await worker(bus, store, handler);
    await using two = await worker(bus, store, handler);
    await using asks = await caller(bus);
    await asks.open("old");
    asks.ask("old", "a", { id: "a" });
    await gate.begun(1);
    await asks.remove("old");
    await asks.open("new");
    asks.ask("new", "a", { id: "a" });
    await until(
      "both workers have it",
      () =>
        one.stats.active + two.stats.active === 2 &&
        one.stats.active * two.stats.active === 1,
    );
    gate.open(0);
    await until("it is answered", () => asks.answers.new?.length === 1);
    assert.equal(asks.answers.new?.[0]?.result, "done a");
    await asks.open("third");
    asks.ask("third", "a", { id: "a" });
    await until("it is again", () => asks.answers.third?.length === 1);
    assert.equal(asks.answers.third?.[0]?.result, "done a");
    assert.deepEqual(gate.started, ["a"]);
  },
);

onEachStore(
  "a call asked again with a new reply queue at the worker that runs it is answered at once, though the old queue is gone",
  async ({ store }) => {
    await using bus = new Bus(await brokerUrl());
    const gate = new Gate();
    const handler = async (id: string) => (await gate.pass(id), `done ${id}`);
    const many = { concurrency: 4, prefetch: 4 };
    await using served = await worker(bus, store, handler, many);
    await using asks = await caller(bus);
    await asks.open("old");
    asks.ask("old", "a", { id: "a" });
    await gate.begun(1);
    await asks.remove("old");
    await asks.open("new");
    asks.ask("new", "a", { id: "a" });
    await until("it has both", () => served.stats.active === 2);
    const since = performance.now();
    gate.open(0);
    await until("it is answered", () => asks.answers.new?.length === 1);
    assert.ok(performance.now() - since < 3_000, "it waits for the old queue");
    assert.equal(asks.answers.new?.[0]?.result, "done a");
    assert.deepEqual(gate.started, ["a"]);
  },
);

onEachStore(
  "a stream asked for again with a new reply queue goes on there, and runs once",
  async ({ store }) => {
    await using bus = new Bus(await brokerUrl());
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { follow: { yields: z.number() } },
    });
    const open = Promise.withResolvers<void>();
    let runs = 0;
    const handlers = {
      async *follow() {
        runs++;
        yield 1;
        await open.promise;
        yield 2;
        yield 3;
      },
    };
    const options = { ledger: store, grace: 0, prefetch: 4 };
    await using one = await bus.serve(api, handlers, options);
    await using asks = await caller(bus);
    await asks.open("old");
    asks.ask("old", "a", {}, true);
    await until("the first item is there", () => asks.answers.old?.length);
    await asks.remove("old");
    await asks.open("new");
    asks.ask("new", "a", {}, true);
    await until("it has it again", () => one.stats.repeated === 1);
    await using two = await bus.serve(api, handlers, options);
    const third = () => one.stats.repeated + two.stats.active;
    while (two.stats.active === 0) { // until the other worker has it, too
      const before = third();
      asks.ask("new", "a", {}, true);
      await until("one of them has it", () => third() > before);
    }
    open.resolve();
    await until(
      "it has ended",
      () => asks.answers.new?.some(({ ending }) => ending),
    );
    const results = asks.answers.new?.map(({ result }) => result);
    assert.deepEqual(results, [2, 3, null]);
    await until(
      "none is in hand",
      () => one.stats.active + two.stats.active === 0,
    );
    assert.equal(runs, 1);
  },
);

onEachStore(
  "another request of the same id is refused by another worker, and has no part in the answer",
  async ({ store }) => {
    await using bus = new Bus(await brokerUrl());
    const seen: string[] = [];
    const handler = (id: string) => {
      seen.push(id);
      return Promise.resolve(`secret of ${id}`);
    };
    await using asks = await caller(bus);
    for (const queue of ["one", "two"]) await asks.open(queue);
    {
      await using _first = await worker(bus, store, handler);
      asks.ask("one", "a", { id: "x" });
      await until("it is answered", () => asks.answers.one?.length === 1);
    }
    await using second = await worker(bus, store, handler);
    asks.ask("two", "a", { id: "y" });
    await until("it is refused", () => asks.answers.two?.length === 1);
    const error = errorOf(asks.answers.two?.[0]);
    assert.ok(error instanceof RequestConflictError);
    assert.equal(error.code, "CONFLICT");
    assert.ok(!JSON.stringify(asks.answers.two).includes("secret"));
    // The refusal does not stand in the way of the first request.
    asks.ask("two", "a", { id: "x" });
    await until("it is repeated", () => asks.answers.two?.length === 2);
    assert.equal(asks.answers.two?.[1]?.result, "secret of x");
    assert.deepEqual([seen, second.stats.failed], [["x"], 1]);
  },
);

onEachStore(
  "a store refuses a key with another content, held, released and done",
  async ({ store, expire }) => {
    const claimed = await store.claim("a", "one");
    assert.ok(claimed.state === "held");
    const conflict = { state: "conflict" } as const;
    const claim = { key: "a", epoch: claimed.epoch };
    assert.deepEqual(await store.claim("a", "two"), conflict);
    await store.release(claim);
    await expire();
    assert.deepEqual(await store.claim("a", "two"), conflict);
    const again = await store.claim("a", "one");
    assert.ok(again.state === "held");
    await store.done({ key: "a", epoch: again.epoch }, "answer");
    assert.deepEqual(await store.claim("a", "two"), conflict);
    const done = { state: "done", answers: "answer" } as const;
    assert.deepEqual(await store.claim("a", "one"), done);
  },
);

onPostgres("of many contents of one key, one holds", async ({ store }) => {
  const claims = Array.from(
    { length: 20 },
    (_, n) => store.claim("a", `${n}`),
  );
  const states = (await Promise.all(claims)).map(({ state }) => state).sort();
  assert.deepEqual(states, [...new Array(19).fill("conflict"), "held"]);
});

onPostgres(
  "a table of the older form is refused, and moved by one statement",
  async () => {
    const database = pool();
    const table = newTable();
    await database.query(
      `CREATE TABLE ${table} (key text PRIMARY KEY, epoch bigint NOT NULL,
      lease_until timestamptz NOT NULL, done_at timestamptz, answers text,
      queue text, request text, swept_at timestamptz)`,
    );
    await database.query(
      `INSERT INTO ${table} VALUES ('old', 1, now(), NULL, NULL, 'q', 'r', NULL)`,
    );
    const store = postgresLedgerStore(database, { table });
    const error = await store.claim("a", "c").then(() => undefined, (e) => e);
    assert.equal(error?.code, "INVALID");
    const [statement] = /ALTER TABLE .* DEFAULT ''/.exec(error.message) ?? [];
    await database.query(`${statement}`);
    assert.equal((await store.claim("a", "c")).state, "held");
    const [orphan] = await store.sweep(["q"]);
    assert.equal(orphan?.request, "r");
    await database.end();
  },
);
