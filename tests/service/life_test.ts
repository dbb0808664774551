/** The life of a service: each step in its order, and undone in the reverse order. */
import assert from "node:assert/strict";
import {
  type Companion,
  ConnectionFailedError,
  type HostEnvironment,
  implement,
  type Manager,
  Service,
} from "../../mod.ts";
import {
  type Bus,
  Endless,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../rpc/support.ts";
import { until } from "../setup/probe.ts";

/** Writes down what happens. */
class Diary {
  readonly entries: string[] = [];

  write(entry: string): void {
    this.entries.push(entry);
  }

  manager(bus: Bus, name: string): Manager {
    const manager: Manager = implement(
      sums(bus.name(name)),
      sumHandlers({
        wait: ({ tag }) => this.write(`${name} handles ${tag}`),
      }),
      {
        initHost: async ({ stopping, signal, connection }) => {
          this.write(`${name} initHost`);
          const client = connection.client(sums(`${bus.topic}-${name}`));
          await client.cast("wait", { tag: "what waited" });
          const told = (what: string) => () => this.write(`${name} ${what}`);
          stopping.addEventListener("abort", told("stopping"));
          signal.addEventListener("abort", told("gone"));
        },
        postStartHook: () => this.write(`${name} postStartHook`),
        cleanupHost: async () => {
          // The connection is still there.
          await manager.connection.notify("life.cleanup", null);
          this.write(`${name} cleanupHost`);
        },
      },
    );
    return manager;
  }

  front(name: string): Companion {
    return {
      start: () => this.write(`${name} start`),
      stop: () => this.write(`${name} stop`),
    };
  }
}

/** Two managers and two fronts. */
function options(diary: Diary, bus: Bus) {
  return {
    url: bus.url,
    host: "one",
    signals: false,
    manager: [diary.manager(bus, "a"), diary.manager(bus, "b")],
    companions: [diary.front("web"), diary.front("admin")],
  };
}

onEachBus(
  "a life's steps come in order, and in reverse at its end",
  async (bus) => {
    const diary = new Diary();
    for (const name of ["a", "b"]) bus.owns(`${bus.topic}-${name}.one`);
    const service = await Service.start(options(diary, bus));
    assert.equal(service.state, "up");
    const handled = () =>
      diary.entries.filter((entry) => entry.includes("handles")).length;
    await until("both have handled what waited", () => handled() === 2);
    const { entries } = diary;
    const rest = entries.filter((entry) => !entry.includes("handles"));
    assert.deepEqual(rest, [
      "a initHost",
      "b initHost",
      "a postStartHook",
      "b postStartHook",
      "web start",
      "admin start",
    ]);
    const first = entries.findIndex((entry) => entry.includes("handles"));
    assert.ok(first > entries.indexOf("b initHost"), "initHost came first");
    entries.length = 0;
    const stopping = service.stop();
    assert.equal(service.state, "stopping");
    await stopping;
    assert.equal(service.state, "stopped");
    assert.deepEqual(entries, [
      "a stopping",
      "b stopping",
      "admin stop",
      "web stop",
      "b cleanupHost",
      "a cleanupHost",
      "a gone",
      "b gone",
    ]);
    await using raw = await bus.raw();
    for (const name of ["a", "b"]) {
      await raw?.channel.deleteExchange(`${bus.topic}-${name}_fanout`);
    }
  },
);

onEachBus("cleanupHost comes when no handler runs any more", async (bus) => {
  const endless = new Endless();
  const seen: string[] = [];
  const manager = implement(
    sums(bus.topic),
    sumHandlers({
      wait: async () => {
        const { stopping } = manager as unknown as { stopping: AbortSignal };
        await endless.run(stopping);
        seen.push("handled");
      },
    }),
    {
      initHost: ({ stopping }) => void Object.assign(manager, { stopping }),
      cleanupHost: () => void seen.push("cleanupHost"),
    },
  );
  const options = { url: bus.url, host: "one", signals: false, manager };
  const service = await Service.start(options);
  await using connection = await bus.connect();
  const call = connection.client(sums(bus.topic)).call("wait");
  await endless.began;
  await service.stop();
  await call;
  assert.deepEqual(seen, ["handled", "cleanupHost"]);
});

onEachBus(
  "what goes wrong in a stop keeps no other step from its turn",
  async (bus) => {
    const seen: string[] = [];
    const never = new Promise<void>(() => {});
    const manager = implement(sums(bus.topic), sumHandlers(), {
      cleanupHost: () => {
        seen.push("cleanupHost");
        throw new Error("expected");
      },
    });
    const service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      grace: 50,
      manager,
      companions: [
        { start: () => {}, stop: () => (seen.push("hangs"), never) },
        { start: () => {}, stop: () => Promise.reject(new Error("expected")) },
      ],
    });
    await service.stop();
    assert.deepEqual(seen, ["hangs", "cleanupHost"]);
  },
);

