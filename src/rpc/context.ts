/** What a handler knows of the request that it serves, and what its own calls inherit. @module */
import { AsyncLocalStorage } from "node:async_hooks";

/** What travels with a request: any JSON values (`user_id`, `roles`, …). */
export type ContextValues = Readonly<Record<string, unknown>>;

/** What a handler knows about the request that it serves (Nova: `RpcContext`). */
export interface RequestContext {
  /** Id of the request, kept over retries. */
  readonly requestId: string;
  /** The caller's values. */
  readonly values: ContextValues;
  /** Fires at the deadline, when the caller gives up and when the service's grace time is over. */
  readonly signal: AbortSignal;
  /** When the caller gives up, in epoch milliseconds of this machine's clock; `Infinity` = never. */
  readonly deadline: number;
  /** 1 at first. */
  readonly attempt: number;
  /**
   * Records the request as done, with its result, in a transaction of the service's ledger store: what else is done in that
   * transaction is done once, whatever happens to this worker. The result is that of the handler, which returns it too.
   *
   * @throws {RpcError} `ABORTED`: another worker has taken the request over. Roll the transaction back.
   * @throws {InvalidValueError} the service has no ledger store, or the result does not fit the contract.
   */
  record(transaction: unknown, result?: unknown): Promise<void>;
}

/** 32 lower-case hexadecimal characters, as every id on the wire. */
export function newId(): string {
  return crypto.randomUUID().replaceAll("-", "");
}

/** Makes a context, e.g. to test a manager as a plain object. */
export function requestContext(values: ContextValues = {}): RequestContext {
  return {
    requestId: newId(),
    values,
    signal: new AbortController().signal,
    deadline: Infinity,
    attempt: 1,
    record: () => Promise.resolve(), // there is nothing that could come again
  };
}

/** A handler at work. */
interface Scope {
  readonly context: RequestContext;
  /** True when it has ended: what it began in the background goes on without its deadline. */
  over: boolean;
}

const served = new AsyncLocalStorage<Scope | undefined>();

/** What the server wants to know of a handler's pace; a symbol, so that a copy of the context keeps it. */
export const paused: unique symbol = Symbol("warren.paused");

/** A context whose server looks at the pace. */
export interface PacedContext extends RequestContext {
  /** Called when the handler, or its next item, first awaits something or ends, after so many milliseconds. */
  readonly [paused]?: (ms: number) => void;
}

function paced<T>(context: PacedContext, work: () => T): T {
  const began = performance.now();
  try {
    return work();
  } finally {
    context[paused]?.(performance.now() - began);
  }
}

/** Runs a handler: its calls inherit from `context` until it ends. What it throws is told to `threw`. */
export async function serve<T>(
  context: RequestContext,
  work: () => T | PromiseLike<T>,
  threw: (error: unknown) => void = () => {},
): Promise<T> {
  const scope: Scope = { context, over: false };
  try {
    return await served.run(scope, paced, context, work);
  } catch (error) {
    threw(error);
    throw error;
  } finally {
    scope.over = true;
  }
}

/** Runs what outlives a request, e.g. a link: its events must not seem to belong to the request that made it. */
export function outside<T>(work: () => T): T {
  return served.run(undefined, work);
}

/** The request that is being served here; undefined outside a handler. Of one that has ended, its values alone. */
export function inherited(): RequestContext | undefined {
  const scope = served.getStore();
  if (!scope?.over) return scope?.context;
  const { values, requestId } = scope.context;
  return { ...requestContext(values), requestId };
}

/** True for a whole context, false for bare values. */
export function isRequestContext(
  context: ContextValues | RequestContext,
): context is RequestContext {
  return "values" in context && "signal" in context &&
    context.signal instanceof AbortSignal;
}
