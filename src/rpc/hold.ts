/** A request that this worker holds in the fleet's ledger: renewed while it runs, done once. @module */
import { loggable } from "../masked.ts";
import { expireAt, forget } from "../deadlines.ts";
import { log } from "../telemetry.ts";
import { pause, type Wait, within } from "../wait.ts";
import type { Message } from "../bus/transport.ts";
import { fromText, toText } from "./kept.ts";
import type { Claim, LedgerStore } from "./ledger_store.ts";

/** Milliseconds between two tries while the store is away. */
const FIRST_PAUSE = 100;
const LONGEST_PAUSE = 5_000;

/**
 * Asks a store until it answers; one that does not answer within a lease is asked again.
 *
 * @throws the wait's reason.
 */
export async function asked<T>(
  { lease }: LedgerStore,
  ask: () => Promise<T>,
  wait: Wait,
): Promise<T> {
  for (let ms = FIRST_PAUSE;; ms = Math.min(2 * ms, LONGEST_PAUSE)) {
    try {
      const patience = { ...wait, deadline: performance.now() + lease };
      const late = () => new Error("no answer from the ledger store in time");
      return await within(Promise.try(ask), patience, late);
    } catch (error) {
      wait.signal?.throwIfAborted();
      log("rpc").warn("The ledger store is away: {error}", {
        error: loggable(error),
      });
    }
    await pause(ms, wait);
  }
}

/** A claim that holds until it is done, lost or given back. */
export class Hold {
  readonly #store: LedgerStore;
  readonly #claim: Claim;
  readonly #taken: () => void;
  #renewal: ReturnType<typeof expireAt>;
  #over = false;
  /** It is done, unless the user's transaction was rolled back. */
  #recorded = false;

  /** Renewed from now on; `taken` is called when another worker has taken it over. */
  constructor(store: LedgerStore, claim: Claim, taken: () => void) {
    this.#store = store;
    this.#claim = claim;
    this.#taken = taken;
    this.#renewal = this.#later();
  }

  /**
   * It is done, with that to say if it comes again. Resolves to what is to be said: something else if it was recorded
   * before, nothing if another worker has it.
   */
  async done(
    answers: readonly Message[],
    wait: Wait,
  ): Promise<readonly Message[] | undefined> {
    const text = toText(answers);
    const store = this.#store;
    const claim = this.#claim;
    const mine = !this.#recorded &&
      await asked(store, () => store.done(claim, text), wait);
    this.stop();
    if (mine) return answers;
    const { key } = claim;
    const known = await asked(store, () => store.claim(key), wait);
    if (known.state === "done") return fromText(known.answers);
    if (known.state === "taken" && !this.#recorded) return undefined;
    // It was rolled back; or whoever had taken it over is gone as well, and this run has ended: so it is this one that counts.
    const late = known.state === "held" ? { key, epoch: known.epoch } : claim;
    const done = await asked(store, () => store.done(late, text), wait);
    return done ? answers : undefined;
  }

  /** False if another worker has it, or it is done. */
  async holds(wait: Wait): Promise<boolean> {
    const store = this.#store;
    return await asked(store, () => store.renew(this.#claim), wait);
  }

  /** It is done if the user's transaction is committed; false if another worker has it. */
  async record(
    answers: readonly Message[],
    transaction: unknown,
  ): Promise<boolean> {
    const text = toText(answers);
    return this.#recorded = await this.#store.done(
      this.#claim,
      text,
      transaction,
    );
  }

  /** Keeps the request itself, since its queue forgets it from now on; false if another worker has it. */
  async keep(queue: string, request: Message, wait: Wait): Promise<boolean> {
    const orphan = { queue, request: toText([request]) };
    const store = this.#store;
    return await asked(store, () => store.keep(this.#claim, orphan), wait);
  }

  /** True once it is done, lost or given back. */
  get over(): boolean {
    return this.#over;
  }

  /** Gives it back undone. If the store is away, it is free when the lease ends. */
  async release(): Promise<void> {
    this.stop();
    await this.#store.release(this.#claim).catch((error) =>
      log("rpc").info("A claim was not given back: {error}", {
        error: loggable(error),
      })
    );
  }

  /** Renews it no more. */
  stop(): void {
    this.#over = true;
    forget(this.#renewal);
  }

  #later(): ReturnType<typeof expireAt> {
    const soon = performance.now() + this.#store.lease / 3;
    return expireAt(soon, () => void this.#renew());
  }

  async #renew(): Promise<void> {
    const held = await this.#store.renew(this.#claim).catch((error) => {
      log("rpc").warn("A claim was not renewed: {error}", {
        error: loggable(error),
      });
      return true; // as far as is known
    });
    if (this.#over) return;
    if (held) this.#renewal = this.#later();
    else {
      this.#over = true;
      this.#taken();
    }
  }
}