onEachBus(
  "a front that cannot start fails the start, and those before it stop",
  async (bus) => {
    const diary = new Diary();
    const manager = implement(sums(bus.topic), sumHandlers());
    const start = Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      manager,
      companions: [
        diary.front("web"),
        { start: () => Promise.reject(new Error("expected")), stop: () => {} },
        diary.front("never"),
      ],
    });
    assert.match((await failureOf(start)).message, /^expected$/);
    assert.deepEqual(diary.entries, ["web start", "web stop"]);
  },
);

onEachBus(
  "a link that is given up in the middle of a start undoes what was done",
  async (bus) => {
    const seen: string[] = [];
    const hooks = {
      initHost: ({ connection }: HostEnvironment) => {
        seen.push("initHost");
        const detail = { reason: "expected", error: new Error("expected") };
        connection.dispatchEvent(new CustomEvent("failed", { detail }));
      },
      postStartHook: () => void seen.push("postStartHook"),
      cleanupHost: () => void seen.push("cleanupHost"),
    };
    const manager = implement(sums(bus.topic), sumHandlers(), hooks);
    const front = { start: () => seen.push("front"), stop: () => {} };
    const options = { url: bus.url, host: "one", signals: false, manager };
    const start = Service.start({ ...options, companions: [front] });
    assert.ok(await failureOf(start) instanceof ConnectionFailedError);
    assert.deepEqual(seen, ["initHost", "cleanupHost"]);
  },
);

onEachBus(
  "a front that starts when the link is given up is stopped, and none after it starts",
  async (bus) => {
    const diary = new Diary();
    const manager = implement(sums(bus.topic), sumHandlers());
    const web: Companion = {
      start: () => {
        diary.write("web start");
        const detail = { reason: "expected", error: new Error("expected") };
        const event = new CustomEvent("failed", { detail });
        manager.connection.dispatchEvent(event);
      },
      stop: () => diary.write("web stop"),
    };
    const fronts = [web, diary.front("never")];
    const options = { url: bus.url, host: "one", signals: false, manager };
    const start = Service.start({ ...options, companions: fronts });
    assert.match((await failureOf(start)).message, /lost its broker.*expected/);
    assert.deepEqual(diary.entries, ["web start", "web stop"]);
  },
);

onEachBus(
  "a stop while the consumers start begins no periodic task, and does not wait for one",
  async (bus) => {
    let runs = 0;
    const periodic = [{ every: 10, initialDelay: 0, run: () => void runs++ }];
    const manager = implement(sums(bus.topic), sumHandlers(), {
      initHost: ({ connection }) => {
        const consume = connection.consume.bind(connection);
        connection.consume = () => {
          const detail = { reason: "expected", error: new Error("expected") };
          connection.dispatchEvent(new CustomEvent("failed", { detail }));
          return consume();
        };
      },
      periodic,
    });
    const options = { url: bus.url, host: "one", signals: false, manager };
    const startedAt = performance.now();
    const start = Service.start({ ...options, grace: 8_000 });
    assert.ok(await failureOf(start) instanceof ConnectionFailedError);
    assert.ok(performance.now() - startedAt < 6_000, "it takes no grace time");
    assert.equal(runs, 0);
  },
);

onEachBus(
  "fronts, handlers and cleanupHost share the grace time",
  async (bus) => {
    const never = new Promise<void>(() => {});
    const endless = new Endless();
    const manager = implement(
      sums(bus.topic),
      sumHandlers({
        wait: (_, { signal }) => Promise.race([endless.run(signal), never]),
      }),
      { cleanupHost: () => never },
    );
    const service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      grace: 1_500,
      manager,
      companions: [{ start: () => {}, stop: () => never }],
    });
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const call = failureOf(client.call("wait", {}, { timeout: 8_000 }));
    await endless.began;
    const began = performance.now();
    await service.stop();
    const ms = performance.now() - began;
    assert.ok(ms < 1_500 + 2 * 1_000 + 500, `${ms} ms`);
    await connection[Symbol.asyncDispose]();
    await call;
  },
);
