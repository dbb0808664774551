/** Operations on dead letters: listing, filters, groups, replay, discard, and what is written into a letter. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionOptions,
  contract,
  createConnection,
  type DeadLetter,
  type DeadLetterFilter,
  InvalidValueError,
  operations,
  TopologyError,
} from "../../mod.ts";
import { direct } from "../../src/transport/address.ts";
import { dependenciesOf } from "../../src/connection/connection_context.ts";
import type { Message } from "../../src/transport/transport.ts";
import { deadLetterHeaders } from "../../src/wire/mod.ts";
import { logged } from "../setup/logged.ts";
import { until } from "../setup/probe.ts";
import {
  all,
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
} from "../rpc/support.ts";
import { soon } from "../transport/support.ts";

const args = z.object({ id: z.string(), password: z.string().optional() });

/** Two casts without retries, and one with. */
const volumes = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      grow: { args },
      drop: { args },
      retried: { args, retry: { attempts: 2, backoff: [100] } },
    },
  });

/** A worker whose handlers fail until it is told otherwise, with what it has seen. */
async function failing(bus: Bus, options: ConnectionOptions = {}) {
  const state = { fails: true };
  const done: string[] = [];
  const lasts: boolean[] = [];
  const grow = (
    { id }: z.infer<typeof args>,
    { lastAttempt }: { lastAttempt: boolean },
  ) => {
    lasts.push(lastAttempt);
    if (state.fails) throw new Error(`no volume ${id} password=abc`);
    done.push(id);
  };
  const handlers = { grow, drop: grow, retried: grow };
  bus.owns(`${bus.topic}.delay.100`);
  const worker = await bus.serve(volumes(bus.topic), handlers, {
    hosts: ["one"],
    ...options,
  });
  const dead = (count: number) =>
    until(`${count} are dead`, () => worker.stats.dead === count, 20_000);
  return { worker, state, done, lasts, dead };
}

/** Publishes a letter as a worker would. */
async function bury(
  bus: Bus,
  bodies: readonly unknown[],
  more: Partial<Message> = {},
  topic = bus.topic,
) {
  await using connection = await bus.connect();
  const { resources: { session } } = dependenciesOf(connection);
  const of = { kind: "topic", topic } as const;
  await session.declare({ kind: "deadLetter", of }, soon());
  for (const [n, body] of bodies.entries()) {
    const text = typeof body === "string" ? body : JSON.stringify(body);
    const headers = deadLetterHeaders({
      ...{ attempts: 1, deadLetterCount: 1, reason: "Error: boom" },
      ...{ queue: bus.topic, host: "one", deadAt: Date.now() },
    });
    await session.publish({ kind: "deadLetter", of }, {
      body: new TextEncoder().encode(text),
      headers: { ...headers, ...more.headers },
      messageId: `m${n}`,
      persistent: true,
      ...(more.body && { body: more.body }),
    }, soon());
  }
}

const cast = (n: number, more: object = {}) => ({
  ...{ method: "grow", args: { id: `v${n}` }, _unique_id: `id${n}` },
  ...{ version: "1.0", ...more },
});

const idsOf = (letters: readonly DeadLetter[]) => letters.map(({ id }) => id);

