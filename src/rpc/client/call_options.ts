/** Options of the verbs, and the time and values that a call inherits. @module */
import { checkDuration } from "../../option_checks.ts";
import { InvalidValueError, TimeoutError } from "../../errors.ts";
import { queueFor } from "../../transport/address.ts";
import type { Deadline } from "../../transport/transport.ts";
import { oneLine } from "../../logging.ts";
import {
  type ContextValues,
  isRequestContext,
  type RequestContext,
} from "../../contract/request_context.ts";
import type { Contract } from "../../contract/types.ts";
import { currentContext } from "../propagation.ts";
import { checkHost, checkName, checkTopic } from "../../names.ts";
import { checkNames, namesOf, type OptionNames } from "../../option_names.ts";
import { deadlineOf } from "../served_context.ts";

/** Options of every verb. */
export interface SendOptions {
  /** Milliseconds until the verb gives up; default 60 000. For `multicall`, the longest silence between two items. */
  readonly timeout?: number | undefined;
  /** Gives up sooner: the verb rejects with `signal.reason`. */
  readonly signal?: AbortSignal | undefined;
  /** Values that travel, in place of the inherited ones; or the context of a request, to inherit from it. */
  readonly context?: ContextValues | RequestContext | undefined;
}

/** Options of `call` and `multicall`. */
export interface CallOptions extends SendOptions {
  /** Only that host. */
  readonly host?: string | undefined;
  /**
   * For `call`: fails as soon as the worker has given no sign of life for so many milliseconds, 2000 or more, while
   * `timeout` goes on (oslo.messaging: `call_monitor_timeout`). Default: none.
   */
  readonly monitor?: number | undefined;
  /** For `call`: asked again when the broker was lost meanwhile; default: what the contract says of the procedure. */
  readonly idempotent?: boolean | undefined;
}

/** Options of `cast`. */
export interface CastOptions extends SendOptions {
  /** Only that host. */
  readonly host?: string | undefined;
  /** Milliseconds that the message may wait for a worker; default: for ever. */
  readonly ttl?: number | undefined;
}

/** Whom a verb addresses. */
export interface Target {
  /** Topic. */
  readonly topic: string;
  /** Only that host. */
  readonly host?: string | undefined;
  /** Contract version that the worker must serve, `major.minor`. */
  readonly version?: string | undefined;
  /** Namespace of the contract. */
  readonly namespace?: string | undefined;
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
/** Names of {@linkcode Target}; a contract is one as well. */
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

/** The least that every oslo.messaging server can be asked for: it beats twice in that time, at most once a second. */
const MIN_MONITOR_MS = 2_000;
/** Milliseconds that a verb waits if nothing else is said. */
const DEFAULT_TIMEOUT_MS = 60_000;

/** What a verb may take, and what goes along. */
export interface CallLimits {
  /** Until when, and who may end it sooner. */
  readonly deadline: Deadline;
  /** Milliseconds in all, or between two items. */
  readonly timeout: number;
  /** Values that travel. */
  readonly values: ContextValues;
  /** Milliseconds within which the worker gives signs of life; undefined = any. */
  readonly monitor?: number | undefined;
  /** Whether it may be asked again. */
  readonly idempotent?: boolean | undefined;
}

/** The request whose handler is calling: given, or found. */
export function parentOf({ context }: SendOptions): RequestContext | undefined {
  return context && isRequestContext(context) ? context : currentContext();
}

function valuesOf(
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
 * Bounds of a verb that waits for an answer: inside a handler it has at most what is left to the handler, and ends with it.
 *
 * @throws {TimeoutError} if nothing is left.
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
  const { idempotent } = options;
  if (idempotent !== undefined && typeof idempotent !== "boolean") {
    throw new InvalidValueError(
      `Invalid option idempotent ${
        oneLine(idempotent, 60)
      }: give true or false`,
      { data: { path: "idempotent" } },
    );
  }
  return {
    deadline: { at: performance.now() + timeout, signal },
    timeout,
    values: valuesOf(options, parent),
    monitor: options.monitor === undefined
      ? undefined
      : monitored(options.monitor),
    idempotent,
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

/** Bounds of a verb that leaves a message behind: it inherits values alone. */
export function limitsOfCast(options: SendOptions): CallLimits {
  const timeout = checkDuration(
    "timeout",
    options.timeout ?? DEFAULT_TIMEOUT_MS,
  );
  options.signal?.throwIfAborted();
  const wait = {
    at: performance.now() + timeout,
    signal: options.signal,
  };
  return {
    deadline: wait,
    timeout,
    values: valuesOf(options, parentOf(options)),
  };
}

/**
 * Checks a target.
 *
 * @throws {InvalidValueError} naming the part that is wrong.
 */
export function checkTarget({ topic, host, namespace }: Target): void {
  checkTopic(topic);
  if (host !== undefined) {
    checkHost(host);
    const queue = queueFor(topic, host); // together they name one
    checkName("topic with host", queue);
    checkTopic(queue);
  }
  if (namespace !== undefined) checkName("namespace", namespace);
}

/**
 * The target of an untyped verb, with the host of its options in place of its own.
 *
 * @throws {InvalidValueError} an option, or a part of the target, has a name that there is not.
 */
export function addressed(
  target: Target,
  options: SendOptions & Pick<Target, "host">,
  verb: keyof typeof names,
): Target {
  checkNames(target, targetNames, "target.");
  checkNames(options, names[verb]);
  const { host = target.host } = options;
  return { ...target, host };
}
