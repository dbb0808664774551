/** Handlers that have run for long, and go on: they hold places that others wait for. @module */
import { log, oneLine } from "../telemetry.ts";

/** Handlers that are named, at most. */
const NAMED = 10;
/** Milliseconds between two looks, at most; shorter bounds are looked at ten times as often as they are long. */
const LOOK = 10_000;

/** A handler that runs. */
export interface Running {
  /** `topic.method`. */
  readonly name: string;
  /** Its request. */
  readonly context: { readonly requestId: string };
  /** The start of its run in milliseconds of the monotonic clock; undefined while it does not run. */
  readonly run: { readonly began: number | undefined };
  /** True when nobody waits for it any more. */
  readonly over: boolean;
}

/** A handler that has run for long. */
export interface LongRunningHandler {
  /** `topic.method`. */
  readonly procedure: string;
  /** Id of its request. */
  readonly request: string;
  /** Milliseconds since it started. */
  readonly ms: number;
}

/** The handlers that have run longer than a bound. */
export interface LongRunningStats {
  /** How many. */
  readonly count: number;
  /** How many of them take one of the service's `concurrency`: nobody waits for the others any more. */
  readonly slots: number;
  /** The first ten of them. */
  readonly handlers: readonly LongRunningHandler[];
}

/** Names the handlers that have run longer than a bound. */
export class LongRunning {
  readonly #bound: number;
  readonly #told = new WeakSet<Running>();
  #next = 0;

  /** `bound` in milliseconds; `Infinity` = none is named. */
  constructor(bound: number) {
    this.#bound = bound;
  }

  /** Those of `all` that have run longer than the bound. */
  #of(all: Iterable<Running>): readonly Running[] {
    if (this.#bound === Infinity) return [];
    const since = performance.now() - this.#bound;
    return [...all].filter(({ run: { began = Infinity } }) => began <= since);
  }

  /** How many of `all` they are, and the first ten of them. */
  stats(all: Iterable<Running>): LongRunningStats {
    const now = performance.now();
    const found = this.#of(all);
    const handlers = found.slice(0, NAMED).map((
      { name, context: { requestId }, run: { began = now } },
    ) => ({
      procedure: oneLine(name),
      request: oneLine(requestId, 60),
      ms: Math.round(now - began),
    }));
    const slots = found.filter(({ over }) => !over).length;
    return { count: found.length, slots, handlers };
  }

  /** Tells the log of each of them once. It may be called often: it looks now and then. */
  look(all: Iterable<Running>): void {
    const now = performance.now();
    if (now < this.#next) return;
    this.#next = now + Math.min(LOOK, this.#bound / 10);
    for (const one of this.#of(all)) {
      if (this.#told.has(one)) continue;
      this.#told.add(one);
      const { name: procedure, context, run: { began = now } } = one;
      log("rpc").warn(
        "{procedure} still runs after {ms} ms, request {request}: a handler that never ends keeps its place; its procedure's maxDuration would end it",
        { procedure, request: context.requestId, ms: Math.round(now - began) },
        procedure,
      );
    }
  }
}
