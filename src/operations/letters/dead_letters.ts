/** Operations on dead letters. @module */
import { checkNames, namesOf } from "../../option_names.ts";
import type { DeadLetter } from "../../rpc/letters/dead_letter.ts";
import { discard, type DiscardOptions } from "./discard.ts";
import { checkFilter, type DeadLetterFilter } from "./filter.ts";
import { type DeadLetterGroup, group } from "./groups.ts";
import type { LetterSource } from "./letter_source.ts";
import { list } from "./listing.ts";
import { replay, type ReplayOptions } from "./replay.ts";
import type { DiscardResult, ReplayResult } from "./results.ts";

/**
 * Options of the operations that read dead letters.
 * @category Operations
 */
export interface ReadOptions {
  /** Ends the operation early, with the reason of the signal. */
  readonly signal?: AbortSignal | undefined;
}

const readNames = namesOf<ReadOptions>({ signal: true });

/**
 * Operations on the dead letters that are there when they begin. They visit a queue in passes: in a pass all letters are
 * hidden from others, for some three seconds at most as far as the broker delivers them in that time; between passes
 * none is. An operation visits the oldest million letters of a queue. Filters and options that are wrong are an
 * `InvalidValueError` at once. All of them throw `TopologyError` if another program consumes the queue all the time
 * (`data.reason` is `inUse`) or the user may not read it, and `RpcError` if the broker cannot be reached for a minute.
 * @category Operations
 */
export interface DeadLetterOperations {
  /** Yields the letters of a filter, the oldest first; they stay where they are. No letter is hidden while the reader has one. */
  readonly deadLetters: (
    filter: DeadLetterFilter,
    options?: ReadOptions,
  ) => AsyncGenerator<DeadLetter, void, undefined>;
  /** Yields the letters of a filter as lines of JSON, each without its end of line. */
  readonly export: (
    filter: DeadLetterFilter,
    options?: ReadOptions,
  ) => AsyncGenerator<string, void, undefined>;
  /** Groups the letters of a filter by procedure and error; the largest groups come first. */
  readonly groups: (
    filter: DeadLetterFilter,
    options?: ReadOptions,
  ) => Promise<DeadLetterGroup[]>;
  /**
   * Returns letters to their queues, where they run again with the same id, from attempt 1. A letter is deleted once the
   * broker has confirmed its copy, so that it may be replayed twice, and is never lost.
   *
   * @throws {InterruptedError} the replay could not go on; `data.moved` is the number of letters that were replayed.
   */
  readonly replay: (
    filter: DeadLetterFilter,
    options?: ReplayOptions,
  ) => Promise<ReplayResult>;
  /**
   * Deletes letters.
   *
   * @throws {InterruptedError} the operation could not go on; `data.moved` is the number of letters that were deleted.
   */
  readonly discard: (
    filter: DeadLetterFilter,
    options?: DiscardOptions,
  ) => Promise<DiscardResult>;
}

/** Returns the operations on dead letters of a connection. */
export function deadLetterOperations(
  source: LetterSource,
): DeadLetterOperations {
  const reading = (options: ReadOptions = {}): LetterSource => {
    checkNames(options, readNames);
    return { ...source, signal: options.signal };
  };
  return {
    deadLetters: (filter, options) =>
      list(reading(options), checkFilter(filter)),
    export: (filter, options) =>
      linesOf(list(reading(options), checkFilter(filter))),
    groups: async (filter, options) =>
      await group(reading(options), checkFilter(filter)),
    replay: async (filter, options = {}) =>
      await replay(source, checkFilter(filter), options),
    discard: async (filter, options = {}) =>
      await discard(source, checkFilter(filter), options),
  };
}

async function* linesOf(
  letters: AsyncIterable<DeadLetter>,
): AsyncGenerator<string, void, undefined> {
  for await (const letter of letters) yield JSON.stringify(letter);
}
