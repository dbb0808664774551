/** Dispatcher with interceptors around the handlers of another dispatcher. @module */
import type { RequestContext } from "../../contract/request_context.ts";
import {
  intercept,
  type ServiceInterceptor,
  type ServiceRequest,
} from "../interceptors.ts";
import { runWithContext } from "../propagation.ts";
import { observerOf } from "../served_context.ts";
import { type Dispatcher, findProcedure } from "./dispatcher.ts";
import { markHandlerError } from "./handler_result.ts";

/**
 * Wraps a dispatcher with interceptors, through which all requests pass, also those that the dispatcher will reject.
 * Where the procedure of a request is known, an error of an interceptor is treated like one of the handler: the error
 * keeps its class if the contract lists that class, and a cast is retried as the `retry` of the procedure says.
 */
export function withInterceptors(
  inner: Dispatcher,
  interceptors: readonly ServiceInterceptor[],
): Dispatcher {
  return {
    topics: inner.topics,
    dispatch: (context, version, method, args, namespace) => {
      const served = findProcedure(inner, { version, method, namespace });
      if (served) {
        observerOf(context)?.found(served.procedure, served.qualifiedName);
      }
      const topic = served?.contract.topic ?? inner.topics[0] ?? "";
      const request = { topic, procedure: method, version, args };
      const dispatch = (changed: ServiceRequest) =>
        inner.dispatch(context, version, method, changed.args, namespace);
      return runWithContext(
        context,
        () => intercept(interceptors, requestFor(context, request), dispatch),
        (error) => markHandlerError(error, served?.contract.errors),
      );
    },
  };
}

/** Creates the request that interceptors see. */
function requestFor(
  context: RequestContext,
  request: Pick<ServiceRequest, "topic" | "procedure" | "version" | "args">,
): ServiceRequest {
  const observed = observerOf(context);
  return {
    ...request,
    kind: observed?.kind ?? "call",
    version: observed ? observed.request.version : request.version,
    headers: observed?.headers ?? {},
    attempt: context.attempt,
    context,
  };
}
