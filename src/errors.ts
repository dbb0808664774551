/** Errors that Warren throws: one class for each outcome that a caller handles differently. @module */

/**
 * Description of an error in a message.
 * @category Errors
 */
export interface Failure {
  /** Class name of the error, e.g. `InstanceNotFound`. */
  readonly type: string;
  /** Namespace of the class, e.g. `nova.exception`. */
  readonly module: string;
  /** Text of the error. */
  readonly message: string;
  /** Data of the error (Python's `kwargs`). */
  readonly data: Readonly<Record<string, unknown>>;
  /** Arguments of the error (Python's `args`); undefined if there are none, or only the message. */
  readonly args?: readonly unknown[] | undefined;
  /** Stack trace of the sender, line by line; empty unless the sender sends it. */
  readonly traceback: readonly string[];
  /**
   * Scalar members of the error: `code`, `detail`, `constraint` and others of Node's and of databases' errors. This
   * member and all below are undefined if the error does not have them; only Warren sends them.
   */
  readonly details?: Readonly<Record<string, string | number | boolean>>;
  /** Cause of the error. At most 4 levels of causes and 32 errors in all are sent. */
  readonly cause?: Failure;
  /** Errors of an `AggregateError`. */
  readonly errors?: readonly Failure[];
  /** Later error of a `SuppressedError`. */
  readonly error?: Failure;
  /** Earlier error of a `SuppressedError`. */
  readonly suppressed?: Failure;
}

/**
 * Options of Warren's errors, and of the error classes of a contract.
 * @category Errors
 */
export interface RpcErrorOptions {
  /** Error that caused this one. */
  readonly cause?: unknown;
  /** Machine-readable details; values that JSON can represent. */
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  /** True if the work may have been done although the call failed. The default depends on the class. */
  readonly inDoubt?: boolean | undefined;
}

/**
 * Error class that the caller and the worker both know. The caller creates an instance from the received message and
 * data.
 * @category Errors
 */
export interface ErrorClass {
  /** Creates the error from its message and data. */
  new (message: string, options: RpcErrorOptions): Error;
}

/**
 * Stable error codes.
 *
 * `NO_ROUTE` no queue receives the message · `TIMEOUT` the deadline passed · `BLOCKED` the broker accepts no messages
 * because of an alarm · `REJECTED` the broker refused the message · `UNCONFIRMED` the broker did not confirm the
 * message · `INTERRUPTED` items of a stream were lost, or every worker that had the call died · `DISPOSED` the
 * connection context was closed · `REMOTE` the handler threw · `INVALID` an argument, a name or an option is wrong ·
 * `INVALID_RESULT` the worker's result is wrong · `UNSUPPORTED` no worker serves that version of the contract ·
 * `NO_SUCH_METHOD` the contract has no such procedure · `ABORTED` the caller cancelled, or another worker has taken the
 * request over · `CONFLICT` another request has the same id · `CONNECTION` the broker cannot be reached, or refuses the
 * login · `TOPOLOGY` a queue or exchange exists with other properties · `PAUSED`, `CANCELLED` by an operator ·
 * `REFUSED` no service takes a command
 * @category Errors
 */
export type RpcErrorCode =
  | "NO_ROUTE"
  | "TIMEOUT"
  | "BLOCKED"
  | "REJECTED"
  | "UNCONFIRMED"
  | "INTERRUPTED"
  | "DISPOSED"
  | "REMOTE"
  | "INVALID"
  | "INVALID_RESULT"
  | "UNSUPPORTED"
  | "NO_SUCH_METHOD"
  | "ABORTED"
  | "CONFLICT"
  | "CONNECTION"
  | "TOPOLOGY"
  | "PAUSED"
  | "CANCELLED"
  | "REFUSED";

/**
 * Base class of Warren's errors.
 * @category Errors
 */
export class RpcError extends Error {
  /** Stable code, for a `switch`. */
  readonly code: RpcErrorCode;
  /** Machine-readable details. */
  readonly data: Readonly<Record<string, unknown>>;
  /** True if the work may have been done although the call failed. */
  readonly inDoubt: boolean;
  /** Creates the error. */
  constructor(code: RpcErrorCode, message: string, options?: RpcErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.data = options?.data ?? {};
    this.inDoubt = options?.inDoubt ?? false;
  }
}

