/** What a server asks of the ledger that it shares with others: whose a request is, and which have lost their worker. @module */
import { createHash } from "node:crypto";
import { loggable } from "../masked.ts";
import { expireAt, forget, type Waiting } from "../deadlines.ts";
import { log } from "../telemetry.ts";
import { pause, within } from "../wait.ts";
import { direct, type Queue } from "../bus/routes.ts";
import type { Message } from "../bus/transport.ts";
import { interruptedHeaders, interruptedOf } from "../wire/codec.ts";
import type { Copies } from "./copies.ts";
import { asked, Hold } from "./hold.ts";
import { fromText } from "./kept.ts";
import type { Job } from "./job.ts";
import { identityOf, type Lane } from "./lane.ts";
import type { LedgerStore } from "./ledger_store.ts";
import { placeOf } from "./quarantine.ts";

/** Milliseconds between two looks at a request that another worker has, at most. */
const LOOK = 1_000;
/** Milliseconds that the broker may take for what a worker gives back when it stops. */
const GOODBYE = 1_000;

/** Whose a request is: `held` by this worker, or done, or another's for so many milliseconds. */
export type Whose =
  | { readonly state: "held" }
  | { readonly state: "done"; readonly answers: readonly Message[] }
  | { readonly state: "taken"; readonly ms: number };

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
    const identity = identityOf(job.request);
    if (identity === undefined || !lane.queue) return undefined;
    const key = keyOf(lane, identity);
    const { signal } = job.context;
    const wait = { deadline: Infinity, signal };
    const store = this.#store;
    const claimed = await asked(store, () => store.claim(key), wait);
    if (claimed.state === "done") {
      return { state: "done", answers: fromText(claimed.answers) };
    }
    if (claimed.state === "taken") {
      return { state: "taken", ms: Math.min(LOOK, claimed.left) };
    }
    const claim = { key, epoch: claimed.epoch };
    job.hold = new Hold(store, claim, () => job.fence());
    return { state: "held" };
  }

  /** A request goes back to its queue undone: any other worker may claim it at once. */
  async giveBack({ hold, keptFor, message }: Job): Promise<void> {
    if (!hold || hold.over) return;
    await hold.release();
    if (keptFor) await this.#putBack(keptFor, message);
  }

  /** Where the broker does not take it in time, it comes back when it is found to have lost its worker. */
  async #putBack({ name }: Queue, message: Message): Promise<void> {
    const headers = interruptedHeaders(
      message.headers,
      interruptedOf(message.headers),
    );
    const copy = { ...message, headers, persistent: true, mandatory: true };
    const wait = { deadline: performance.now() + GOODBYE };
    const late = () => new Error("the broker did not take it in time");
    await within(this.#copies.send(direct(name), copy), wait, late).catch(
      (error) =>
        log("rpc").warn("A request of {queue} waits for its lease: {error}", {
          queue: name,
          error: loggable(error),
        }),
    );
  }

  /** Waits until a request is free again, or done. */
  async free(job: Job, ms: number): Promise<void> {
    const { signal } = job.context;
    await pause(ms, { deadline: Infinity, signal }).catch(() => {});
  }

  #later(): Waiting {
    const soon = performance.now() + this.#store.lease;
    return expireAt(soon, () => void this.#sweep());
  }

  async #sweep(): Promise<void> {
    try {
      for (const orphan of await this.#store.sweep([...this.#lanes.keys()])) {
        await this.#bringBack(orphan.queue, fromText(orphan.request));
      }
    } catch (error) {
      log("rpc").warn("Requests that lost their worker wait: {error}", {
        error: loggable(error),
      });
    }
    if (!this.#stopped) this.#sweeping = this.#later();
  }

  /** Where any worker claims it anew: into its queue, or apart from others if it was interrupted too often. */
  async #bringBack(
    queue: string,
    requests: readonly Message[],
  ): Promise<void> {
    const lane = this.#lanes.get(queue);
    for (const request of requests) {
      const times = interruptedOf(request.headers) + 1;
      const route = lane && placeOf(times, lane);
      if (!route) continue;
      const headers = interruptedHeaders(request.headers, times);
      const copy = { ...request, headers, persistent: true, mandatory: true };
      await this.#copies.send(route, copy);
      const text = "A request of {queue} has lost its worker: back it goes";
      log("rpc").warn(text, { queue });
    }
  }
}
