/** A context as a server makes it. @module */
import type { Request } from "../wire/rpc_message.ts";
import type {
  ContextValues,
  RequestContext,
} from "../contract/request_context.ts";
import { newId } from "../ids.ts";
import type { Procedure } from "../contract/types.ts";

/** Whose request it is; a symbol, so that a copy of the context keeps it. */
export const observer: unique symbol = Symbol("warren.serving");

/** What a server does for one request. */
export interface ExecutionObserver {
  /** What is asked. */
  readonly request: Request;
  /** Fires when nobody waits any more. */
  readonly signal: AbortSignal;
  /** The context that its handler was given. */
  readonly context: RequestContext;
  /** The time at which its caller gives up, in milliseconds of `performance.now()`; `Infinity` = never. */
  readonly deadline: number;
  /** It is known which procedure is meant, and its name: `topic.method`. */
  found(procedure: Procedure, name: string): void;
  /** Its handler is about to start, and waits for this. */
  starting(procedure: Procedure): Promise<void> | undefined;
  /** The handler, or its next item, has first awaited something or ended, after so many milliseconds. */
  paused(ms: number): void;
  /** Something that its handler gave has been parsed. */
  parsed(parsed: unknown, given: unknown): void;
  /** Its handler records it in a transaction. */
  record(transaction: unknown, result: unknown): Promise<void>;
}

/** What a handler sees, with the way back to its server. All of it is its own, so that a copy is as good. */
export class ServedContext implements RequestContext {
  readonly requestId: string;
  readonly values: ContextValues;
  readonly signal: AbortSignal;
  readonly deadline: number;
  readonly attempt: number;
  readonly record: RequestContext["record"];
  readonly [observer]: ExecutionObserver;

  /** Until when, in epoch milliseconds. */
  constructor(server: ExecutionObserver, deadline: number) {
    const { id = newId(), context, attempt = 1 } = server.request;
    this.requestId = id;
    this.values = context;
    this.signal = server.signal;
    this.deadline = deadline;
    this.attempt = attempt;
    this.record = (transaction, result) => server.record(transaction, result);
    this[observer] = server;
  }
}

/** The server of a request; undefined where something else made its context. */
export const observerOf = (
  context: RequestContext,
): ExecutionObserver | undefined =>
  (context as Partial<ServedContext>)[observer];

/** Deadlines of contexts that no server made, each on the monotonic clock since it was first seen. */
const seen = new WeakMap<RequestContext, number>();

/**
 * The deadline of a context in milliseconds of `performance.now()`, so that a change of the wall clock neither ends nor
 * extends what its handler does. `context.deadline` is translated once, when its request arrives or, for a context that no
 * server made, when it is first used.
 */
export function deadlineOf(context: RequestContext): number {
  const { deadline } = context;
  const server = observerOf(context);
  if (server?.context.deadline === deadline) return server.deadline; // also of a copy
  if (deadline === Infinity) return Infinity;
  const known = seen.get(context) ??
    performance.now() + deadline - Date.now();
  seen.set(context, known);
  return known;
}
