/** Ledger store in PostgreSQL, for workers in several processes. @module */
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
import {
  createStatements,
  MAX_ROWS_PER_SWEEP,
  oldTableError,
  quoteName,
  type Statements,
  statements,
} from "./postgres_statements.ts";

/**
 * Object that runs SQL statements: a pool or a client of node-postgres (`npm:pg`), or a few lines around another
 * driver.
 * @category Ledger
 */
export interface Queryable {
  /** Runs one statement, with values for `$1`, `$2`, … */
  query(
    text: string,
    values: unknown[],
  ): Promise<{ readonly rows: readonly unknown[] }>;
}

/**
 * Options of a ledger store in PostgreSQL.
 * @category Ledger
 */
export interface PostgresLedgerOptions extends LedgerOptions {
  /** Table of the store, created if it does not exist; a name or `schema.table`; default `warren_ledger`. */
  readonly table?: string | undefined;
}

const postgresNames = namesOf<{ readonly table: unknown }>(
  { table: true },
  ledgerNames,
);

const TABLE_PATTERN =
  /^[A-Za-z_][A-Za-z0-9_]{0,62}(\.[A-Za-z_][A-Za-z0-9_]{0,62})?$/;
/** PostgreSQL's error codes for a table that another process created before, or at the same moment. */
const ALREADY_EXISTS_CODES = new Set(["23505", "42P07", "42710"]);

/**
 * Creates a ledger store in a table of PostgreSQL, which all workers of the same services share. `database` is a pool
 * that manages its connections itself, e.g. `new Pool({ connectionString })` of `npm:pg@8`; Warren does not close it.
 * The table is created at the first use: a user without the permission to create it needs `INSERT, SELECT, UPDATE,
 * DELETE` on an existing table.
 *
 * @throws {InvalidValueError} an option is invalid.
 * @example
 * ```ts ignore
 * import pg from "npm:pg@8";
 * const pool = new pg.Pool({ connectionString });
 * const ledger = postgresLedgerStore(pool);
 * await using service = await Service.start({ url, manager, ledger });
 * ```
 * @category Ledger
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
  if (!TABLE_PATTERN.test(table)) {
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
  readonly #sql: Statements;
  #tableReady: Promise<void> | undefined;

  constructor(
    database: Queryable,
    table: string,
    lease: number,
    window: number,
  ) {
    this.#database = database;
    this.#table = quoteName(table);
    this.lease = lease;
    this.#window = window;
    this.#sql = statements(this.#table);
  }

  async claim(key: string, content: string): Promise<ClaimState> {
    const values = [key, this.lease, content];
    for (;;) {
      const [row] = await this.#rows(this.#sql.claim, values);
      const { epoch, done, answers, left, kept, conflict } = row ?? {};
      if (typeof epoch === "string" || typeof epoch === "number") {
        return { state: "held", epoch: Number(epoch) };
      }
      if (conflict) return { state: "conflict" };
      if (done) return { state: "done", answers: String(answers) };
      if (Number(left) > 0) {
        return { state: "taken", left: Number(left), kept: kept === true };
      }
    }
  }

  renew({ key, epoch }: Claim): Promise<boolean> {
    return this.#changesRow(this.#sql.renew, [key, epoch, this.lease]);
  }

  async done(
    { key, epoch }: Claim,
    answers: string,
    transaction?: unknown,
  ): Promise<boolean> {
    const values = [key, epoch, answers];
    if (transaction === undefined) {
      return await this.#changesRow(this.#sql.done, values);
    }
    const candidate = Object(transaction);
    const isPool = "totalCount" in candidate && "idleCount" in candidate;
    if (isPool || typeof candidate.query !== "function") {
      const reason = isPool
        ? "it is a pool, which takes another connection for each statement"
        : "it has no query(text, values)";
      throw new InvalidValueError(
        `Cannot record in that transaction: ${reason}; give the client that began the transaction`,
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
    return this.#changesRow(this.#sql.keep, [key, epoch, queue, request]);
  }

  async returned({ key, epoch }: Claim): Promise<void> {
    await this.#rows(this.#sql.returned, [key, epoch]);
  }

  async sweep(queues: readonly string[]): Promise<readonly StoredRequest[]> {
    while (await this.#deleteExpired());
    const rows = await this.#rows(this.#sql.sweep, [[...queues], this.lease]);
    return rows.map(({ key, epoch, queue, request }) => ({
      key: String(key),
      epoch: Number(epoch),
      queue: String(queue),
      request: String(request),
    }));
  }

  /** Deletes old records; true if there may be more of them. */
  async #deleteExpired(): Promise<boolean> {
    const deleted = await this.#rows(this.#sql.forget, [this.#window]);
    return deleted.length >= MAX_ROWS_PER_SWEEP;
  }

  async #changesRow(text: string, values: unknown[]): Promise<boolean> {
    return (await this.#rows(text, values)).length > 0;
  }

  async #rows(
    text: string,
    values: unknown[],
  ): Promise<readonly Record<string, unknown>[]> {
    await (this.#tableReady ??= this.#createTable());
    const { rows } = await this.#database.query(text, values);
    return rows as readonly Record<string, unknown>[];
  }

  /** Creates the table, once. If this fails, the next statement tries again. */
  async #createTable(): Promise<void> {
    try {
      const { exists, create, indexes } = createStatements(this.#table);
      const { rows } = await this.#database.query(exists, [this.#table]);
      const [row] = rows as readonly Record<string, unknown>[];
      if (row?.found && !row.current) throw oldTableError(this.#table);
      if (row?.found) return;
      for (const text of [create, ...indexes]) {
        await this.#database.query(text, []);
      }
    } catch (error) {
      const { code } = error as { readonly code?: unknown };
      if (ALREADY_EXISTS_CODES.has(String(code))) return;
      this.#tableReady = undefined;
      throw error;
    }
  }
}
