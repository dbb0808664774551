/** Where the workers of a row remember what they have done. All that knows of PostgreSQL is in this file. */
// @ts-types="npm:@types/pg@^8"
import pg from "npm:pg@^8";
import {
  type ConnectionOptions,
  postgresLedgerStore,
  type RequestContext,
} from "../../mod.ts";
import { postgresServer, privatePostgres } from "../setup/postgres.ts";

/** Names of ledgers. */
export type LedgerName = "memory" | "postgres";

/** How long a claim holds that is not renewed: what a killed worker had in hand waits so long. Shorter than a call's deadline here. */
const LEASE = 2_000;

/** Effects are written where each names its request, its attempt, and the row's topic. */
const TABLE = "CREATE TABLE effects (topic text, id text, attempt int)";

/** A database for one pass. Disposal ends and removes it. */
export interface Store extends AsyncDisposable {
  /** For the workers. */
  readonly url: string;
  /** Requests and attempts of a topic whose effects were recorded, as often as they were. */
  recorded(topic: string): Promise<readonly string[]>;
}

/** What a worker does with its ledger. */
export interface WorkerLedger {
  /** Options of its service. */
  readonly options: ConnectionOptions;
  /** Writes the effect of a run in the transaction that remembers the run, and its result. */
  record(
    context: RequestContext,
    topic: string,
    id: string,
    result: unknown,
  ): Promise<void>;
}

/** Why a ledger cannot be had on this machine; undefined = it can. */
export function ledgerMissing(name: LedgerName): string | undefined {
  return name === "postgres" && !postgresServer
    ? "no PostgreSQL is installed"
    : undefined;
}

/** The database of a ledger; undefined where each worker has its own memory. */
export async function openStore(name: LedgerName): Promise<Store | undefined> {
  const why = ledgerMissing(name);
  if (why) throw new Error(why);
  if (name === "memory") return undefined;
  const server = await privatePostgres();
  const { url } = server;
  await ask(url, TABLE);
  return {
    url,
    recorded: async (topic) => {
      const text = "SELECT id, attempt FROM effects WHERE topic = $1";
      const rows = await ask(url, text, [topic]);
      return rows.map(({ id, attempt }) => `${id}#${attempt}`);
    },
    [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
  };
}

/** The ledger of a worker. Its own memory is what a service has unless told otherwise. */
export function ledgerOf(
  name: LedgerName,
  connectionString: string | undefined,
): WorkerLedger {
  if (name === "memory") return { options: {}, record: async () => {} };
  const pool = new pg.Pool({ connectionString, max: 6 });
  pool.on("error", () => {}); // one that is idle may be lost
  return {
    options: { ledger: postgresLedgerStore(pool, { lease: LEASE }) },
    record: async ({ record, attempt }, topic, id, result) => {
      const client = await pool.connect();
      try {
        await client.query("BEGIN");
        const into = "INSERT INTO effects VALUES ($1, $2, $3)";
        await client.query(into, [topic, id, attempt]);
        await record(client, result);
        await client.query("COMMIT");
      } catch (error) {
        await client.query("ROLLBACK").catch(() => {});
        throw error;
      } finally {
        client.release();
      }
    },
  };
}

async function ask(
  connectionString: string,
  text: string,
  values: readonly unknown[] = [],
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return (await client.query(text, [...values])).rows;
  } finally {
    await client.end();
  }
}
