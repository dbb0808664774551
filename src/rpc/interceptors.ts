/** Functions around the requests of clients and services: authorization, audit, transactions, headers. @module */
import { type Deadline, withDeadline } from "../async/deadline.ts";
import { InvalidValueError, TimeoutError } from "../errors.ts";
import { checkHeaderRecord } from "../contract/application_headers.ts";
import { oneLine } from "../logging.ts";
import type { RequestContext } from "../contract/request_context.ts";

/**
 * Request that an interceptor sees: at a client before it is sent, at a service before its handler runs.
 * @category Calling
 */
export interface InterceptedRequest {
  /** Verb. For a service, `call` may also be a request for a stream, if the client is not Warren's. */
  readonly kind: "call" | "cast" | "fanout" | "multicall" | "notification";
  /** Topic. */
  readonly topic: string;
  /** Procedure, or the type of an event. */
  readonly procedure: string;
  /** Contract version that the caller requests; undefined if the request has none. */
  readonly version: string | undefined;
  /** Keyword arguments, or the payload of an event; a payload that is not an object is wrapped as `{ payload }`. */
  readonly args: Readonly<Record<string, unknown>>;
  /** Application headers, which are sent with the message. */
  readonly headers: Readonly<Record<string, string>>;
  /** Number of the attempt, beginning with 1. */
  readonly attempt: number;
}

/**
 * Request that an interceptor of a service sees.
 * @category Serving
 */
export interface ServiceRequest extends InterceptedRequest {
  /** Context that the handler gets; interceptors may store values for the handler in `context.locals`. */
  readonly context: RequestContext;
}

/**
 * Calls the next interceptor, or the handler or the sending after the last one. For a multicall it resolves to an
 * `AsyncIterable` of the items.
 * @category Calling
 */
export type NextInterceptor<R> = (request: R) => Promise<unknown>;

/**
 * A function around all requests of a client, after the check of their arguments. It may change `args` and `headers` by
 * giving `next` a changed request, change what comes back, answer without `next`, and throw; other members are facts, and
 * changes of them are ignored. The deadline of the request, its signal and the disposal of the connection end the request
 * whatever the interceptors wait for.
 * @category Calling
 */
export type ClientInterceptor = (
  request: InterceptedRequest,
  next: NextInterceptor<InterceptedRequest>,
) => unknown;

/**
 * Function around all handlers of a service, or of a listener, called before the arguments are parsed. It may do the
 * same as a {@linkcode ClientInterceptor}. Its errors count as errors of the handler.
 * @category Serving
 */
export type ServiceInterceptor = (
  request: ServiceRequest,
  next: NextInterceptor<ServiceRequest>,
) => unknown;

/**
 * Checks an option with interceptors; returns undefined if it is absent or empty.
 *
 * @throws {InvalidValueError} the value is not an array of functions.
 */
export function checkInterceptors<I extends (...args: never[]) => unknown>(
  interceptors: readonly I[] | undefined,
  option = "interceptors",
): readonly I[] | undefined {
  if (interceptors === undefined) return undefined;
  const valid = Array.isArray(interceptors) &&
    interceptors.every((each) => typeof each === "function");
  if (valid) return interceptors.length > 0 ? [...interceptors] : undefined;
  throw new InvalidValueError(
    `Invalid option ${option} ${
      oneLine(interceptors, 60)
    }: give an array of functions`,
    { data: { path: option } },
  );
}

/**
 * Calls interceptors, the first outermost, and `last` innermost. A rejection of `next` counts as handled, since an
 * interceptor may await something else before it awaits `next`.
 */
export async function intercept<R extends InterceptedRequest>(
  interceptors: readonly ((request: R, next: NextInterceptor<R>) => unknown)[],
  request: R,
  last: NextInterceptor<R>,
): Promise<unknown> {
  const [first, ...others] = interceptors;
  if (!first) return await last(request);
  const proceed = async (changed: R) => {
    const { args, headers } = checkChanged(changed);
    return await intercept(others, { ...request, args, headers }, last);
  };
  return await first(request, (changed) => {
    const result = proceed(changed);
    result.catch(() => {});
    return result;
  });
}

/**
 * Checks the request that an interceptor gives to `next`.
 *
 * @throws {InvalidValueError} it is no request.
 */
function checkChanged(
  changed: InterceptedRequest,
): Pick<InterceptedRequest, "args" | "headers"> {
  const { args, headers }: Partial<InterceptedRequest> = changed ?? {};
  if (typeof args !== "object" || args === null) {
    throw new InvalidValueError(
      "Cannot call next without a request: give next(request) or next({ ...request, args })",
      { data: { path: "args" } },
    );
  }
  checkHeaderRecord(headers);
  return { args, headers };
}

/** Milliseconds that interceptors have after the deadline, to handle the error with which `next` rejects then. */
const GRACE_MS = 50;

/** Limits of a request of a client with interceptors. */
export interface InterceptedLimits {
  /** Name for the text of errors, `<topic>.<procedure>`. */
  readonly name: string;
  /** End of the request. */
  readonly deadline: Deadline;
  /** Fires when the connection is disposed. */
  readonly disposal: AbortSignal;
}

/**
 * Runs the interceptors of a request until its end, whatever they wait for. `run` gets a function that returns the
 * milliseconds that are left for the sending.
 *
 * @throws {TimeoutError} the deadline has passed.
 */
export function interceptWithin(
  { name, deadline, disposal }: InterceptedLimits,
  run: (left: () => number) => Promise<unknown>,
): Promise<unknown> {
  let inDoubt = false;
  const lateError = () => {
    const text = `The interceptors of ${name} have not ended by its deadline`;
    return new TimeoutError(text, { inDoubt });
  };
  const running = run(() => {
    const left = deadline.at - performance.now();
    if (left <= 0) throw lateError();
    inDoubt = true;
    return left;
  });
  const { at, signal } = deadline;
  return withDeadline(
    withDeadline(running, { at: Infinity, signal: disposal }, lateError),
    { at: at + GRACE_MS, signal },
    lateError,
  );
}
