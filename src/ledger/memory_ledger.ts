/** Ledger store in the memory of the process. @module */
import type {
  Claim,
  ClaimState,
  LedgerOptions,
  LedgerStore,
  StoredRequest,
} from "./ledger_store.ts";
import { checkNames, namesOf } from "../option_names.ts";
import { leaseOf, ledgerNames, windowOf } from "./options.ts";

/** Record of a request. */
interface Entry {
  readonly content: string;
  epoch: number;
  /** End of the lease, in milliseconds of the store's clock. */
  leaseUntil: number;
  answers?: string;
  doneAt?: number;
  stored?: StoredRequest | undefined;
  /** Time at which the request was last returned by `sweep`. */
  sweptAt: number;
}

const memoryNames = namesOf<{ readonly now: unknown }>(
  { now: true },
  ledgerNames,
);

/**
 * Creates a ledger store in memory, for the services of one process: in tests, and with the memory transport. `now` is
 * a monotonic clock in milliseconds; default `performance.now()`.
 *
 * @throws {InvalidValueError} an option is invalid.
 */
export function memoryLedgerStore(
  options: LedgerOptions & { readonly now?: (() => number) | undefined } = {},
): LedgerStore {
  checkNames(options, memoryNames);
  const [lease, window] = [leaseOf(options), windowOf(options)];
  const { now = () => performance.now() } = options;
  return new MemoryLedger(lease, window, now);
}

class MemoryLedger implements LedgerStore {
  readonly lease: number;
  readonly #window: number;
  readonly #now: () => number;
  readonly #entries = new Map<string, Entry>();
  /** Last epoch of all requests, so that epochs rise even after a record was deleted. */
  #epoch = 0;

  constructor(lease: number, window: number, now: () => number) {
    this.lease = lease;
    this.#window = window;
    this.#now = now;
  }

  claim(key: string, content: string): Promise<ClaimState> {
    const now = this.#now();
    const existing = this.#entries.get(key);
    if (existing && existing.content !== content) {
      return Promise.resolve({ state: "conflict" });
    }
    const { leaseUntil = now, answers, stored } = existing ?? {};
    if (answers !== undefined) {
      return Promise.resolve({ state: "done", answers });
    }
    if (leaseUntil > now) {
      const remaining = leaseUntil - now;
      return Promise.resolve({
        state: "taken",
        left: remaining,
        kept: stored !== undefined,
      });
    }
    const claimed = { epoch: ++this.#epoch, leaseUntil: now + this.lease };
    const earlier = existing ?? { content, sweptAt: -Infinity };
    this.#entries.set(key, { ...earlier, ...claimed });
    return Promise.resolve({ state: "held", epoch: claimed.epoch });
  }

  renew(claim: Claim): Promise<boolean> {
    return this.#change(
      claim,
      () => ({ leaseUntil: this.#now() + this.lease }),
    );
  }

  done(claim: Claim, answers: string): Promise<boolean> {
    return this.#change(claim, () => ({ answers, doneAt: this.#now() }));
  }

  async release(claim: Claim): Promise<void> {
    await this.#change(claim, () => ({ leaseUntil: this.#now() }));
  }

  keep(request: StoredRequest): Promise<boolean> {
    return this.#change(request, () => ({ stored: request }));
  }

  async returned(claim: Claim): Promise<void> {
    await this.#change(claim, () => ({ stored: undefined }));
  }

  sweep(queues: readonly string[]): Promise<readonly StoredRequest[]> {
    const now = this.#now();
    const orphans: StoredRequest[] = [];
    for (const [key, entry] of this.#entries) {
      const { doneAt, leaseUntil, stored, sweptAt } = entry;
      const endedAt = doneAt ?? (stored ? Infinity : leaseUntil);
      if (endedAt <= now - this.#window) this.#entries.delete(key);
      const abandoned = doneAt === undefined && leaseUntil <= now;
      if (!stored || !abandoned || sweptAt > now - this.lease) continue;
      if (!queues.includes(stored.queue)) continue;
      entry.sweptAt = now;
      orphans.push(stored);
    }
    return Promise.resolve(orphans);
  }

  /** Changes a record, if the claim is current and the request is not done. */
  #change(
    { key, epoch }: Claim,
    change: () => Partial<Entry>,
  ): Promise<boolean> {
    const entry = this.#entries.get(key);
    const isCurrent = entry?.epoch === epoch && entry.doneAt === undefined;
    if (isCurrent) Object.assign(entry, change());
    return Promise.resolve(isCurrent);
  }
}
