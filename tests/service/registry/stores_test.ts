/** Stores of services, and the records that services leave there. */
import assert from "node:assert/strict";
import { DatabaseSync } from "node:sqlite";
import {
  memoryServiceStore,
  type ServiceRecord,
  type ServiceStore,
  sqliteServiceStore,
} from "../../../mod.ts";
import { onEachBus } from "../../rpc/support.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { found, serve } from "../../rpc/discovery/fleet.ts";

/** A path for a file that is gone at the end. */
function temporary(): { path: string } & AsyncDisposable {
  const folder = Deno.makeTempDirSync({ prefix: "warren-store-" });
  return {
    path: `${folder}/services.db`,
    [Symbol.asyncDispose]: () => Deno.remove(folder, { recursive: true }),
  };
}

/** Each kind of store, for one test. */
async function onEachStore(
  test: (store: ServiceStore) => Promise<void>,
): Promise<void> {
  await test(memoryServiceStore());
  await using file = temporary();
  using store = sqliteServiceStore(file.path);
  await test(store);
}

const record: ServiceRecord = {
  id: "1",
  host: "one",
  topic: "compute",
  binary: "nova-compute",
  version: "1.0",
  reportCount: 1,
  state: "up",
  interval: 100,
  startedAt: 1,
  updatedAt: 2,
};

Deno.test("a store keeps one record for each host, topic, binary and worker", async () => {
  await onEachStore(async (store) => {
    assert.deepEqual(await store.list(), []);
    assert.equal(await store.get(record), undefined);
    const others = [
      { ...record, host: 'a"],[' },
      { ...record, topic: "x" },
      { ...record, binary: "x" },
      { ...record, worker: 2, zone: "north" },
    ];
    for (const one of [record, ...others]) await store.put(one);
    const next = { ...record, id: "2", reportCount: 2 };
    await store.put(next);
    assert.deepEqual(await store.get(record), next);
    assert.deepEqual(await store.get(others[3]!), others[3]);
    assert.equal((await store.list()).length, 5);
    assert.equal(await store.remove(record), true);
    assert.equal(await store.remove(record), false);
    assert.equal(await store.get(record), undefined);
    assert.equal((await store.list()).length, 4);
  });
});

Deno.test("an SQLite store is shared by its users, and outlives them", async () => {
  await using file = temporary();
  {
    using one = sqliteServiceStore(file.path);
    using two = sqliteServiceStore(file.path);
    await one.put(record);
    assert.deepEqual(await two.list(), [record]);
    await two.put({ ...record, reportCount: 7 });
    assert.equal((await one.get(record))?.reportCount, 7);
  }
  using three = sqliteServiceStore(file.path);
  assert.equal((await three.get(record))?.reportCount, 7);
});

Deno.test("an SQLite store without its folder fails, and works when it is there", async () => {
  await using file = temporary();
  using store = sqliteServiceStore(`${file.path}.d/services.db`);
  await assert.rejects(store.list());
  await Deno.mkdir(`${file.path}.d`);
  await store.put(record);
  assert.deepEqual(await store.list(), [record]);
});

onEachBus(
  "a service's record follows its life, and is counted on over restarts",
  async (bus) => {
    await onEachStore(async (store) => {
      const only = async () => {
        const [one, ...more] = await store.list();
        assert.deepEqual(more, []);
        return one;
      };
      const first = await serve(bus, { store, zone: "north" });
      await until("it is up", async () => (await only())?.state === "up");
      await until(
        "it has reported",
        async () => Number((await only())?.reportCount) > 4,
      );
      await first.stop();
      const stopped = await only();
      assert.equal(stopped?.state, "stopped");
      assert.equal(stopped?.zone, "north");
      assert.ok(Math.abs(Date.now() - stopped.updatedAt) < 10_000);
      const second = await serve(bus, { store });
      const up = await until("it is up again", async () => {
        const now = await only();
        return now?.state === "up" && now;
      });
      assert.ok(up.reportCount > stopped.reportCount);
      assert.notEqual(up.id, stopped.id);
      await second.kill();
      assert.equal(await only(), undefined);
    });
  },
);

onEachBus("a record that was lost is made again", async (bus) => {
  const store = memoryServiceStore();
  await using _service = await serve(bus, { store });
  const [first] = await store.list();
  assert.ok(first);
  await store.remove(first);
  const again = await until("it is back", async () => (await store.list())[0]);
  assert.equal(again.id, first.id);
  assert.ok(again.reportCount > first.reportCount);
});

