/** A ledger store inside the process. @module */
import type {
  Claim,
  ClaimState,
  LedgerOptions,
  LedgerStore,
  StoredRequest,
} from "./ledger_store.ts";
import { checkNames, namesOf } from "../option_names.ts";
import { leaseOf, ledgerNames, windowOf } from "./options.ts";

/** What is known of a request. */
interface Entry {
  epoch: number;
  /** When the lease ends. */
  until: number;
  answers?: string;
  doneAt?: number;
  stored?: StoredRequest | undefined;
  /** When it was last given to be brought back. */
  sweptAt: number;
}

const memoryNames = namesOf<{ readonly now: unknown }>(
  { now: true },
  ledgerNames,
);

/**
 * Remembers requests in memory, for the services of one process: in tests, and on a bus inside the process. `now` is a
 * monotonic clock in milliseconds.
 *
 * @throws {InvalidValueError} an option is wrong.
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
  /** Of all requests, so that it is higher also where one was forgotten. */
  #epoch = 0;

  constructor(lease: number, window: number, now: () => number) {
    this.lease = lease;
    this.#window = window;
    this.#now = now;
  }

  claim(key: string): Promise<ClaimState> {
    const now = this.#now();
    const known = this.#entries.get(key);
    const { until = now, answers, stored } = known ?? {};
    if (answers !== undefined) {
      return Promise.resolve({ state: "done", answers });
    }
    if (until > now) {
      const left = until - now;
      return Promise.resolve({
        state: "taken",
        left,
        kept: stored !== undefined,
      });
    }
    const held = { epoch: ++this.#epoch, until: now + this.lease };
    const earlier = known ?? { sweptAt: -Infinity };
    this.#entries.set(key, { ...earlier, ...held });
    return Promise.resolve({ state: "held", epoch: held.epoch });
  }

  renew(claim: Claim): Promise<boolean> {
    return this.#change(claim, () => ({ until: this.#now() + this.lease }));
  }

  done(claim: Claim, answers: string): Promise<boolean> {
    return this.#change(claim, () => ({ answers, doneAt: this.#now() }));
  }

  async release(claim: Claim): Promise<void> {
    await this.#change(claim, () => ({ until: this.#now() }));
  }

  keep(request: StoredRequest): Promise<boolean> {
    return this.#change(request, () => ({ stored: request }));
  }

  async returned(claim: Claim): Promise<void> {
    await this.#change(claim, () => ({ stored: undefined }));
  }

  sweep(queues: readonly string[]): Promise<readonly StoredRequest[]> {
    const now = this.#now();
    const found: StoredRequest[] = [];
    for (const [key, entry] of this.#entries) {
      const { doneAt, until, stored, sweptAt } = entry;
      const over = doneAt ?? (stored ? Infinity : until);
      if (over <= now - this.#window) this.#entries.delete(key);
      const alone = doneAt === undefined && until <= now;
      if (!stored || !alone || sweptAt > now - this.lease) continue;
      if (!queues.includes(stored.queue)) continue;
      entry.sweptAt = now;
      found.push(stored);
    }
    return Promise.resolve(found);
  }

  /** Where the claim still holds, and the request is not done. */
  #change(
    { key, epoch }: Claim,
    change: () => Partial<Entry>,
  ): Promise<boolean> {
    const entry = this.#entries.get(key);
    const holds = entry?.epoch === epoch && entry.doneAt === undefined;
    if (holds) Object.assign(entry, change());
    return Promise.resolve(holds);
  }
}
