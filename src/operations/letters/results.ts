/** Results of operations that move or delete dead letters. @module */
import { InterruptedError } from "../../errors.ts";
import { redactText } from "../../redaction.ts";
import type { DeadLetter } from "../../rpc/letters/dead_letter.ts";

/**
 * Reason for which an operation has ended: all letters were visited, the `limit` was reached, or the signal has fired.
 * @category Operations
 */
export type OperationEnd = "done" | "limit" | "aborted";

/**
 * Letter that could not be returned to its queue, and is still a dead letter.
 * @category Operations
 */
export interface FailedReplay {
  /** Id of the letter. */
  readonly id?: string | undefined;
  /** Queue that did not take it. */
  readonly queue: string;
  /** Procedure, or type of the event. */
  readonly procedure?: string | undefined;
  /** Reason. */
  readonly error: string;
}

/**
 * Result of `discard`.
 * @category Operations
 */
export interface DiscardResult {
  /** True if nothing was done, and the numbers say what would have been done. */
  readonly dryRun: boolean;
  /** Number of letters that were deleted. */
  readonly discarded: number;
  /** Number of letters that were visited, and that the filter does not choose. */
  readonly skipped: number;
  /** Reason of the end. */
  readonly ended: OperationEnd;
}

/**
 * Result of `replay`.
 * @category Operations
 */
export interface ReplayResult {
  /** True if nothing was done, and the numbers say what would have been done. */
  readonly dryRun: boolean;
  /** Number of letters that are in their queues again. */
  readonly replayed: number;
  /**
   * Number of letters among them whose doubles no ledger recognises, because they became dead letters longer ago than its
   * window, or at an unknown time.
   */
  readonly unrecognised: number;
  /** Number of letters that were visited, and that the filter does not choose. */
  readonly skipped: number;
  /** Number of letters that became dead letters again during the replay, and were left alone. */
  readonly returned: number;
  /** Number of letters that could not be returned to their queues: they are dead letters still. */
  readonly failed: number;
  /** The first 100 of these. */
  readonly failures: readonly FailedReplay[];
  /** Reason of the end. */
  readonly ended: OperationEnd;
}

/** Maximum number of failures that a result names. */
const MAX_FAILURES = 100;

/** Counts of an operation. */
export class Tally {
  readonly #failures: FailedReplay[] = [];
  #moved = 0;
  #unrecognised = 0;
  #skipped = 0;
  #returned = 0;
  #failed = 0;

  /** Number of letters that were moved or deleted. */
  get moved(): number {
    return this.#moved;
  }

  /** Number of letters that were chosen. */
  get chosen(): number {
    return this.#moved + this.#failed;
  }

  /** Counts a letter that was moved or deleted. */
  move(isUnrecognised = false): void {
    this.#moved++;
    if (isUnrecognised) this.#unrecognised++;
  }

  /** Counts a letter that is not chosen. */
  skip(): void {
    this.#skipped++;
  }

  /** Counts a letter that has come back. */
  return(): void {
    this.#returned++;
  }

  /** Counts a letter that could not be moved. */
  fail({ id, queue, procedure }: DeadLetter, error: unknown): void {
    this.#failed++;
    if (this.#failures.length >= MAX_FAILURES) return;
    const text = redactText(
      error instanceof Error ? error.message : `${error}`,
    );
    this.#failures.push({ id, queue, procedure, error: text });
  }

  /** Returns the counts as the result of `discard`. */
  discardResult(dryRun: boolean, ended: OperationEnd): DiscardResult {
    return { dryRun, discarded: this.#moved, skipped: this.#skipped, ended };
  }

  /** Returns the counts as the result of `replay`. */
  replayResult(dryRun: boolean, ended: OperationEnd): ReplayResult {
    return {
      ...{ dryRun, replayed: this.#moved, unrecognised: this.#unrecognised },
      ...{ skipped: this.#skipped, returned: this.#returned },
      ...{ failed: this.#failed, failures: this.#failures, ended },
    };
  }

  /** Returns the error for an operation that could not go on, with its counts. */
  interruption(operation: string, cause: unknown): InterruptedError {
    const reason = cause instanceof Error ? cause.message : `${cause}`;
    const moved = this.#moved;
    return new InterruptedError(
      `The ${operation} ended after ${moved} letters; the others are where they were: ${reason}`,
      { cause, data: { moved, failed: this.#failed, skipped: this.#skipped } },
    );
  }
}
