/** Options of ledger stores, and checks of them. @module */
import { ConnectionFailedError, InvalidValueError } from "../errors.ts";
import { redactText } from "../redaction.ts";
import { oneLine } from "../logging.ts";
import { withDeadline } from "../async/deadline.ts";
import { namesOf, type OptionNames } from "../option_names.ts";
import { checkDuration } from "../option_checks.ts";
import type { Contract } from "../contract/types.ts";
import type { LedgerOptions, LedgerStore } from "./ledger_store.ts";

/** Options of a connection that concern the ledger. */
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

/** Smallest and default milliseconds of a lease, and of the time that a done request is remembered. */
const LEASE_MS = { min: 1_000, default: 10_000 };
const WINDOW_MS = { min: 60_000, default: 600_000 };

/** RabbitMQ's default `consumer_timeout`, in milliseconds. */
export const CONSUMER_TIMEOUT_MS = 1_800_000;
/** Default of the milliseconds for the check of a store. */
const DEFAULT_PROBE_TIMEOUT_MS = 60_000;
const STORE_METHODS = [
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

function checkAtLeast(name: string, ms: number, min: number): number {
  if (typeof ms === "number" && ms >= min && ms < Infinity) return ms;
  throw new InvalidValueError(
    `Invalid option ${name} ${ms}: give a finite number of milliseconds from ${min} on`,
    { data: { path: name } },
  );
}

/** Returns the milliseconds of a lease. */
export function leaseOf({ lease = LEASE_MS.default }: LedgerOptions): number {
  return checkAtLeast("lease", lease, LEASE_MS.min);
}

/** Returns the milliseconds for which a done request is remembered. */
export function windowOf(
  { window = WINDOW_MS.default }: LedgerOptions,
): number {
  return checkAtLeast("window", window, WINDOW_MS.min);
}

/**
 * Checks that a store has all methods.
 *
 * @throws {InvalidValueError} a method is missing, or the lease is too short.
 */
export function checkLedger(
  ledger: LedgerStore | undefined,
): LedgerStore | undefined {
  if (ledger === undefined) return undefined;
  const missing = STORE_METHODS.find((name) =>
    typeof ledger?.[name] !== "function"
  );
  if (missing === undefined) {
    checkAtLeast("ledger.lease", ledger.lease, LEASE_MS.min);
    return ledger;
  }
  throw new InvalidValueError(
    `Invalid option ledger: it has no method ${missing}; give postgresLedgerStore(pool), or a LedgerStore of yours`,
    { data: { path: "ledger" } },
  );
}

/** Returns the milliseconds after which the broker requeues an unacknowledged message. */
export function consumerTimeoutOf(
  { consumerTimeout = CONSUMER_TIMEOUT_MS }: LedgerSettings,
): number {
  return checkDuration("consumerTimeout", consumerTimeout);
}

/**
 * Checks that no procedure may run longer than the broker allows its message to be unacknowledged, unless there is a
 * ledger. `isLimited` tells by the topic if the broker has such a limit.
 *
 * @throws {InvalidValueError} a procedure may; the message names both remedies.
 */
export function checkDurations(
  managers: readonly { readonly contract: Contract }[],
  options: LedgerSettings,
  isLimited: (topic: string) => boolean,
): void {
  if (options.ledger) return;
  const timeout = consumerTimeoutOf(options);
  for (const { contract: { topic, procedures } } of managers) {
    for (const [name, { maxDuration = 0 }] of Object.entries(procedures)) {
      if (maxDuration < timeout || !isLimited(topic)) continue;
      throw new InvalidValueError(
        `Cannot serve ${topic}.${name}: its maxDuration is ${maxDuration} ms, and the broker requeues an unacknowledged message after ${timeout} ms. Give the service a \`ledger\` store, which keeps the request while it runs; or raise consumer_timeout in rabbitmq.conf, and tell the service by \`consumerTimeout\``,
        { data: { path: `procedures.${name}.maxDuration` } },
      );
    }
  }
}

/**
 * Queries a store once, so that a store that does not work is detected when the service starts.
 *
 * @throws {ConnectionFailedError} the store throws, or does not reply in time.
 */
export async function probeLedger(
  { ledger, timeout = DEFAULT_PROBE_TIMEOUT_MS }: LedgerSettings,
): Promise<void> {
  if (ledger === undefined) return;
  const deadline = { at: performance.now() + timeout };
  const timeoutError = () => new Error(`no answer within ${timeout} ms`);
  try {
    await withDeadline(
      Promise.try(() => ledger.sweep([])),
      deadline,
      timeoutError,
    );
  } catch (error) {
    const { message } = error as Error;
    throw new ConnectionFailedError(
      `Cannot use the ledger store: ${oneLine(redactText(message))}`,
      { cause: error },
    );
  }
}
