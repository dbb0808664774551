/** What a server asks of the ledger that it shares with others: whose a request is, and which have lost their worker. @module */
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
import { interruptionsOf } from "../../wire/codec.ts";
import { aside } from "../request/waiting_aside.ts";
import { type Republisher, sameAttempt } from "../retries/republisher.ts";
import { Lease, parseMessages, retryStore } from "../../ledger/lease.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { fullRequestKey, type ServedQueue } from "../request/served_queue.ts";
import type { LedgerStore, StoredRequest } from "../../ledger/ledger_store.ts";
import { requeueAddress } from "../retries/quarantine.ts";

/** Milliseconds between two looks at a request that another worker has, at most. */
const RESCUE_INTERVAL_MS = 1_000;
/** Milliseconds that the broker may take for what a worker gives back when it stops. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/** Whose a request is: `held` by this worker, or done, or another's: to look again after so many milliseconds. */
export type ClaimResult =
  | { readonly state: "held" }
  | { readonly state: "done"; readonly answers: readonly Message[] }
  | { readonly state: "taken"; readonly ms: number; readonly kept: boolean };

/** Length-independent, and safe whatever a stranger calls his requests. */
function keyOf({ queue }: ServedQueue, identity: string): string {
  const named = JSON.stringify([queue && queueName(queue), identity]);
  return createHash("sha256").update(named).digest("base64url");
}

/** The claims of one server. */
export class Claims {
  readonly #store: LedgerStore;
  readonly #republisher: Republisher;
  /** Whose orphans are looked for, by their queues. */
  readonly #lanes = new Map<string, ServedQueue>();
  #sweeping: Timer | undefined;
  #stopped = false;

  /** In a store; requests go back to their queues by copies. */
  constructor(store: LedgerStore, republisher: Republisher) {
    this.#store = store;
    this.#republisher = republisher;
  }

  /** Requests of a queue that workers share come back if they have lost their worker. */
  watch(served: ServedQueue): void {
    if (!served.queue || served.quarantined) return;
    this.#lanes.set(queueName(served.queue), served);
    if (!this.#stopped) this.#sweeping ??= this.#later();
  }

  /** Looks no more. */
  stop(): void {
    this.#stopped = true;
    if (this.#sweeping) clearDeadline(this.#sweeping);
  }

  /** Claims a request; undefined if it cannot be told from others, so that there is nothing to claim. */
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
      return { state: "done", answers: parseMessages(claimed.answers) };
    }
    if (claimed.state === "taken") {
      const { left, kept } = claimed;
      return { state: "taken", ms: Math.min(RESCUE_INTERVAL_MS, left), kept };
    }
    const claim = { key, epoch: claimed.epoch };
    incoming.lease = new Lease(store, claim, () => incoming.fence());
    return { state: "held" };
  }

  /** A request goes back to its queue undone: any other worker may claim it at once. */
  async requeue({ lease, keptFor, message }: IncomingRequest): Promise<void> {
    if (!lease || lease.over) return;
    await lease.release();
    if (keptFor && await this.#putBack(keptFor, message)) {
      await lease.returned();
    }
  }

  /** False where the broker does not take it in time: it comes back when it is found to have lost its worker. */
  async #putBack(
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

  /** Waits until a request is free again, or done; false if it has to go back before. */
  async free(incoming: IncomingRequest, ms: number): Promise<boolean> {
    const deadline = Infinity;
    return await aside(
      incoming,
      incoming.signal,
      (signal) => delay(ms, { at: deadline, signal }),
    )
      .then(() => true, () => false);
  }

  #later(): Timer {
    const soon = performance.now() + this.#store.lease;
    return setDeadline(soon, () => void this.#rescueOrphans());
  }

  async #rescueOrphans(): Promise<void> {
    const queues = [...this.#lanes.keys()];
    const wait = { at: performance.now() + this.#store.lease };
    const late = () => new Error("no answer from the ledger store in time");
    try {
      const sweeping = Promise.try(() => this.#store.sweep(queues));
      for (const kept of await withDeadline(sweeping, wait, late)) {
        await this.#rescue(kept);
      }
    } catch (error) {
      logger("rpc").warn("The ledger store is away: {error}", {
        error,
      });
    }
    if (!this.#stopped) this.#sweeping = this.#later();
  }

  /** Where any worker claims it anew: into its queue, or apart from others if it was interrupted too often. */
  async #rescue(kept: StoredRequest): Promise<void> {
    const { queue } = kept;
    const served = this.#lanes.get(queue);
    try {
      for (const request of parseMessages(kept.request)) {
        const times = interruptionsOf(request.headers) + 1;
        const route = served && requeueAddress(times, served);
        if (!route) continue;
        await this.#republisher.send(route, sameAttempt(request, times));
        await this.#store.returned(kept);
        const text = "A request of {queue} has lost its worker: back it goes";
        logger("rpc").warn(text, { queue });
      }
    } catch (error) {
      const text = "A request of {queue} that lost its worker waits: {error}";
      logger("rpc").warn(text, { queue, error });
    }
  }
}
