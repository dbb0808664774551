/** What a handler knows of the request that it serves. @module */
import { newId } from "../ids.ts";

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

/** True for a whole context, false for bare values. */
export function isRequestContext(
  context: ContextValues | RequestContext,
): context is RequestContext {
  return "values" in context && "signal" in context &&
    context.signal instanceof AbortSignal;
}
