/** What a server asks of the ledger that it shares with others: whose a request is, and which have lost their worker. @module */
import { createHash } from "node:crypto";
import { expireAt, forget, type Waiting } from "../../async/timer_wheel.ts";
import { log } from "../../logging.ts";
import { pause, within } from "../../async/deadline.ts";
import { direct, type Queue } from "../../transport/routes.ts";
import type { Message } from "../../transport/transport.ts";
import { interruptedOf } from "../../wire/codec.ts";
import { aside } from "../request/waiting_aside.ts";
import { asBefore, type Copies } from "../retries/republisher.ts";
import { asked, fromText, Hold } from "../../ledger/lease.ts";
import type { Job } from "../request/incoming_request.ts";
import { fullIdentityOf, type Lane } from "../request/served_queue.ts";
import type { KeptRequest, LedgerStore } from "../../ledger/ledger_store.ts";
import { placeOf } from "../retries/quarantine.ts";

/** Milliseconds between two looks at a request that another worker has, at most. */
const LOOK = 1_000;
/** Milliseconds that the broker may take for what a worker gives back when it stops. */
const GOODBYE = 1_000;

/** Whose a request is: `held` by this worker, or done, or another's: to look again after so many milliseconds. */
export type Whose =
  | { readonly state: "held" }
  | { readonly state: "done"; readonly answers: readonly Message[] }
  | { readonly state: "taken"; readonly ms: number; readonly kept: boolean };

/** Length-independent, and safe whatever a stranger calls his requests. */
function keyOf({ queue }: Lane, identity: string): string {
  const named = JSON.stringify([queue?.name, identity]);
  return createHash("sha256").update(named).digest("base64url");
}

/** The claims of one server. */
export class Claims {
  readonly #store: LedgerStore;
  readonly #copies: Copies;
  /** Whose orphans are looked for, by their queues. */
  readonly #lanes = new Map<string, Lane>();
  #sweeping: Waiting | undefined;
  #stopped = false;

  /** In a store; requests go back to their queues by copies. */
  constructor(store: LedgerStore, copies: Copies) {
    this.#store = store;
    this.#copies = copies;
  }

  /** Requests of a queue that workers share come back if they have lost their worker. */
  watch(lane: Lane): void {
    if (!lane.queue || lane.quarantined) return;
    this.#lanes.set(lane.queue.name, lane);
    if (!this.#stopped) this.#sweeping ??= this.#later();
  }

  /** Looks no more. */
  stop(): void {
    this.#stopped = true;
    if (this.#sweeping) forget(this.#sweeping);
  }

  /** Claims a request; undefined if it cannot be told from others, so that there is nothing to claim. */
  async claim(job: Job, lane: Lane): Promise<Whose | undefined> {
    const identity = fullIdentityOf(job);
    if (identity === undefined || !lane.queue) return undefined;
    const key = keyOf(lane, identity);
    const { signal } = job;
    const wait = { deadline: Infinity, signal };
    const store = this.#store;
    const claimed = await asked(store, () => store.claim(key), wait);
    if (claimed.state === "done") {
      return { state: "done", answers: fromText(claimed.answers) };
    }
    if (claimed.state === "taken") {
      const { left, kept } = claimed;
      return { state: "taken", ms: Math.min(LOOK, left), kept };
    }
    const claim = { key, epoch: claimed.epoch };
    job.hold = new Hold(store, claim, () => job.fence());
    return { state: "held" };
  }

  /** A request goes back to its queue undone: any other worker may claim it at once. */
  async giveBack({ hold, keptFor, message }: Job): Promise<void> {
    if (!hold || hold.over) return;
    await hold.release();
    if (keptFor && await this.#putBack(keptFor, message)) await hold.returned();
  }

  /** False where the broker does not take it in time: it comes back when it is found to have lost its worker. */
  async #putBack({ name }: Queue, message: Message): Promise<boolean> {
    const wait = { deadline: performance.now() + GOODBYE };
    const late = () => new Error("the broker did not take it in time");
    const sent = this.#copies.send(direct(name), asBefore(message));
    return await within(sent.then(() => true), wait, late).catch((error) => {
      log("rpc").warn("A request of {queue} waits for its lease: {error}", {
        queue: name,
        error,
      });
      return false;
    });
  }

  /** Waits until a request is free again, or done; false if it has to go back before. */
  async free(job: Job, ms: number): Promise<boolean> {
    const deadline = Infinity;
    return await aside(
      job,
      job.signal,
      (signal) => pause(ms, { deadline, signal }),
    )
      .then(() => true, () => false);
  }

  #later(): Waiting {
    const soon = performance.now() + this.#store.lease;
    return expireAt(soon, () => void this.#sweep());
  }

  async #sweep(): Promise<void> {
    const queues = [...this.#lanes.keys()];
    const wait = { deadline: performance.now() + this.#store.lease };
    const late = () => new Error("no answer from the ledger store in time");
    try {
      const sweeping = Promise.try(() => this.#store.sweep(queues));
      for (const kept of await within(sweeping, wait, late)) {
        await this.#bringBack(kept);
      }
    } catch (error) {
      log("rpc").warn("The ledger store is away: {error}", {
        error,
      });
    }
    if (!this.#stopped) this.#sweeping = this.#later();
  }

  /** Where any worker claims it anew: into its queue, or apart from others if it was interrupted too often. */
  async #bringBack(kept: KeptRequest): Promise<void> {
    const { queue } = kept;
    const lane = this.#lanes.get(queue);
    try {
      for (const request of fromText(kept.request)) {
        const times = interruptedOf(request.headers) + 1;
        const route = lane && placeOf(times, lane);
        if (!route) continue;
        await this.#copies.send(route, asBefore(request, times));
        await this.#store.returned(kept);
        const text = "A request of {queue} has lost its worker: back it goes";
        log("rpc").warn(text, { queue });
      }
    } catch (error) {
      const text = "A request of {queue} that lost its worker waits: {error}";
      log("rpc").warn(text, { queue, error });
    }
  }
}
