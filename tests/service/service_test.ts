/** `Service`: what it starts in which order, and how it stops. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  type Handlers,
  implement,
  InvalidValueError,
  Manager,
  NoRouteError,
  type Notification,
  Service,
  TopologyError,
} from "../../mod.ts";
import { until } from "../setup/probe.ts";
import {
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../rpc/support.ts";

const notes = (topic: string, version = "1.0") =>
  contract({
    topic,
    version,
    procedures: { note: { args: z.object({ tag: z.string() }) } },
  });

/** A manager that writes down what happens to it. */
class Diary extends Manager implements Handlers<ReturnType<typeof notes>> {
  readonly contract;
  readonly entries: string[] = [];
  constructor(topic: string) {
    super();
    this.contract = notes(topic);
  }
  note({ tag }: { tag: string }) {
    this.entries.push(tag);
  }
  override async initHost() {
    const client = this.connection.client(this.contract);
    for (const host of [undefined, this.host]) {
      await client.cast("note", { tag: "note" }, { host });
    }
    this.entries.push(`init ${this.host}`);
  }
  override async postStartHook() {
    await until("both notes came", () => this.entries.length === 3);
    this.entries.push("post");
  }
}

onEachBus(
  "start makes the queues, then initHost, then takes messages, then postStartHook",
  async (bus) => {
    const manager = new Diary(bus.topic);
    await using _service = await Service.start({
      url: bus.url,
      host: "one",
      manager,
    });
    assert.deepEqual(manager.entries, ["init one", "note", "note", "post"]);
  },
);

onRabbit(
  "start consumes the three queues of Nova's service, and consumes none before initHost",
  async (bus) => {
    await using raw = await bus.raw();
    const consumers = async (queue: string) =>
      (await raw!.channel.checkQueue(queue)).consumerCount;
    const before: number[] = [];
    const { topic } = bus;
    const manager = implement(sums(topic), sumHandlers(), {
      initHost: async () => {
        before.push(await consumers(topic), await consumers(`${topic}.one`));
      },
    });
    await using service = await Service.start({
      url: bus.url,
      host: "one",
      manager,
    });
    assert.deepEqual(before, [0, 0]);
    assert.equal(await consumers(topic), 1);
    assert.equal(await consumers(`${topic}.one`), 1);
    await raw!.channel.checkExchange(`${topic}_fanout`);
    const { queue } = await raw!.channel.assertQueue("", { exclusive: true });
    await raw!.channel.bindQueue(queue, `${topic}_fanout`, "");
    await using connection = await bus.connect();
    await connection.client(sums(topic)).fanoutCast("wait");
    await until("the fanout came", () => service.stats.handled === 1);
    assert.ok(await raw!.channel.get(queue, { noAck: true }), "it is a fanout");
  },
);

onEachBus(
  "a service answers for its topic, its host and to everybody",
  async (bus) => {
    const api = sums(bus.topic);
    const manager = implement(api, sumHandlers());
    await using service = await Service.start({
      url: bus.url,
      host: "one",
      manager,
    });
    assert.equal(service.host, "one");
    await using connection = await bus.connect();
    const client = connection.client(api);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    assert.equal(await client.call("add", { a: 1, b: 2 }, { host: "one" }), 3);
    await client.fanoutCast("wait");
    await until("all are done", () => service.stats.handled === 3);
    const host = client.call("add", { a: 1, b: 2 }, { host: "two" });
    assert.ok(await failureOf(host) instanceof NoRouteError);
  },
);

onEachBus("managers of one topic share its consumers", async (bus) => {
  const { topic } = bus;
  const base = contract({
    topic,
    version: "1.0",
    namespace: "base",
    procedures: { ping: { result: z.string() } },
  });
  const next = contract({
    topic,
    version: "2.0",
    procedures: { add: { result: z.number() } },
  });
  const other = bus.name("other");
  bus.owns(`${other}.one`);
  await using _service = await Service.start({
    url: bus.url,
    host: "one",
    manager: [
      implement(sums(topic), sumHandlers()),
      implement(base, { ping: () => "pong" }),
      implement(next, { add: () => 2 }),
      implement(notes(other), { note: () => {} }),
    ],
  });
  await using connection = await bus.connect();
  const args = { a: 1, b: 2 };
  assert.equal(await connection.client(sums(topic)).call("add", args), 3);
  assert.equal(await connection.client(base).call("ping"), "pong");
  assert.equal(await connection.client(next).call("add"), 2);
  await connection.client(notes(other)).call("note", { tag: "x" });
  await using raw = await bus.raw();
  if (!raw) return;
  assert.equal((await raw.channel.checkQueue(topic)).consumerCount, 1);
  await raw.channel.deleteExchange(`${other}_fanout`);
});

onEachBus(
  "stop answers what is in hand, and loses nothing that waits",
  async (bus) => {
    const api = sums(bus.topic);
    const begun = Promise.withResolvers<void>();
    const open = Promise.withResolvers<void>();
    let noted = 0;
    const work = async () => {
      noted++;
      begun.resolve();
      await open.promise;
    };
    await using connection = await bus.connect();
    const service = await Service.start({
      url: bus.url,
      host: "one",
      manager: implement(api, sumHandlers({ wait: work })),
      concurrency: 2,
      prefetch: 4,
    });
    const client = connection.client(api);
    const call = client.call("wait");
    await begun.promise;
    for (let i = 0; i < 20; i++) await client.cast("wait");
    const stopping = service.stop();
    assert.equal(service.stop(), stopping);
    open.resolve();
    await call;
    await stopping;
    await service.stopped;
    const before = noted;
    assert.ok(before < 21, "not all were taken");
    await using _next = await Service.start({
      url: bus.url,
      host: "two",
      manager: implement(api, sumHandlers({ wait: () => void noted++ })),
    });
    await until("the rest is done", () => noted === 21);
  },
);

