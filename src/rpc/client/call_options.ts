/** Options of the verbs (`call`, `cast`, …), and the targets of requests. @module */
import { queueFor } from "../../transport/address.ts";
import type {
  ContextValues,
  RequestContext,
} from "../../contract/request_context.ts";
import type { Contract } from "../../contract/types.ts";
import type { ApplicationHeaders } from "../../contract/application_headers.ts";
import { checkHost, checkName, checkTopic } from "../../names.ts";
import { checkNames, namesOf, type OptionNames } from "../../option_names.ts";

/**
 * Options of every verb.
 * @category Calling
 */
export interface SendOptions {
  /** Milliseconds until the verb fails; default 60 000. For `multicall`, the maximum time between two items. */
  readonly timeout?: number | undefined;
  /** Cancels the request: the verb rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
  /**
   * Context values to send instead of the inherited ones, or the context of a request to inherit from. Default: the
   * context of the request that is being served.
   */
  readonly context?: ContextValues | RequestContext | undefined;
}

/**
 * Options of `call` and `multicall`.
 * @category Calling
 */
export interface CallOptions extends SendOptions {
  /** Host; default: any worker of the topic. */
  readonly host?: string | undefined;
  /**
   * For `call`: maximum milliseconds between two heartbeats of the worker, 2000 or more; then the call fails. `timeout`
   * applies as well (oslo.messaging: `call_monitor_timeout`). Default: no limit.
   */
  readonly monitor?: number | undefined;
  /**
   * For `call`: true to send the request again if the connection to the broker was lost meanwhile. Default: the
   * procedure's `idempotent` in the contract.
   */
  readonly idempotent?: boolean | undefined;
}

/**
 * Options of `fanoutCast`.
 * @category Calling
 */
export interface FanoutCastOptions extends SendOptions {
  /**
   * False to send the message without the broker's confirm, which is faster; default true. The promise then resolves
   * when the message is written to the connection. The message is transient and may be lost without notice: with the
   * connection, if the broker restarts or refuses it, and for `cast` also if the topic or host was never served, so that
   * neither `NoRouteError` nor `waitForRoute` applies. Casts with and without a confirm may overtake each other.
   */
  readonly confirm?: boolean | undefined;
}

/**
 * Options of `cast`.
 * @category Calling
 */
export interface CastOptions extends FanoutCastOptions {
  /** Host; default: any worker of the topic. */
  readonly host?: string | undefined;
  /** Milliseconds that the message may wait for a worker; default: no limit. */
  readonly ttl?: number | undefined;
}

/**
 * Keyword arguments of an untyped call.
 * @category Calling
 */
export type AnyArgs = Readonly<Record<string, unknown>>;

/**
 * Target of a request.
 * @category Calling
 */
export interface Target {
  /** Topic. */
  readonly topic: string;
  /** Host; default: any worker of the topic. */
  readonly host?: string | undefined;
  /** Contract version that the worker must serve, `major.minor`. */
  readonly version?: string | undefined;
  /** Namespace of the contract. */
  readonly namespace?: string | undefined;
}

/** Request with the arguments of a verb. */
export interface ClientRequest<O extends SendOptions = SendOptions> {
  /** Target. */
  readonly target: Target;
  /** Procedure. */
  readonly method: string;
  /** Keyword arguments. */
  readonly args: Readonly<Record<string, unknown>>;
  /** Options of the verb. */
  readonly options: O;
  /** Application headers. */
  readonly headers?: ApplicationHeaders | undefined;
  /** Request whose handler makes this call. Default: the one in `options.context`, or the one that is being served. */
  readonly parent?: RequestContext | undefined;
}

/** Names of {@linkcode SendOptions}. */
export const sendNames: OptionNames = namesOf<SendOptions>({
  timeout: true,
  signal: true,
  context: true,
});
/** Names of {@linkcode CallOptions}. */
export const callNames: OptionNames = namesOf<
  Omit<CallOptions, keyof SendOptions>
>({ host: true, monitor: true, idempotent: true }, sendNames);
/** Names of {@linkcode FanoutCastOptions}. */
export const fanoutNames: OptionNames = namesOf<
  Omit<FanoutCastOptions, keyof SendOptions>
>({ confirm: true }, sendNames);
/** Names of {@linkcode CastOptions}. */
export const castNames: OptionNames = namesOf<
  Omit<CastOptions, keyof FanoutCastOptions>
>({ host: true, ttl: true }, fanoutNames);
const names = { call: callNames, cast: castNames, fanout: fanoutNames };
/** Names of {@linkcode Target}, and of the other members of a contract, since a contract may be passed as a target. */
const targetNames: OptionNames = namesOf<
  Target & Pick<Contract, "errors" | "procedures">
>({
  topic: true,
  host: true,
  version: true,
  namespace: true,
  errors: true,
  procedures: true,
});

/**
 * Checks a target.
 *
 * @throws {InvalidValueError} a member of the target is invalid; the message names it.
 */
export function checkTarget({ topic, host, namespace }: Target): void {
  checkTopic(topic);
  if (host !== undefined) {
    checkHost(host);
    const queue = queueFor(topic, host); // topic and host together name a queue
    checkName("topic with host", queue);
    checkTopic(queue);
  }
  if (namespace !== undefined) checkName("namespace", namespace);
}

/**
 * Checks an untyped request, and replaces the target's host by the one in the options.
 *
 * @throws {InvalidValueError} the options or the target have a member with an unknown name.
 */
export function addressed<O extends SendOptions & Pick<Target, "host">>(
  request: ClientRequest<O>,
  verb: keyof typeof names,
): ClientRequest<O> {
  const { target, options } = request;
  checkNames(target, targetNames, "target.");
  checkNames(options, names[verb]);
  const { host = target.host } = options;
  return { ...request, target: { ...target, host } };
}