/** Adds `inDoubt: true` to options that do not set it. */
const inDoubtByDefault = (
  options: RpcErrorOptions | undefined,
): RpcErrorOptions => ({ ...options, inDoubt: options?.inDoubt ?? true });

/**
 * The worker's handler threw an error whose class the contract does not list.
 * @category Errors
 */
export class RemoteError extends RpcError {
  /** Description of the error, as the worker sent it. */
  readonly failure: Failure;
  /** Creates the error from its description. */
  constructor(failure: Failure, options?: RpcErrorOptions) {
    const all = { ...options, data: options?.data ?? failure.data };
    super("REMOTE", `${failure.type}: ${failure.message}`, all);
    this.failure = failure;
  }
}

/**
 * No queue receives the message: no worker has ever served this topic or host.
 * @category Errors
 */
export class NoRouteError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("NO_ROUTE", message, options);
  }
}

/**
 * The deadline passed. `inDoubt` is true unless nothing had been sent.
 * @category Errors
 */
export class TimeoutError extends RpcError {
  /** Consumers of the queue at the deadline, 0 = no worker, undefined = unknown; `data.waiting`: messages in the queue. */
  readonly consumers: number | undefined;
  /** Creates the error. */
  constructor(
    message: string,
    options?: RpcErrorOptions & { readonly consumers?: number | undefined },
  ) {
    super("TIMEOUT", message, inDoubtByDefault(options));
    this.consumers = options?.consumers;
  }
}

/**
 * The broker accepts no messages because of a memory or disk alarm. `inDoubt` is true if the message had been sent.
 * @category Errors
 */
export class BlockedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("BLOCKED", message, options);
  }
}

/**
 * The broker refused the message, e.g. because the queue is full, or because the message is larger than its
 * `max_message_size`: then `data.size` and `data.maxSize` are the bytes of the body, and those that it takes at most.
 * @category Errors
 */
export class RejectedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("REJECTED", message, options);
  }
}

/**
 * The message was sent, but the broker did not confirm it. `inDoubt` is true.
 * @category Errors
 */
export class UnconfirmedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("UNCONFIRMED", message, inDoubtByDefault(options));
  }
}

/**
 * A stream ended before its handler had: its worker stopped or died, or items were lost. `data.sequence` is the number of
 * the last item, from 1. Or a call was given up because every worker that received it died before its end. `inDoubt` is
 * true.
 * @category Errors
 */
export class InterruptedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("INTERRUPTED", message, inDoubtByDefault(options));
  }
}

/**
 * The connection context was disposed. `inDoubt` is true for a call that had been sent.
 * @category Errors
 */
export class ConnectionDisposedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("DISPOSED", message, options);
  }
}

/**
 * The broker cannot be reached, or refuses the login or the virtual host.
 * @category Errors
 */
export class ConnectionFailedError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("CONNECTION", message, options);
  }
}

/**
 * A queue or an exchange cannot be declared: it exists with other properties, or the user lacks the permission.
 * @category Errors
 */
export class TopologyError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("TOPOLOGY", message, options);
  }
}

/**
 * An argument, a name, an option or another value from the caller is invalid. `data.path` names the invalid member.
 * @category Errors
 */
export class InvalidValueError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("INVALID", message, options);
  }
}

/**
 * The worker's result does not fit its contract, cannot be represented in JSON, or exceeds the maximum size of a
 * message. The fault is the worker's, not the caller's: a gateway answers 500 to this error, and 400 to
 * `InvalidValueError`. `inDoubt` is true by default, since the handler has run. `data.path` names the invalid member,
 * if there is one.
 * @category Errors
 */
export class InvalidResultError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("INVALID_RESULT", message, inDoubtByDefault(options));
  }
}

/**
 * No endpoint serves the contract version, or the namespace, of the request.
 * @category Errors
 */
export class UnsupportedVersionError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("UNSUPPORTED", message, options);
  }
}

/**
 * The contract has no such procedure.
 * @category Errors
 */
export class NoSuchMethodError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("NO_SUCH_METHOD", message, options);
  }
}

/**
 * The worker refused a request because an earlier request with the same id had another procedure, other arguments,
 * another context, or another form of its reply. The request was not run, and the earlier one's reply is not sent.
 * @category Errors
 */
export class RequestConflictError extends RpcError {
  /** Creates the error. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("CONFLICT", message, options);
  }
}
