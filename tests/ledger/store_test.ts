/** What every ledger store promises. */
import assert from "node:assert/strict";
import {
  InvalidValueError,
  memoryLedgerStore,
  postgresLedgerStore,
} from "../../mod.ts";
import { until } from "../setup/probe.ts";
import { newTable, onEachStore, onPostgres, pool } from "./stores.ts";

onEachStore("of many who claim at once, one holds", async ({ store }) => {
  const claims = Array.from({ length: 20 }, () => store.claim("a"));
  const states = (await Promise.all(claims)).map(({ state }) => state).sort();
  assert.deepEqual(states, ["held", ...new Array(19).fill("taken")]);
});

onEachStore(
  "what is done stays so, with what was first said of it",
  async ({ store }) => {
    const held = { key: "a", epoch: 1 };
    assert.deepEqual(await store.claim("a"), { state: "held", epoch: 1 });
    assert.equal(await store.done(held, "one"), true);
    assert.equal(await store.done(held, "two"), false);
    assert.equal(await store.renew(held), false);
    await store.release(held);
    const known = { state: "done", answers: "one" } as const;
    assert.deepEqual(await store.claim("a"), known);
  },
);

onEachStore(
  "a claim that is not renewed is taken over, and the first is worth nothing then",
  async ({ store, expire }) => {
    const first = { key: "a", epoch: 1 };
    await store.claim("a");
    await expire();
    assert.equal(await store.renew(first), true, "nobody has taken it");
    assert.equal((await store.claim("a")).state, "taken");
    await expire();
    assert.deepEqual(await store.claim("a"), { state: "held", epoch: 2 });
    assert.equal(await store.renew(first), false);
    assert.equal(await store.done(first, "zombie"), false);
    const orphan = { queue: "q", request: "r" };
    assert.equal(await store.keep(first, orphan), false);
    await store.release(first);
    assert.equal((await store.claim("a")).state, "taken");
    assert.equal(await store.done({ key: "a", epoch: 2 }, "second"), true);
  },
);

onEachStore("what is given back is free at once", async ({ store }) => {
  await store.claim("a");
  await store.release({ key: "a", epoch: 1 });
  assert.deepEqual(await store.claim("a"), { state: "held", epoch: 2 });
});

onEachStore(
  "a request whose worker is gone is given once a lease, to who watches its queue",
  async ({ store, expire }) => {
    const held = { key: "a", epoch: 1 };
    const orphan = { queue: "long", request: "its body" };
    await store.claim("a");
    assert.equal(await store.keep(held, orphan), true);
    assert.deepEqual(await store.sweep(["long"]), [], "its worker lives");
    await expire();
    assert.deepEqual(await store.sweep(["other"]), []);
    assert.deepEqual(await store.sweep(["long"]), [orphan]);
    assert.deepEqual(await store.sweep(["long"]), []);
    await expire();
    assert.deepEqual(await store.sweep(["long"]), [orphan]);
    assert.deepEqual(await store.claim("a"), { state: "held", epoch: 2 });
    assert.equal(await store.done({ key: "a", epoch: 2 }, ""), true);
    await expire();
    assert.deepEqual(await store.sweep(["long"]), [], "it is done");
  },
);

onEachStore(
  "what is recorded in a transaction is done if that is committed",
  async (test) => {
    const { store, transaction } = test;
    await store.claim("a");
    await transaction(async (client) => {
      const first = await store.done({ key: "a", epoch: 1 }, "one", client);
      assert.equal(first, true);
    });
    assert.equal((await store.claim("a")).state, "done");
  },
);

onPostgres("what is rolled back was not done", async ({ store, database }) => {
  await store.claim("a");
  const client = await database.connect();
  await client.query("BEGIN");
  assert.equal(await store.done({ key: "a", epoch: 1 }, "one", client), true);
  await client.query("ROLLBACK");
  client.release();
  assert.equal((await store.claim("a")).state, "taken");
  assert.equal(await store.done({ key: "a", epoch: 1 }, "two"), true);
});

