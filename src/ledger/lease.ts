/** A request that this worker holds in the fleet's ledger: renewed while it runs, done once. @module */
import { backoff } from "../async/backoff.ts";
import { Buffer } from "node:buffer";
import type { Message } from "../transport/transport.ts";
import { clearDeadline, setDeadline } from "../async/timer_wheel.ts";
import { logger } from "../logging.ts";
import { type Deadline, delay, withDeadline } from "../async/deadline.ts";
import type { Claim, LedgerStore, StoredRequest } from "./ledger_store.ts";

/** Milliseconds that the store has where a worker stops. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/**
 * Asks a store until it answers; one that does not answer within a lease is asked again.
 *
 * @throws the wait's reason.
 */
export async function retryStore<T>(
  { lease }: LedgerStore,
  ask: () => Promise<T>,
  deadline: Deadline,
): Promise<T> {
  deadline.signal?.throwIfAborted();
  for (let attempt = 0;; attempt++) {
    try {
      const patience = { ...deadline, deadline: performance.now() + lease };
      return await withDeadline(Promise.try(ask), patience, away);
    } catch (error) {
      deadline.signal?.throwIfAborted();
      logger("rpc").warn("The ledger store is away: {error}", {
        error,
      });
    }
    await delay(backoff(attempt), deadline);
    if (performance.now() >= deadline.at) throw away();
  }
}

/** A claim that holds until it is done, lost or given back. */
export class Lease {
  readonly #store: LedgerStore;
  readonly #taken: () => void;
  #claim: Claim;
  #kept: StoredRequest | undefined;
  #renewal: ReturnType<typeof setDeadline>;
  #over = false;
  #recorded = false;
  /** Questions to the store about the claim: one at a time, or two would take it from each other. */
  #asking: Promise<unknown> = Promise.resolve();

  /** Renewed from now on; `taken` is called when another worker has taken it over. */
  constructor(store: LedgerStore, claim: Claim, taken: () => void) {
    this.#store = store;
    this.#claim = claim;
    this.#taken = taken;
    this.#renewal = this.#later();
  }

  /** True once it is done, lost or given back. */
  get over(): boolean {
    return this.#over;
  }

  /** True once it was recorded in a transaction, which may have been rolled back. */
  get recorded(): boolean {
    return this.#recorded;
  }

