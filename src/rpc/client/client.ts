/** The typed verbs of a contract. @module */
import type {
  CallArgs,
  Contract,
  NoArgs,
  Result,
  StreamName,
  UnaryName,
} from "../../contract/types.ts";
import type { ClientInterceptor } from "../interceptors.ts";
import { namesOf, type OptionNames } from "../../option_names.ts";
import {
  callNames,
  type CallOptions,
  type CastOptions,
  type SendOptions,
} from "./call_options.ts";

/**
 * The last arguments of a verb: `args` may be left out where `{}` will do.
 * @category Calling
 */
export type VerbArgs<A, O> = NoArgs extends A ? [args?: A, options?: O]
  : [args: A, options?: O];

/**
 * Options of all requests of a client, unless a call says otherwise.
 * @category Calling
 */
export interface ClientOptions extends CallOptions {
  /** The newest version that may be asked for (Nova: `version_cap`), e.g. while older workers still run. */
  readonly versionCap?: string | undefined;
  /** Functions around all requests of the client, the first outermost; default: none. */
  readonly interceptors?: readonly ClientInterceptor[] | undefined;
}

/** Names of {@linkcode ClientOptions}. */
export const clientNames: OptionNames = namesOf<
  Omit<ClientOptions, keyof CallOptions>
>({ versionCap: true, interceptors: true }, callNames);

/**
 * The typed verbs. All of them check the arguments before anything is sent.
 *
 * @throws {InvalidValueError} arguments that do not fit the contract, or that JSON cannot carry.
 * @throws {UnsupportedVersionError} a procedure that is newer than `versionCap`.
 * @category Calling
 */
export interface Client<C extends Contract> {
  /**
   * One answer from any worker, or from `host`.
   *
   * @throws {NoRouteError} at once, if nobody has ever served the topic or host.
   * @throws {TimeoutError} no answer by the deadline: in doubt.
   * @throws {InvalidResultError} the worker's result does not fit the contract, or cannot be sent.
   * @throws {RemoteError} the handler threw; or an error class of the contract.
   */
  call<K extends UnaryName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, CallOptions>
  ): Promise<Result<C, K>>;
  /**
   * No answer. Resolves when the broker has the message on disk; it waits there for a worker.
   *
   * @throws {NoRouteError} at once, if nobody has ever served the topic or host.
   * @throws {UnconfirmedError} the broker did not confirm it by the deadline: in doubt.
   */
  cast<K extends UnaryName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, CastOptions>
  ): Promise<void>;
  /** No answer, to every worker that runs now. Resolves when the broker has it, also if nobody listens. */
  fanoutCast<K extends UnaryName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, SendOptions>
  ): Promise<void>;
  /**
   * A stream. Lazy, and can be iterated once; `break` cancels it on the worker, which runs at most 32 items ahead.
   * `timeout` is the longest silence between two items, while fewer than 16 wait to be read.
   */
  multicall<K extends StreamName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, CallOptions>
  ): AsyncGenerator<Result<C, K>, void, undefined>;
}
