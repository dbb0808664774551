/** Context of a request that a server runs. @module */
import type { ApplicationHeaders } from "../contract/application_headers.ts";
import type { Request } from "../wire/mod.ts";
import type {
  ContextValues,
  RequestContext,
} from "../contract/request_context.ts";
import { Locals } from "../contract/locals.ts";
import type { Procedure } from "../contract/types.ts";

/** Verb of a request, as far as a server can know it. */
export type ServedKind = "call" | "cast" | "fanout" | "multicall";

/** Key of a context's observer. It is an own symbol, so that a copy of the context keeps it. */
export const observer: unique symbol = Symbol("warren.serving");

/** Observer of one execution: the dispatcher and the handler's context report to it. */
export interface ExecutionObserver {
  /** Request that is executed. */
  readonly request: Request;
  /** Verb of the request. */
  readonly kind: ServedKind;
  /** Application headers of the message. */
  readonly headers: ApplicationHeaders;
  /** Fires when no caller waits for the result any more, and at the handler's `maxDuration`. */
  readonly signal: AbortSignal;
  /** Context of the handler. */
  readonly context: RequestContext;
  /** Moment at which the caller's timeout ends, in milliseconds of `performance.now()`; `Infinity` = never. */
  readonly deadline: number;
  /** Notes the procedure of the request, and its name as `topic.method`. */
  onProcedure(procedure: Procedure, name: string): void;
  /** Starts the time of the run, unless it has begun: its `maxDuration`, if the procedure is known. */
  startRun(procedure: Procedure | undefined): void;
  /** Prepares the handler, and starts the time of its run. The handler waits for the promise if there is one. */
  onStart(procedure: Procedure): Promise<void> | undefined;
  /** Notes that the handler, or its next item, has first awaited something or ended, after that many milliseconds. */
  onPause(ms: number): void;
  /** Notes a value that the handler returned, and its parsed form. */
  onParsed(parsed: unknown, returned: unknown): void;
  /** Records the request as done in a transaction of the handler. */
  record(transaction: unknown, result: unknown): Promise<void>;
}

/**
 * Context that a server passes to a handler. All properties are own properties, so that a copy of the context works as
 * well.
 */
export class ServedContext implements RequestContext {
  readonly requestId: string;
  readonly values: ContextValues;
  readonly signal: AbortSignal;
  readonly deadline: number;
  readonly attempt: number;
  readonly lastAttempt: boolean = true;
  readonly locals: Locals = new Locals();
  readonly record: RequestContext["record"];
  readonly [observer]: ExecutionObserver;

  /** `deadline` is in epoch milliseconds. */
  constructor(
    execution: ExecutionObserver,
    requestId: string,
    deadline: number,
  ) {
    const { context, attempt = 1 } = execution.request;
    this.requestId = requestId;
    this.values = context;
    this.signal = execution.signal;
    this.deadline = deadline;
    this.attempt = attempt;
    this.record = (transaction, result) =>
      execution.record(transaction, result);
    this[observer] = execution;
  }
}

/** Sets `lastAttempt` of a context, once the procedure of its request is known. */
export function setLastAttempt(context: ServedContext, isLast: boolean): void {
  const open: { lastAttempt: boolean } = context;
  open.lastAttempt = isLast;
}

/** Returns the observer of a context; undefined for a context that no server made. */
export const observerOf = (
  context: RequestContext,
): ExecutionObserver | undefined =>
  (context as Partial<ServedContext>)[observer];

/** Deadlines of contexts that no server made, on the monotonic clock, from their first use on. */
const deadlines = new WeakMap<RequestContext, number>();

/**
 * Returns the deadline of a context in milliseconds of `performance.now()`, so that a change of the wall clock does not
 * move it. `context.deadline` is converted once: when the request arrives, or, for a context that no server made, at
 * its first use.
 */
export function deadlineOf(context: RequestContext): number {
  const { deadline } = context;
  const server = observerOf(context);
  if (server?.context.deadline === deadline) return server.deadline; // true for copies of the context as well
  if (deadline === Infinity) return Infinity;
  const known = deadlines.get(context) ??
    performance.now() + deadline - Date.now();
  deadlines.set(context, known);
  return known;
}