onEachBus(
  "a letter tells what failed where, when and why, and its worker tells the same",
  async (bus) => {
    await using _log = await logged();
    const told: DeadLetter[] = [];
    const before = Date.now();
    const host = "gb07";
    const { worker, dead, lasts } = await failing(bus, {
      onDeadLetter: (letter) => void told.push(letter),
      deadLetterStacks: true,
      ...{ host },
    } as ConnectionOptions);
    await using _worker = worker;
    await using connection = await bus.connect();
    const { deadLetters } = operations(connection);
    const { topic } = bus;
    assert.deepEqual(await all(deadLetters({ topic })), [], "no queue");
    const client = connection.client(volumes(topic));
    await client.cast("retried", { id: "v1", password: "geheim" });
    await dead(1);
    assert.deepEqual(lasts, [false, true]);
    const [letter, ...others] = await all(deadLetters({ topic }));
    assert.ok(letter);
    assert.deepEqual(others, []);
    const { id, sentAt, deadAt, stack, bytes, values, ...rest } = letter;
    assert.deepEqual(rest, {
      ...{ kind: "cast", procedure: "retried", version: "1.0", queue: topic },
      args: { id: "v1", password: "<SANITIZED>" },
      ...{ attempts: 2, deadLetterCount: 1, host },
      reason: "Error: no volume v1 password=<SANITIZED>",
    });
    assert.match(`${id}`, /^[0-9a-f]{32}$/);
    assert.ok(Number(sentAt) >= before && Number(sentAt) <= Number(deadAt));
    assert.ok(Number(deadAt) >= before && Number(deadAt) <= Date.now());
    assert.match(
      `${stack}`,
      /^Error: no volume v1 password=<SANITIZED>\n +at /,
    );
    assert.ok(bytes > 50);
    assert.deepEqual(values, {});
    assert.deepEqual(told, [letter]);
    const lines = await all(operations(connection).export({ topic }));
    assert.deepEqual(lines.map((line) => JSON.parse(line)), [letter]);
    assert.deepEqual(
      idsOf(await all(deadLetters({ topic }))),
      [id],
      "it stays",
    );
  },
);

onEachBus(
  "without the option there is no stack, and a listener that throws is logged",
  async (bus) => {
    await using log = await logged();
    const { worker, dead } = await failing(bus, {
      onDeadLetter: () => Promise.reject(new Error("the pager is off")),
    });
    await using _worker = worker;
    await using connection = await bus.connect();
    await connection.client(volumes(bus.topic)).cast("grow", { id: "v1" });
    await dead(1);
    await until(
      "it is logged",
      () => log.times(/listener of dead letters/) === 1,
    );
    const { deadLetters } = operations(connection);
    const [letter] = await all(deadLetters({ topic: bus.topic }));
    assert.equal(letter?.stack, undefined);
  },
);

onEachBus(
  "filters choose by procedure, reason, time, text and id, and the queue of a host",
  async (bus) => {
    await using _log = await logged();
    const { worker, dead } = await failing(bus);
    await using _worker = worker;
    await using connection = await bus.connect();
    const { deadLetters } = operations(connection);
    const { topic } = bus;
    const client = connection.client(volumes(topic));
    await client.cast("grow", { id: "v1" });
    await dead(1);
    await client.cast("drop", { id: "v2" });
    await dead(2);
    await client.cast("drop", { id: "v3" }, { host: "one" });
    await dead(3);
    const read = async (more: object) =>
      await all(deadLetters({ topic, ...more } as DeadLetterFilter));
    const both = await read({});
    const [first, second] = both;
    assert.ok(first && second && both.length === 2);
    const cases: readonly [object, readonly DeadLetter[]][] = [
      [{ procedure: "grow" }, [first]],
      [{ procedure: "*ro*" }, both],
      [{ procedure: "d*" }, [second]],
      [{ procedure: "gro" }, []],
      [{ reason: "no volume v2" }, [second]],
      [{ text: '"id":"v1"' }, [first]],
      [{ text: "nowhere" }, []],
      [{ ids: [`${second.id}`, "other"] }, [second]],
      [{ since: new Date(Number(first.deadAt)) }, both],
      [{ since: Date.now() + 60_000 }, []],
      [{ procedure: "grow", text: "v2" }, []],
    ];
    for (const [more, expected] of cases) {
      assert.deepEqual(await read(more), expected, JSON.stringify(more));
    }
    const [ofHost] = await read({ host: "one" });
    assert.deepEqual(ofHost?.args, { id: "v3" });
    assert.equal(ofHost?.queue, `${topic}.one`);
  },
);

