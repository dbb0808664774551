/** Types of contracts: the record that callers and workers share, and the types that follow from it. @module */
import type { ErrorClass } from "../errors.ts";
import type { RequestContext } from "./request_context.ts";
import type { Input, Output, Schema } from "./schema.ts";

/**
 * Delays before a retry, in milliseconds. Each delay needs a queue of its own, so these are all that are allowed.
 * @category Contracts
 */
export type RetryDelay =
  | 100
  | 1_000
  | 5_000
  | 30_000
  | 120_000
  | 600_000
  | 3_600_000;
/**
 * Retry policy of a cast whose handler throws.
 * @category Contracts
 */
export interface RetryPolicy {
  /** Maximum number of attempts, including the first: 1 to 100. After the last one the cast becomes a dead letter. */
  readonly attempts: number;
  /**
   * Delays before the second and further attempts, in order; the last delay also applies to all attempts after it.
   * Default: 1000, 5000, 30 000, 120 000 and 600 000.
   */
  readonly backoff?: readonly RetryDelay[];
}
/**
 * Options of every procedure.
 * @category Contracts
 */
export interface ProcedureOptions {
  /** Schema of the keyword arguments, an object; without it the procedure has no arguments. */
  readonly args?: Schema<object>;
  /**
   * First version of the contract that has the procedure in this form; callers request this version. Default
   * `<major>.0`. Set it also when an argument is added: a worker of an earlier version would drop that argument.
   */
  readonly since?: string;
  /**
   * Time of the acknowledgement. `"at-least-once"` (default): after the handler, so that another worker gets the
   * request of a worker that dies. `"at-most-once"`: before the handler (Nova's old behaviour), and replies are sent
   * without the broker's confirm, which is faster. A reply may then be lost with the worker's connection: the call
   * fails with a `TimeoutError` in doubt, at its deadline.
   */
  readonly delivery?: "at-least-once" | "at-most-once";
  /**
   * Maximum milliseconds of a handler; default: no limit. After this time `context.signal` fires with a `TimeoutError`.
   * A handler that continues nevertheless has the same time again, at most 5000 ms, to end. Then the attempt counts as
   * failed: a cast is retried or becomes a dead letter, a caller gets the error, and another request may run. Later
   * effects of the handler do not change the outcome of the request, but may overlap with another attempt. A limit of
   * `consumerTimeout` or more (the time after which the broker requeues an unacknowledged message) needs a service with
   * a `ledger`.
   */
  readonly maxDuration?: number;
  /**
   * Largest size of the arguments as JSON, in bytes of UTF-8. Default: that of a message (`maxMessageSize`). Larger
   * arguments are an `InvalidValueError` before a schema validates them, at the caller and at the worker. This limits
   * the time for which a slow schema blocks the event loop.
   */
  readonly maxArgsSize?: number;
}
/**
 * Procedure that returns one value, or nothing.
 * @category Contracts
 */
export interface UnaryProcedure extends ProcedureOptions {
  /** Retry policy of casts; default: no retries. Calls are not retried by workers; their callers decide. */
  readonly retry?: RetryPolicy;
  /**
   * True if running the procedure twice has the same effect as running it once; default false. A call whose connection
   * to the broker is lost while it waits for its reply is then sent again after the reconnection.
   */
  readonly idempotent?: boolean;
  /** Schema of the result; without it the call resolves to `undefined`. */
  readonly result?: Schema;
  /** Not allowed: a procedure has a result or yields items, not both. */
  readonly yields?: never;
}
/**
 * Procedure that yields items one by one (`multicall`).
 * @category Contracts
 */
export interface StreamProcedure extends ProcedureOptions {
  /** Schema of an item. */
  readonly yields: Schema;
  /** Not allowed: a procedure has a result or yields items, not both. */
  readonly result?: never;
  /** Not allowed: streams cannot be cast, and only casts are retried. */
  readonly retry?: never;
  /** Not allowed: a stream is a single run of its handler. */
  readonly idempotent?: never;
}
/**
 * Procedure of a contract.
 * @category Contracts
 */
export type Procedure = UnaryProcedure | StreamProcedure;
/**
 * Names of members that a manager uses itself.
 * @category Contracts
 */
export type ReservedName =
  | "contract"
  | "host"
  | "connection"
  | "initHost"
  | "postStartHook"
  | "cleanupHost"
  | "periodic"
  | "createRpcDispatcher"
  | "then";
/**
 * Procedures of a contract, by name.
 * @category Contracts
 */
export type Procedures =
  & Readonly<Record<string, Procedure>>
  & { readonly [K in ReservedName]?: never };
