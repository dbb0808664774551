/** Calls that may be asked twice are asked again when their broker was lost. @module */
import { pause } from "../wait.ts";
import type { Route } from "../bus/routes.ts";
import type { Bounds } from "./options.ts";
import { type Asked, type CallerParts, question } from "./question.ts";
import type { Answer } from "./replies.ts";

/** Milliseconds between two tries while a queue is not made anew yet. */
const UNMADE = 250;

/** What is asked, and who waits for it. */
export interface Waited {
  /** The request. */
  readonly asked: Asked;
  /** Where it goes. */
  readonly route: Route;
  /** How long it may take. */
  readonly bounds: Bounds;
  /** Who waits. */
  readonly answer: Answer;
}

/**
 * With the same id, at each return of the link after a loss in which the request may have gone, until disposed: a worker that has it in hand, or has answered it, does not
 * run it again.
 */
export function askAgain(
  parts: CallerParts,
  { asked, route, bounds, answer }: Waited,
): Disposable {
  const over = new AbortController();
  const { deadline } = bounds.wait;
  const wait = { deadline, signal: over.signal };
  const losses = () => parts.health().publishing.losses;
  let sentAfter = losses();
  const again = async () => {
    const timeout = deadline - performance.now();
    if (timeout <= 0) return;
    answer.alive();
    const message = question(parts, asked, { ...bounds, timeout }, { timeout });
    await parts.transport.post(route, message, wait);
    sentAfter = losses();
  };
  const later = async () => {
    await pause(UNMADE, wait);
    await again();
  };
  const quietly = (work: Promise<void>) => void work.catch(() => {}); // its deadline, or the next return
  const watching = parts.watch(({ type }) => {
    if (type !== "connected" || losses() === sentAfter) return;
    answer.unrouted = () => quietly(later());
    quietly(again());
  });
  return {
    [Symbol.dispose]: () => {
      watching[Symbol.dispose]();
      over.abort();
    },
  };
}
