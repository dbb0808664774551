/** A ledger store in PostgreSQL, for the processes of a fleet. @module */
import { InvalidValueError } from "../errors.ts";
import { oneLine } from "../logging.ts";
import type {
  Claim,
  ClaimState,
  LedgerOptions,
  LedgerStore,
  StoredRequest,
} from "./ledger_store.ts";
import { checkNames, namesOf } from "../option_names.ts";
import { leaseOf, ledgerNames, windowOf } from "./options.ts";

/** What can run a statement: a pool or a client of node-postgres (`npm:pg`), or two lines around another driver. */
export interface Queryable {
  /** Runs one statement, with values for `$1`, `$2`, … */
  query(
    text: string,
    values: unknown[],
  ): Promise<{ readonly rows: readonly unknown[] }>;
}

/** Options of a store in PostgreSQL. */
export interface PostgresLedgerOptions extends LedgerOptions {
  /** Its table, which is made if there is none; `schema.table` or a name; default `warren_ledger`. */
  readonly table?: string | undefined;
}

const postgresNames = namesOf<{ readonly table: unknown }>(
  { table: true },
  ledgerNames,
);

const TABLE = /^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$/;
/** Rows of one sweep at most. */
const MAX_ROWS = 1_000;
/** Another process made the table at the same moment, or before. */
const MADE_ALREADY = new Set(["23505", "42P07", "42710"]);

/** A name as it is written, whatever words the database keeps for itself. */
const quoted = (name: string) =>
  name.split(".").map((part) => `"${part}"`).join(".");

/** The statements that make a table. */
function createStatements(table: string) {
  return {
    exists: "SELECT to_regclass($1) AS found",
    create: `CREATE TABLE ${table} (
      key text PRIMARY KEY,
      epoch bigint NOT NULL,
      lease_until timestamptz NOT NULL,
      done_at timestamptz,
      answers text,
      queue text,
      request text,
      swept_at timestamptz
    )`,
    indexes: [
      `CREATE INDEX ON ${table} (queue) WHERE request IS NOT NULL`,
      `CREATE INDEX ON ${table} ((coalesce(done_at, lease_until)))
        WHERE request IS NULL`,
    ],
  };
}

/** The statements on a table. Times are the database's own: no clock of a worker counts. */
function statements(table: string) {
  const now = "clock_timestamp()";
  const ms = (value: string) =>
    `${value}::double precision * interval '1 millisecond'`;
  const mine = "key = $1 AND epoch = $2 AND done_at IS NULL";
  return {
    // An epoch begins with the time, so that it is higher than that of a request that was forgotten.
    // What is there is read as it was before: who finds nothing at all asks again.
    claim: `WITH held AS (
        INSERT INTO ${table} AS known (key, epoch, lease_until)
        VALUES ($1, floor(extract(epoch FROM ${now}) * 1000),
          ${now} + ${ms("$2")})
        ON CONFLICT (key) DO UPDATE
          SET epoch = known.epoch + 1, lease_until = excluded.lease_until
          WHERE known.done_at IS NULL AND known.lease_until <= ${now}
        RETURNING epoch)
      SELECT held.epoch, known.answers, known.done_at IS NOT NULL AS done,
        known.request IS NOT NULL AS kept,
        extract(epoch FROM known.lease_until - ${now}) * 1000 AS left
      FROM (SELECT 1) AS always
        LEFT JOIN held ON true LEFT JOIN ${table} AS known ON known.key = $1`,
    renew: `UPDATE ${table} SET lease_until = ${now} + ${ms("$3")}
      WHERE ${mine} RETURNING 1`,
    done: `UPDATE ${table}
      SET done_at = ${now}, answers = $3, request = NULL
      WHERE ${mine} RETURNING 1`,
    release: `UPDATE ${table} SET lease_until = ${now} WHERE ${mine}`,
    keep: `UPDATE ${table} SET queue = $3, request = $4
      WHERE ${mine} RETURNING 1`,
    forget: `DELETE FROM ${table} WHERE key IN (
      SELECT key FROM ${table}
      WHERE coalesce(done_at, lease_until) < ${now} - ${ms("$1")}
        AND request IS NULL LIMIT ${MAX_ROWS} FOR UPDATE SKIP LOCKED)
      RETURNING 1`,
    sweep: `UPDATE ${table} SET swept_at = ${now} WHERE key IN (
      SELECT key FROM ${table}
      WHERE done_at IS NULL AND request IS NOT NULL
        AND queue = ANY($1) AND lease_until <= ${now}
        AND coalesce(swept_at, '-infinity') <= ${now} - ${ms("$2")}
      LIMIT ${MAX_ROWS} FOR UPDATE SKIP LOCKED)
      RETURNING key, epoch, queue, request`,
    returned: `UPDATE ${table} SET request = NULL WHERE ${mine}`,
  };
}

