/** Handlers that have run for long, and go on: they hold places that others wait for. @module */
import type { LongRunningStats } from "../server_stats.ts";
import { logger, oneLine } from "../../logging.ts";

/** Handlers that are named, at most. */
const NAMED = 10;
/** Handlers that went on beyond their attempts, of which is known, at most. */
const LEFT = 1_000;
/** Milliseconds between two looks, at most; shorter bounds are looked at ten times as often as they are long. */
const LOOK = 10_000;

/** A handler that runs. */
export interface RunningHandler {
  /** `topic.method`. */
  readonly name: string;
  /** Its request. */
  readonly context: { readonly requestId: string };
  /** Its run: the start in milliseconds of the monotonic clock; undefined while it does not run. */
  readonly run: {
    readonly began: number | undefined;
    /** True once its attempt has failed while it goes on. */
    readonly left: boolean;
    readonly work: Promise<unknown> | undefined;
  };
  readonly procedure: { readonly maxDuration?: number } | undefined;
  /** True when nobody waits for it any more. */
  readonly over: boolean;
}

/** Names the handlers that have run longer than a bound. */
export class LongRunningHandlers {
  readonly #bound: number;
  readonly #told = new WeakSet<RunningHandler>();
  /** Handlers that go on although their attempts have failed. */
  readonly #left = new Set<RunningHandler>();
  #next = 0;

  /** `bound` in milliseconds; `Infinity` = none is named. */
  constructor(bound: number) {
    this.#bound = bound;
  }

  /** Those of `all` that have run longer than the bound. */
  #of(all: Iterable<RunningHandler>): readonly RunningHandler[] {
    if (this.#bound === Infinity) return [];
    const since = performance.now() - this.#bound;
    return [...new Set([...all, ...this.#left])].filter((
      { run: { began = Infinity } },
    ) => began <= since);
  }

  /** How many of `all` they are, and the first ten of them. */
  stats(all: Iterable<RunningHandler>): LongRunningStats {
    const now = performance.now();
    const found = this.#of(all);
    const handlers = found.slice(0, NAMED).map((
      { name, context: { requestId }, run: { began = now } },
    ) => ({
      procedure: oneLine(name),
      request: oneLine(requestId, 60),
      ms: Math.round(now - began),
    }));
    const slots = found.filter(({ over, run }) => !over && !run.left).length;
    return { count: found.length, slots, handlers };
  }

  /** Its attempt has failed, and it goes on: it is named until it ends. Of more than 1000 the latest are. */
  leave(one: RunningHandler): void {
    const ended = () => void this.#left.delete(one);
    this.#left.add(one);
    one.run.work?.then(ended, ended);
    const [oldest] = this.#left;
    if (oldest && this.#left.size > LEFT) this.#left.delete(oldest);
  }

  /** Tells the log of each of them once. It may be called often: it looks now and then. */
  look(all: Iterable<RunningHandler>): void {
    const now = performance.now();
    if (now < this.#next) return;
    this.#next = now + Math.min(LOOK, this.#bound / 10);
    for (const one of this.#of(all)) {
      if (this.#told.has(one)) continue;
      this.#told.add(one);
      const { name: procedure, context, run: { began = now } } = one;
      const text = "{procedure} still runs after {ms} ms, request {request}";
      const unbounded = one.procedure?.maxDuration === undefined;
      logger("rpc").warn(
        unbounded
          ? `${text}: its procedure has no maxDuration, so that its place is kept until it ends`
          : text,
        { procedure, request: context.requestId, ms: Math.round(now - began) },
        procedure,
      );
    }
  }
}
