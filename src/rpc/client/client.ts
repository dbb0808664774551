/** The typed verbs of a contract, and the procedures that they call. @module */
import type {
  CallArgs,
  Contract,
  NoArgs,
  Procedure,
  Result,
  StreamName,
  UnaryName,
} from "../../contract/types.ts";
import { isCompatible, parseVersion } from "../../contract/version.ts";
import { NoSuchMethodError, UnsupportedVersionError } from "../../errors.ts";
import type { ClientInterceptor } from "../interceptors.ts";
import { namesOf, type OptionNames } from "../../option_names.ts";
import {
  callNames,
  type CallOptions,
  type CastOptions,
  type FanoutCastOptions,
  type Target,
} from "./call_options.ts";

/**
 * Last arguments of a verb: `args` is optional if `{}` is valid for the procedure.
 * @category Calling
 */
export type VerbArgs<A, O> = NoArgs extends A ? [args?: A, options?: O]
  : [args: A, options?: O];

/**
 * Defaults for all requests of a client; the options of a request override them.
 * @category Calling
 */
export interface ClientOptions extends CallOptions {
  /** For `cast` and `fanoutCast`: see {@linkcode FanoutCastOptions}. */
  readonly confirm?: boolean | undefined;
  /** Newest contract version that the client may request (Nova: `version_cap`), e.g. while older workers still run. */
  readonly versionCap?: string | undefined;
  /** Functions around all requests of the client, the first outermost; default: none. */
  readonly interceptors?: readonly ClientInterceptor[] | undefined;
}

/** Names of {@linkcode ClientOptions}. */
export const clientNames: OptionNames = namesOf<
  Omit<ClientOptions, keyof CallOptions>
>({ confirm: true, versionCap: true, interceptors: true }, callNames);

/**
 * Typed verbs. All of them check the arguments before anything is sent.
 *
 * @throws {InvalidValueError} the arguments do not fit the contract, or JSON cannot represent them.
 * @throws {UnsupportedVersionError} the procedure is newer than `versionCap`.
 * @category Calling
 */
export interface Client<C extends Contract> {
  /**
   * Sends a request to any worker, or to `host`, and returns the worker's result.
   *
   * @throws {NoRouteError} the topic or host was never served; thrown at once, or at the deadline if this process has
   * reached its queue before: the node of the queue may be down.
   * @throws {TimeoutError} no reply by the deadline; the worker may have run the request.
   * @throws {InvalidResultError} the worker's result does not fit the contract, or cannot be sent.
   * @throws {RemoteError} the handler threw an error that is not of the contract; errors of the contract have their own
   * classes.
   */
  call<K extends UnaryName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, CallOptions>
  ): Promise<Result<C, K>>;
  /**
   * Sends a request without a reply. Resolves when the broker has the message on disk, where it waits for a worker; with
   * `confirm: false`, when the message is written to the connection.
   *
   * @throws {NoRouteError} the topic or host was never served; thrown at once, or at the deadline if this process has
   * reached its queue before: the node of the queue may be down.
   * @throws {UnconfirmedError} the broker did not confirm the message by the deadline; a worker may still get it.
   */
  cast<K extends UnaryName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, CastOptions>
  ): Promise<void>;
  /**
   * Sends a request without a reply to every worker that runs now. Resolves when the broker has confirmed the message,
   * also if no worker runs; with `confirm: false`, when the message is written to the connection.
   */
  fanoutCast<K extends UnaryName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, FanoutCastOptions>
  ): Promise<void>;
  /**
   * Calls a procedure that returns a stream. The request is sent at the first `next()`, and the stream can be iterated
   * once. `break` cancels the procedure on the worker, which sends at most 32 unread items. `timeout` is the maximum
   * time between two items; it is suspended while 16 or more items are unread.
   */
  multicall<K extends StreamName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, CallOptions>
  ): AsyncGenerator<Result<C, K>, void, undefined>;
}

/** Procedure with the target of its requests. */
export interface ResolvedProcedure {
  /** `topic.method`. */
  readonly qualifiedName: string;
  /** Entry of the contract. */
  readonly procedure: Procedure;
  /** Target without a host. */
  readonly target: Target;
  /** Options of a call that gives none. */
  readonly callDefaults: CallOptions & Pick<Target, "host">;
}

/**
 * Resolves a procedure. Requests ask for the version that introduced it, so that older workers can serve them too.
 *
 * @throws {NoSuchMethodError} the contract has no procedure of that name.
 * @throws {UnsupportedVersionError} the procedure is newer than `versionCap`.
 */
export function resolveProcedure(
  { topic, namespace, version, procedures }: Contract,
  name: string,
  defaults: Omit<ClientOptions, "interceptors">,
): ResolvedProcedure {
  const procedure = Object.hasOwn(procedures, name)
    ? procedures[name]
    : undefined;
  if (!procedure) {
    const text = `No procedure ${JSON.stringify(name)} in the contract`;
    throw new NoSuchMethodError(`${text} ${topic} ${version}`);
  }
  const since = procedure.since ?? `${parseVersion(version)?.major ?? 1}.0`;
  const { versionCap: cap } = defaults;
  const have = cap === undefined ? undefined : parseVersion(cap);
  const want = parseVersion(since);
  if (have && want && !isCompatible(have, want)) {
    throw new UnsupportedVersionError(
      `${topic}.${name} needs version ${since}, and versionCap is ${cap}`,
    );
  }
  const { idempotent } = procedure;
  return {
    qualifiedName: `${topic}.${name}`,
    procedure,
    target: Object.freeze({ topic, namespace, version: since }),
    callDefaults: Object.freeze({ idempotent, ...defaults }),
  };
}
