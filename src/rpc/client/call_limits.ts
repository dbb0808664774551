/** Time limits and hints of a request, from the options of its verb and the request whose handler sends it. @module */
import { checkDuration } from "../../option_checks.ts";
import { InvalidValueError, TimeoutError } from "../../errors.ts";
import type { Deadline } from "../../transport/transport.ts";
import { oneLine } from "../../logging.ts";
import {
  type ContextValues,
  isRequestContext,
  type RequestContext,
} from "../../contract/request_context.ts";
import type { ApplicationHeaders } from "../../contract/application_headers.ts";
import { currentContext } from "../propagation.ts";
import { deadlineOf } from "../served_context.ts";
import type { CallOptions, CastOptions, SendOptions } from "./call_options.ts";

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
  /** False if a cast is sent without the broker's confirm; default true. */
  readonly confirm?: boolean | undefined;
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
  const { idempotent, confirm, ttl } = options;
  checkFlag("idempotent", idempotent);
  checkFlag("confirm", confirm);
  return {
    values: valuesOf(options, parent),
    idempotent,
    confirm,
    ttl: ttl === undefined ? undefined : checkDuration("ttl", ttl),
    headers,
  };
}

function checkFlag(name: string, value: boolean | undefined): void {
  if (value === undefined || typeof value === "boolean") return;
  throw new InvalidValueError(
    `Invalid option ${name} ${oneLine(value, 60)}: give true or false`,
    { data: { path: name } },
  );
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
