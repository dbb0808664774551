/** A dispatcher with interceptors around its handlers. @module */
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
 * Puts interceptors around a dispatcher: all requests pass through them, also those that the dispatcher will refuse. Where
 * it is known which procedure is asked for, an error of an interceptor is treated as one of its handler: it keeps its class
 * if the contract lists it, and a cast is tried again as the procedure's `retry` says.
 */
export function withInterceptors(
  inner: Dispatcher,
  interceptors: readonly ServiceInterceptor[],
): Dispatcher {
  return {
    topics: inner.topics,
    dispatch: (context, version, method, args, namespace) => {
      const known = findProcedure(inner, { version, method, namespace });
      if (known) observerOf(context)?.found(known.procedure, known.what);
      const topic = known?.contract.topic ?? inner.topics[0] ?? "";
      const request = { topic, procedure: method, version, args };
      const dispatch = (changed: ServiceRequest) =>
        inner.dispatch(context, version, method, changed.args, namespace);
      return runWithContext(
        context,
        () => intercept(interceptors, received(context, request), dispatch),
        (error) => markHandlerError(error, known?.contract.errors),
      );
    },
  };
}

/** The request as interceptors see it. */
function received(
  context: RequestContext,
  asked: Pick<ServiceRequest, "topic" | "procedure" | "version" | "args">,
): ServiceRequest {
  const server = observerOf(context);
  return {
    ...asked,
    kind: server?.kind ?? "call",
    version: server ? server.request.version : asked.version,
    headers: server?.headers ?? {},
    attempt: context.attempt,
    context,
  };
}
