/** SQL statements of the ledger store in PostgreSQL. @module */
import { InvalidValueError } from "../errors.ts";

/** Maximum number of rows that one sweep changes. */
export const MAX_ROWS_PER_SWEEP = 1_000;

/** Quotes a name, so that it may be a keyword of SQL. */
export const quoteName = (name: string): string =>
  name.split(".").map((part) => `"${part}"`).join(".");

/** Returns the statements that create the table. */
export function createStatements(table: string): {
  readonly exists: string;
  readonly create: string;
  readonly indexes: readonly string[];
} {
  return {
    exists: `SELECT to_regclass($1) AS found, EXISTS (
      SELECT FROM pg_attribute WHERE attrelid = to_regclass($1)
        AND attname = 'content' AND NOT attisdropped) AS current`,
    create: `CREATE TABLE ${table} (
      key text PRIMARY KEY,
      content text NOT NULL,
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

/** Current time of the database. */
const now = "clock_timestamp()";
/** SQL for an interval of so many milliseconds. */
const ms = (value: string) =>
  `${value}::double precision * interval '1 millisecond'`;

/** Statements of each method of the store. */
export type Statements = Readonly<
  Record<
    | ("claim" | "renew" | "done" | "release")
    | ("keep" | "forget" | "sweep" | "returned"),
    string
  >
>;

/**
 * Returns the statements on the table. All times are the database's, so that the clocks of workers do not matter.
 *
 * The epoch of a new record begins with the time, so that it is higher than that of a record which was deleted. `claim`
 * reads the record as it was before the statement: if it finds neither a claim nor a record, it is repeated. A record of
 * another content is never taken over.
 */
export function statements(table: string): Statements {
  const ownClaim = "key = $1 AND epoch = $2 AND done_at IS NULL";
  return {
    claim: `WITH held AS (
        INSERT INTO ${table} AS known (key, content, epoch, lease_until)
        VALUES ($1, $3, floor(extract(epoch FROM ${now}) * 1000),
          ${now} + ${ms("$2")})
        ON CONFLICT (key) DO UPDATE
          SET epoch = known.epoch + 1, lease_until = excluded.lease_until
          WHERE known.done_at IS NULL AND known.lease_until <= ${now}
            AND known.content = excluded.content
        RETURNING epoch)
      SELECT held.epoch, known.answers, known.done_at IS NOT NULL AS done,
        known.request IS NOT NULL AS kept, known.content <> $3 AS conflict,
        extract(epoch FROM known.lease_until - ${now}) * 1000 AS left
      FROM (SELECT 1) AS always
        LEFT JOIN held ON true LEFT JOIN ${table} AS known ON known.key = $1`,
    renew: `UPDATE ${table} SET lease_until = ${now} + ${ms("$3")}
      WHERE ${ownClaim} RETURNING 1`,
    done: `UPDATE ${table}
      SET done_at = ${now}, answers = $3, request = NULL
      WHERE ${ownClaim} RETURNING 1`,
    release: `UPDATE ${table} SET lease_until = ${now} WHERE ${ownClaim}`,
    keep: `UPDATE ${table} SET queue = $3, request = $4
      WHERE ${ownClaim} RETURNING 1`,
    forget: `DELETE FROM ${table} WHERE key IN (
      SELECT key FROM ${table}
      WHERE coalesce(done_at, lease_until) < ${now} - ${ms("$1")}
        AND request IS NULL LIMIT ${MAX_ROWS_PER_SWEEP} FOR UPDATE SKIP LOCKED)
      RETURNING 1`,
    sweep: `UPDATE ${table} SET swept_at = ${now} WHERE key IN (
      SELECT key FROM ${table}
      WHERE done_at IS NULL AND request IS NOT NULL
        AND queue = ANY($1) AND lease_until <= ${now}
        AND coalesce(swept_at, '-infinity') <= ${now} - ${ms("$2")}
      LIMIT ${MAX_ROWS_PER_SWEEP} FOR UPDATE SKIP LOCKED)
      RETURNING key, epoch, queue, request`,
    returned: `UPDATE ${table} SET request = NULL WHERE ${ownClaim}`,
  };
}

/** Error for a table without the column `content`, which older versions have created. */
export const oldTableError = (table: string): InvalidValueError =>
  new InvalidValueError(
    `The table ${table} of the ledger has an older form, without the column content: stop all workers that use it, run ALTER TABLE ${table} ADD COLUMN content text NOT NULL DEFAULT '', and start them again`,
    { data: { path: "table" } },
  );
