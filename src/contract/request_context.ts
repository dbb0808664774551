/** Context of a request, as handlers see it. @module */
import { newId } from "../ids.ts";
import { Locals } from "./locals.ts";

/**
 * Values that are sent with a request: any JSON values (`user_id`, `roles`, …).
 * @category Serving
 */
export type ContextValues = Readonly<Record<string, unknown>>;

/**
 * Context of the request that a handler serves (Nova: `RpcContext`).
 * @category Serving
 */
export interface RequestContext {
  /** Id of the request, the same in all attempts. */
  readonly requestId: string;
  /** Context values of the caller. */
  readonly values: ContextValues;
  /** Fires at the deadline, when the caller cancels, and when the service has stopped waiting for its handlers. */
  readonly signal: AbortSignal;
  /** Deadline of the caller, in epoch milliseconds of this machine's clock; `Infinity` = none. */
  readonly deadline: number;
  /** Number of the attempt, from 1. */
  readonly attempt: number;
  /**
   * True if no attempt follows when the handler throws: by the `retry` policy of the procedure or of the listener. Always
   * true for calls and fanout casts, which are not retried.
   */
  readonly lastAttempt: boolean;
  /** Values that the interceptors of the service have set. They are never sent, and no other request inherits them. */
  readonly locals: Locals;
  /**
   * Records the request as done, with its result, in a transaction of the service's ledger store: everything else that
   * is written in that transaction is written exactly once, even if this worker dies. Pass the result that the handler
   * returns afterwards.
   *
   * @throws {RpcError} `ABORTED`: another worker has taken the request over. Roll the transaction back.
   * @throws {InvalidValueError} the service has no ledger store, or no transaction was given.
   * @throws {InvalidResultError} the result does not fit the contract.
   */
  record(transaction: unknown, result?: unknown): Promise<void>;
}

/**
 * Creates a context, e.g. to test a manager as a plain object.
 * @category Testing
 */
export function requestContext(values: ContextValues = {}): RequestContext {
  return {
    requestId: newId(),
    values,
    signal: new AbortController().signal,
    deadline: Infinity,
    attempt: 1,
    lastAttempt: true,
    locals: new Locals(),
    record: () => Promise.resolve(), // no request can be delivered again here
  };
}

/** True for a context, false for bare context values. */
export function isRequestContext(
  context: ContextValues | RequestContext,
): context is RequestContext {
  return "values" in context && "signal" in context &&
    context.signal instanceof AbortSignal;
}