onEachBus(
  "the signal of initHost fires when the service has stopped",
  async (bus) => {
    let signal: AbortSignal | undefined;
    const manager = implement(sums(bus.topic), sumHandlers(), {
      initHost: (environment) => {
        signal = environment.signal;
        assert.equal(environment.host, "one");
      },
    });
    const service = await Service.start({ url: bus.url, host: "one", manager });
    assert.equal(signal?.aborted, false);
    await service[Symbol.asyncDispose]();
    assert.equal(signal?.aborted, true);
  },
);

onEachBus(
  "a service notifies as <topic>.<host>, or as it is told",
  async (bus) => {
    const events: Notification[] = [];
    await using listener = await bus.connect();
    await listener.createListener((event) => void events.push(event), {
      eventType: `${bus.topic}.*`,
      pool: bus.name("pool"),
      priority: "sample",
    });
    class Announcer extends Manager {
      readonly contract = contract({
        topic: bus.topic,
        version: "1.0",
        procedures: {},
      });
      override async initHost() {
        const options = { priority: "sample" } as const;
        await this.connection.notify(`${bus.topic}.up`, null, options);
      }
    }
    const options = { url: bus.url, host: "one" };
    await using _one = await Service.start({
      ...options,
      manager: new Announcer(),
    });
    await using _two = await Service.start({
      ...options,
      manager: new Announcer(),
      publisherId: "me",
    });
    await until("both came", () => events.length === 2);
    assert.deepEqual(events.map(({ publisherId }) => publisherId).sort(), [
      "me",
      `${bus.topic}.one`,
    ]);
  },
);

/** Starts that fail; the sanitizers see what they leave open. */
const failing: Record<string, (bus: Bus) => Promise<Service>> = {
  "initHost throws": (bus) =>
    Service.start({
      url: bus.url,
      host: "one",
      manager: implement(sums(bus.topic), sumHandlers(), {
        initHost: () => Promise.reject(new Error("expected")),
      }),
    }),
  "postStartHook throws": (bus) =>
    Service.start({
      url: bus.url,
      host: "one",
      manager: Object.assign(implement(sums(bus.topic), sumHandlers()), {
        postStartHook: () => {
          throw new Error("expected");
        },
      }),
    }),
  "a period is wrong": (bus) =>
    Service.start({
      url: bus.url,
      host: "one",
      manager: implement(sums(bus.topic), sumHandlers(), {
        periodic: [
          { every: 60_000, run: () => {} },
          { every: -1, run: () => assert.fail("expected") },
        ],
      }),
    }),
  "a method is missing": (bus) => {
    class Forgot extends Manager {
      readonly contract = sums(bus.topic);
    }
    return Service.start({
      url: bus.url,
      host: "one",
      manager: new Forgot() as never,
    });
  },
  "the host is no name": (bus) =>
    Service.start({
      url: bus.url,
      host: "#",
      manager: implement(sums(bus.topic), sumHandlers()),
    }),
  "there is no manager": (bus) => Service.start({ url: bus.url, manager: [] }),
};

for (const [why, start] of Object.entries(failing)) {
  onEachBus(`start fails and leaves nothing open when ${why}`, async (bus) => {
    const error = await failureOf(start(bus));
    assert.match(String(error), /expected|Invalid|no method/);
    const api = sums(bus.topic);
    const manager = implement(api, sumHandlers());
    const options = { url: bus.url, host: "one", manager };
    await using _service = await Service.start(options);
    await using connection = await bus.connect();
    assert.equal(await connection.client(api).call("add", { a: 1, b: 2 }), 3);
  });
}

onRabbit(
  "start fails with TopologyError when a queue exists in another form",
  async (bus) => {
    await using raw = await bus.raw();
    await raw!.channel.assertQueue(bus.topic, { durable: false });
    const manager = implement(sums(bus.topic), sumHandlers());
    const error = await failureOf(
      Service.start({ url: bus.url, host: "one", manager }),
    );
    assert.ok(error instanceof TopologyError, String(error));
  },
);

onEachBus("stop while it starts ends the start", async (bus) => {
  const reached = Promise.withResolvers<void>();
  const manager = implement(sums(bus.topic), sumHandlers(), {
    initHost: async ({ connection }) => {
      reached.resolve();
      await connection[Symbol.asyncDispose]();
    },
  });
  const start = failureOf(
    Service.start({ url: bus.url, host: "one", manager }),
  );
  await reached.promise;
  assert.match((await start).message, /disposed/);
});

onEachBus(
  "a host and a topic that together are too long are refused by both ends",
  async (bus) => {
    const topic = `${bus.topic}${"t".repeat(150)}`;
    const host = "h".repeat(100);
    const manager = implement(sums(topic), sumHandlers());
    bus.owns(topic);
    const start = Service.start({ url: bus.url, host, manager });
    assert.ok(await failureOf(start) instanceof InvalidValueError);
    await using connection = await bus.connect();
    const call = connection.client(sums(topic)).call("wait", {}, { host });
    assert.ok(await failureOf(call) instanceof InvalidValueError);
  },
);