/**
 * Remembers requests in a table of PostgreSQL, which all workers of a fleet share. `database` is a pool that keeps its
 * connections itself, e.g. `new Pool({ connectionString })` of `npm:pg@8`; Warren does not close it. The table is made when
 * it is first needed: who may not make it needs `INSERT, SELECT, UPDATE, DELETE` on one that exists.
 *
 * @throws {InvalidValueError} an option is wrong.
 * @example
 * ```ts ignore
 * import pg from "npm:pg@8";
 * const pool = new pg.Pool({ connectionString });
 * const ledger = postgresLedgerStore(pool);
 * await using service = await Service.start({ url, manager, ledger });
 * ```
 */
export function postgresLedgerStore(
  database: Queryable,
  options: PostgresLedgerOptions = {},
): LedgerStore {
  checkNames(options, postgresNames);
  const { table = "warren_ledger" } = options;
  if (typeof database?.query !== "function") {
    throw new InvalidValueError(
      "Invalid database: give what has a query(text, values), e.g. a pool of npm:pg",
      { data: { path: "database" } },
    );
  }
  if (!TABLE.test(table)) {
    throw new InvalidValueError(
      `Invalid option table "${
        oneLine(table, 80)
      }": give a name or schema.name`,
      { data: { path: "table" } },
    );
  }
  return new PostgresLedger(
    database,
    table,
    leaseOf(options),
    windowOf(options),
  );
}

class PostgresLedger implements LedgerStore {
  readonly lease: number;
  readonly #database: Queryable;
  readonly #table: string;
  readonly #window: number;
  readonly #sql: ReturnType<typeof statements>;
  #made: Promise<void> | undefined;

  constructor(
    database: Queryable,
    table: string,
    lease: number,
    window: number,
  ) {
    this.#database = database;
    this.#table = quoted(table);
    this.lease = lease;
    this.#window = window;
    this.#sql = statements(this.#table);
  }

  async claim(key: string): Promise<ClaimState> {
    for (;;) {
      const [row] = await this.#rows(this.#sql.claim, [key, this.lease]);
      const { epoch, done, answers, left, kept } = row ?? {};
      if (typeof epoch === "string" || typeof epoch === "number") {
        return { state: "held", epoch: Number(epoch) };
      }
      if (done) return { state: "done", answers: String(answers) };
      if (Number(left) > 0) {
        return { state: "taken", left: Number(left), kept: kept === true };
      }
    }
  }

  renew({ key, epoch }: Claim): Promise<boolean> {
    return this.#changes(this.#sql.renew, [key, epoch, this.lease]);
  }

  async done(
    { key, epoch }: Claim,
    answers: string,
    transaction?: unknown,
  ): Promise<boolean> {
    const values = [key, epoch, answers];
    if (transaction === undefined) {
      return await this.#changes(this.#sql.done, values);
    }
    const given = Object(transaction);
    const pool = "totalCount" in given && "idleCount" in given;
    if (pool || typeof given.query !== "function") {
      const why = pool
        ? "it is a pool, which takes another connection for each statement"
        : "it has no query(text, values)";
      throw new InvalidValueError(
        `Cannot record in that transaction: ${why}; give the client that it was begun on`,
        { data: { path: "transaction" } },
      );
    }
    const client = transaction as Queryable;
    const { rows } = await client.query(this.#sql.done, values);
    return rows.length > 0;
  }

  async release({ key, epoch }: Claim): Promise<void> {
    await this.#rows(this.#sql.release, [key, epoch]);
  }

  keep({ key, epoch, queue, request }: StoredRequest): Promise<boolean> {
    return this.#changes(this.#sql.keep, [key, epoch, queue, request]);
  }

  async returned({ key, epoch }: Claim): Promise<void> {
    await this.#rows(this.#sql.returned, [key, epoch]);
  }

  async sweep(queues: readonly string[]): Promise<readonly StoredRequest[]> {
    while (await this.#forgets());
    const rows = await this.#rows(this.#sql.sweep, [[...queues], this.lease]);
    return rows.map(({ key, epoch, queue, request }) => ({
      key: String(key),
      epoch: Number(epoch),
      queue: String(queue),
      request: String(request),
    }));
  }

  /** True if there may be more. */
  async #forgets(): Promise<boolean> {
    const gone = await this.#rows(this.#sql.forget, [this.#window]);
    return gone.length >= MAX_ROWS;
  }

  async #changes(text: string, values: unknown[]): Promise<boolean> {
    return (await this.#rows(text, values)).length > 0;
  }

  async #rows(
    text: string,
    values: unknown[],
  ): Promise<readonly Record<string, unknown>[]> {
    await (this.#made ??= this.#make());
    const { rows } = await this.#database.query(text, values);
    return rows as readonly Record<string, unknown>[];
  }

  /** Once; tried again with the next statement if it fails. */
  async #make(): Promise<void> {
    try {
      const { exists, create, indexes } = createStatements(this.#table);
      const { rows } = await this.#database.query(exists, [this.#table]);
      const [row] = rows as readonly { readonly found: unknown }[];
      if (row?.found) return;
      for (const text of [create, ...indexes]) {
        await this.#database.query(text, []);
      }
    } catch (error) {
      const { code } = error as { readonly code?: unknown };
      if (MADE_ALREADY.has(String(code))) return;
      this.#made = undefined;
      throw error;
    }
  }
}