Deno.test("filters and options that are wrong are refused with their path", async () => {
  await using connection = await createConnection(
    `memory:${crypto.randomUUID()}`,
  );
  const { deadLetters, replay, discard, groups } = operations(connection);
  const wrong: readonly [object, string][] = [
    [{}, "topic"],
    [{ topic: "a b" }, "topic"],
    [{ topic: "t", host: "x.dead" }, "host"],
    [{ topic: "t", procedure: "" }, "procedure"],
    [{ topic: "t", reason: 3 }, "reason"],
    [{ topic: "t", since: "yesterday" }, "since"],
    [{ topic: "t", since: new Date(NaN) }, "since"],
    [{ topic: "t", ids: [] }, "ids"],
    [{ topic: "t", ids: "id" }, "ids"],
    [{ topic: "t", events: {} }, "topic"],
    [{ topic: "t", host: "one", pool: "p" }, "pool"],
    [{ topic: "t", prozedur: "grow" }, "prozedur"],
    [{ events: { priority: "high" } }, "priority"],
    [{ events: { exclusive: true } }, "events.exclusive"],
  ];
  const isOf = (path: string) => (error: unknown) =>
    error instanceof InvalidValueError && error.data.path === path;
  for (const [filter, path] of wrong) {
    const given = filter as DeadLetterFilter;
    assert.throws(() => deadLetters(given), isOf(path), path);
    await assert.rejects(groups(given), isOf(path));
    await assert.rejects(replay(given), isOf(path));
  }
  const topic = "t";
  await assert.rejects(replay({ topic }, { limit: 0 }), isOf("limit"));
  await assert.rejects(replay({ topic }, { perSecond: 0 }), isOf("perSecond"));
  await assert.rejects(
    replay({ topic }, { ledgerWindow: -1 }),
    isOf("ledgerWindow"),
  );
  await assert.rejects(discard({ topic }, { limit: 1.5 }), isOf("limit"));
  await assert.rejects(
    discard({ topic }, { perSecond: 3 } as object),
    isOf("perSecond"),
  );
  const connecting = (options: object) =>
    createConnection("memory:wrong", options);
  await assert.rejects(connecting({ onDeadLetter: 3 }), isOf("onDeadLetter"));
});

onEachBus(
  "a replay returns letters once, in their order, with the same id and trace, and ends though they fail again",
  async (bus) => {
    await using _log = await logged();
    const { worker, state, done, dead } = await failing(bus, {
      concurrency: 1,
    });
    await using _worker = worker;
    await using connection = await bus.connect();
    const { deadLetters, replay } = operations(connection);
    const { topic } = bus;
    const traceparent =
      "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";
    const bodies = Array.from({ length: 20 }, (_, n) => cast(n));
    await bury(bus, bodies, {
      headers: { traceparent, "warren-sent": "1700000000000", own: "é" },
    });
    const dry = await replay({ topic }, { dryRun: true, limit: 5 });
    assert.deepEqual([dry.replayed, dry.ended, dry.dryRun], [5, "limit", true]);
    const result = await replay({ topic });
    assert.deepEqual(result, {
      ...{ dryRun: false, replayed: 20, unrecognised: 0, skipped: 0 },
      ...{ returned: 0, failed: 0, failures: [], ended: "done" },
    });
    await dead(20);
    const again = await all(deadLetters({ topic }));
    assert.deepEqual(idsOf(again), bodies.map(({ _unique_id }) => _unique_id));
    for (const letter of again) {
      assert.equal(letter.traceparent, traceparent);
      assert.equal(letter.sentAt, 1_700_000_000_000);
      assert.deepEqual([letter.deadLetterCount, letter.attempts], [2, 1]);
    }
    state.fails = false;
    const some = await replay({ topic }, { limit: 3 });
    assert.deepEqual([some.replayed, some.ended], [3, "limit"]);
    await until("three are done", () => done.length === 3);
    const one = await replay({ topic, ids: ["id7"] });
    assert.deepEqual([one.replayed, one.skipped], [1, 16]);
    await replay({ topic });
    await until("all are done", () => done.length === 20);
    assert.deepEqual(done.slice(0, 5), ["v0", "v1", "v2", "v7", "v3"]);
    assert.deepEqual(await all(deadLetters({ topic })), []);
  },
);

