/** What every ledger store is told. @module */
import { ConnectionFailedError, InvalidValueError } from "../errors.ts";
import { redactText } from "../redaction.ts";
import { oneLine } from "../logging.ts";
import { withDeadline } from "../async/deadline.ts";
import { namesOf, type OptionNames } from "../option_names.ts";
import { checkDuration } from "../option_checks.ts";
import type { Contract } from "../contract/types.ts";
import type { LedgerOptions, LedgerStore } from "./ledger_store.ts";

/** The options of a connection that concern its ledger. */
export interface LedgerSettings {
  readonly ledger?: LedgerStore | undefined;
  readonly consumerTimeout?: number | undefined;
  readonly timeout?: number | undefined;
}

/** Names of {@linkcode LedgerOptions}. */
export const ledgerNames: OptionNames = namesOf<LedgerOptions>({
  lease: true,
  window: true,
});

/** The least and the usual milliseconds of a lease, and of the window. */
const LEASE_MS = { least: 1_000, usual: 10_000 };
const WINDOW_MS = { least: 60_000, usual: 600_000 };

/** What RabbitMQ has, unless it is told otherwise. */
export const CONSUMER_TIMEOUT_MS = 1_800_000;
/** Milliseconds that it may take to look at a store. */
const DEFAULT_TIMEOUT_MS = 60_000;
const METHODS = [
  ...[
    "claim",
    "renew",
    "done",
    "release",
    "keep",
    "sweep",
    "returned",
  ] as const,
];

function atLeast(name: string, ms: number, least: number): number {
  if (typeof ms === "number" && ms >= least && ms < Infinity) return ms;
  throw new InvalidValueError(
    `Invalid option ${name} ${ms}: give a finite number of milliseconds from ${least} on`,
    { data: { path: name } },
  );
}

/** Milliseconds that a claim holds. */
export function leaseOf({ lease = LEASE_MS.usual }: LedgerOptions): number {
  return atLeast("lease", lease, LEASE_MS.least);
}

/** Milliseconds that a done request is remembered. */
export function windowOf({ window = WINDOW_MS.usual }: LedgerOptions): number {
  return atLeast("window", window, WINDOW_MS.least);
}

/**
 * A store that may be used.
 *
 * @throws {InvalidValueError} it lacks a method.
 */
export function checkLedger(
  ledger: LedgerStore | undefined,
): LedgerStore | undefined {
  if (ledger === undefined) return undefined;
  const lacks = METHODS.find((name) => typeof ledger?.[name] !== "function");
  if (lacks === undefined) {
    atLeast("ledger.lease", ledger.lease, LEASE_MS.least);
    return ledger;
  }
  throw new InvalidValueError(
    `Invalid option ledger: it has no method ${lacks}; give postgresLedgerStore(pool), or a LedgerStore of yours`,
    { data: { path: "ledger" } },
  );
}

/** Milliseconds that the broker leaves a message unacknowledged. */
export function consumerTimeoutOf(
  { consumerTimeout = CONSUMER_TIMEOUT_MS }: LedgerSettings,
): number {
  return checkDuration("consumerTimeout", consumerTimeout);
}

/**
 * Checks that what takes longer than the broker waits can be done.
 *
 * @throws {InvalidValueError} naming both remedies.
 */
export function checkDurations(
  managers: readonly { readonly contract: Contract }[],
  options: LedgerSettings,
): void {
  if (options.ledger) return;
  const timeout = consumerTimeoutOf(options);
  for (const { contract: { topic, procedures } } of managers) {
    for (const [name, { maxDuration = 0 }] of Object.entries(procedures)) {
      if (maxDuration < timeout) continue;
      throw new InvalidValueError(
        `Cannot serve ${topic}.${name}: its maxDuration is ${maxDuration} ms, and the broker takes a message back after ${timeout} ms. Give the service a \`ledger\` store, which keeps the request while it runs; or raise consumer_timeout in rabbitmq.conf, and tell the service by \`consumerTimeout\``,
        { data: { path: `procedures.${name}.maxDuration` } },
      );
    }
  }
}

/**
 * Looks at a store once, so that one that cannot work is found out at the start.
 *
 * @throws {ConnectionFailedError} it does not work, or does not answer in time.
 */
export async function probeLedger(
  { ledger, timeout = DEFAULT_TIMEOUT_MS }: LedgerSettings,
): Promise<void> {
  if (ledger === undefined) return;
  const wait = { at: performance.now() + timeout };
  const late = () => new Error(`no answer within ${timeout} ms`);
  try {
    await withDeadline(Promise.try(() => ledger.sweep([])), wait, late);
  } catch (error) {
    const { message } = error as Error;
    throw new ConnectionFailedError(
      `Cannot use the ledger store: ${oneLine(redactText(message))}`,
      { cause: error },
    );
  }
}
