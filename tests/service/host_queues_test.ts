/** Queues of hosts that left: what removes them, and what keeps them. */
import { direct } from "../../src/transport/address.ts";
import assert from "node:assert/strict";
import {
  contract,
  implement,
  InvalidValueError,
  memoryServiceStore,
  NoRouteError,
  Service,
  type ServiceRecord,
  type ServiceStore,
} from "../../mod.ts";
import type { Session } from "../../src/transport/transport.ts";
import { createContext } from "../../src/connection/connection_context.ts";
import { lockHost, removeQueues } from "../../src/rpc/host_queues.ts";
import { checkConnectionOptions } from "../../src/connection/checked_options.ts";
import { openConnection } from "../../src/connection/connect.ts";
import {
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { serve } from "../rpc/discovery/fleet.ts";

const TYPES = ["classic", "quorum"] as const;
type Type = typeof TYPES[number];

/** A test on RabbitMQ, for each type of queues. */
function onQueues(
  title: string,
  test: (bus: Bus, queueType: Type) => Promise<void>,
): void {
  for (const type of TYPES) {
    onRabbit(`${title}, ${type} queues`, (bus) => test(bus, type));
  }
}

/** What tests see of a broker. */
async function view(bus: Bus, queueType: Type = "classic") {
  const checked = checkConnectionOptions({ queueType });
  const opened = await openConnection(bus.url, checked);
  const connection = createContext(opened);
  const soon = () => ({ at: performance.now() + 10_000 });
  const parts = opened.resources;
  const { session, transport } = parts;
  const find = async (name: string) => {
    await using raw = await bus.raw();
    if (!raw) {
      return await transport.inspect(direct(name), soon());
    }
    raw.channel.on("error", () => {});
    const found = raw.channel.checkQueue(name);
    return await found.catch(() => undefined) as object | undefined;
  };
  return {
    parts,
    connection,
    transport: session,
    soon,
    /** Which of the queues exist. */
    async exist(...names: string[]): Promise<string[]> {
      const found = [];
      for (const name of names) if (await find(name)) found.push(name);
      return found;
    },
    /** Resolves when a queue is gone. */
    gone: (name: string) =>
      until(`${name} is gone`, async () => !await find(name), 20_000),
    /** Makes a queue beside another, with a message in it or without. */
    async put(name: string, text?: string, args: object = {}) {
      bus.owns(name);
      await using raw = await bus.raw();
      const type = {
        "x-queue-type": "quorum",
        "x-queue-leader-locator": "balanced",
        ...("x-message-ttl" in args && AT_LEAST_ONCE),
      };
      await raw?.channel.assertQueue(name, {
        durable: true,
        arguments: { ...(queueType === "quorum" && type), ...args },
      });
      if (!raw) await session.declare({ kind: "topic", topic: name }, soon());
      if (text === undefined) return;
      const body = new TextEncoder().encode(text);
      const message = { body, headers: {}, persistent: true, mandatory: true };
      await session.publish(direct(name), message, soon());
    },
    [Symbol.asyncDispose]: () => connection[Symbol.asyncDispose](),
  };
}

/** Leaves a record of a host that has said nothing for a long time. */
async function forget(store: ServiceStore, topic: string, host: string) {
  const record: ServiceRecord = {
    id: `run of ${host}`,
    host,
    topic,
    binary: topic,
    version: "1.0",
    reportCount: 1,
    state: "up",
    interval: 100,
    startedAt: 0,
    updatedAt: Date.now() - 60_000,
  };
  await store.put(record);
  return record;
}

const AT_LEAST_ONCE = {
  "x-dead-letter-strategy": "at-least-once",
  "x-overflow": "reject-publish",
};

const DELAY = (queue: string) => ({
  "x-message-ttl": 3_600_000,
  "x-dead-letter-exchange": "",
  "x-dead-letter-routing-key": queue,
});

/** The queues of a host, each of which may hold a message. */
const PARTS = ["", ".quarantine", ".dead", ".delay.3600000"] as const;

/** Makes the queues of a host that has left, with a message in one of them. */
async function leave(
  bus: Bus,
  { put, transport, soon }: Awaited<ReturnType<typeof view>>,
  host: string,
  full?: typeof PARTS[number],
): Promise<string[]> {
  const queue = `${bus.topic}.${host}`;
  bus.owns(queue);
  await transport.declare({ kind: "host", topic: bus.topic, host }, soon());
  for (const part of PARTS) {
    const args = part.startsWith(".delay") ? DELAY(queue) : {};
    await put(queue + part, part === full ? "kept" : undefined, args);
  }
  return PARTS.map((part) => queue + part);
}

for (const queueType of TYPES) {
  onEachBus(
    `kill() removes the queues of its host, ${queueType} queues`,
    async (bus) => {
      await using see = await view(bus, queueType);
      const queues = await leave(bus, see, "one");
      const service = await serve(bus, { queueType });
      assert.deepEqual(await see.exist(...queues), queues);
      await service.kill();
      assert.deepEqual(await see.exist(bus.topic, ...queues), [bus.topic]);
      const cast = see.connection.client(sums(bus.topic))
        .cast("wait", {}, { host: "one" });
      assert.ok(await failureOf(cast) instanceof NoRouteError);
    },
  );
}

onQueues(
  "kill() leaves all queues of its host where one holds a message",
  async (bus, queueType) => {
    await using see = await view(bus, queueType);
    for (const [at, full] of PARTS.entries()) {
      const host = `h${at}`;
      const queues = await leave(bus, see, host, full);
      const empty = contract({
        topic: bus.topic,
        version: "1.0",
        procedures: {},
      });
      const manager = implement(empty, {});
      const service = await serve(bus, { host, queueType, manager });
      await service.kill();
      // What cannot be read became a dead letter.
      assert.deepEqual(await see.exist(...queues), queues, full);
      const again = { kind: "host", topic: bus.topic, host } as const;
      const message = { body: new Uint8Array(), headers: {}, mandatory: true };
      await see.transport.publish(again, message, see.soon());
    }
  },
);

onQueues(
  "the empty queues of a host that left are removed after a while, with its record",
  async (bus, queueType) => {
    const store = memoryServiceStore();
    await using see = await view(bus, queueType);
    const queues = await leave(bus, see, "gone");
    const two = await serve(bus, { host: "two", store, queueType });
    await two.stop();
    const old = await forget(store, bus.topic, "gone");
    await forget(store, bus.topic, "never");
    await using _one = await serve(bus, { store, queueType, hostExpiry: 500 });
    await see.gone(`${bus.topic}.gone.dead`);
    assert.deepEqual(await see.exist(...queues), []);
    await see.gone(`${bus.topic}.two`);
    await until("the records are gone", async () =>
      !await store.get(old) &&
      (await store.list()).every(({ host }) => host === "one"));
    assert.deepEqual(await see.exist(`${bus.topic}.never`), []);
    const own = [bus.topic, `${bus.topic}.one`, `${bus.topic}.one.quarantine`];
    assert.deepEqual(await see.exist(...own), own);
  },
);

onQueues(
  "queues of a host that left stay, all of them, where one holds a message",
  async (bus, queueType) => {
    const store = memoryServiceStore();
    await using see = await view(bus, queueType);
    const all: string[] = [];
    for (const [at, full] of PARTS.entries()) {
      all.push(...await leave(bus, see, `h${at}`, full));
      await forget(store, bus.topic, `h${at}`);
    }
    const queues = await leave(bus, see, "last");
    await forget(store, bus.topic, "last"); // it is looked at after the others
    await using _one = await serve(bus, { store, queueType, hostExpiry: 500 });
    await see.gone(queues[2] ?? "");
    assert.deepEqual(await see.exist(...all), all);
    const client = see.connection.client(sums(bus.topic));
    for (const at of PARTS.keys()) {
      await client.cast("wait", {}, { host: `h${at}` });
    }
    assert.equal((await store.list()).length, PARTS.length + 1);
  },
);

onQueues(
  "the queues of a host stay while a service of it finishes its last request, whatever the store says",
  async (bus, queueType) => {
    const store = memoryServiceStore();
    await using see = await view(bus, queueType);
    const begun = Promise.withResolvers<void>();
    const finish = Promise.withResolvers<void>();
    const wait = async () => {
      begun.resolve();
      await finish.promise;
    };
    const manager = implement(sums(bus.topic), sumHandlers({ wait }));
    const two = await serve(bus, { host: "two", queueType, manager });
    const client = see.connection.client(sums(bus.topic));
    await client.cast("wait", {}, { host: "two" });
    await begun.promise;
    const stopping = two.stop();
    const name = `${bus.topic}.two`;
    await using raw = await bus.raw();
    // A quorum queue counts a consumer as long as it has something in hand.
    const left = queueType === "classic" ? 0 : 1;
    await until("it takes no more", async () =>
      two.state === "stopping" &&
      (await raw?.channel.checkQueue(name))?.consumerCount === left);
    await forget(store, bus.topic, "two");
    const queues = await leave(bus, see, "last");
    await forget(store, bus.topic, "last");
    await using _one = await serve(bus, { store, queueType, hostExpiry: 500 });
    await see.gone(queues[2] ?? "");
    assert.deepEqual(await see.exist(name), [name]);
    finish.resolve();
    await stopping;
  },
);

onEachBus(
  "a host starts when its queues are not being removed, and they are not removed until it has drained",
  async (bus) => {
    await using see = await view(bus);
    const host = { topic: bus.topic, host: "one" };
    const started: string[] = [];
    const lock = await lockHost(see.parts, host);
    assert.ok(lock);
    const finish = Promise.withResolvers<void>();
    const begun = Promise.withResolvers<void>();
    const manager = implement(
      sums(bus.topic),
      sumHandlers({ wait: () => (begun.resolve(), finish.promise) }),
    );
    const tried = Promise.withResolvers<void>();
    const release = Promise.withResolvers<void>();
    manager.initHost = async () => {
      started.push("initHost");
      tried.resolve();
      await release.promise;
    };
    const starting = serve(bus, { manager });
    await until("it is connected", async () => {
      for await (const { state } of see.connection.services({ timeout: 100 })) {
        if (state === "starting") return true;
      }
      return false;
    });
    assert.deepEqual(await see.exist(`${bus.topic}.one`), []);
    await lock[Symbol.asyncDispose]();
    await tried.promise;
    assert.equal(await lockHost(see.parts, host), undefined);
    release.resolve();
    const service = await starting;
    assert.equal(await lockHost(see.parts, host), undefined);
    await see.connection.client(sums(bus.topic)).cast("wait", {});
    await begun.promise;
    const stopping = service.stop();
    await until("nobody consumes", async () => {
      const queue = {
        kind: "host",
        topic: bus.topic,
        host: "one",
      } as const;
      const wait = { at: performance.now() + 5_000 };
      const counts = await see.parts.transport.inspect(queue, wait);
      return counts?.consumers === 0;
    });
    assert.equal(await lockHost(see.parts, host), undefined);
    finish.resolve();
    await stopping;
    await using _later = await until(
      "it has stopped",
      async () => await lockHost(see.parts, host) ?? false,
    );
    const name = `${bus.topic}.one.leader.warren.host`;
    assert.deepEqual(await see.exist(name), [name]);
  },
);

onEachBus(
  "a queue that gets a message after it was looked at keeps it, and its binding",
  async (bus) => {
    await using see = await view(bus);
    const queues = await leave(bus, see, "gone");
    const { transport, parts: { transport: whole } } = see;
    const name = `${bus.topic}.gone`;
    const late: Pick<Session, "unbind"> = {
      async unbind(route, wait) {
        await transport.unbind(route, wait);
        const cast = see.connection.client(sums(bus.topic))
          .cast("wait", {}, { host: "gone" });
        assert.ok(await failureOf(cast) instanceof NoRouteError);
        await see.put(name, "late");
      },
    };
    const slow = new Proxy(transport, {
      get(target, key) {
        const found = Reflect.get(key in late ? late : target, key);
        return typeof found === "function" ? found.bind(target) : found;
      },
    });
    const lock = await lockHost(see.parts, { topic: bus.topic, host: "gone" });
    assert.ok(lock);
    await using held = lock;
    const { signal } = new AbortController();
    const parts = { session: slow, transport: whole };
    assert.equal(await removeQueues(parts, held, signal), false);
    assert.deepEqual(await see.exist(...queues), queues);
    const client = see.connection.client(sums(bus.topic));
    await client.cast("wait", {}, { host: "gone" });
  },
);

onRabbit(
  "a queue of another type is removed as what it is, and costs no connection",
  async (bus) => {
    const store = memoryServiceStore();
    await using see = await view(bus);
    const name = `${bus.topic}.other`;
    await see.put(name, undefined, { "x-queue-type": "quorum" });
    await forget(store, bus.topic, "other");
    const queues = await leave(bus, see, "last");
    await forget(store, bus.topic, "last");
    await using _one = await serve(bus, { store, hostExpiry: 500 });
    await see.gone(queues[2] ?? "");
    await see.gone(name);
    assert.equal(see.connection.health().consuming.losses, 0);
  },
);

onQueues(
  "a host that returns while its queues are removed loses no cast",
  async (bus, queueType) => {
    const store = memoryServiceStore();
    await using _one = await serve(bus, { store, queueType, hostExpiry: 500 });
    await using see = await view(bus, queueType);
    const client = see.connection.client(sums(bus.topic));
    const [taken, handled] = [new Set<string>(), new Set<string>()];
    let refused = 0;
    const cast = async (host = "two") => {
      const tag = crypto.randomUUID();
      try {
        await client.cast("wait", { tag }, { host });
        taken.add(tag);
      } catch (error) {
        assert.ok(error instanceof NoRouteError, String(error));
        refused++;
      }
    };
    const wait = ({ tag }: { tag?: string | undefined }) =>
      void handled.add(`${tag}`);
    const start = () => {
      const manager = implement(sums(bus.topic), sumHandlers({ wait }));
      return serve(bus, { host: "two", store, queueType, manager });
    };
    for (let round = 0; round < 5; round++) {
      await forget(store, bus.topic, "two");
      // Somewhere within a sweep, which begins soon, and takes two seconds.
      const begin = performance.now() + 500 * round;
      await until("its turn", () => performance.now() > begin);
      let up = false;
      const starting = start().finally(() => up = true);
      while (!up) await cast();
      await using _two = await starting;
      await cast();
      await until("all are handled", () => taken.isSubsetOf(handled));
    }
    assert.ok(refused > 0, "no sweep was met");
  },
);

for (const hostExpiry of [0, -1, NaN, "7d" as never]) {
  Deno.test(`hostExpiry ${hostExpiry} is refused`, async () => {
    const manager = implement(sums("t"), sumHandlers());
    const options = {
      url: "memory:hosts",
      signals: false,
      manager,
      hostExpiry,
    };
    const error = await failureOf(Service.start(options));
    assert.ok(error instanceof InvalidValueError, String(error));
    assert.match(
      error.message,
      /^Invalid option hostExpiry .*give milliseconds/,
    );
  });
}