onEachBus(
  "a replay tells of letters that are too old for the ledger, and of queues that do not take them",
  async (bus) => {
    await using _log = await logged();
    const { worker, state } = await failing(bus);
    await using _worker = worker;
    state.fails = false;
    await using connection = await bus.connect();
    const { replay, deadLetters } = operations(connection);
    const { topic } = bus;
    const old = `${Date.now() - 700_000}`;
    await bury(bus, [cast(1)], { headers: { "warren-dead-at": old } });
    // A letter returns to its own queue, whatever its headers name.
    await bury(bus, [cast(2)], { headers: { "warren-queue": "other" } });
    const gentle = await replay({ topic }, { dryRun: true, ledgerWindow: 1e6 });
    assert.deepEqual([gentle.replayed, gentle.unrecognised], [2, 0]);
    const { failures, ...counts } = await replay({ topic });
    assert.deepEqual(counts, {
      ...{ dryRun: false, replayed: 2, unrecognised: 1, skipped: 0 },
      ...{ returned: 0, failed: 0, ended: "done" },
    });
    assert.deepEqual(failures, []);
    const gone = bus.name("gone");
    await bury(bus, [cast(3)], {}, gone);
    const refused = await replay({ topic: gone });
    assert.equal(refused.failed, 1);
    const [{ error, ...failed } = { error: "" }] = refused.failures;
    assert.deepEqual(failed, { id: "id3", queue: gone, procedure: "grow" });
    assert.match(error, /No queue takes/);
    assert.deepEqual(idsOf(await all(deadLetters({ topic: gone }))), ["id3"]);
  },
);

onEachBus(
  "a replay keeps to its rate, and its signal ends it with what was done",
  async (bus) => {
    await using _log = await logged();
    const { worker, state, done } = await failing(bus);
    await using _worker = worker;
    state.fails = false;
    await using connection = await bus.connect();
    const { replay, deadLetters } = operations(connection);
    const { topic } = bus;
    await bury(bus, Array.from({ length: 9 }, (_, n) => cast(n)));
    const began = performance.now();
    const { replayed } = await replay({ topic }, { perSecond: 4, limit: 6 });
    assert.equal(replayed, 6);
    const ms = performance.now() - began;
    assert.ok(ms >= 950, `${ms} ms for six at four a second`);
    const stopped = new AbortController();
    const running = replay({ topic }, {
      perSecond: 0.5,
      signal: stopped.signal,
    });
    await until("one more is done", () => done.length === 7);
    stopped.abort();
    const result = await running;
    assert.deepEqual([result.replayed, result.ended], [1, "aborted"]);
    assert.equal((await all(deadLetters({ topic }))).length, 2);
    const reading = deadLetters({ topic }, { signal: AbortSignal.abort() });
    await assert.rejects(all(reading), { name: "AbortError" });
  },
);

onEachBus(
  "discard deletes what is chosen, and nothing in a dry run",
  async (bus) => {
    await using connection = await bus.connect();
    const { discard, deadLetters } = operations(connection);
    const { topic } = bus;
    await bury(bus, Array.from({ length: 6 }, (_, n) => cast(n)));
    const dry = await discard({ topic }, { dryRun: true });
    assert.deepEqual(dry, {
      ...{ dryRun: true, discarded: 6, skipped: 0, ended: "done" },
    });
    const chosen = await discard({ topic, ids: ["id1", "id4"] });
    assert.deepEqual([chosen.discarded, chosen.skipped], [2, 4]);
    const limited = await discard({ topic }, { limit: 2 });
    assert.deepEqual([limited.discarded, limited.ended], [2, "limit"]);
    assert.deepEqual(idsOf(await all(deadLetters({ topic }))), ["id3", "id5"]);
  },
);

onEachBus(
  "groups count the letters of a procedure with the same error, with the first and the last time",
  async (bus) => {
    await using connection = await bus.connect();
    const { groups } = operations(connection);
    const { topic } = bus;
    const at = (deadAt: number, reason: string) => ({
      headers: { "warren-dead-at": `${deadAt}`, "warren-reason": reason },
    });
    await bury(bus, [cast(1)], at(3_000, 'Error: no volume "v1"'));
    await bury(bus, [cast(2)], at(1_000, 'Error: no volume "v2"'));
    await bury(bus, [cast(3)], at(2_000, "TypeError: x1 is no function"));
    await bury(bus, [cast(4, { method: "drop" })], at(5_000, "Error: no"));
    await bury(bus, ["junk"], at(6_000, "Refused: not JSON"));
    const queue = topic;
    const found = await groups({ topic });
    assert.deepEqual(found[0], {
      ...{
        kind: "cast",
        queue,
        procedure: "grow",
        error: "Error: no volume …",
      },
      ...{ count: 2, example: "id1", firstAt: 1_000, lastAt: 3_000 },
    });
    const rest = found.map(({ kind, procedure, error, count }) =>
      `${kind} ${procedure} ${error} ${count}`
    );
    assert.deepEqual(rest.slice(1).sort(), [
      "cast drop Error: no 1",
      "cast grow TypeError: … is no function 1",
      "unreadable undefined Refused: not JSON 1",
    ]);
  },
);

