/** Deletes dead letters. @module */
import { checkInteger } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { queueName } from "../../transport/address.ts";
import type { Message } from "../../transport/transport.ts";
import { deadLetterOf } from "../../rpc/letters/dead_letter.ts";
import type { CheckedFilter } from "./filter.ts";
import type { LetterSource } from "./letter_source.ts";
import type { Verdict } from "./pass.ts";
import { type DiscardResult, type OperationEnd, Tally } from "./results.ts";
import { walk } from "./walk.ts";

/**
 * Options of `discard`.
 * @category Operations
 */
export interface DiscardOptions {
  /** True to delete nothing, and to count what would be deleted; default false. */
  readonly dryRun?: boolean | undefined;
  /** Maximum number of letters that are deleted; default: all. */
  readonly limit?: number | undefined;
  /** Ends the operation early; its result says what was done until then. */
  readonly signal?: AbortSignal | undefined;
}

const discardNames = namesOf<DiscardOptions>({
  dryRun: true,
  limit: true,
  signal: true,
});

/** Largest `limit`. */
export const MAX_LIMIT: number = Number.MAX_SAFE_INTEGER;

/** Deletes the letters that a filter chooses, the oldest first. */
export async function discard(
  source: LetterSource,
  { queues, chooses }: CheckedFilter,
  options: DiscardOptions,
): Promise<DiscardResult> {
  checkNames(options, discardNames);
  const { dryRun = false, limit = MAX_LIMIT, signal } = options;
  checkInteger("limit", limit, 1, MAX_LIMIT);
  const tally = new Tally();
  const end = (): OperationEnd | undefined =>
    signal?.aborted ? "aborted" : tally.moved >= limit ? "limit" : undefined;
  try {
    for (const queue of queues) {
      const visit = (message: Message): Verdict => {
        if (end()) return "full";
        const letter = deadLetterOf(message, queueName(queue), source.limits);
        if (chooses && !chooses(letter)) return tally.skip(), "kept";
        tally.move();
        return dryRun ? "kept" : "removed";
      };
      const beforePass = () => end() === undefined;
      const visitor = { visit, beforePass };
      for await (const _pass of walk({ ...source, signal }, queue, visitor));
    }
  } catch (error) {
    if (!signal?.aborted) throw tally.interruption("discard", error);
  }
  return tally.discardResult(dryRun, end() ?? "done");
}
