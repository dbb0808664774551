/** Events with a contract: `notifier`, and `createListener` with handlers for the events of a contract. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  type EventContract,
  type EventHandlers,
  type EventListenerOptions,
  events,
  InvalidValueError,
  type NotificationSettings,
  testNotifier,
  TimeoutError,
} from "../../../mod.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";
import { type Bus, failureOf, onEachBus, onRabbit } from "../support.ts";

const volumeEvents = events({
  "volume.grow": z.object({
    id: z.string(),
    size: z.string().regex(/^\d+$/).transform(Number),
  }),
  "volume.delete": z.object({ id: z.string() }),
  "volume.sync": z.undefined(),
});

/** A topic of events that no other test has, and a connection that sends to it. */
async function open(bus: Bus, notifications: NotificationSettings = {}) {
  const topic = bus.name("events");
  for (const part of ["", ".dead", ".delay.100"]) {
    bus.owns(`${topic}.info${part}`);
  }
  const settings = { topics: [topic], ...notifications };
  const connection = await bus.connect({ notifications: settings });
  const options = { topic, priority: "info" } as const;
  return { topic, connection, options };
}

/** The headers of so many dead letters of a topic of events. */
async function lettersOf(bus: Bus, topic: string, count: number) {
  await using stranger = await Stranger.on(bus);
  const letters = await stranger.take(deadOf(`${topic}.info`), count);
  return letters.map(({ message: { headers } }) => headers);
}

onEachBus(
  "an event is sent as it was given, and its listener gets what the schema makes of it",
  async (bus) => {
    const driver = testNotifier();
    const { connection, options } = await open(bus, {
      drivers: [driver, "bus"],
    });
    await using _connection = connection;
    await using listener = await bus.connect();
    const seen: unknown[] = [];
    await listener.createListener(volumeEvents, {
      "volume.grow": (
        { payload: { id, size }, eventType, priority },
        context,
      ) => void seen.push([eventType, id, size + 1, priority, context.values]),
      "volume.sync": ({ payload }) => void seen.push(payload),
    }, options);
    const notifier = connection.notifier(volumeEvents, {
      context: { user_id: "u" },
    });
    await notifier.notify("volume.grow", { id: "v1", size: "20" });
    await notifier.notify("volume.delete", { id: "v1" }); // has no handler
    await notifier.notify("volume.sync", undefined, { context: {} });
    await until("both came", () => seen.length === 2);
    const grown = ["volume.grow", "v1", 21, "INFO", { user_id: "u" }];
    assert.deepEqual(seen, [grown, undefined]);
    assert.deepEqual(driver.events.map(({ payload }) => payload), [
      { id: "v1", size: "20" },
      { id: "v1" },
      undefined,
    ]);
    assert.deepEqual(driver.events[2]?.context, {});
  },
);

onEachBus(
  "a wrong payload, event or option is refused by its path before anything is sent",
  async (bus) => {
    const driver = testNotifier();
    const { connection } = await open(bus, { drivers: [driver] });
    await using _connection = connection;
    const notifier = connection.notifier(volumeEvents);
    const untyped = connection.notifier<EventContract>(volumeEvents);
    const wrong: [path: string, sending: () => Promise<void>][] = [
      ["size", () => notifier.notify("volume.grow", { id: "v", size: "x" })],
      ["id", () => untyped.notify("volume.delete", {})],
      ["", () => untyped.notify("volume.delete", null)],
      ["", () => untyped.notify("volume.sync", 1)],
      ["eventType", () => untyped.notify("volume.shrink", {})],
      ["eventType", () => untyped.notify("toString", {})],
      ["eventType", () => untyped.notify("__proto__", {})],
      [
        "late",
        () => notifier.notify("volume.sync", undefined, { late: 1 } as object),
      ],
    ];
    for (const [path, sending] of wrong) {
      const error = await failureOf(sending());
      assert.ok(error instanceof InvalidValueError, `${error}`);
      assert.equal(error.data.path, path, error.message);
    }
    const creations: [path: string, create: () => unknown][] = [
      ["late", () => connection.notifier(volumeEvents, { late: 1 } as object)],
      [
        "interceptors",
        () => connection.notifier(volumeEvents, { interceptors: [1 as never] }),
      ],
      ["a", () => connection.notifier({ a: 1 as never })],
    ];
    for (const [path, create] of creations) {
      assert.throws(create, (error) => {
        assert.ok(error instanceof InvalidValueError, `${error}`);
        assert.equal(error.data.path, path, error.message);
        return true;
      });
    }
    assert.deepEqual(driver.events, []);
  },
);

