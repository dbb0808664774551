/** The ledger stores that every test of a ledger runs on: the one in memory, and a real PostgreSQL. */
// @ts-types="npm:@types/pg@^8"
import pg from "npm:pg@^8";
import {
  type LedgerStore,
  memoryLedgerStore,
  postgresLedgerStore,
} from "../../mod.ts";
import { postgresServer, privatePostgres } from "../setup/postgres.ts";

/** A fresh store, whose leases a test can bring to their end. */
export interface TestStore extends AsyncDisposable {
  readonly store: LedgerStore;
  /** Ends all leases, as time would. */
  expire(): Promise<void>;
  /** A transaction of the user's; where there are none, one that does nothing. */
  transaction(
    work: (client: pg.PoolClient | object) => Promise<void>,
  ): Promise<void>;
}

/** One in PostgreSQL. */
export interface PostgresTestStore extends TestStore {
  readonly table: string;
  readonly database: pg.Pool;
}

/** Options of a store. */
export interface StoreOptions {
  readonly lease?: number;
}

/** A PostgreSQL for a file of tests. */
let server: Awaited<ReturnType<typeof privatePostgres>> | undefined;
let tables = 0;

Deno.test.beforeAll(async () => {
  if (postgresServer) server = await privatePostgres();
});
Deno.test.afterAll(() => server?.[Symbol.asyncDispose]());

/** A pool on the server of this file. */
export function pool(max = 8): pg.Pool {
  const made = new pg.Pool({ connectionString: server?.url, max });
  made.on("error", () => {}); // a test may end the server
  return made;
}

/** A name that no other test has. */
export const newTable = () => `ledger_${++tables}`;

function memoryStore({ lease }: StoreOptions): TestStore {
  let ahead = 0;
  const now = () => performance.now() + ahead;
  const store = memoryLedgerStore({ lease, now });
  return {
    store,
    expire: () => Promise.resolve(void (ahead += store.lease)),
    transaction: (work) => work({}),
    [Symbol.asyncDispose]: () => Promise.resolve(),
  };
}

function postgresStore({ lease }: StoreOptions): PostgresTestStore {
  const database = pool();
  const table = newTable();
  const store = postgresLedgerStore(database, { table, lease });
  return {
    store,
    table,
    database,
    expire: async () => {
      await database.query(
        `UPDATE ${table} SET lease_until = clock_timestamp(), swept_at = NULL`,
      );
    },
    transaction: async (work) => {
      const client = await database.connect();
      try {
        await client.query("BEGIN");
        await work(client);
        await client.query("COMMIT");
      } catch (error) {
        await client.query("ROLLBACK");
        throw error;
      } finally {
        client.release();
      }
    },
    [Symbol.asyncDispose]: () => database.end(),
  };
}

/** No test takes half as long, on any machine. */
const timeout = 60_000;

/** Registers a test for each store. */
export function onEachStore(
  name: string,
  test: (store: TestStore) => Promise<void>,
  options: StoreOptions = {},
): void {
  Deno.test({
    name: `${name} (memory)`,
    timeout,
    fn: async () => {
      await using store = memoryStore(options);
      await test(store);
    },
  });
  onPostgres(name, test, options);
}

/** Registers a test for PostgreSQL alone. */
export function onPostgres(
  name: string,
  test: (store: PostgresTestStore) => Promise<void>,
  options: StoreOptions = {},
): void {
  Deno.test({
    name: `${name} (needs PostgreSQL)`,
    ignore: postgresServer === undefined,
    timeout,
    fn: async () => {
      await using store = postgresStore(options);
      await test(store);
    },
  });
}