onEachBus(
  "unreadable messages are letters with their size and reason, and are replayed unchanged",
  async (bus) => {
    await using _log = await logged();
    const { worker, dead } = await failing(bus);
    await using _worker = worker;
    await using connection = await bus.connect({ maxMessageSize: 400_000 });
    const { deadLetters, replay, discard } = operations(connection);
    const { topic } = bus;
    await bury(bus, ["\u0000 no JSON"], {
      headers: { "warren-reason": "Refused: not JSON" },
    });
    await bury(bus, [""], { body: new Uint8Array(500_000).fill(120) });
    const found = await all(deadLetters({ topic }));
    const told = found.map((
      { kind, bytes, reason, args },
    ) => [kind, bytes, reason, args]);
    assert.deepEqual(told, [
      ["unreadable", 9, "Refused: not JSON", undefined],
      ["unreadable", 500_000, "Error: boom", undefined],
    ]);
    const { replayed, failed, failures } = await replay({ topic });
    assert.deepEqual([replayed, failed], [1, 1]);
    assert.match(`${failures[0]?.error}`, /500000 bytes.*maxMessageSize/);
    await dead(1);
    assert.equal((await discard({ topic })).discarded, 2);
  },
);

onEachBus(
  "a letter of an OpenStack peer's request is read out of its envelope, without its token",
  async (bus) => {
    await using connection = await bus.connect();
    const request = {
      ...{
        method: "resize",
        args: { flavor: 3 },
        version: "2.0",
        namespace: "n",
      },
      ...{ _context_user_id: "ada", _context_auth_token: "geheim" },
      _unique_id: "u1",
    };
    const envelope = {
      "oslo.version": "2.0",
      "oslo.message": JSON.stringify(request),
    };
    await bury(bus, [envelope]);
    const { deadLetters } = operations(connection);
    const [letter] = await all(
      deadLetters({ topic: bus.topic, text: '"flavor":3' }),
    );
    const { kind, id, procedure, args, values, version, namespace } = letter ??
      {};
    assert.deepEqual(
      { kind, id, procedure, args, values, version, namespace },
      {
        ...{ kind: "cast", id: "u1", procedure: "resize", args: { flavor: 3 } },
        values: { user_id: "ada", auth_token: "<SANITIZED>" },
        ...{ version: "2.0", namespace: "n" },
      },
    );
  },
);

onEachBus(
  "letters of listeners are reached by their pool, and by topic and priority",
  async (bus) => {
    await using _log = await logged();
    const pool = bus.name("pool");
    const events = bus.name("events");
    bus.owns(`${events}.warn`), bus.owns(`${events}.warn.dead`);
    for (
      const priority of [
        "audit",
        "debug",
        "info",
        "error",
        "critical",
        "sample",
      ]
    ) {
      bus.owns(`${events}.${priority}`);
    }
    const settings = { topics: [events] };
    await using connection = await bus.connect({ notifications: settings });
    const told: (string | undefined)[] = [];
    const lasts: boolean[] = [];
    let fails = true;
    const handler = (_: unknown, { lastAttempt }: { lastAttempt: boolean }) => {
      lasts.push(lastAttempt);
      if (fails) throw new Error("boom");
    };
    const options = {
      topic: events,
      retry: { attempts: 1 },
      onDeadLetter: ({ procedure }: DeadLetter) => void told.push(procedure),
    };
    await connection.createListener(handler, { ...options, pool });
    await connection.createListener(handler, options);
    await connection.notify("volume.grow", { size: 3 }, { priority: "warn" });
    await until("both are dead", () => told.length === 2);
    assert.deepEqual(lasts, [true, true]);
    const { deadLetters, replay } = operations(connection);
    for (const where of [{ pool }, { priority: "warn" as const }, {}]) {
      const filter = { events: { topic: events, ...where } };
      const [letter, ...others] = await all(deadLetters(filter));
      assert.ok(letter && others.length === 0);
      const { kind, procedure, args, queue, sentAt, attempts } = letter;
      assert.deepEqual([kind, procedure, args], [
        ...["event", "volume.grow", { size: 3 }],
      ]);
      assert.equal(queue, where.pool ?? `${events}.warn`);
      assert.equal(attempts, 1);
      assert.ok(Math.abs(Number(sentAt) - Date.now()) < 60_000);
    }
    fails = false;
    const { replayed } = await replay({ events: { topic: events, pool } });
    assert.equal(replayed, 1);
    await until("it is handled", () => lasts.length === 3);
  },
);