onPostgres(
  "who takes over waits for a transaction that records",
  async (test) => {
    const { store, database, table } = test;
    await store.claim("a");
    const client = await database.connect();
    await client.query("BEGIN");
    await store.done({ key: "a", epoch: 1 }, "one", client);
    const expired = `UPDATE ${table} SET lease_until = clock_timestamp()`;
    const end = database.query(expired); // waits for the row as well
    const later = store.claim("a");
    await client.query("COMMIT");
    client.release();
    assert.notEqual((await later).state, "held"); // it may have looked before the commit
    await end;
    assert.equal((await store.claim("a")).state, "done");
  },
);

onPostgres("many processes make the table at once", async () => {
  const table = newTable();
  const pools = Array.from({ length: 6 }, () => pool(2));
  const stores = pools.map((each) => postgresLedgerStore(each, { table }));
  const states = await Promise.all(stores.map((store) => store.claim("a")));
  const held = states.filter(({ state }) => state === "held");
  assert.equal(held.length, 1);
  for (const each of pools) await each.end();
});

onPostgres("who may not make the table uses one that is there", async () => {
  const owner = pool();
  const table = newTable();
  await postgresLedgerStore(owner, { table }).claim("a");
  await owner.query(`CREATE ROLE worker_${table} LOGIN`);
  await owner.query("REVOKE CREATE ON SCHEMA public FROM public");
  const rights = "SELECT, INSERT, UPDATE, DELETE";
  await owner.query(`GRANT ${rights} ON ${table} TO worker_${table}`);
  const worker = await owner.connect();
  await worker.query(`SET ROLE worker_${table}`);
  const store = postgresLedgerStore(worker, { table });
  assert.equal((await store.claim("b")).state, "held");
  worker.release(true);
  await owner.end();
});

onPostgres("what is older than the window is forgotten", async () => {
  const database = pool();
  const table = newTable();
  const store = postgresLedgerStore(database, { table, window: 60_000 });
  for (const key of ["old", "young", "kept"]) {
    await store.claim(key);
    if (key === "kept") {
      await store.keep({ key, epoch: 1 }, { queue: "q", request: "r" });
    } else await store.done({ key, epoch: 1 }, "");
  }
  const back = "clock_timestamp() - interval '61 seconds'";
  await database.query(
    `UPDATE ${table} SET done_at = ${back} WHERE key = 'old'`,
  );
  await database.query(
    `UPDATE ${table} SET lease_until = ${back} WHERE key = 'kept'`,
  );
  await store.sweep([]);
  const { rows } = await database.query(
    `SELECT key FROM ${table} ORDER BY key`,
  );
  assert.deepEqual(rows, [{ key: "kept" }, { key: "young" }]);
  await database.end();
});

Deno.test("the store in memory forgets what is older than its window", async () => {
  let now = 0;
  const store = memoryLedgerStore({ window: 60_000, now: () => now });
  await store.claim("a");
  await store.done({ key: "a", epoch: 1 }, "");
  now = 59_000;
  await store.sweep([]);
  assert.equal((await store.claim("a")).state, "done");
  now = 60_000;
  await store.sweep([]);
  assert.equal((await store.claim("a")).state, "held");
});

Deno.test("wrong options of a store are refused by name", () => {
  const query = () => Promise.resolve({ rows: [] });
  const wrong: [string, () => unknown][] = [
    ["lease", () => memoryLedgerStore({ lease: 999 })],
    ["lease", () => memoryLedgerStore({ lease: Infinity })],
    ["window", () => postgresLedgerStore({ query }, { window: 1 })],
    ["table", () => postgresLedgerStore({ query }, { table: "a; drop" })],
    ["database", () => postgresLedgerStore({} as never)],
  ];
  for (const [path, make] of wrong) {
    assert.throws(make, (error) => {
      assert.ok(error instanceof InvalidValueError);
      return error.data.path === path;
    });
  }
});

onPostgres("a database that was away is used again", async () => {
  const database = pool();
  let away = true;
  const query = (text: string, values: unknown[]) =>
    away ? Promise.reject(new Error("away")) : database.query(text, values);
  const store = postgresLedgerStore({ query }, { table: newTable() });
  await assert.rejects(store.claim("a"), /away/);
  away = false;
  await until("it answers", async () => (await store.claim("a")).state);
  await database.end();
});