onEachBus("kill after stop removes the record too", async (bus) => {
  const store = memoryServiceStore();
  const service = await serve(bus, { store });
  await service.stop();
  assert.equal((await store.list()).length, 1);
  await service.kill();
  assert.deepEqual(await store.list(), []);
});

onEachBus(
  "a store that goes away and comes back is one line of the log each",
  async (bus) => {
    const inner = memoryServiceStore();
    let away: "no" | "fails" | "hangs" | "throws" = "fails";
    let asked = 0;
    const through = <T>(work: () => Promise<T>): Promise<T> => {
      asked++;
      if (away === "throws") throw new Error("no\nstore");
      if (away === "hangs") return new Promise<T>(() => {});
      return away === "fails" ? Promise.reject(new Error("no\nstore")) : work();
    };
    const store: ServiceStore = {
      get: (key) => through(() => inner.get(key)),
      put: (record) => through(() => inner.put(record)),
      remove: (key) => through(() => inner.remove(key)),
      list: () => through(() => inner.list()),
    };
    await using log = await logged();
    const lines = (text: string) =>
      log.lines.filter((line) => line.includes(text)).length;
    await using connection = await bus.connect();
    await using service = await serve(bus, { store });
    const more = async (count: number) => {
      const goal = asked + count;
      await until("it is asked again", () => asked >= goal, 20_000);
    };
    const there = async () => {
      away = "no";
      await until("it is there", async () => (await inner.list()).length === 1);
    };
    for (
      const [round, how] of (["fails", "throws", "hangs"] as const).entries()
    ) {
      away = how;
      await more(how === "hangs" ? 2 : 3);
      const [status] = await found(connection, bus);
      assert.equal(status?.state, "up", "it lives without its store");
      await there();
      await until(
        "that is said",
        () => lines("is available again") === round + 1,
      );
      assert.equal(lines("is unavailable"), round + 1);
      const [record] = await inner.list();
      await inner.remove(record!);
    }
    assert.equal(service.state, "up");
    assert.ok(
      !log.lines.some((line) =>
        line.includes("\n") && line.includes("no\nstore")
      ),
    );
  },
);

onEachBus(
  "an old run that ends leaves its successor's record alone",
  async (bus) => {
    const store = memoryServiceStore();
    const old = await serve(bus, { store, reportInterval: 0 });
    const other = await serve(bus, { store, reportInterval: 0 });
    await using next = await serve(bus, { store, reportInterval: 0 });
    const state = async () => (await store.list()).map(({ state }) => state);
    await old.stop();
    assert.deepEqual(await state(), ["up"]);
    await other.kill();
    assert.deepEqual(await state(), ["up"]);
    await next.kill();
    assert.deepEqual(await state(), []);
  },
);

onEachBus(
  "a store that hangs holds up no stop, and has the last word in the end",
  async (bus) => {
    const inner = memoryServiceStore();
    const gate: { closed?: Promise<void> } = {};
    const store: ServiceStore = {
      ...inner,
      put: async (record) => {
        await gate.closed;
        await inner.put(record);
      },
    };
    const service = await serve(bus, { store, reportInterval: 10 });
    const { promise, resolve } = Promise.withResolvers<void>();
    gate.closed = promise;
    const began = performance.now();
    await service.kill();
    const ms = performance.now() - began;
    assert.ok(ms < 3_500, `${ms} ms`);
    assert.equal((await inner.list()).length, 1);
    resolve();
    await until("it is removed", async () => (await inner.list()).length === 0);
  },
);

Deno.test("an SQLite row that cannot be read is none, and a file that is gone is made again", async () => {
  await using file = temporary();
  using store = sqliteServiceStore(file.path);
  await store.put(record);
  await store.put({ ...record, host: "two" });
  const database = new DatabaseSync(file.path);
  database.exec(
    `UPDATE warren_services SET record = '{"id":' WHERE record LIKE '%"one"%'`,
  );
  database.close();
  assert.equal(await store.get(record), undefined);
  assert.deepEqual((await store.list()).map(({ host }) => host), ["two"]);
  await store.put(record);
  assert.equal((await store.list()).length, 2);
  for (const end of ["", "-wal", "-shm"]) {
    await Deno.remove(`${file.path}${end}`).catch(() => {});
  }
  assert.deepEqual(await store.list(), []);
  await store.put(record);
  using other = sqliteServiceStore(file.path);
  assert.deepEqual(await other.list(), [record]);
});