onEachBus(
  "a listener of a contract needs a function for at least one of its events, and has no eventType",
  async (bus) => {
    await using connection = await bus.connect();
    const wrong: [path: string, events: unknown, handlers: unknown, object?][] =
      [
        ["", volumeEvents, {}],
        ["", volumeEvents, { "volume.grow": undefined }],
        ["", volumeEvents, []],
        ["", volumeEvents, new Map()],
        ["", volumeEvents, undefined],
        ["", {}, { "volume.grow": () => {} }],
        ["", null, { "volume.grow": () => {} }],
        ["volume.grow", volumeEvents, { "volume.grow": 1 }],
        ["eventType", volumeEvents, { "volume.shrink": () => {} }],
        ["eventType", volumeEvents, { "volume.grow": () => {} }, {
          eventType: "volume.*",
        }],
        ["retry", volumeEvents, { "volume.grow": () => {} }, { retry: 1 }],
      ];
    for (const [path, contract, handlers, options] of wrong) {
      const error = await failureOf(connection.createListener(
        contract as EventContract,
        handlers as EventHandlers<EventContract>,
        options as EventListenerOptions,
      ));
      assert.ok(error instanceof InvalidValueError, `${error}`);
      if (contract === volumeEvents) {
        assert.equal(error.data.path, path, error.message);
      }
    }
  },
);

/** Payloads of `volume.grow` that no schema of it takes, with the path that the reason names. */
const MISFITS: readonly (readonly [path: string, payload: unknown])[] = [
  ["the whole value", null],
  ["the whole value", 7],
  ["the whole value", "text\u0000\u202e"],
  ["the whole value", []],
  ["id", {}],
  ["id", { id: null, size: "1" }],
  ["size", { id: "v", size: 20 }],
  ["size", { id: "v", size: { toString: 1, constructor: null } }],
];

