/** Claims of a server in the shared ledger, and the rescue of orphans: requests whose workers have died. @module */
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
import { waitOutsidePrefetch } from "../request/outside_prefetch.ts";
import { type Republisher, sameAttempt } from "../retries/republisher.ts";
import { Lease, parseMessages, retryStore } from "../../ledger/lease.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { type RequestKey, sha256Of } from "../request/request_key.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import type { LedgerStore, StoredRequest } from "../../ledger/ledger_store.ts";
import { requeueAddress } from "../retries/quarantine.ts";

/** Milliseconds between two checks of a request that another worker has claimed. */
const CLAIM_CHECK_INTERVAL_MS = 1_000;
/** Milliseconds for the broker to confirm a request that is requeued when the worker stops. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/**
 * Result of a claim: `held` by this worker, `done` with these replies, `taken` by another worker, which is checked again
 * after `ms` milliseconds, or in `conflict` with another request of the same key.
 */
export type ClaimResult =
  | { readonly state: "held" }
  | { readonly state: "done"; readonly replies: readonly Message[] }
  | { readonly state: "taken"; readonly ms: number; readonly stored: boolean }
  | { readonly state: "conflict" };

/** Returns the key in the ledger: a digest, because a peer may choose ids of any length and content. */
function keyOf(queue: QueueAddress, { text }: RequestKey): string {
  return sha256Of(JSON.stringify([queueName(queue), text]));
}

/** Claims requests for one server. */
export class Claims {
  readonly #store: LedgerStore;
  readonly #republisher: Republisher;
  /** Consumers whose orphans are rescued, by queue. */
  readonly #watched = new Map<string, ServedQueue>();
  #rescueTimer: Timer | undefined;
  #stopped = false;

  /** `store` has the claims; `republisher` requeues orphans. */
  constructor(store: LedgerStore, republisher: Republisher) {
    this.#store = store;
    this.#republisher = republisher;
  }

  /** Starts to rescue the orphans of a shared queue, once in the duration of a lease. */
  watch(served: ServedQueue): void {
    if (!served.queue || served.quarantined) return;
    this.#watched.set(queueName(served.queue), served);
    if (!this.#stopped) this.#rescueTimer ??= this.#schedule();
  }

  /** Stops the rescue of orphans. */
  stop(): void {
    this.#stopped = true;
    if (this.#rescueTimer) clearDeadline(this.#rescueTimer);
  }

  /** Claims a request. Resolves to undefined if there is nothing to claim: the request has no key, or is a fanout. */
  async claim(
    incoming: IncomingRequest,
    { queue }: ServedQueue,
  ): Promise<ClaimResult | undefined> {
    const { signal, key: own } = incoming;
    if (!own || !queue) return undefined;
    const key = keyOf(queue, own);
    const content = sha256Of(own.content); // a short content is not a digest yet, and may contain secrets
    const deadline = { at: Infinity, signal };
    const store = this.#store;
    const claim = () => store.claim(key, content);
    const claimed = await retryStore(store, claim, deadline);
    if (claimed.state === "conflict") return { state: "conflict" };
    if (claimed.state === "done") {
      return { state: "done", replies: parseMessages(claimed.answers) };
    }
    if (claimed.state === "taken") {
      const { left, kept } = claimed;
      const ms = Math.min(CLAIM_CHECK_INTERVAL_MS, left);
      return { state: "taken", ms, stored: kept };
    }
    const held = { key, content, epoch: claimed.epoch };
    incoming.settlement.claim(new Lease(store, held, () => incoming.fence()));
    return { state: "held" };
  }

  /** Releases the claim of a request that is requeued undone, so that another worker may claim it at once. */
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

  /**
   * Requeues a copy of a stored request. False if the broker does not confirm the copy in time: then the request is
   * rescued when its lease has ended.
   */
  async #requeue(
    queue: QueueAddress,
    message: Message,
  ): Promise<boolean> {
    const name = queueName(queue);
    const deadline = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    const timeoutError = () => new Error("the broker did not take it in time");
    const sent = this.#republisher.send(direct(name), sameAttempt(message));
    return await withDeadline(sent.then(() => true), deadline, timeoutError)
      .catch(
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

  /** Waits before the next check of a request that another worker has claimed; false if it has to be requeued now. */
  async waitForRelease(
    incoming: IncomingRequest,
    ms: number,
  ): Promise<boolean> {
    const deadline = Infinity;
    return await waitOutsidePrefetch(
      incoming,
      incoming.signal,
      (signal) => delay(ms, { at: deadline, signal }),
    )
      .then(() => true, () => false);
  }

  #schedule(): Timer {
    const nextRescue = performance.now() + this.#store.lease;
    return setDeadline(nextRescue, () => void this.#rescueOrphans());
  }

  async #rescueOrphans(): Promise<void> {
    const queues = [...this.#watched.keys()];
    const deadline = { at: performance.now() + this.#store.lease };
    const timeoutError = () =>
      new Error("no answer from the ledger store in time");
    try {
      const orphans = Promise.try(() => this.#store.sweep(queues));
      for (
        const orphan of await withDeadline(orphans, deadline, timeoutError)
      ) {
        await this.#rescue(orphan);
      }
    } catch (error) {
      logger("rpc").warn("The ledger store is away: {error}", {
        error,
      });
    }
    if (!this.#stopped) this.#rescueTimer = this.#schedule();
  }

  /**
   * Sends an orphan to its queue, or to the quarantine queue if it was interrupted too often. Any worker may claim it
   * there.
   */
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
