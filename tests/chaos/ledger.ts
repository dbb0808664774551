/** Where the workers of a row remember what they have done. */

/** Names of ledgers. */
export type LedgerName = "memory" | "postgres";

/** Why a ledger cannot be had on this machine; undefined = it can. */
export function ledgerMissing(name: LedgerName): string | undefined {
  return name === "postgres" ? "no PostgreSQL store" : undefined;
}

/** Options of a service that remembers so. Each worker's own memory is what a service has unless told otherwise. */
export function ledgerOf(name: LedgerName): Readonly<Record<string, never>> {
  const why = ledgerMissing(name);
  if (why) throw new Error(`not run: ${why}`);
  return {};
}
