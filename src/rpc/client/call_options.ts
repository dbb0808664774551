/** Options of the verbs (`call`, `cast`, …), and the deadline and the context values that a call inherits. @module */
import { checkDuration } from "../../option_checks.ts";
import { InvalidValueError, NoRouteError, TimeoutError } from "../../errors.ts";
import { queueFor } from "../../transport/address.ts";
import type { Deadline } from "../../transport/transport.ts";
import { oneLine } from "../../logging.ts";
import {
  type ContextValues,
  isRequestContext,
  type RequestContext,
} from "../../contract/request_context.ts";
import type { Contract } from "../../contract/types.ts";
import type { ApplicationHeaders } from "../../contract/application_headers.ts";
import { currentContext } from "../propagation.ts";
import { checkHost, checkName, checkTopic } from "../../names.ts";
import { checkNames, namesOf, type OptionNames } from "../../option_names.ts";
import { deadlineOf } from "../served_context.ts";

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
 * Options of `cast`.
 * @category Calling
 */
export interface CastOptions extends SendOptions {
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
/** Names of {@linkcode CastOptions}. */
export const castNames: OptionNames = namesOf<
  Omit<CastOptions, keyof SendOptions>
>({ host: true, ttl: true }, sendNames);
const names = { send: sendNames, call: callNames, cast: castNames };
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

/** Minimum of `monitor`: an oslo.messaging server sends two heartbeats in that time, but at most one a second. */
const MIN_MONITOR_MS = 2_000;
/** Default of `timeout`, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 60_000;

/** Time limits of one request. */
export interface CallLimits {
  /** End of the request, and a signal that may end it sooner. */
  readonly deadline: Deadline;
  /** Milliseconds of the whole request, or between two items of a stream. */
  readonly timeout: number;
  /** Milliseconds within which the worker has to send a heartbeat; undefined = no limit. */
  readonly monitor?: number | undefined;
}

/** Content of a request beside its arguments, and hints for its delivery. */
export interface CallHints {
  /** Context values that are sent with the request. */
  readonly values: ContextValues;
  /** True if the request may be sent a second time after the broker was lost. */
  readonly idempotent?: boolean | undefined;
  /** Milliseconds that a cast may wait in its queue; undefined = no limit. */
  readonly ttl?: number | undefined;
  /** Application headers. */
  readonly headers?: ApplicationHeaders | undefined;
}

/** Returns the request whose handler is calling: the one in the options, or the one that is being served. */
export function parentOf({ context }: SendOptions): RequestContext | undefined {
  return context && isRequestContext(context) ? context : currentContext();
}

/** Context values of a request: those of its options, or those of the request whose handler is calling. */
export function valuesOf(
  { context }: SendOptions,
  parent: RequestContext | undefined,
): ContextValues {
  return context && !isRequestContext(context) ? context : parent?.values ?? {};
}

function either(
  a: AbortSignal | undefined,
  b: AbortSignal | undefined,
): AbortSignal | undefined {
  return a && b ? AbortSignal.any([a, b]) : a ?? b;
}

/**
 * Limits of a request that waits for a reply. A handler's own deadline and signal limit the calls that it makes.
 *
 * @throws {TimeoutError} the handler's deadline has passed.
 */
export function limitsOfCall(
  options: CallOptions,
  parent: RequestContext | undefined,
): CallLimits {
  const left = parent ? deadlineOf(parent) - performance.now() : Infinity;
  if (left <= 0) {
    throw new TimeoutError(
      "The deadline of the request being served has passed: no call is made",
      { inDoubt: false },
    );
  }
  const timeout = Math.min(
    checkDuration("timeout", options.timeout ?? DEFAULT_TIMEOUT_MS),
    left,
  );
  const signal = either(options.signal, parent?.signal);
  signal?.throwIfAborted();
  const { monitor } = options;
  return {
    deadline: { at: performance.now() + timeout, signal },
    timeout,
    monitor: monitor === undefined ? undefined : monitored(monitor),
  };
}

/**
 * Hints of a request.
 *
 * @throws {InvalidValueError} an option is wrong.
 */
export function hintsOf(
  options: CallOptions & CastOptions,
  parent: RequestContext | undefined,
  headers: ApplicationHeaders | undefined,
): CallHints {
  const { idempotent, ttl } = options;
  if (idempotent !== undefined && typeof idempotent !== "boolean") {
    throw new InvalidValueError(
      `Invalid option idempotent ${
        oneLine(idempotent, 60)
      }: give true or false`,
      { data: { path: "idempotent" } },
    );
  }
  return {
    values: valuesOf(options, parent),
    idempotent,
    ttl: ttl === undefined ? undefined : checkDuration("ttl", ttl),
    headers,
  };
}

function monitored(ms: number): number {
  if (checkDuration("monitor", ms) >= MIN_MONITOR_MS && ms < Infinity) {
    return ms;
  }
  throw new InvalidValueError(
    `Invalid option monitor ${ms}: give ${MIN_MONITOR_MS} milliseconds or more`,
    { data: { path: "monitor" } },
  );
}

/** Limits of a request without a reply. It inherits no deadline, since it outlives the handler that sends it. */
export function limitsOfCast(options: SendOptions): CallLimits {
  const timeout = checkDuration(
    "timeout",
    options.timeout ?? DEFAULT_TIMEOUT_MS,
  );
  options.signal?.throwIfAborted();
  const { signal } = options;
  return { deadline: { at: performance.now() + timeout, signal }, timeout };
}

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

/** Error for a target without a queue; `waited` is the milliseconds for which the client waited for the queue. */
export function noRouteError(
  { topic, host }: Target,
  cause: NoRouteError,
  waited: number | undefined,
): NoRouteError {
  const whom = host === undefined ? topic : `${topic} on host ${host}`;
  const queue = queueFor(topic, host);
  const remedy = waited === undefined
    ? "start a worker, or connect with waitForRoute"
    : `none did within ${Math.round(waited)} ms; start one`;
  const text =
    `The queue ${queue} does not exist yet: no worker has served ${whom}; ${remedy}`;
  return new NoRouteError(text, { cause, data: { topic, host } });
}
