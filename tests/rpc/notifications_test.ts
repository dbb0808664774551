/** Events: `notify` and `createListener`. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  InvalidValueError,
  type ListenerOptions,
  type Notification,
} from "../../mod.ts";
import { brokerUrl } from "../setup/broker.ts";
import { matcher } from "../../src/rpc/listener.ts";
import { until } from "../setup/probe.ts";
import { type Bus, failureOf, onEachBus, onRabbit, Raw } from "./bus.ts";

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
  "notify refuses what no listener would take, and what JSON cannot carry",
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

onRabbit("a listener drops what is no event, and goes on", async (bus) => {
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
});

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
