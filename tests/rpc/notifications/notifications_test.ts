/** Events: `notify` and `createListener`. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  InvalidValueError,
  type ListenerOptions,
  type Notification,
} from "../../../mod.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { matcher } from "../../../src/rpc/notifications/event_pattern.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { type Bus, failureOf, onEachBus, onRabbit, Raw } from "../support.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";

const PRIORITIES = [
  "audit",
  "debug",
  "info",
  "warn",
  "error",
  "critical",
  "sample",
] as const;

/** The queues of events are everybody's; what these tests leave there goes, unless someone reads them. */
Deno.test.afterAll(async () => {
  await using raw = await Raw.open(await brokerUrl());
  for (const priority of PRIORITIES) {
    await raw.channel.deleteQueue(`notifications.${priority}`);
  }
});

/** A listener of the test's own events, and what it got. */
async function listen(bus: Bus, options: ListenerOptions = {}) {
  const events: Notification[] = [];
  const connection = await bus.connect();
  await connection.createListener(
    (event) => void events.push(event),
    { eventType: `${bus.topic}.*`, ...options },
  );
  return {
    events,
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

onEachBus(
  "an event arrives as it was sent, with the values of its context",
  async (bus) => {
    const got = Promise.withResolvers<[Notification, unknown]>();
    await using listener = await bus.connect();
    await listener.createListener(
      (event, context) => got.resolve([event, context.values]),
      { eventType: `${bus.topic}.*` },
    );
    await using connection = await bus.connect({ publisherId: "compute.gb07" });
    await connection.notify(`${bus.topic}.end`, { id: [1, "é"] }, {
      context: { user_id: "u" },
    });
    const [event, values] = await got.promise;
    assert.equal(event.eventType, `${bus.topic}.end`);
    assert.equal(event.publisherId, "compute.gb07");
    assert.equal(event.priority, "INFO");
    assert.deepEqual(event.payload, { id: [1, "é"] });
    assert.match(event.messageId, /^[\da-f]{8}(-[\da-f]{4}){3}-[\da-f]{12}$/);
    assert.match(event.timestamp, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/);
    assert.deepEqual(values, { user_id: "u" });
  },
);

onEachBus(
  "an event that nobody listens to yet waits in its queue",
  async (bus) => {
    await using connection = await bus.connect();
    await connection.notify(`${bus.topic}.early`, null, { priority: "sample" });
    await using listener = await listen(bus);
    await until("it came", () => listener.events.length === 1);
    assert.equal(listener.events[0]?.priority, "SAMPLE");
  },
);

onEachBus(
  "listeners of one pool share the events; each pool gets all of them",
  async (bus) => {
    const pool = bus.name("pool"), other = bus.name("other");
    await using a = await listen(bus, { pool });
    await using b = await listen(bus, { pool });
    await using c = await listen(bus, { pool: other });
    await using connection = await bus.connect();
    const sent = Array.from({ length: 100 }, (_, i) => i);
    for (const i of sent) {
      const priority = PRIORITIES[i % PRIORITIES.length];
      await connection.notify(`${bus.topic}.n`, i, { priority });
    }
    await until(
      "both pools have all",
      () =>
        a.events.length + b.events.length === 100 && c.events.length === 100,
    );
    const shared = [...a.events, ...b.events].map(({ payload }) => payload);
    assert.deepEqual(shared.toSorted((x, y) => Number(x) - Number(y)), sent);
    assert.deepEqual(c.events.map(({ payload }) => payload), sent);
    assert.ok(a.events.length > 10 && b.events.length > 10);
  },
);

onEachBus(
  "eventType and priority choose; what is not wanted is gone",
  async (bus) => {
    const pool = bus.name("pool"), errors = bus.name("errors");
    await using some = await listen(bus, {
      pool,
      eventType: `${bus.topic}.*.end`,
    });
    await using bad = await listen(bus, { pool: errors, priority: "error" });
    await using connection = await bus.connect();
    const { topic } = bus;
    await connection.notify(`${topic}.a.start`, 1);
    await connection.notify(`${topic}.a.end`, 2, { priority: "error" });
    await connection.notify(`${topic}.a.end.`, 3);
    await connection.notify(`${topic}Xa.end`, 4);
    await connection.notify(`${topic}.b\n.end`, 5);
    await until("they came", () => some.events.length === 2);
    assert.deepEqual(some.events.map(({ payload }) => payload), [2, 5]);
    assert.deepEqual(bad.events.map(({ payload }) => payload), [2]);
  },
);

onEachBus(
  "an event whose handler throws comes again, and later ones are not held up",
  async (bus) => {
    const seen: unknown[] = [];
    await using listener = await bus.connect();
    await listener.createListener(({ payload }) => {
      seen.push(payload);
      if (
        seen.filter((each) => each === "bad").length < 2 && payload === "bad"
      ) {
        throw new Error("not yet");
      }
    }, { eventType: `${bus.topic}.*`, pool: bus.name("pool") });
    await using connection = await bus.connect();
    await connection.notify(`${bus.topic}.x`, "bad");
    await connection.notify(`${bus.topic}.x`, "good");
    await until("both were handled", () => seen.length === 3);
    assert.deepEqual(seen.toSorted(), ["bad", "bad", "good"]);
  },
);

onEachBus(
  "events are acknowledged after the handler: disposal waits for it",
  async (bus) => {
    const begun = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    let done = false;
    const listener = await bus.connect();
    await listener.createListener(async () => {
      begun.resolve();
      await open.promise;
      done = true;
    }, { eventType: `${bus.topic}.*`, pool: bus.name("pool") });
    await using connection = await bus.connect();
    await connection.notify(`${bus.topic}.x`, 1);
    await begun.promise;
    const disposal = listener[Symbol.asyncDispose]();
    assert.equal(done, false);
    open.resolve();
    await disposal;
    assert.equal(done, true);
  },
);

onEachBus(
  "notify refuses what no listener would take, and what JSON cannot represent",
  async (bus) => {
    await using connection = await bus.connect();
    const refused = [
      connection.notify("", 1),
      connection.notify("x".repeat(256), 1),
      connection.notify("a.b", 1, { priority: "loud" as never }),
      connection.notify("a.b", { at: new Date() }),
      connection.createListener(() => {}, { priority: "loud" as never }),
      connection.createListener(() => {}, { pool: "a b" }),
    ];
    for (const each of refused) {
      assert.ok(await failureOf(each) instanceof InvalidValueError);
    }
  },
);

onRabbit(
  "a listener keeps what is no event apart, and goes on",
  async (bus) => {
    const pool = bus.name("pool");
    await using listener = await listen(bus, { pool });
    await using raw = await bus.raw();
    const junk = ["junk", "[]", '{"method":"m","args":{}}', '{"event_type":5}'];
    for (const body of junk) raw!.channel.sendToQueue(pool, Buffer.from(body));
    await using connection = await bus.connect();
    await connection.notify(`${bus.topic}.x`, "after");
    await until("the event came", () => listener.events.length === 1);
    const state = await raw!.channel.checkQueue(pool);
    assert.equal(state.messageCount, 0);
  },
);

Deno.test("a pattern for event types matches all of a type, and takes linear time", () => {
  const matches: [pattern: string, type: string, wanted: boolean][] = [
    ["a.b", "a.b", true],
    ["a.b", "axb", false],
    ["*", "", true],
    ["a*a", "a", false],
    ["a*b*c", "a-b-b-c", true],
    ["a*b*c", "a-c-b", false],
    ["*.end", "x\n.end", true],
    ["a**b", "ab", true],
    [`${"a*".repeat(20)}b`, "a".repeat(1_000_000), false],
  ];
  for (const [pattern, type, wanted] of matches) {
    assert.equal(matcher(pattern)(type), wanted, pattern);
  }
});

/** A connection whose events are a topic's of the test's own. */
async function ownEvents(bus: Bus) {
  const topic = bus.name("events");
  for (const priority of PRIORITIES) {
    for (const part of ["", ".dead", ".delay.100"]) {
      bus.owns(`${topic}.${priority}${part}`);
    }
  }
  return {
    topic,
    connection: await bus.connect({ notifications: { topics: [topic] } }),
  };
}

/** Messages in a queue; undefined if there is none of that name. */
async function waiting(bus: Bus, queue: string): Promise<number | undefined> {
  await using raw = await Raw.open(bus.url);
  raw.channel.on("error", () => {}); // 404
  const found = await raw.channel.checkQueue(queue).catch(() => undefined);
  return found?.messageCount;
}

onRabbit(
  "pools and exclusive listeners let no shared queue grow; an event that nobody takes waits there",
  async (bus) => {
    const { topic, connection } = await ownEvents(bus);
    await using _connection = connection;
    const shared = `${topic}.info`;
    await connection.notify("before.anybody", 0);
    assert.equal(await waiting(bus, shared), 1);
    const seen: Record<string, unknown[]> = { pool: [], own: [], shared: [] };
    const listener = async (name: string, options: ListenerOptions) => {
      const made = await bus.connect();
      await made.createListener(
        ({ payload }) => void seen[name]?.push(payload),
        { topic, ...options },
      );
      return made;
    };
    {
      await using _pool = await listener("pool", { pool: bus.name("pool") });
      await using _own = await listener("own", { exclusive: true });
      for (const n of [1, 2, 3]) await connection.notify("x", n);
      await until(
        "both have them",
        () => seen.pool?.length === 3 && seen.own?.length === 3,
      );
      assert.equal(await waiting(bus, shared), 1, "the shared queue grew");
    }
    await using _shared = await listener("shared", {});
    await until("what waited came", () => seen.shared?.length === 1);
    await connection.notify("x", 4);
    await until("it came", () => seen.shared?.length === 2);
    assert.deepEqual(seen.shared, [0, 4]);
  },
);

onEachBus(
  "an event whose handler throws every time has its attempts, then it is a dead letter",
  async (bus) => {
    await using _log = await logged();
    const { topic, connection } = await ownEvents(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    let runs = 0;
    const boom = () => {
      runs++;
      throw new Error("boom");
    };
    const retry = { attempts: 3, backoff: [100] } as const;
    await listener.createListener(boom, { topic, priority: "info", retry });
    await connection.notify("x.y", { n: 1 });
    await using stranger = await Stranger.on(bus);
    const [letter] = await stranger.take(deadOf(`${topic}.info`), 1);
    const { headers } = letter!.message;
    assert.equal(runs, 3);
    assert.equal(headers["warren-reason"], "Error: boom");
    assert.equal(headers["warren-attempts"], "3");
    assert.equal(headers["warren-queue"], `${topic}.info`);
    // Put back as it is, it begins anew.
    await stranger.put(`${topic}.info`, letter!.message.body, { headers });
    const [again] = await stranger.take(deadOf(`${topic}.info`), 1);
    assert.equal(again!.message.headers["warren-burials"], "2");
    assert.equal(runs, 6);
  },
);

onEachBus(
  "an exclusive listener whose handler throws every time drops the event, and leaves nothing behind",
  async (bus) => {
    await using log = await logged();
    const { topic, connection } = await ownEvents(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    const seen: unknown[] = [];
    const retry = { attempts: 2, backoff: [100] } as const;
    await listener.createListener(({ payload }) => {
      seen.push(payload);
      if (payload === "bad") throw new Error("boom");
    }, { topic, priority: "info", exclusive: true, retry });
    await connection.notify("x", "bad");
    await connection.notify("x", "good");
    await until("two attempts, and the other", () => seen.length === 3);
    await until(
      "it is said",
      () => log.times(/after its last attempt/) === 1,
    );
    assert.deepEqual(seen, ["bad", "good", "bad"]);
  },
);

onEachBus(
  "a request in a queue of events is a dead letter",
  async (bus) => {
    await using _log = await logged();
    const { topic, connection } = await ownEvents(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    await listener.createListener(() => {}, { topic, priority: "info" });
    await connection.cast({ topic, host: "info" }, "work");
    await using stranger = await Stranger.on(bus);
    const [letter] = await stranger.take(deadOf(`${topic}.info`), 1);
    const reason = `${letter!.message.headers["warren-reason"]}`;
    assert.match(reason, /^Refused: no notification/);
  },
);

onEachBus(
  "pools of listeners have no names of queues beside others",
  async (bus) => {
    await using connection = await bus.connect();
    const wrong: ListenerOptions[] = [
      { pool: "x.dead" },
      { pool: "notifications.info" },
      { retry: { attempts: 0 } },
    ];
    for (const options of wrong) {
      const listening = connection.createListener(() => {}, options);
      assert.ok(await failureOf(listening) instanceof InvalidValueError);
    }
  },
);
