/** What every ledger store promises. */
import assert from "node:assert/strict";
import {
  type Claim,
  InvalidValueError,
  type LedgerStore,
  memoryLedgerStore,
  postgresLedgerStore,
} from "../../mod.ts";
import { until } from "../setup/probe.ts";
import { newTable, onEachStore, onPostgres, pool } from "./stores.ts";

onEachStore("of many who claim at once, one holds", async ({ store }) => {
  const claims = Array.from({ length: 20 }, () => store.claim("a", "content"));
  const states = (await Promise.all(claims)).map(({ state }) => state).sort();
  assert.deepEqual(states, ["held", ...new Array(19).fill("taken")]);
});

/** Claims it; the claim. */
async function held(store: LedgerStore, key: string): Promise<Claim> {
  const claimed = await store.claim(key, "content");
  assert.equal(claimed.state, "held");
  return { key, epoch: claimed.state === "held" ? claimed.epoch : NaN };
}

onEachStore(
  "what is done stays so, with what was first said of it",
  async ({ store }) => {
    const claim = await held(store, "a");
    assert.equal(await store.done(claim, "one"), true);
    assert.equal(await store.done(claim, "two"), false);
    assert.equal(await store.renew(claim), false);
    await store.release(claim);
    const known = { state: "done", answers: "one" } as const;
    assert.deepEqual(await store.claim("a", "content"), known);
  },
);

onEachStore(
  "a claim that is not renewed is taken over, and the first is worth nothing then",
  async ({ store, expire }) => {
    const first = await held(store, "a");
    await expire();
    assert.equal(await store.renew(first), true, "nobody has taken it");
    assert.equal((await store.claim("a", "content")).state, "taken");
    await expire();
    const second = await held(store, "a");
    assert.ok(second.epoch > first.epoch);
    assert.equal(await store.renew(first), false);
    assert.equal(await store.done(first, "zombie"), false);
    const kept = { ...first, queue: "q", request: "r" };
    assert.equal(await store.keep(kept), false);
    await store.release(first);
    assert.equal((await store.claim("a", "content")).state, "taken");
    assert.equal(await store.done(second, "second"), true);
  },
);

onEachStore("what is given back is free at once", async ({ store }) => {
  const first = await held(store, "a");
  await store.release(first);
  const { epoch } = await held(store, "a");
  assert.ok(epoch > first.epoch);
});

onEachStore(
  "a kept request whose worker is gone is given once a lease, to who watches its queue",
  async ({ store, expire }) => {
    const claim = await held(store, "a");
    const kept = { ...claim, queue: "long", request: "its body" };
    const other = await store.claim("a", "content");
    assert.ok(other.state === "taken" && !other.kept);
    assert.equal(await store.keep(kept), true);
    const later = await store.claim("a", "content");
    assert.ok(later.state === "taken" && later.kept);
    assert.deepEqual(await store.sweep(["long"]), [], "its worker lives");
    await expire();
    assert.deepEqual(await store.sweep(["other"]), []);
    assert.deepEqual(await store.sweep(["long"]), [kept]);
    assert.deepEqual(await store.sweep(["long"]), []);
    await expire();
    assert.deepEqual(await store.sweep(["long"]), [kept]);
    const second = await held(store, "a");
    await store.returned(claim); // too late: it is another's to keep
    await expire();
    const [again] = await store.sweep(["long"]);
    assert.equal(again?.request, "its body");
    assert.equal(await store.done(second, ""), true);
    await expire();
    assert.deepEqual(await store.sweep(["long"]), [], "it is done");
  },
);

onEachStore(
  "a request that its queue has again is not given any more",
  async ({ store, expire }) => {
    const claim = await held(store, "a");
    await store.keep({ ...claim, queue: "long", request: "its body" });
    await expire();
    assert.equal((await store.sweep(["long"])).length, 1);
    await store.returned(claim);
    await expire();
    assert.deepEqual(await store.sweep(["long"]), []);
    await held(store, "a");
  },
);

onEachStore(
  "what is recorded in a transaction is done if that is committed",
  async (test) => {
    const { store, transaction } = test;
    const claim = await held(store, "a");
    await transaction(async (client) => {
      const first = await store.done(claim, "one", client);
      assert.equal(first, true);
    });
    assert.equal((await store.claim("a", "content")).state, "done");
  },
);

onPostgres("what is rolled back was not done", async ({ store, database }) => {
  const claim = await held(store, "a");
  const client = await database.connect();
  await client.query("BEGIN");
  assert.equal(await store.done(claim, "one", client), true);
  await client.query("ROLLBACK");
  client.release();
  assert.equal((await store.claim("a", "content")).state, "taken");
  assert.equal(await store.done(claim, "two"), true);
});

