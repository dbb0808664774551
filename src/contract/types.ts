/** The record that callers and workers share, and the types that follow from it. @module */
import type { ErrorClass } from "../errors.ts";
import type { RequestContext } from "./request_context.ts";
import type { Input, Output, Schema } from "./schema.ts";

/** Milliseconds that a cast may wait for its next attempt: each is a queue of its own. */
export type RetryDelay =
  | 100
  | 1_000
  | 5_000
  | 30_000
  | 120_000
  | 600_000
  | 3_600_000;
/** What becomes of a cast whose handler throws. */
export interface RetryPolicy {
  /** Attempts in all, the first included: 1 to 100. After the last it is a dead letter. */
  readonly attempts: number;
  /** Waits before the further attempts, in order; the last holds for all that follow. Default: all from 1000 to 600 000. */
  readonly backoff?: readonly RetryDelay[];
}
/** What every procedure of a contract may say. */
export interface ProcedureOptions {
  /** Keyword arguments: a schema of an object; without it the procedure takes none. */
  readonly args?: Schema<object>;
  /** First version of the contract that has this form, and what a client asks for; default `<major>.0`. */
  readonly since?: string;
  /**
   * When the message is acknowledged. `"at-least-once"` (default): after the handler, so a worker that dies leaves it to
   * another. `"at-most-once"`: before the handler (Nova's old way).
   */
  readonly delivery?: "at-least-once" | "at-most-once";
  /**
   * Milliseconds that its handler may take; default: nothing ends it. Then `context.signal` fires with a `TimeoutError`. A
   * handler that goes on all the same has as long again to end, 5000 at most. After that its attempt has failed: a cast is
   * tried again or becomes a dead letter, a caller gets the error, and its place is given to others. What it does later has
   * no effect on the request, but may happen beside another attempt. As long as the broker leaves a message
   * unacknowledged (`consumerTimeout`) needs a service with a `ledger`.
   */
  readonly maxDuration?: number;
  /**
   * Bytes that its arguments may take as JSON in UTF-8. Default: as many as a message (`maxMessageSize`). Larger ones are
   * an `InvalidValueError` before a schema looks at them, at the caller and at the worker: it bounds the time for which a
   * slow schema keeps the event loop.
   */
  readonly maxArgsSize?: number;
}
/** A procedure whose value comes back, or nothing. */
export interface UnaryProcedure extends ProcedureOptions {
  /** Further attempts at a cast whose handler throws; default: none. A call's caller decides itself. */
  readonly retry?: RetryPolicy;
  /**
   * Whether running it twice is as good as once; default: false. A call of one that is under way when the broker is lost is
   * asked again when that is back.
   */
  readonly idempotent?: boolean;
  /** What the caller gets; without it the call resolves to `undefined`. */
  readonly result?: Schema;
  /** A procedure returns or yields, not both. */
  readonly yields?: never;
}
/** A procedure whose values come back one by one (`multicall`). */
export interface StreamProcedure extends ProcedureOptions {
  /** One item. */
  readonly yields: Schema;
  /** A procedure returns or yields, not both. */
  readonly result?: never;
  /** A stream cannot be cast. */
  readonly retry?: never;
  /** A stream is one run of its handler. */
  readonly idempotent?: never;
}
/** One entry of a contract. */
export type Procedure = UnaryProcedure | StreamProcedure;
/** Names that a manager uses itself. */
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
/** The procedures of a contract, by name. */
export type Procedures =
  & Readonly<Record<string, Procedure>>
  & { readonly [K in ReservedName]?: never };
/** The record that callers and workers share; made by `contract`. */
export interface Contract<P extends Procedures = Procedures> {
  /** Where its workers listen: `[A-Za-z0-9_.-]`. */
  readonly topic: string;
  /** `major.minor`: a new minor adds, a new major breaks. */
  readonly version: string;
  /** Tells apart contracts of one topic. */
  readonly namespace?: string;
  /** Error classes that keep their identity over the wire, by `module.Class`. */
  readonly errors?: Readonly<Record<string, ErrorClass>>;
  /** What can be called. */
  readonly procedures: P;
}
/** The names in a contract. */
export type Name<C extends Contract> = keyof C["procedures"] & string;
/** Names of those that stream. */
export type StreamName<C extends Contract> = {
  [K in Name<C>]: C["procedures"][K] extends { readonly yields: Schema } ? K
    : never;
}[Name<C>];
/** Names of those that do not. */
export type UnaryName<C extends Contract> = Exclude<Name<C>, StreamName<C>>;
/** The arguments of a procedure that takes none. */
export type NoArgs = Readonly<Record<string, never>>;
/** What a caller passes: the input of the arguments' schema. */
export type CallArgs<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly args: infer S extends Schema }
    ? Input<S>
    : NoArgs;
/** What a handler gets: the output of the arguments' schema. */
export type Args<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly args: infer S extends Schema }
    ? Output<S>
    : NoArgs;
/** What a caller gets: the output of the result's schema; for a stream, of one item. */
export type Result<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly yields: infer S extends Schema }
    ? Output<S>
    : C["procedures"][K] extends { readonly result: infer S extends Schema }
      ? Output<S>
    : void;
/** What a handler returns: the input of the result's schema; for a stream, an async iterable of such items. */
export type Returned<C extends Contract, K extends Name<C>> =
  C["procedures"][K] extends { readonly yields: infer S extends Schema }
    ? AsyncIterable<Input<S>>
    : C["procedures"][K] extends { readonly result: infer S extends Schema }
      ? Input<S> | Promise<Input<S>>
    : void | Promise<void>;
/** The methods that serve a contract: `class X extends Manager implements Handlers<typeof compute>`. */
export type Handlers<C extends Contract> = {
  [K in Name<C>]: (args: Args<C, K>, context: RequestContext) => Returned<C, K>;
};
/** What a dispatcher serves: a contract and an object with its methods. */
export interface Endpoint {
  /** The contract. */
  readonly contract: Contract;
}
/** Types of procedures, to write the type of an exported contract by hand. */
export type ContractOf<T extends Readonly<Record<string, Signature>>> =
  Contract<{ readonly [K in keyof T]: Declared<T[K]> }>;
/** One procedure in types alone. */
export interface Signature {
  /** Keyword arguments. */
  readonly args?: object;
  /** What comes back. */
  readonly result?: unknown;
  /** One item of a stream. */
  readonly yields?: unknown;
}
/** The entry of a contract for a signature. */
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
/** Options of a procedure that takes no arguments. */
export type NoArgsOptions = Omit<ProcedureOptions, "args">;
