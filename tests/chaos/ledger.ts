/** Where the workers of a row remember what they have done, and the effects of their work. */
import pg from "npm:pg@^8.16.0";
import {
  type ConnectionOptions,
  postgresLedgerStore,
  type RequestContext,
} from "../../mod.ts";
import { postgresServer } from "../setup/postgres.ts";

/** Names of ledgers. */
export type LedgerName = "memory" | "postgres";

/** How long a claim holds that is not renewed: what a killed worker had in hand waits so long. Shorter than a call's deadline here. */
const LEASE = 2_000;

/** Why a ledger cannot be had on this machine; undefined = it can. */
export function ledgerMissing(name: LedgerName): string | undefined {
  return name === "postgres" && !postgresServer
    ? "no PostgreSQL is installed"
    : undefined;
}

/** A table of effects: who did what is written there in the transaction that records the request. */
const tableOf = (topic: string) => `effects_${topic.replaceAll("-", "_")}`;

/** The ledger of one worker. Each worker's own memory is what a service has unless told otherwise. */
export class WorkerLedger {
  readonly #pool: pg.Pool | undefined;
  readonly #table: string;

  /** With a database it is the fleet's. */
  constructor(database: string | undefined, topic: string) {
    this.#table = tableOf(topic);
    if (database === undefined) return;
    this.#pool = new pg.Pool({ connectionString: database, max: 6 });
    this.#pool.on("error", () => {}); // a connection that is idle may be lost
  }

  /** Options of the service that remembers so. */
  options(
    { consumerTimeout }: Pick<ConnectionOptions, "consumerTimeout">,
  ): ConnectionOptions {
    if (!this.#pool) return {};
    const ledger = postgresLedgerStore(this.#pool, { lease: LEASE });
    return { ledger, consumerTimeout };
  }

  /** The effect of a run, recorded with it. */
  async effect(
    id: string,
    { record, attempt }: RequestContext,
    result: string,
  ): Promise<void> {
    if (!this.#pool) return;
    const client = await this.#pool.connect();
    try {
      await client.query("BEGIN");
      const into = `INSERT INTO ${this.#table} VALUES ($1, $2)`;
      await client.query(into, [id, attempt]);
      await record(client, result);
      await client.query("COMMIT");
    } catch (error) {
      await client.query("ROLLBACK").catch(() => {});
      throw error;
    } finally {
      client.release();
    }
  }
}

/** What a run needs of its database before its workers start. */
export async function prepare(
  database: string | undefined,
  topic: string,
): Promise<void> {
  if (database === undefined) return;
  await ask(database, `CREATE TABLE ${tableOf(topic)} (id text, attempt int)`);
}

/** Ids of the effects, one for each; undefined where nothing is recorded. */
export async function effects(
  database: string | undefined,
  topic: string,
): Promise<readonly string[] | undefined> {
  if (database === undefined) return undefined;
  const rows = await ask(database, `SELECT id, attempt FROM ${tableOf(topic)}`);
  return rows.map(({ id, attempt }) => `${id}#${attempt}`);
}

async function ask(
  connectionString: string,
  text: string,
): Promise<Record<string, unknown>[]> {
  const client = new pg.Client({ connectionString });
  await client.connect();
  try {
    return (await client.query(text)).rows;
  } finally {
    await client.end();
  }
}
