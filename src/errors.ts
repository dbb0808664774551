/** What Warren throws: one class for each outcome that a caller handles differently. @module */

/** What a failure looks like off the wire. */
export interface Failure {
  /** Class name as the sender gave it, e.g. `InstanceNotFound`. */
  readonly type: string;
  /** Namespace of the class, e.g. `nova.exception`. */
  readonly module: string;
  /** Text of the error. */
  readonly message: string;
  /** Data of the error (Python: kwargs). */
  readonly data: Readonly<Record<string, unknown>>;
  /** Arguments of the error (Python: args), where the sender says them; undefined = its message alone. */
  readonly args?: readonly unknown[] | undefined;
  /** The sender's stack, line by line; empty unless the sender shares it. */
  readonly traceback: readonly string[];
  /**
   * Scalars that the error carried: `code`, `detail`, `constraint` and others of Node's and of databases' errors. Absent if
   * there were none; so is what follows. Only Warren tells it.
   */
  readonly details?: Readonly<Record<string, string | number | boolean>>;
  /** The error's cause. At most 4 levels and 32 errors in all travel. */
  readonly cause?: Failure;
  /** The errors of an `AggregateError`. */
  readonly errors?: readonly Failure[];
  /** Of a `SuppressedError`: the later one. */
  readonly error?: Failure;
  /** Of a `SuppressedError`: the earlier one. */
  readonly suppressed?: Failure;
}

/** Options of every error here, and of error classes in a contract. */
export interface RpcErrorOptions {
  /** What caused it. */
  readonly cause?: unknown;
  /** Machine-readable detail; JSON can carry it. */
  readonly data?: Readonly<Record<string, unknown>> | undefined;
  /** Whether the work may have been done all the same; each kind has its own default. */
  readonly inDoubt?: boolean | undefined;
}

/** A class that both ends know: rebuilt with what its twin carried. */
export interface ErrorClass {
  /** Rebuilds one from its message and data. */
  new (message: string, options: RpcErrorOptions): Error;
}

/**
 * Codes that never change.
 *
 * `NO_ROUTE` nobody has a queue there · `TIMEOUT` the deadline passed · `BLOCKED` the broker takes nothing (alarm) ·
 * `REJECTED` the broker refused the message · `UNCONFIRMED` the broker did not say whether it has the message ·
 * `INTERRUPTED` items of a stream are missing, or no worker lived to finish the call · `DISPOSED` the connection is closed · `REMOTE` the handler threw ·
 * `INVALID` a value is wrong · `UNSUPPORTED` no such contract version · `NO_SUCH_METHOD` no such procedure ·
 * `ABORTED` the caller gave up · `CONNECTION` the broker cannot be reached or refuses us · `TOPOLOGY` a queue or exchange exists in another form
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
  | "UNSUPPORTED"
  | "NO_SUCH_METHOD"
  | "ABORTED"
  | "CONNECTION"
  | "TOPOLOGY";

/** Root of what Warren throws. */
export class RpcError extends Error {
  /** Stable code, for `switch`. */
  readonly code: RpcErrorCode;
  /** Machine-readable detail. */
  readonly data: Readonly<Record<string, unknown>>;
  /** True where the work may have been done all the same. */
  readonly inDoubt: boolean;
  /** Makes one. */
  constructor(code: RpcErrorCode, message: string, options?: RpcErrorOptions) {
    super(message, options);
    this.name = new.target.name;
    this.code = code;
    this.data = options?.data ?? {};
    this.inDoubt = options?.inDoubt ?? false;
  }
}

/** Options of an error that is in doubt unless it says otherwise. */
const doubtful = (options: RpcErrorOptions | undefined): RpcErrorOptions => ({
  ...options,
  inDoubt: options?.inDoubt ?? true,
});

/** The worker's handler threw something that no list names. */
export class RemoteError extends RpcError {
  /** What came over the wire. */
  readonly failure: Failure;
  /** Makes one of what came. */
  constructor(failure: Failure, options?: RpcErrorOptions) {
    super("REMOTE", `${failure.type}: ${failure.message}`, {
      ...options,
      data: options?.data ?? failure.data,
    });
    this.failure = failure;
  }
}

/** No queue takes the message: nobody has ever served this topic or host. */
export class NoRouteError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("NO_ROUTE", message, options);
  }
}

/** The deadline passed. In doubt unless nothing was sent. */
export class TimeoutError extends RpcError {
  /** Consumers of the queue when the deadline passed; 0 = nobody listens; undefined = not known. */
  readonly consumers: number | undefined;
  /** Makes one. */
  constructor(
    message: string,
    options?: RpcErrorOptions & { readonly consumers?: number | undefined },
  ) {
    super("TIMEOUT", message, doubtful(options));
    this.consumers = options?.consumers;
  }
}

/** The broker takes no messages now: an alarm for memory or disk. `inDoubt` if the message is on its way. */
export class BlockedError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("BLOCKED", message, options);
  }
}

/** The broker refused the message (a negative confirm, e.g. a full queue). */
export class RejectedError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("REJECTED", message, options);
  }
}

/** The message was sent, but the broker did not say that it has it. */
export class UnconfirmedError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("UNCONFIRMED", message, doubtful(options));
  }
}

/**
 * Items of a stream were lost on the way: `data.sequence` is the last one that came. Or a call was given up, since each
 * worker that had it ended before it was done.
 */
export class InterruptedError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("INTERRUPTED", message, doubtful(options));
  }
}

/** The connection context was disposed. `inDoubt` for a call that had been sent: it may have run. */
export class ConnectionDisposedError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("DISPOSED", message, options);
  }
}

/** The broker cannot be reached, or refuses the login or the virtual host. */
export class ConnectionFailedError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("CONNECTION", message, options);
  }
}

/** A queue or an exchange cannot be declared: it exists in another form, or we may not. */
export class TopologyError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("TOPOLOGY", message, options);
  }
}

/** A value is wrong: arguments, a result, a name, an option. `data.path` says where. */
export class InvalidValueError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("INVALID", message, options);
  }
}

/** No endpoint has the version, or the namespace, of the request. */
export class UnsupportedVersionError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("UNSUPPORTED", message, options);
  }
}

/** No contract lists the procedure. */
export class NoSuchMethodError extends RpcError {
  /** Makes one. */
  constructor(message: string, options?: RpcErrorOptions) {
    super("NO_SUCH_METHOD", message, options);
  }
}
