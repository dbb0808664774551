/** Groups of dead letters by procedure and error. @module */
import type { DeadLetter } from "../../rpc/letters/dead_letter.ts";
import type { CheckedFilter } from "./filter.ts";
import type { LetterSource } from "./letter_source.ts";
import { queueName } from "../../transport/address.ts";
import { deadLetterOf } from "../../rpc/letters/dead_letter.ts";
import { walk } from "./walk.ts";

/**
 * Dead letters of one procedure with the same error. Times are in epoch milliseconds.
 * @category Operations
 */
export interface DeadLetterGroup {
  /** Kind of the letters. */
  readonly kind: DeadLetter["kind"];
  /** Queue from which the letters come. */
  readonly queue: string;
  /** Procedure, or type of the events; undefined for unreadable messages, and for the rest. */
  readonly procedure?: string | undefined;
  /**
   * Reason of the letters, with `…` in place of numbers, ids and quoted texts; `others` for the letters of all further
   * groups once there are a thousand.
   */
  readonly error: string;
  /** Number of letters. */
  readonly count: number;
  /** Time of the first of them; undefined if no letter tells its time. */
  readonly firstAt?: number | undefined;
  /** Time of the last of them. */
  readonly lastAt?: number | undefined;
  /** Id of one of the letters. */
  readonly example?: string | undefined;
}

/** Groups of letters, and the group of all further ones. */
const MAX_GROUPS = 1_000;

/** Groups the letters that a filter chooses; the largest groups come first. */
export async function group(
  source: LetterSource,
  { queues, chooses }: CheckedFilter,
): Promise<DeadLetterGroup[]> {
  const groups = new Map<string, DeadLetterGroup>();
  for (const queue of queues) {
    const visit = (message: Parameters<typeof deadLetterOf>[0]) => {
      if (source.signal?.aborted) return "full";
      const letter = deadLetterOf(message, queueName(queue), source.limits);
      if (chooses?.(letter) ?? true) addTo(groups, letter);
      return "kept";
    };
    for await (const _pass of walk(source, queue, { visit })) {
      source.signal?.throwIfAborted();
    }
  }
  return [...groups.values()].sort((a, b) => b.count - a.count);
}

function addTo(groups: Map<string, DeadLetterGroup>, letter: DeadLetter): void {
  const { kind, queue, procedure, reason, deadAt, id } = letter;
  const own = { kind, queue, procedure, error: patternOf(reason) };
  const rest = { kind, queue, procedure: undefined, error: "others" };
  const isNew = !groups.has(JSON.stringify(own));
  const chosen = isNew && groups.size >= MAX_GROUPS ? rest : own;
  const key = JSON.stringify(chosen);
  const known = groups.get(key) ?? { ...chosen, count: 0, example: id };
  const times = [known.firstAt, known.lastAt, deadAt]
    .filter((at) => at !== undefined);
  groups.set(key, {
    ...known,
    count: known.count + 1,
    ...(times.length > 0 && {
      firstAt: Math.min(...times),
      lastAt: Math.max(...times),
    }),
  });
}

/** Replaces the parts of a reason in which two failures of the same kind differ: quoted texts, numbers, and ids. */
export function patternOf(reason: string): string {
  return reason
    .replace(/"[^"]{0,200}"|'[^']{0,200}'|`[^`]{0,200}`/g, "…")
    .replace(/\b[\w-]*\d[\w-]*\b/g, "…")
    .slice(0, 300);
}