  /**
   * It is done, with that to say if it comes again. Resolves to what is to be said: something else if it was recorded
   * before, nothing if another worker has it.
   */
  async done(
    answers: readonly Message[],
    deadline: Deadline,
  ): Promise<readonly Message[] | undefined> {
    const text = serializeMessages(answers);
    const store = this.#store;
    const end = () =>
      retryStore(store, () => store.done(this.#claim, text), deadline);
    const mine = !this.#recorded && await end();
    this.stop();
    if (mine) return answers;
    const { key } = this.#claim;
    const known = await retryStore(store, () => store.claim(key), deadline);
    if (known.state === "done") return parseMessages(known.answers);
    // It was rolled back; or whoever had taken it over is gone as well: so it is this run that counts.
    if (known.state === "held") this.#claim = { key, epoch: known.epoch };
    else if (!this.#recorded) return undefined;
    return await end() ? answers : undefined;
  }

  /** False if another worker has it, or it is done. */
  async holds(deadline: Deadline): Promise<boolean> {
    const store = this.#store;
    const still = async () =>
      await store.renew(this.#claim) || await this.#claimed();
    return await this.#alone(() => retryStore(store, still, deadline));
  }

  /** Holds anew: nothing is recorded by the claim of before. False if another worker has it, or it is done. */
  async renewed(deadline: Deadline): Promise<boolean> {
    const store = this.#store;
    return await this.#alone(async () => {
      if (this.#over) return false;
      await retryStore(store, () => store.release(this.#claim), deadline);
      return await retryStore(store, () => this.#claimed(), deadline);
    });
  }

  /** It is done if the user's transaction is committed; false if another worker has it, or it was recorded before. */
  async record(
    answers: readonly Message[],
    transaction: unknown,
  ): Promise<boolean> {
    const text = serializeMessages(answers);
    const mine = await this.#store.done(this.#claim, text, transaction);
    this.#recorded ||= mine;
    return mine;
  }

  /** Keeps the request itself, since its queue forgets it from now on; false if another worker has it. */
  async keep(
    queue: string,
    request: Message,
    deadline: Deadline,
  ): Promise<boolean> {
    const store = this.#store;
    const kept = {
      ...this.#claim,
      queue,
      request: serializeMessages([request]),
    };
    const mine = await retryStore(store, () => store.keep(kept), deadline);
    if (mine) this.#kept = kept;
    return mine;
  }

  /** Gives it back undone. If the store does not answer, it is free when the lease ends. */
  async release(): Promise<void> {
    this.stop();
    await this.#bestEffort(() => this.#store.release(this.#claim));
  }

  /** What was kept is in its queue again. */
  async returned(): Promise<void> {
    await this.#bestEffort(() => this.#store.returned(this.#claim));
  }

  /** Renews it no more. */
  stop(): void {
    this.#over = true;
    clearDeadline(this.#renewal);
  }

  /** Who stops does not wait for a store that is away. */
  async #bestEffort(ask: () => Promise<void>): Promise<void> {
    const wait = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    await withDeadline(Promise.try(ask), wait, away).catch((error) =>
      logger("rpc").info("A claim was not given back: {error}", {
        error,
      })
    );
  }

  #later(): ReturnType<typeof setDeadline> {
    const soon = performance.now() + this.#store.lease / 3;
    return setDeadline(soon, () => void this.#renew());
  }

  /** While the user's transaction records it, it is locked, and nobody can take it over. */
  async #renew(): Promise<void> {
    const still = () => {
      const wait = { at: performance.now() + this.#store.lease / 3 };
      return withDeadline(this.#still(), wait, away).catch((error) => {
        logger("rpc").warn("A claim was not renewed: {error}", { error });
        return true; // as far as is known
      });
    };
    const held = this.#recorded || await this.#alone(still);
    if (this.#over) return;
    if (held) this.#renewal = this.#later();
    else {
      this.#over = true;
      this.#taken();
    }
  }

  #alone<T>(ask: () => Promise<T>): Promise<T> {
    const answer = this.#asking.then(ask);
    this.#asking = answer.catch(() => {});
    return answer;
  }

  /** Also true if it was recorded meanwhile: then it is done, by this run. */
  async #still(): Promise<boolean> {
    const held = await this.#store.renew(this.#claim);
    return held || this.#recorded || await this.#claimed() || this.#recorded;
  }

  /** Claims it anew where the store has lost it, or whoever took it over is gone. */
  async #claimed(): Promise<boolean> {
    const store = this.#store;
    const { key } = this.#claim;
    const known = await store.claim(key);
    if (known.state !== "held") return false;
    this.#claim = { key, epoch: known.epoch };
    if (this.#over) return await this.release(), false; // nobody runs it here any more
    if (this.#kept) await store.keep({ ...this.#kept, ...this.#claim });
    return true;
  }
}

const away = () => new Error("no answer from the ledger store in time");

/** What is kept of one. */
interface StoredMessage extends Omit<Message, "body"> {
  /** Body, in base64. */
  readonly body: string;
}

/** As one text. What a broker has put into the headers is its own; all of Warren's are texts. */
export function serializeMessages(messages: readonly Message[]): string {
  const kept = messages.map(({ body, headers, ...rest }): StoredMessage => ({
    ...rest,
    headers: Object.fromEntries(
      Object.entries(headers).filter(([, value]) => typeof value === "string"),
    ),
    body: Buffer.from(body).toString("base64"),
  }));
  return JSON.stringify(kept);
}

/** Back from a text of `toText`. */
export function parseMessages(text: string): readonly Message[] {
  const kept = JSON.parse(text) as readonly StoredMessage[];
  return kept.map(({ body, ...rest }): Message => ({
    ...rest,
    body: new Uint8Array(Buffer.from(body, "base64")),
  }));
}