onEachBus(
  "an event that does not fit is a dead letter at once, whose reason names the path; others come",
  async (bus) => {
    await using log = await logged();
    const { topic, connection, options } = await open(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    const seen: unknown[] = [];
    await listener.createListener(volumeEvents, {
      "volume.grow": ({ payload }) => void seen.push(payload),
    }, options);
    // These are not the listener's: they are acknowledged and dropped, whatever they hold.
    for (const type of ["volume.shrink", "volume.delete", "toString"]) {
      await connection.notify(type, null);
    }
    await connection.notify("__proto__", { id: "v", size: "1" });
    for (const [, payload] of MISFITS) {
      await connection.notify("volume.grow", payload);
    }
    await connection.notify("volume.grow", { id: "v", size: "20", more: 1 });
    const letters = await lettersOf(bus, topic, MISFITS.length);
    await until("the good one came", () => seen.length === 1);
    assert.deepEqual(seen, [{ id: "v", size: 20 }]);
    const reasons = letters.map((headers) => `${headers["warren-reason"]}`);
    for (const [path] of MISFITS) {
      const start = `Refused: Invalid payload of volume.grow: ${path}: `;
      const at = reasons.findIndex((reason) => reason.startsWith(start));
      assert.ok(at >= 0, `${start} in ${reasons.join("\n")}`);
      reasons.splice(at, 1);
    }
    assert.deepEqual(reasons, []);
    for (const headers of letters) {
      assert.equal(headers["warren-queue"], `${topic}.info`);
      assert.equal(headers["warren-attempts"], "0");
    }
    assert.ok(log.times(/Refused an event/) >= 1);
    assert.equal(log.times(/handler of .* failed/), 0);
  },
);

onRabbit(
  "a sender that knows no contract, and writes its own bytes, reaches no handler and stops nothing",
  async (bus) => {
    await using _log = await logged();
    const pool = bus.name("pool");
    await using connection = await bus.connect();
    const seen: unknown[] = [];
    await connection.createListener(volumeEvents, {
      "volume.grow": ({ payload }) => void seen.push(payload),
      "volume.sync": () => void seen.push("sync"),
    }, { pool });
    await using raw = await bus.raw();
    const event = (type: string, payload: string) =>
      `{"message_id":"m","publisher_id":"p","event_type":"${type}",` +
      `"priority":"INFO","timestamp":"t"${payload}}`;
    const unfit = [
      event("volume.grow", ""), // the payload is missing
      event("volume.grow", ',"payload":null'),
      event("volume.grow", ',"payload":{"__proto__":{"id":"v","size":"1"}}'),
      event("volume.grow", ',"payload":{"id":"v","\\u005f_proto__":{}}'),
      event("volume.grow", ',"payload":{"constructor":{"prototype":{}}}'),
      event("volume.grow", `,"payload":{"id":"v","size":"${"1".repeat(99)}x"}`),
      event("volume.sync", ',"payload":0'),
      event("", ',"payload":{"id":"v","size":"1"}'),
      '{"event_type":["volume.grow"],"payload":{"id":"v","size":"1"}}',
    ];
    const dropped = [
      event("volume.shrink", ""),
      event("constructor", ',"payload":{"id":"v","size":"1"}'),
      event("__proto__", ',"payload":{"id":"v","size":"1"}'),
      event("volume.grow\\u0000", ',"payload":{"id":"v","size":"1"}'),
    ];
    const good = [
      event("volume.grow", ',"payload":{"id":"v","size":"5","toString":1}'),
      event("volume.sync", ""),
      event("volume.sync", ',"payload":null'),
    ];
    for (const body of [...unfit, ...dropped, ...good]) {
      raw!.channel.sendToQueue(pool, Buffer.from(body));
    }
    await until("the good ones came", () => seen.length === good.length);
    assert.deepEqual(seen, [{ id: "v", size: 5 }, "sync", "sync"]);
    const dead = async () => (await raw!.channel.checkQueue(`${pool}.dead`));
    await until(
      "the others are dead letters",
      async () => (await dead()).messageCount === unfit.length,
    );
    assert.equal((await raw!.channel.checkQueue(pool)).messageCount, 0);
    assert.equal(({} as { id?: string }).id, undefined);
  },
);

onEachBus(
  "payloads made by chance reach the handler if their schema takes them, and become dead letters if not",
  async (bus) => {
    await using _log = await logged();
    const { topic, connection, options } = await open(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    const schema = z.object({ id: z.string(), size: z.int().optional() });
    const contract = events({ made: schema });
    const seen: string[] = [];
    await listener.createListener(contract, {
      made: ({ payload }) => void seen.push(JSON.stringify(payload)),
    }, options);
    const made = Array.from({ length: 200 }, () => madeUp(3));
    made.push({ id: "fits" }, null);
    for (const payload of made) await connection.notify("made", payload);
    const parsed = made.map((payload) => schema.safeParse(payload));
    const fit = parsed.flatMap(({ success, data }) => success ? [data] : []);
    const letters = await lettersOf(bus, topic, made.length - fit.length);
    await until("those that fit came", () => seen.length === fit.length);
    const expected = fit.map((payload) => JSON.stringify(payload));
    assert.deepEqual(seen.toSorted(), expected.toSorted());
    for (const headers of letters) {
      assert.match(`${headers["warren-reason"]}`, /^Refused: Invalid payload/);
    }
  },
);

/** A value of JSON by chance, often nearly the wanted one. */
function madeUp(depth: number): unknown {
  const pick = <T>(...choices: T[]): T =>
    choices[Math.floor(Math.random() * choices.length)] as T;
  const scalar = pick<unknown>(null, true, 0, -1.5, 7, "", "é\u0000", "id");
  if (depth === 0 || Math.random() < 0.2) return scalar;
  const inner = () => madeUp(depth - 1);
  if (Math.random() < 0.2) return [inner(), inner()];
  const keys = ["id", "size", "constructor", "toString", "then", ""];
  const entries = keys.filter(() => Math.random() < 0.5)
    .map((key) => [key, Math.random() < 0.5 ? pick<unknown>("x", 3) : inner()]);
  return Object.fromEntries(entries);
}

onEachBus(
  "an error of a handler or of an interceptor is retried, also an InvalidValueError",
  async (bus) => {
    await using _log = await logged();
    const { topic, connection, options } = await open(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    let runs = 0;
    await listener.createListener(volumeEvents, {
      "volume.delete": () => {
        runs++;
        throw new InvalidValueError("Invalid mood");
      },
    }, { ...options, retry: { attempts: 2, backoff: [100] } });
    await connection.notifier(volumeEvents).notify("volume.delete", {
      id: "v",
    });
    const [headers] = await lettersOf(bus, topic, 1);
    assert.equal(headers?.["warren-attempts"], "2");
    assert.equal(headers?.["warren-reason"], "InvalidValueError: Invalid mood");
    assert.equal(runs, 2);
  },
);

onEachBus(
  "a schema that throws counts as a handler that throws; no reason quotes a secret",
  async (bus) => {
    await using log = await logged();
    const { topic, connection, options } = await open(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    const contract = events({
      thrown: z.string().transform((text) => JSON.parse(text)),
      secret: z.object({
        password: z.string().refine(() => false, {
          error: ({ input }) => `not ${input}`,
        }),
      }),
    });
    const unexpected = () => assert.fail("no handler is called");
    await listener.createListener(contract, {
      thrown: unexpected,
      secret: unexpected,
    }, { ...options, retry: { attempts: 2, backoff: [100] } });
    await connection.notify("secret", { password: "s3cret" });
    const [refused] = await lettersOf(bus, topic, 1);
    const reason = `${refused?.["warren-reason"]}`;
    assert.match(
      reason,
      /^Refused: Invalid payload of secret: .*is not valid$/,
    );
    await connection.notify("thrown", "{");
    const [failed] = await lettersOf(bus, topic, 1);
    assert.equal(failed?.["warren-attempts"], "2");
    assert.match(`${failed?.["warren-reason"]}`, /^SyntaxError: /);
    assert.ok(!`${reason}${log.lines.join("\n")}`.includes("s3cret"));
  },
);

onEachBus(
  "an exclusive listener drops an event that does not fit, and goes on",
  async (bus) => {
    await using log = await logged();
    const { connection, options } = await open(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    const seen: unknown[] = [];
    await listener.createListener(volumeEvents, {
      "volume.delete": ({ payload }) => void seen.push(payload.id),
    }, { ...options, exclusive: true });
    await connection.notify("volume.delete", {});
    await connection.notify("volume.delete", { id: "v" });
    await until("the other came", () => seen.length === 1);
    assert.equal(log.times(/Refused an event/), 1);
  },
);

onEachBus(
  "with the profile nova, an event that does not fit is dropped, and not requeued for ever",
  async (bus) => {
    await using log = await logged();
    const topic = bus.name("events");
    bus.owns(`${topic}.info`);
    const notifications = { topics: [topic] };
    const connect = () => bus.connect({ profile: "nova", notifications });
    await using listener = await connect();
    await using sender = await connect();
    const seen: unknown[] = [];
    await listener.createListener(volumeEvents, {
      "volume.delete": ({ payload }) => void seen.push(payload.id),
    }, { topic, priority: "info" });
    await sender.notify("volume.delete", { id: 7 });
    await sender.notifier(volumeEvents).notify("volume.delete", { id: "v" });
    await until("the other came", () => seen.length === 1);
    assert.equal(log.times(/Refused an event/), 1);
  },
);

onEachBus(
  "interceptors of a notifier add headers, which those of listeners see at each attempt",
  async (bus) => {
    await using _log = await logged();
    const { connection, options } = await open(bus);
    await using _connection = connection;
    await using listener = await bus.connect();
    const seen: unknown[] = [];
    await listener.createListener(volumeEvents, {
      "volume.grow": ({ payload }, { attempt }) => {
        seen.push(payload.size);
        if (attempt === 1) throw new Error("not yet");
      },
    }, {
      ...options,
      retry: { attempts: 2, backoff: [100] },
      interceptors: [({ kind, procedure, args, headers, ...rest }, next) => {
        seen.push([kind, procedure, args, headers.token, rest.attempt]);
        return next({ kind, procedure, headers, ...rest, args });
      }],
    });
    const facts: unknown[] = [];
    const notifier = connection.notifier(volumeEvents, {
      interceptors: [
        (request, next) => {
          facts.push([request.kind, request.topic, request.procedure]);
          return next({ ...request, headers: { token: "t" } });
        },
        (request, next) =>
          next({ ...request, args: { ...request.args, size: "8" } }),
      ],
    });
    await notifier.notify("volume.grow", { id: "v", size: "7" });
    await until("both attempts were made", () => seen.length === 4);
    const args = { id: "v", size: "8" };
    const attempt = (
      n: number,
    ) => ["notification", "volume.grow", args, "t", n];
    assert.deepEqual(seen, [attempt(1), 8, attempt(2), 8]);
    assert.deepEqual(facts, [["notification", options.topic, "volume.grow"]]);
  },
);

onEachBus(
  "an interceptor of a notifier may send nothing, may fail, and ends at the deadline",
  async (bus) => {
    const driver = testNotifier();
    const { connection } = await open(bus, { drivers: [driver] });
    await using _connection = connection;
    const by = (
      interceptor: Parameters<ConnectionContext["notifier"]>[1],
    ) => connection.notifier(volumeEvents, interceptor);
    const send = (notifier: ReturnType<typeof by>, timeout = 60_000) =>
      notifier.notify("volume.delete", { id: "v" }, { timeout });
    await send(by({ interceptors: [() => "nothing is sent"] }));
    const failing = () => Promise.reject(new RangeError("no"));
    const failed = await failureOf(send(by({ interceptors: [failing] })));
    assert.ok(failed instanceof RangeError);
    const hanging = () => new Promise(() => {});
    const late = await failureOf(send(by({ interceptors: [hanging] }), 50));
    assert.ok(late instanceof TimeoutError);
    const invalid = await failureOf(send(by({
      interceptors: [
        (request, next) => next({ ...request, headers: { "x-y": "" } }),
      ],
    })));
    assert.ok(invalid instanceof InvalidValueError);
    assert.deepEqual(driver.events, []);
  },
);

onEachBus(
  "a notifier of a disposed connection sends nothing",
  async (bus) => {
    const { connection } = await open(bus);
    const notifier = connection.notifier(volumeEvents);
    await connection[Symbol.asyncDispose]();
    const sending = notifier.notify("volume.delete", { id: "v" });
    assert.equal((await failureOf(sending)).name, "ConnectionDisposedError");
    assert.throws(() => connection.notifier(volumeEvents), /was disposed/);
    const listening = connection.createListener(volumeEvents, {
      "volume.delete": () => {},
    });
    assert.equal((await failureOf(listening)).name, "ConnectionDisposedError");
  },
);
