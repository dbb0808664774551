/** Returns dead letters to their queues, where they run again. @module */
import { delay } from "../../async/deadline.ts";
import {
  InvalidValueError,
  NoRouteError,
  RejectedError,
} from "../../errors.ts";
import { checkDuration, checkInteger } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import {
  direct,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import type { Message } from "../../transport/transport.ts";
import {
  type DeadLetter,
  deadLetterOf,
} from "../../rpc/letters/dead_letter.ts";
import { replayedCopy } from "./copies.ts";
import { MAX_LIMIT } from "./discard.ts";
import type { CheckedFilter } from "./filter.ts";
import { hashOf } from "./fingerprints.ts";
import type { LetterSource } from "./letter_source.ts";
import { COPY_TIMEOUT_MS, type Verdict } from "./pass.ts";
import { type OperationEnd, type ReplayResult, Tally } from "./results.ts";
import { walk, type WalkVisitor } from "./walk.ts";

/**
 * Options of `replay`.
 * @category Operations
 */
export interface ReplayOptions {
  /** True to move nothing, and to count what would be replayed; default false. */
  readonly dryRun?: boolean | undefined;
  /** Maximum number of letters that are replayed; default: all. */
  readonly limit?: number | undefined;
  /** Maximum number of letters a second, also a fraction; default: no maximum. */
  readonly perSecond?: number | undefined;
  /**
   * Milliseconds for which the ledger of the workers remembers a request; default 600 000, that of `LedgerOptions.window`.
   * Doubles of older letters are not recognised, see `ReplayResult.unrecognised`.
   */
  readonly ledgerWindow?: number | undefined;
  /** Ends the operation early; its result says what was done until then. */
  readonly signal?: AbortSignal | undefined;
}

const replayNames = namesOf<ReplayOptions>({
  dryRun: true,
  limit: true,
  perSecond: true,
  ledgerWindow: true,
  signal: true,
});

/** Default of `ledgerWindow`. */
const LEDGER_WINDOW_MS = 600_000;

/** Replays the letters that a filter chooses, the oldest first. */
export async function replay(
  source: LetterSource,
  { queues, chooses }: CheckedFilter,
  options: ReplayOptions,
): Promise<ReplayResult> {
  const checked = checkReplay(options);
  const { dryRun, signal } = checked;
  const tally = new Tally();
  const run = new Replay({ ...source, signal }, chooses, checked, tally);
  try {
    for (const queue of queues) {
      const visitor = run.visitorOf(queue);
      for await (const _pass of walk({ ...source, signal }, queue, visitor));
      run.throwIfStopped();
    }
  } catch (error) {
    if (!signal?.aborted) throw tally.interruption("replay", error);
  }
  return tally.replayResult(dryRun, run.end ?? "done");
}

type CheckedReplay =
  & Required<Omit<ReplayOptions, "signal" | "limit" | "perSecond">>
  & {
    readonly dryRun: boolean;
    readonly limit: number;
    readonly perSecond: number;
    readonly ledgerWindow: number;
    readonly signal: AbortSignal | undefined;
  };

function checkReplay(options: ReplayOptions): CheckedReplay {
  checkNames(options, replayNames);
  const { dryRun = false, limit = MAX_LIMIT, perSecond = Infinity } = options;
  const { ledgerWindow = LEDGER_WINDOW_MS, signal } = options;
  checkInteger("limit", limit, 1, MAX_LIMIT);
  checkDuration("ledgerWindow", ledgerWindow);
  if (typeof perSecond !== "number" || !(perSecond > 0)) {
    throw new InvalidValueError(
      `Invalid option perSecond ${perSecond}: give a number above 0`,
      { data: { path: "perSecond" } },
    );
  }
  return { dryRun, limit, perSecond, ledgerWindow, signal };
}

/** One replay, over all its queues. */
class Replay {
  readonly #source: LetterSource;
  readonly #chooses: CheckedFilter["chooses"];
  readonly #options: CheckedReplay;
  readonly #tally: Tally;
  /** Letters as which those that were replayed would come back. A walk visits at most a million letters. */
  readonly #replayed = new Set<number>();
  /** Letters whose copies are on their way. */
  #active = 0;
  /** Letters that this pass may still take, and the time at which the next pass may begin. */
  #quota = Infinity;
  #nextPass = 0;
  /** Error that ends the replay. */
  #failure: unknown;

  constructor(
    source: LetterSource,
    chooses: CheckedFilter["chooses"],
    options: CheckedReplay,
    tally: Tally,
  ) {
    this.#source = source;
    this.#chooses = chooses;
    this.#options = options;
    this.#tally = tally;
  }

  /** Reason of an early end. */
  get end(): OperationEnd | undefined {
    const { signal, limit } = this.#options;
    if (signal?.aborted) return "aborted";
    return this.#tally.moved + this.#active >= limit ? "limit" : undefined;
  }

  /** Throws the error that has ended the replay. */
  throwIfStopped(): void {
    if (this.#failure !== undefined) throw this.#failure;
  }

  /** Returns the visitor of one queue. */
  visitorOf(queue: QueueAddress): WalkVisitor {
    const name = queueName(queue);
    const quota = () => this.#quota;
    return {
      get wanted() {
        return quota();
      },
      beforePass: () => this.#beforePass(),
      visit: (message) => this.#visit(message, name),
    };
  }

  /** Waits for the next pass, which takes what may be replayed in a second. */
  async #beforePass(): Promise<boolean> {
    if (this.#isOver()) return false;
    const { perSecond, signal, dryRun, limit } = this.#options;
    const left = limit - this.#tally.moved;
    if (perSecond === Infinity || dryRun) return this.#quota = left, true;
    await delay(this.#nextPass - performance.now(), { at: Infinity, signal });
    const quota = Math.max(1, Math.floor(perSecond));
    this.#quota = Math.min(left, quota);
    this.#nextPass = performance.now() + this.#quota / perSecond * 1_000;
    return true;
  }

  #isOver(): boolean {
    return this.end !== undefined || this.#failure !== undefined;
  }

  #visit(message: Message, queue: string): ReturnType<WalkVisitor["visit"]> {
    const tally = this.#tally;
    if (this.#isOver()) return "full";
    const letter = deadLetterOf(message, queue, this.#source.limits);
    if (this.#replayed.has(identityOf(letter, 0))) {
      tally.return();
      return "kept";
    }
    if (this.#chooses && !this.#chooses(letter)) {
      tally.skip();
      return "kept";
    }
    if (this.#quota <= 0) return "full";
    this.#quota--;
    if (this.#options.dryRun) return tally.move(this.#isOld(letter)), "kept";
    return this.#move(message, letter, queue);
  }

  /** Returns a letter to the queue whose dead letters are visited: its headers may name any other queue. */
  async #move(
    message: Message,
    letter: DeadLetter,
    queue: string,
  ): Promise<Exclude<Verdict, "full">> {
    this.#active++;
    const comesBackAs = identityOf(letter, 1);
    this.#replayed.add(comesBackAs);
    try {
      await this.#publish(message, queue);
      this.#tally.move(this.#isOld(letter));
      return "removed";
    } catch (error) {
      this.#replayed.delete(comesBackAs);
      this.#tally.fail(letter, error);
      if (!isOfLetter(error)) this.#failure ??= error;
      return "kept";
    } finally {
      this.#active--;
    }
  }

  async #publish(message: Message, queue: string): Promise<void> {
    const { body, oversized = body.length } = message;
    if (oversized > body.length) {
      throw new InvalidValueError(
        `Cannot replay a letter of ${oversized} bytes: give this connection a larger maxMessageSize`,
        { data: { bytes: oversized } },
      );
    }
    const deadline = { at: performance.now() + COPY_TIMEOUT_MS };
    const copy = replayedCopy(message);
    await this.#source.session.publish(direct(queue), copy, deadline);
  }

  #isOld({ deadAt = 0 }: DeadLetter): boolean {
    return Date.now() - deadAt > this.#options.ledgerWindow;
  }
}

/** True for an error that concerns one letter alone, so that the replay goes on. */
const isOfLetter = (error: unknown): boolean =>
  error instanceof InvalidValueError || error instanceof NoRouteError ||
  error instanceof RejectedError;

/** Returns a number for a letter after so many further burials; letters without ids have numbers of their own each time. */
const identityOf = (
  { id = crypto.randomUUID(), queue, deadLetterCount }: DeadLetter,
  later: number,
): number => hashOf(`${queue} ${deadLetterCount + later} ${id}`);
