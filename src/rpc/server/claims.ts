/** Claims of a server in the shared ledger, and the rescue of requests whose workers have died. @module */
import { createHash } from "node:crypto";
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { logger } from "../../logging.ts";
import { delay, withDeadline } from "../../async/deadline.ts";
import {
  direct,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import type { Message } from "../../transport/transport.ts";
import { interruptionsOf } from "../../wire/mod.ts";
import { aside } from "../request/waiting_aside.ts";
import { type Republisher, sameAttempt } from "../retries/republisher.ts";
import { Lease, parseMessages, retryStore } from "../../ledger/lease.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { fullRequestKey, type ServedQueue } from "../request/served_queue.ts";
import type { LedgerStore, StoredRequest } from "../../ledger/ledger_store.ts";
import { requeueAddress } from "../retries/quarantine.ts";

/** Milliseconds between two checks of a request that another worker has claimed. */
const CLAIM_CHECK_INTERVAL_MS = 1_000;
/** Milliseconds that the broker may take for a request that goes back to its queue when the worker stops. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/** Result of a claim: `held` by this worker, done with those replies, or taken by another worker, to be checked again after `ms` milliseconds. */
export type ClaimResult =
  | { readonly state: "held" }
  | { readonly state: "done"; readonly replies: readonly Message[] }
  | { readonly state: "taken"; readonly ms: number; readonly stored: boolean };

/** Key in the ledger: a digest, since a peer may choose ids of any length and content. */
function keyOf({ queue }: ServedQueue, identity: string): string {
  const named = JSON.stringify([queue && queueName(queue), identity]);
  return createHash("sha256").update(named).digest("base64url");
}

/** The claims of one server. */
export class Claims {
  readonly #store: LedgerStore;
  readonly #republisher: Republisher;
  /** Consumers whose orphans are rescued, by queue. */
  readonly #watched = new Map<string, ServedQueue>();
  #rescueTimer: Timer | undefined;
  #stopped = false;

  /** Claims in `store`; orphans go back to their queues by `republisher`. */
  constructor(store: LedgerStore, republisher: Republisher) {
    this.#store = store;
    this.#republisher = republisher;
  }

  /** Rescues the orphans of a shared queue from now on, once in each lease. */
  watch(served: ServedQueue): void {
    if (!served.queue || served.quarantined) return;
    this.#watched.set(queueName(served.queue), served);
    if (!this.#stopped) this.#rescueTimer ??= this.#schedule();
  }

  /** Rescues no more orphans. */
  stop(): void {
    this.#stopped = true;
    if (this.#rescueTimer) clearDeadline(this.#rescueTimer);
  }

  /** Claims a request; undefined if it has no key, or is a broadcast: then there is nothing to claim. */
  async claim(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<ClaimResult | undefined> {
    const identity = fullRequestKey(incoming);
    if (identity === undefined || !served.queue) return undefined;
    const key = keyOf(served, identity);
    const { signal } = incoming;
    const wait = { at: Infinity, signal };
    const store = this.#store;
    const claimed = await retryStore(store, () => store.claim(key), wait);
    if (claimed.state === "done") {
      return { state: "done", replies: parseMessages(claimed.answers) };
    }
    if (claimed.state === "taken") {
      const { left, kept } = claimed;
      const ms = Math.min(CLAIM_CHECK_INTERVAL_MS, left);
      return { state: "taken", ms, stored: kept };
    }
    const claim = { key, epoch: claimed.epoch };
    incoming.settlement.claim(
      new Lease(store, claim, () => incoming.fence()),
    );
    return { state: "held" };
  }

  /** Releases the claim of a request that goes back to its queue undone: any other worker may claim it at once. */
  async release(
    { settlement: { lease, stored }, message }: IncomingRequest,
    queue: QueueAddress | undefined,
  ): Promise<void> {
    if (!lease || lease.ended) return;
    await lease.release();
    if (stored && queue && await this.#requeue(queue, message)) {
      await lease.markRequeued();
    }
  }

  /** False if the broker does not take the copy in time: the request is rescued when its lease has ended. */
  async #requeue(
    queue: QueueAddress,
    message: Message,
  ): Promise<boolean> {
    const name = queueName(queue);
    const wait = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    const late = () => new Error("the broker did not take it in time");
    const sent = this.#republisher.send(direct(name), sameAttempt(message));
    return await withDeadline(sent.then(() => true), wait, late).catch(
      (error) => {
        logger("rpc").warn(
          "A request of {queue} waits for its lease: {error}",
          {
            queue: name,
            error,
          },
        );
        return false;
      },
    );
  }

  /** Waits before the next check of a request that another worker has claimed; false if it has to go back to its queue now. */
  async waitForRelease(
    incoming: IncomingRequest,
    ms: number,
  ): Promise<boolean> {
    const deadline = Infinity;
    return await aside(
      incoming,
      incoming.signal,
      (signal) => delay(ms, { at: deadline, signal }),
    )
      .then(() => true, () => false);
  }

  #schedule(): Timer {
    const soon = performance.now() + this.#store.lease;
    return setDeadline(soon, () => void this.#rescueOrphans());
  }

  async #rescueOrphans(): Promise<void> {
    const queues = [...this.#watched.keys()];
    const wait = { at: performance.now() + this.#store.lease };
    const late = () => new Error("no answer from the ledger store in time");
    try {
      const orphans = Promise.try(() => this.#store.sweep(queues));
      for (const orphan of await withDeadline(orphans, wait, late)) {
        await this.#rescue(orphan);
      }
    } catch (error) {
      logger("rpc").warn("The ledger store is away: {error}", {
        error,
      });
    }
    if (!this.#stopped) this.#rescueTimer = this.#schedule();
  }

  /** Puts an orphan into its queue, or into the quarantine queue if it was interrupted too often: any worker may claim it there. */
  async #rescue(orphan: StoredRequest): Promise<void> {
    const { queue } = orphan;
    const served = this.#watched.get(queue);
    try {
      for (const request of parseMessages(orphan.request)) {
        const times = interruptionsOf(request.headers) + 1;
        const route = served && requeueAddress(times, served);
        if (!route) continue;
        await this.#republisher.send(route, sameAttempt(request, times));
        await this.#store.returned(orphan);
        const text = "A request of {queue} has lost its worker: back it goes";
        logger("rpc").warn(text, { queue });
      }
    } catch (error) {
      const text = "A request of {queue} that lost its worker waits: {error}";
      logger("rpc").warn(text, { queue, error });
    }
  }
}
