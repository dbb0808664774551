/** Repetition of requests that reach no queue. @module */
import { backoff } from "../async/backoff.ts";
import { type Deadline, delay } from "../async/deadline.ts";
import { NoRouteError } from "../errors.ts";

/** Milliseconds between two attempts to send a request whose queue does not exist yet. */
const ROUTE_POLL_MS = 100;
/** Milliseconds of the first and of the longest pause, on average, while a queue that was reached before is missing. */
const MISSING_PAUSES_MS = [100, 1_000] as const;
/** Maximum number of queues that are remembered; of more, those that were reached first are forgotten. */
const MAX_REACHED = 10_000;

/** A request, as far as its repetition needs it. */
interface QueueRequest {
  readonly target: {
    readonly topic: string;
    readonly host?: string | undefined;
  };
  readonly destination: { readonly queue: string };
  readonly limits: { readonly deadline: Deadline };
  readonly hints: { readonly confirm?: boolean | undefined };
}

/** Options of the repetition. */
export interface QueueWaitOptions {
  /** True to wait for queues that this process has never reached. */
  readonly waitForRoute: boolean;
  /** Fires when nothing must be sent any more. */
  readonly disposal: AbortSignal;
}

/**
 * Sends requests again, with the same id, while their queue is missing. A queue that has taken a request of this process
 * before is expected back, since the broker also reports a queue as missing while the node of the queue is down.
 */
export class QueueWait {
  readonly #options: QueueWaitOptions;
  /** Names of queues that have taken requests. */
  readonly #reached = new Set<string>();

  /** Remembers no queue yet. */
  constructor(options: QueueWaitOptions) {
    this.#options = options;
  }

  /**
   * Sends a request until a queue takes it, or its deadline has passed.
   *
   * @throws {NoRouteError} no queue takes the request: at once if the queue has never been reached and `waitForRoute` is
   * not set, else at the deadline.
   */
  send<T, R extends QueueRequest>(
    request: R,
    send: (request: R) => Promise<T>,
  ): Promise<T> {
    return send(request).then((result) => {
      this.#remember(request);
      return result;
    }, (error) => {
      if (!(error instanceof NoRouteError)) throw error;
      return this.#sendAgain(request, send, error);
    });
  }

  #remember(
    { destination: { queue }, hints: { confirm } }: QueueRequest,
  ): void {
    // Without a confirm, nobody knows whether a queue has taken the message.
    if (this.#reached.has(queue) || confirm === false) return;
    const [oldest] = this.#reached;
    const isFull = this.#reached.size >= MAX_REACHED;
    if (isFull && oldest !== undefined) this.#reached.delete(oldest);
    this.#reached.add(queue);
  }

  async #sendAgain<T, R extends QueueRequest>(
    request: R,
    send: (request: R) => Promise<T>,
    first: NoRouteError,
  ): Promise<T> {
    const { limits: { deadline }, destination: { queue } } = request;
    const { waitForRoute, disposal } = this.#options;
    const isLost = this.#reached.has(queue);
    const startedAt = performance.now();
    for (let failure = first, attempt = 0;; attempt++) {
      const now = performance.now();
      const pause = isLost
        ? 10 + backoff(attempt, ...MISSING_PAUSES_MS)
        : ROUTE_POLL_MS;
      const again = (isLost || waitForRoute) && !disposal.aborted &&
        now + pause < deadline.at;
      if (!again) {
        const waited = now - startedAt;
        throw isLost
          ? lostQueueError(request, failure, waited)
          : noRouteError(request, failure, waitForRoute ? waited : undefined);
      }
      await delay(pause, deadline);
      try {
        return await send(request);
      } catch (error) {
        if (!(error instanceof NoRouteError)) throw error;
        failure = error;
      }
    }
  }
}

/** Creates the error for a queue that was never reached; `waited` is in milliseconds, undefined without a wait. */
function noRouteError(
  { target: { topic, host }, destination: { queue } }: QueueRequest,
  cause: NoRouteError,
  waited: number | undefined,
): NoRouteError {
  const whom = host === undefined ? topic : `${topic} on host ${host}`;
  const remedy = waited === undefined
    ? "start a worker, or connect with waitForRoute"
    : `none did within ${Math.round(waited)} ms; start one`;
  return new NoRouteError(
    `The queue ${queue} does not exist yet: no worker has served ${whom}; ${remedy}`,
    { cause, data: { topic, host } },
  );
}

/** Creates the error for a queue that was reached before and is missing; `waited` is in milliseconds. */
function lostQueueError(
  { target: { topic, host }, destination: { queue } }: QueueRequest,
  cause: NoRouteError,
  waited: number,
): NoRouteError {
  return new NoRouteError(
    `The queue ${queue} has taken requests before, and was missing for ${
      Math.round(waited)
    } ms: its node is down, or it was deleted; start the node, or a worker that declares the queue again`,
    { cause, data: { topic, host } },
  );
}