onPostgres(
  "who takes over waits for a transaction that records",
  async (test) => {
    const { store, database, table } = test;
    const claim = await held(store, "a");
    const client = await database.connect();
    await client.query("BEGIN");
    await store.done(claim, "one", client);
    const expired = `UPDATE ${table} SET lease_until = clock_timestamp()`;
    const end = database.query(expired); // waits for the row as well
    const later = store.claim("a", "content");
    await client.query("COMMIT");
    client.release();
    assert.notEqual((await later).state, "held"); // it may have looked before the commit
    await end;
    assert.equal((await store.claim("a", "content")).state, "done");
  },
);

onPostgres("many processes make the table at once", async () => {
  const table = newTable();
  const pools = Array.from({ length: 6 }, () => pool(2));
  const stores = pools.map((each) => postgresLedgerStore(each, { table }));
  const states = await Promise.all(
    stores.map((store) => store.claim("a", "content")),
  );
  const held = states.filter(({ state }) => state === "held");
  assert.equal(held.length, 1);
  for (const each of pools) await each.end();
});

onPostgres("who may not make the table uses one that is there", async () => {
  const owner = pool();
  const table = newTable();
  await postgresLedgerStore(owner, { table }).claim("a", "content");
  await owner.query(`CREATE ROLE worker_${table} LOGIN`);
  await owner.query("REVOKE CREATE ON SCHEMA public FROM public");
  const rights = "SELECT, INSERT, UPDATE, DELETE";
  await owner.query(`GRANT ${rights} ON ${table} TO worker_${table}`);
  const worker = await owner.connect();
  await worker.query(`SET ROLE worker_${table}`);
  const store = postgresLedgerStore(worker, { table });
  assert.equal((await store.claim("b", "content")).state, "held");
  worker.release(true);
  await owner.end();
});

onPostgres("what is older than the window is forgotten", async () => {
  const database = pool();
  const table = newTable();
  const store = postgresLedgerStore(database, { table, window: 60_000 });
  for (const key of ["old", "young", "kept"]) {
    const claim = await held(store, key);
    if (key === "kept") {
      await store.keep({ ...claim, queue: "q", request: "r" });
    } else await store.done(claim, "");
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
  const claim = await held(store, "a");
  await store.done(claim, "");
  now = 59_000;
  await store.sweep([]);
  assert.equal((await store.claim("a", "content")).state, "done");
  now = 60_000;
  await store.sweep([]);
  assert.ok((await held(store, "a")).epoch > claim.epoch, "no epoch twice");
});

onPostgres(
  "to record by the pool, or by nothing, is refused",
  async ({ store, database }) => {
    const claim = await held(store, "a");
    await assert.rejects(store.done(claim, "", database), /it is a pool/);
    await assert.rejects(store.done(claim, "", null), /no query/);
    assert.equal(await store.renew(claim), true);
  },
);

onPostgres("a word of SQL's own may name the table", async () => {
  const database = pool();
  const store = postgresLedgerStore(database, { table: "public.user" });
  await held(store, "a");
  await database.end();
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
  await assert.rejects(store.claim("a", "content"), /away/);
  away = false;
  await until(
    "it answers",
    async () => (await store.claim("a", "content")).state,
  );
  await database.end();
});

onPostgres(
  "what is old is forgotten, but not what is claimed at that moment",
  async () => {
    const database = pool();
    const table = newTable();
    const store = postgresLedgerStore(database, { table, window: 60_000 });
    const keys = Array.from({ length: 300 }, (_, n) => `k${n}`);
    await held(store, "first");
    const back = "clock_timestamp() - interval '61 seconds'";
    for (let round = 0; round < 5; round++) {
      await database.query(`DELETE FROM ${table}`);
      await database.query(
        `INSERT INTO ${table} (key, content, epoch, lease_until)
        SELECT key, 'content', 1, ${back} FROM unnest($1::text[]) AS key`,
        [keys],
      );
      const claims = keys.map((key) => held(store, key));
      await store.sweep([]);
      for (const claim of await Promise.all(claims)) {
        assert.equal(await store.renew(claim), true);
      }
    }
    await database.end();
  },
);

onPostgres("a sweep forgets all that is old, however much", async () => {
  const database = pool();
  const table = newTable();
  const store = postgresLedgerStore(database, { table });
  await held(store, "young");
  await database.query(
    `INSERT INTO ${table} (key, content, epoch, lease_until, done_at, answers)
      SELECT n::text, 'content', 1, now(), now() - interval '1 hour', ''
      FROM generate_series(1, 3500) AS n`,
  );
  await store.sweep([]);
  const { rows } = await database.query(`SELECT key FROM ${table}`);
  assert.deepEqual(rows, [{ key: "young" }]);
  await database.end();
});
