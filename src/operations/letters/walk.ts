/** Walks over queues of dead letters: as many passes as it takes to visit all letters that were there at the start. @module */
import { delay } from "../../async/deadline.ts";
import { backoff } from "../../async/backoff.ts";
import { ConnectionDisposedError, TopologyError } from "../../errors.ts";
import type { Browser, Session } from "../../transport/transport.ts";
import type { QueueAddress } from "../../transport/address.ts";
import { Fingerprints } from "./fingerprints.ts";
import { Pass, type Visitor, type WalkMemory } from "./pass.ts";
import type { LetterSource } from "./letter_source.ts";

/** Letters of a queue that one walk visits: the oldest. */
const MAX_LETTERS = 1_000_000;
/** Letters that are requested first, unless fewer are wanted. */
const FIRST_BATCH = 200;
/** Milliseconds to begin a pass, in which others may have to end theirs, or the connection has to come back. */
const BEGIN_TIMEOUT_MS = 60_000;
/** Passes that fail one after another before the walk fails. */
const MAX_FAILURES = 8;
/**
 * Passes that find all letters after one that has failed, and the milliseconds before each: a broker may return the
 * letters of a lost channel some time after it has forgotten the channel.
 */
const CONFIRMATIONS = 2;
const CONFIRMATION_PAUSE_MS = 1_000;
/** Milliseconds between two passes, in which another reader may begin one: at least so many, and as many more by chance. */
const PAUSE_MS = 50;

/** Decides on letters, and on passes. */
export interface WalkVisitor extends Visitor {
  /** Number of letters that are wanted of the next pass; default: as many as there are. */
  readonly wanted?: number | undefined;
  /** Called before each pass; resolves when it may begin. False ends the walk. */
  beforePass?(): boolean | Promise<boolean>;
}

/**
 * Visits the dead letters of a queue that are there at the start. Yields after each pass, while no letter is hidden. A
 * pass whose channel is lost is repeated.
 *
 * @throws {TopologyError} another program consumes the queue all the time, or the user may not read it.
 * @throws {RpcError} the broker cannot be reached in time.
 */
export async function* walk(
  { session, limits, signal }: LetterSource,
  queue: QueueAddress,
  visitor: WalkVisitor,
): AsyncGenerator<void, void, undefined> {
  const current = new Walk(queue, session, limits.bytes);
  for (;;) {
    if (await visitor.beforePass?.() === false) return;
    if (await current.pass(visitor, signal)) return yield;
    yield;
    await delay(current.pause, { at: Infinity, signal });
  }
}

/** State of a walk between its passes. */
class Walk {
  readonly #queue: QueueAddress;
  readonly #session: Session;
  readonly #maxBodyBytes: number;
  readonly #memory: WalkMemory = {
    kept: new Fingerprints(),
    removed: new Fingerprints(),
  };
  /** Letters that were there at the start, and are in their places; undefined before the first pass. */
  #left: number | undefined;
  /** Letters at the beginning that the last pass has visited and left, unless it has removed some. */
  #known = { count: 0, bytes: 0 };
  /** Passes that have failed one after another. */
  #failures = 0;
  /** Passes that have to find all letters before the walk ends. */
  #confirmations = 0;
  /** Time since which another reader has the queue. */
  #busySince: number | undefined;

  constructor(queue: QueueAddress, session: Session, maxBodyBytes: number) {
    this.#queue = queue;
    this.#session = session;
    this.#maxBodyBytes = maxBodyBytes;
  }

  /** Milliseconds before the next pass. */
  get pause(): number {
    const pause = this.#failures > 0
      ? backoff(this.#failures)
      : this.#confirmations > 0
      ? CONFIRMATION_PAUSE_MS
      : 0;
    return PAUSE_MS * (1 + Math.random()) + pause;
  }

  /**
   * Makes a pass; true if it was the last one.
   *
   * @throws {RpcError} it has failed, and so would another one.
   */
  async pass(
    visitor: WalkVisitor,
    signal: AbortSignal | undefined,
  ): Promise<boolean> {
    const source = { session: this.#session, queue: this.#queue };
    const current = new Pass(source, this.#memory, visitor);
    try {
      const browser = await this.#browse(current, visitor.wanted, signal);
      if (!browser) return true;
      this.#busySince = undefined;
      // Fewer than expected: another program has taken some, or they are not returned yet.
      const isShort = browser.messages < (this.#left ?? 0);
      if (isShort) this.#confirmations = CONFIRMATIONS;
      this.#left ??= Math.min(browser.messages, MAX_LETTERS);
      const { removed, isComplete, error } = await current.run(browser);
      this.#left -= removed;
      if (error !== undefined) throw error;
      this.#known = removed === 0 ? current.arrived : { count: 0, bytes: 0 };
      this.#failures = 0;
      if (!isComplete && this.#left > 0) return false;
      this.#left = undefined; // for a confirmation
      return this.#confirmations-- <= 0;
    } catch (error) {
      if (!this.#mayHeal(error)) throw error;
      return false;
    }
  }

  #browse(
    current: Pass,
    wanted = FIRST_BATCH,
    signal: AbortSignal | undefined,
  ): Promise<Browser | undefined> {
    const address = { kind: "deadLetter", of: this.#queue } as const;
    const deadline = { at: performance.now() + BEGIN_TIMEOUT_MS, signal };
    return this.#session.browse(address, {
      onHead: (head) => current.arrive(head),
      maxMessages: this.#left ?? MAX_LETTERS,
      firstBatch: Math.min(FIRST_BATCH, wanted),
      known: this.#known,
      maxBodyBytes: this.#maxBodyBytes,
    }, deadline);
  }

  /** True for an error after which another pass may succeed. */
  #mayHeal(error: unknown): boolean {
    if (error instanceof TopologyError && error.data.reason === "inUse") {
      const since = this.#busySince ??= performance.now();
      return performance.now() - since < BEGIN_TIMEOUT_MS;
    }
    const isFinal = error instanceof TopologyError ||
      error instanceof ConnectionDisposedError;
    this.#confirmations = CONFIRMATIONS;
    return !isFinal && ++this.#failures < MAX_FAILURES;
  }
}
