/** Where events go: drivers, priorities, what is masked, and functions that tell of themselves. */
import assert from "node:assert/strict";
import {
  createConnection,
  InvalidValueError,
  type NotificationSettings,
  publisherId,
  testNotifier,
  withNotifications,
} from "../../../mod.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { failureOf, onEachBus } from "../support.ts";

const connect = (url: string, notifications: NotificationSettings) =>
  createConnection(url, {
    notifications,
    publisherId: publisherId("compute", "gb07"),
  });

onEachBus(
  "an event goes to all drivers; one that fails is logged, and fails nobody",
  async (bus) => {
    await using log = await logged();
    const first = testNotifier();
    const last = testNotifier();
    const failing = () => Promise.reject(new Error("no driver today"));
    const throwing = () => {
      throw new Error("nor this one");
    };
    const drivers = [
      first,
      failing,
      throwing,
      "log",
      "none",
      "bus",
      last,
    ] as const;
    const topics = [`${bus.topic}-n`];
    bus.owns(`${bus.topic}-n.warn`);
    await using connection = await connect(bus.url, {
      drivers,
      topics,
      priority: "warn",
    });
    const payload = {
      id: 1,
      admin_pass: "s3cret",
      nested: [{ auth_token: "t0ken" }],
    };
    await connection.notify("lab.thing", payload);
    assert.deepEqual(first.events, last.events);
    const [event, ...more] = first.events;
    assert.deepEqual(more, []);
    assert.deepEqual([event?.priority, event?.publisherId, event?.payload], [
      "WARN",
      "compute.gb07",
      payload,
    ]);
    const text = log.lines.join("");
    assert.match(text, /no driver today/);
    assert.match(text, /nor this one/);
    assert.match(
      text,
      /"lab\.thing" of "compute\.gb07": .*<SANITIZED>.*<SANITIZED>/,
    );
    assert.ok(!/s3cret|t0ken/.test(text));
    const heard: unknown[] = [];
    await connection.createListener((event) => void heard.push(event.payload), {
      topic: topics[0],
      priority: "warn",
    });
    await until("the bus has it too", () => heard.length === 1);
    assert.deepEqual(heard, [payload]);
  },
);

onEachBus(
  "what an event's context holds: all but secrets, on Warren's own bus",
  async (bus) => {
    const driver = testNotifier();
    await using connection = await connect(bus.url, { drivers: [driver] });
    const context = {
      user_id: "u",
      tenant: "t",
      auth_token: "x",
      password: "y",
    };
    await connection.notify("lab.thing", null, { context });
    assert.deepEqual(driver.events[0]?.context, { user_id: "u", tenant: "t" });
  },
);

onEachBus(
  "a function that is notified tells of its start and its end, or its error",
  async (bus) => {
    const driver = testNotifier();
    await using connection = await connect(bus.url, { drivers: [driver] });
    const grow = (id: string, by: number) => {
      if (by < 0) throw new RangeError("it shrinks");
      return Promise.resolve(`${id} +${by}`);
    };
    const told = withNotifications(connection, "volume.grow", grow, {
      payload: (id) => ({ id }),
      priority: "debug",
    });
    assert.equal(await told("v1", 5), "v1 +5");
    assert.match((await failureOf(told("v2", -1))).message, /^it shrinks$/);
    const quiet = withNotifications(connection, "volume.poke", () => 7);
    assert.equal(await quiet(), 7);
    const said = driver.events.map(({ eventType, priority, payload }) => [
      eventType,
      priority,
      payload,
    ]);
    const exception = { type: "RangeError", message: "it shrinks" };
    assert.deepEqual(said, [
      ["volume.grow.start", "DEBUG", { id: "v1" }],
      ["volume.grow.end", "DEBUG", { id: "v1" }],
      ["volume.grow.start", "DEBUG", { id: "v2" }],
      ["volume.grow.error", "ERROR", { id: "v2", exception }],
      ["volume.poke.start", "INFO", {}],
      ["volume.poke.end", "INFO", {}],
    ]);
  },
);

onEachBus(
  "a function that is notified works also when nobody can be told",
  async (bus) => {
    await using log = await logged();
    const connection = await bus.connect();
    const told = withNotifications(
      connection,
      "volume.grow",
      (n: number) => n + 1,
    );
    await connection[Symbol.asyncDispose]();
    assert.equal(await told(1), 2);
    assert.equal(log.lines.filter((line) => /not sent/.test(line)).length, 2);
  },
);

onEachBus("an event that is put back comes again", async (bus) => {
  const topic = `${bus.topic}-n`;
  bus.owns(`${topic}.info`);
  await using connection = await connect(bus.url, { topics: [topic] });
  let times = 0;
  await connection.createListener(() => {
    if (++times < 3) return "requeue";
  }, { topic, priority: "info" });
  await connection.notify("lab.thing", null);
  await until("it came three times", () => times === 3);
});

Deno.test("wrong settings of notifications, and wrong events, are refused", async () => {
  const wrong: [object, RegExp][] = [
    [{ drivers: ["buss"] }, /notifications\.drivers buss: give bus, log, none/],
    [{ format: "3.0" }, /notifications\.format 3\.0: give 1\.0 or 2\.0/],
    [{ priority: "loud" }, /priority loud: give one of audit, debug/],
    [{ topics: ["a b"] }, /Invalid notifications\.topics "a b"/],
  ];
  for (const [settings, message] of wrong) {
    const error = await failureOf(connect("memory:x", settings));
    assert.ok(error instanceof InvalidValueError);
    assert.match(error.message, message);
  }
  await using connection = await connect("memory:x", { drivers: ["none"] });
  const options = { priority: "loud" as never };
  assert.ok(
    await failureOf(connection.notify("a", 1, options)) instanceof
      InvalidValueError,
  );
  assert.ok(
    await failureOf(connection.notify("", 1)) instanceof InvalidValueError,
  );
  const cannot = await failureOf(connection.notify("a", { at: new Date() }));
  assert.match(cannot.message, /payload\.at is a Date/);
  assert.throws(() => publisherId("a b", "c"), InvalidValueError);
  assert.throws(
    () => withNotifications(connection, "", () => {}),
    InvalidValueError,
  );
});
