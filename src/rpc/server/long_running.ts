/** Handlers that have run longer than a limit: they may hold permits that other requests wait for. @module */
import type { LongRunningStats } from "../server_stats.ts";
import { logger, oneLine } from "../../logging.ts";

/** Maximum number of handlers in the statistics. */
const MAX_NAMED = 10;
/** Maximum number of remembered handlers that still run after their attempts have failed. */
const MAX_DETACHED = 1_000;
/** Maximum milliseconds between two checks; a limit below 100 s is checked ten times within its time. */
const MAX_CHECK_INTERVAL_MS = 10_000;

/** Request whose handler runs. */
export interface RunningHandler {
  /** `topic.method`. */
  readonly name: string;
  /** Id of the request. */
  readonly requestId: string;
  /** Run of the handler. */
  readonly run: {
    /** Start in milliseconds of the monotonic clock; undefined while the handler does not run. */
    readonly startedAt: number | undefined;
    /** True if the handler still runs although its attempt has failed. */
    readonly detached: boolean;
    readonly work: Promise<unknown> | undefined;
  };
  readonly procedure: { readonly maxDuration?: number } | undefined;
  /** Cancellation; `cancelled` is true once no caller waits for the result. */
  readonly cancellation: { readonly cancelled: boolean };
}

/** Finds and logs handlers that have run longer than a limit. */
export class LongRunningHandlers {
  readonly #limit: number;
  readonly #logged = new WeakSet<RunningHandler>();
  /** Handlers that still run although their attempts have failed. */
  readonly #detached = new Set<RunningHandler>();
  #nextCheck = 0;

  /** `limit` is in milliseconds; with `Infinity`, no handler counts as long-running. */
  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Returns the handlers among `active` and the detached ones that have run longer than the limit. */
  #find(active: Iterable<RunningHandler>): readonly RunningHandler[] {
    if (this.#limit === Infinity) return [];
    const since = performance.now() - this.#limit;
    return [...new Set([...active, ...this.#detached])].filter((
      { run: { startedAt = Infinity } },
    ) => startedAt <= since);
  }

  /** Returns the number of long-running handlers among `active` and the detached ones, and the first ten of them. */
  stats(active: Iterable<RunningHandler>): LongRunningStats {
    const now = performance.now();
    const found = this.#find(active);
    const handlers = found.slice(0, MAX_NAMED).map((
      { name, requestId, run: { startedAt = now } },
    ) => ({
      procedure: oneLine(name),
      request: oneLine(requestId, 60),
      ms: Math.round(now - startedAt),
    }));
    const slots =
      found.filter(({ cancellation, run }) =>
        !cancellation.cancelled && !run.detached
      ).length;
    return { count: found.length, slots, handlers };
  }

  /** Remembers a handler whose attempt has failed, until the handler ends. At most the latest 1000 are remembered. */
  detach(one: RunningHandler): void {
    const ended = () => void this.#detached.delete(one);
    this.#detached.add(one);
    one.run.work?.then(ended, ended);
    const [oldest] = this.#detached;
    if (oldest && this.#detached.size > MAX_DETACHED) {
      this.#detached.delete(oldest);
    }
  }

  /** Logs each long-running handler once. Frequent calls are cheap, because only one call in 10 s checks. */
  check(active: Iterable<RunningHandler>): void {
    const now = performance.now();
    if (now < this.#nextCheck) return;
    this.#nextCheck = now + Math.min(MAX_CHECK_INTERVAL_MS, this.#limit / 10);
    for (const one of this.#find(active)) {
      if (this.#logged.has(one)) continue;
      this.#logged.add(one);
      const { name: procedure, requestId, run: { startedAt = now } } = one;
      const text = "{procedure} still runs after {ms} ms, request {request}";
      const unlimited = one.procedure?.maxDuration === undefined;
      logger("rpc").warn(
        unlimited
          ? `${text}: its procedure has no maxDuration, so that its place is kept until it ends`
          : text,
        { procedure, request: requestId, ms: Math.round(now - startedAt) },
        procedure,
      );
    }
  }
}
