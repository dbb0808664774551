/** One pass over a queue of dead letters: all that are kept are hidden until it ends. @module */
import { ConnectionFailedError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { direct, queueName } from "../../transport/address.ts";
import { isNearDeliveryLimit } from "../../transport/delivery_limit.ts";
import type {
  Browser,
  Delivery,
  Message,
  MessageHead,
  Need,
  Session,
} from "../../transport/transport.ts";
import type { QueueAddress } from "../../transport/address.ts";
import { sameLetter } from "./copies.ts";
import { fingerprintOf, type Fingerprints } from "./fingerprints.ts";

/**
 * Decision on a letter: it stays, it is deleted, or the pass ends before it, because there is no room for it or it is not
 * its turn.
 */
export type Verdict = "kept" | "removed" | "full";

/** Decides on letters. */
export interface Visitor {
  /** Decides on a letter. A promise must not reject; `removed` means that a copy is confirmed or none is needed. */
  visit(message: Message): Verdict | Promise<"kept" | "removed">;
}

/** Letters that the passes of one walk have dealt with. */
export interface WalkMemory {
  /** Letters that stay. */
  readonly kept: Fingerprints;
  /** Letters that were removed on a channel that was lost: their acknowledgements may be undone. */
  readonly removed: Fingerprints;
}

/** Queue of a pass. */
export interface PassSource {
  /** Publishes copies. */
  readonly session: Session;
  /** Queue whose dead letters are visited. */
  readonly queue: QueueAddress;
}

/** Result of a pass. */
export interface PassResult {
  /** Number of letters that are not in their places any more. */
  readonly removed: number;
  /** True if all letters were visited. */
  readonly isComplete: boolean;
  /** Error of a channel that was lost: the letters are back, and those that were removed may be. */
  readonly error?: unknown;
}

/**
 * Milliseconds after which a pass ends, and the least that it has for letters that are new to it, behind those that
 * earlier passes have dealt with. The letters are returned then, which takes a classic queue half as long again.
 */
const MAX_PASS_MS = 3_000;
const MIN_NEW_MS = 500;
/** Letters that are being copied at the same time, and their bytes. */
const MAX_PENDING = 256;
const MAX_PENDING_BYTES = 8 * 1024 * 1024;
/** Milliseconds for the broker to confirm a copy. */
export const COPY_TIMEOUT_MS = 10_000;

/** A letter that has arrived, and what earlier passes have done with it. */
interface ArrivedLetter {
  readonly fingerprint: number;
  readonly state: "new" | "kept" | "removed";
}

/** A pass, which visits the letters of one browser. */
export class Pass {
  readonly #source: PassSource;
  readonly #memory: WalkMemory;
  readonly #visitor: Visitor;
  readonly #pending = new Set<Promise<void>>();
  /** Fingerprints of the letters that were acknowledged. */
  readonly #acknowledged: number[] = [];
  readonly #started = performance.now();
  #pendingBytes = 0;
  /** True once the first copy was sent. Copies keep the order of their letters from then on. */
  #hasSent = false;
  #removed = 0;
  /** Letters that have arrived to be visited, in their order: those of two batches at most. */
  readonly #arrived: ArrivedLetter[] = [];
  #visited = 0;
  /** Letters that have arrived in all, and their bytes. */
  #count = 0;
  #bytes = 0;
  /** Time at which the pass has come to the first letter that no pass had dealt with. */
  #newSince: number | undefined;

  /** `visitor` decides on the letters that `memory` does not know. */
  constructor(source: PassSource, memory: WalkMemory, visitor: Visitor) {
    this.#source = source;
    this.#memory = memory;
    this.#visitor = visitor;
    memory.kept.startPass();
    memory.removed.startPass();
  }

  /** Number of letters that have arrived, and their bytes. */
  get arrived(): { readonly count: number; readonly bytes: number } {
    return { count: this.#count, bytes: this.#bytes };
  }

  /** Visits the letters of a browser, and closes it. */
  async run(browser: Browser): Promise<PassResult> {
    let error: unknown;
    let isComplete = false;
    try {
      isComplete = await this.#visitAll(browser);
    } catch (thrown) {
      error = thrown;
    }
    await this.#settled();
    const isClosed = await browser.close();
    if (!isClosed) {
      this.#forgetRemoved();
      error ??= new ConnectionFailedError("The channel of a pass was lost");
    }
    return { removed: this.#removed, isComplete, error };
  }

  /** Visits letters; true if there are no more. */
  async #visitAll(browser: Browser): Promise<boolean> {
    for (;;) {
      const batch = await browser.read();
      if (!batch) return true;
      if (this.#isOver()) return false;
      for (const delivery of batch) {
        if (this.#isOver() || !this.#visit(delivery)) return false;
        if (this.#hasToWait()) await this.#settled();
      }
    }
  }

  /** True if no further copy may be sent: there are many, or the first one may still wait for its channel to open. */
  #hasToWait(): boolean {
    const { size } = this.#pending;
    const isFirst = size > 0 && !this.#hasSent;
    if (isFirst) this.#hasSent = true;
    return isFirst || size >= MAX_PENDING ||
      this.#pendingBytes >= MAX_PENDING_BYTES;
  }

  /** Resolves when no letter is being copied any more. */
  async #settled(): Promise<void> {
    await Promise.all(this.#pending);
  }

  /** Remembers the letters that were removed for the next pass, because they may be in their places again. */
  #forgetRemoved(): void {
    for (const each of this.#acknowledged) this.#memory.removed.add(each);
    this.#removed = 0;
  }

  /** Notes a letter that arrives; returns the part that is needed to visit it. */
  arrive(head: MessageHead): Need {
    this.#count++;
    this.#bytes += head.bytes;
    const { kept, removed } = this.#memory;
    const fingerprint = fingerprintOf(head);
    const state = removed.meet(fingerprint)
      ? "removed"
      : kept.meet(fingerprint)
      ? "kept"
      : "new";
    if (state === "kept" && !isNearDeliveryLimit(head)) return "none";
    this.#arrived.push({ fingerprint, state });
    return state === "removed" ? "head" : "body";
  }

  #isOver(): boolean {
    if (this.#newSince === undefined) return false;
    const end = Math.max(
      this.#started + MAX_PASS_MS,
      this.#newSince + MIN_NEW_MS,
    );
    return performance.now() > end;
  }

  /** Returns the next letter that has arrived. */
  #next(): ArrivedLetter {
    const next = this.#arrived[this.#visited++] as ArrivedLetter;
    if (this.#visited === this.#arrived.length) {
      this.#arrived.length = this.#visited = 0;
    }
    return next;
  }

  /** Visits one letter; false if the pass ends before it. */
  #visit(delivery: Delivery): boolean {
    const { fingerprint, state } = this.#next();
    if (state === "removed") {
      this.#memory.removed.remove(fingerprint);
      this.#acknowledge(delivery, fingerprint);
      return true;
    }
    if (state === "kept") {
      this.#keep(delivery, fingerprint);
      return true;
    }
    const verdict = this.#visitor.visit(delivery.message);
    if (verdict === "full") return false;
    this.#newSince ??= performance.now();
    if (typeof verdict === "object") {
      this.#track(delivery, async () => {
        this.#settle(delivery, fingerprint, await verdict);
      });
    } else this.#settle(delivery, fingerprint, verdict);
    return true;
  }

  #settle(
    delivery: Delivery,
    fingerprint: number,
    verdict: "kept" | "removed",
  ): void {
    if (verdict === "removed") return this.#acknowledge(delivery, fingerprint);
    this.#memory.kept.add(fingerprint);
    this.#keep(delivery, fingerprint);
  }

  #acknowledge(delivery: Delivery, fingerprint: number): void {
    this.#newSince ??= performance.now(); // it will not be met again
    delivery.ack();
    this.#acknowledged.push(fingerprint);
    this.#removed++;
  }

  /** Leaves a letter in its place, or replaces one that the broker might drop by a copy at the end of the queue. */
  #keep(delivery: Delivery, fingerprint: number): void {
    const { body, oversized } = delivery.message;
    const isWhole = oversized === undefined || oversized === body.length;
    if (!isNearDeliveryLimit(delivery) || !isWhole) return;
    this.#track(delivery, () => this.#replace(delivery, fingerprint));
  }

  async #replace(delivery: Delivery, fingerprint: number): Promise<void> {
    const { session, queue } = this.#source;
    const name = queueName({ kind: "deadLetter", of: queue });
    const deadline = { at: performance.now() + COPY_TIMEOUT_MS };
    try {
      const copy = sameLetter(delivery.message);
      await session.publish(direct(name), copy, deadline);
    } catch (error) {
      const text =
        "A letter of {queue} cannot be replaced before its delivery limit: {error}";
      return logger("rpc").warn(text, { queue: name, error }, name);
    }
    this.#memory.kept.remove(fingerprint);
    this.#acknowledge(delivery, fingerprint);
  }

  #track({ message }: Delivery, work: () => Promise<void>): void {
    const bytes = message.body.length;
    this.#pendingBytes += bytes;
    const pending = work().finally(() => {
      this.#pending.delete(pending);
      this.#pendingBytes -= bytes;
    });
    this.#pending.add(pending);
  }
}