onEachBus("two listings at once both see all letters", async (bus) => {
  await using connection = await bus.connect();
  await using other = await bus.connect();
  const { topic } = bus;
  const bodies = Array.from({ length: 300 }, (_, n) => cast(n));
  await bury(bus, bodies);
  const lists = await Promise.all(
    [connection, other, connection].map((each) =>
      all(operations(each).deadLetters({ topic }))
    ),
  );
  for (const list of lists) {
    assert.deepEqual(idsOf(list), bodies.map(({ _unique_id }) => _unique_id));
  }
});

onEachBus(
  "a listing that is left, or waits for its reader, hides nothing",
  async (bus) => {
    await using connection = await bus.connect();
    const { topic } = bus;
    await bury(bus, Array.from({ length: 30 }, (_, n) => cast(n)));
    const { deadLetters } = operations(connection);
    const { resources: { transport } } = dependenciesOf(connection);
    const ready = async () =>
      (await transport.inspect(direct(`${topic}.dead`), soon()))?.messages;
    for await (const { id } of deadLetters({ topic })) {
      assert.equal(id, "id0");
      await until("all are ready", async () => await ready() === 30);
      break;
    }
    await until("all are ready", async () => await ready() === 30);
  },
);

onEachBus(
  "a listing while letters arrive ends, and has those that were there",
  async (bus) => {
    await using _log = await logged();
    const { worker, dead } = await failing(bus);
    await using _worker = worker;
    await using connection = await bus.connect();
    const { topic } = bus;
    const client = connection.client(volumes(topic));
    await bury(bus, Array.from({ length: 100 }, (_, n) => cast(n)));
    let sending = true;
    const sent = (async () => {
      for (let n = 0; sending; n++) await client.cast("grow", { id: `${n}` });
    })();
    const { deadLetters } = operations(connection);
    for (let round = 0; round < 3; round++) {
      const ids = idsOf(await all(deadLetters({ topic })));
      assert.deepEqual(
        ids.slice(0, 100),
        Array.from({ length: 100 }, (_, n) => `id${n}`),
      );
    }
    sending = false;
    await sent;
    const { handled, failed } = worker.stats;
    await dead(Math.max(handled, failed));
  },
);

onRabbit(
  "a queue that another program consumes is refused, and one that it is not served does not exist",
  async (bus) => {
    await bury(bus, [cast(1)]);
    await using raw = await bus.raw();
    await raw?.channel.consume(`${bus.topic}.dead`, () => {});
    await using connection = await bus.connect();
    const { resources: { session } } = dependenciesOf(connection);
    const of = { kind: "topic", topic: bus.topic } as const;
    const looking = session.browse({ kind: "deadLetter", of }, {
      maxBodyBytes: 1_000,
    }, soon());
    const error = await failureOf(looking);
    assert.ok(error instanceof TopologyError && error.data.reason === "inUse");
    const { deadLetters } = operations(connection);
    assert.deepEqual(
      await all(deadLetters({ topic: bus.topic, host: "two" })),
      [],
    );
    const { resources: { transport } } = dependenciesOf(connection);
    const name = direct(`${bus.topic}.two.dead`);
    assert.equal(await transport.inspect(name, soon()), undefined);
  },
);
