/** Errors that operators cause: what a caller gets of a steered fleet, and what an operator gets. @module */
import { RpcError, type RpcErrorOptions } from "./errors.ts";

/**
 * An operator has paused the queue, so that the call was not run. `data.reason` is the operator's reason, and
 * `data.since` the begin in epoch milliseconds; both are left out if they are not known. The error is not in doubt.
 * @category Errors
 */
export class PausedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("PAUSED", message, options);
  }
}

/**
 * An operator cancelled the request. `inDoubt` is true by default, since the handler may have run.
 * @category Errors
 */
export class CancelledError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    const inDoubt = options?.inDoubt ?? true;
    super("CANCELLED", message, { ...options, inDoubt });
  }
}

/**
 * No service took the command of an operator. `data.hosts` are the hosts whose services refuse it, and `data.reasons`
 * their reasons, e.g. that they run without `remoteControl`.
 * @category Errors
 */
export class ControlRefusedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("REFUSED", message, options);
  }
}

/** Errors of workers that keep their class over the wire. */
export const operatorErrors = { CancelledError, PausedError };