/**
 * Contract: the record that callers and workers share. Created by `contract`.
 * @category Contracts
 */
export interface Contract<P extends Procedures = Procedures> {
  /** Topic of the workers: `[A-Za-z0-9_.-]`. */
  readonly topic: string;
  /** Version, `major.minor`: a new minor adds procedures or optional members, a new major breaks callers. */
  readonly version: string;
  /** Namespace, which distinguishes contracts of one topic. */
  readonly namespace?: string;
  /** Error classes that callers get as instances, by their name on the wire, `module.Class`. */
  readonly errors?: Readonly<Record<string, ErrorClass>>;
  /** Procedures. */
  readonly procedures: P;
}
/**
 * Names of a contract's procedures.
 * @category Contracts
 */
export type Name<C extends Contract> = keyof C["procedures"] & string;
/**
 * Names of the procedures that return a stream.
 * @category Contracts
 */
export type StreamName<C extends Contract> = {
  [K in Name<C>]: C["procedures"][K] extends { readonly yields: Schema } ? K
    : never;
}[Name<C>];
/**
 * Names of the procedures that return one result.
 * @category Contracts
 */
export type UnaryName<C extends Contract> = Exclude<Name<C>, StreamName<C>>;
/**
 * Arguments of a procedure without arguments.
 * @category Contracts
 */
export type NoArgs = Readonly<Record<string, never>>;
/**
 * Arguments that a caller passes: the input of the arguments' schema.
 * @category Contracts
 */
export type CallArgs<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly args: infer S extends Schema }
    ? Input<S>
    : NoArgs;
/**
 * Arguments that a handler gets: the output of the arguments' schema.
 * @category Contracts
 */
export type Args<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly args: infer S extends Schema }
    ? Output<S>
    : NoArgs;
/**
 * Result that a caller gets: the output of the result's schema, or of an item's schema.
 * @category Contracts
 */
export type Result<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly yields: infer S extends Schema }
    ? Output<S>
    : C["procedures"][K] extends { readonly result: infer S extends Schema }
      ? Output<S>
    : void;
/**
 * Return type of a handler: the input of the result's schema, or an async iterable of the inputs of the item's schema.
 * @category Contracts
 */
export type Returned<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly yields: infer S extends Schema }
    ? AsyncIterable<Input<S>>
    : C["procedures"][K] extends { readonly result: infer S extends Schema }
      ? Input<S> | Promise<Input<S>>
    : void | Promise<void>;
/**
 * Methods that serve a contract: `class X extends Manager implements Handlers<typeof compute>`.
 * @category Serving
 */
export type Handlers<C extends Contract> = {
  [K in Name<C>]: (args: Args<C, K>, context: RequestContext) => Returned<C, K>;
};
/**
 * Endpoint of a dispatcher: a contract, in an object with the contract's methods.
 * @category Contracts
 */
export interface Endpoint {
  /** Contract of the endpoint. */
  readonly contract: Contract;
}
/**
 * Contract of the given signatures, to write the type of an exported contract by hand.
 * @category Contracts
 */
export type ContractOf<T extends Readonly<Record<string, Signature>>> =
  Contract<{ readonly [K in keyof T]: Declared<T[K]> }>;
/**
 * Types of a procedure: arguments, and result or items.
 * @category Contracts
 */
export interface Signature {
  /** Keyword arguments. */
  readonly args?: object;
  /** Result. */
  readonly result?: unknown;
  /** Item of a stream. */
  readonly yields?: unknown;
}
/**
 * Procedure with the types of a signature.
 * @category Contracts
 */
export type Declared<S extends Signature> = S extends
  { readonly args: infer A extends object; readonly yields: infer Y }
  ? ProcedureOptions & {
    readonly args: Schema<A, A>;
    readonly yields: Schema<Y, Y>;
  }
  : S extends { readonly yields: infer Y }
    ? NoArgsOptions & { readonly yields: Schema<Y, Y> }
  : S extends
    { readonly args: infer A extends object; readonly result: infer R }
    ? ProcedureOptions & {
      readonly args: Schema<A, A>;
      readonly result: Schema<R, R>;
    }
  : S extends { readonly args: infer A extends object }
    ? ProcedureOptions & { readonly args: Schema<A, A> }
  : S extends { readonly result: infer R }
    ? NoArgsOptions & { readonly result: Schema<R, R> }
  : NoArgsOptions;
/**
 * Options of a procedure without arguments.
 * @category Contracts
 */
export type NoArgsOptions = Omit<ProcedureOptions, "args">;
