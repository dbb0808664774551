/** Dispatcher with interceptors around the handlers of another dispatcher. @module */
import { InvalidValueError } from "../../errors.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import {
  intercept,
  type ServiceInterceptor,
  type ServiceRequest,
} from "../interceptors.ts";
import { observerOf } from "../served_context.ts";
import { type Dispatcher, findProcedure } from "./dispatcher.ts";
import { InterceptedStreams } from "./intercepted_streams.ts";

/**
 * Wraps a dispatcher with interceptors, through which all requests pass, also those that the dispatcher will reject.
 * If the procedure of a request is known, an error of an interceptor is treated like one of the handler: the error keeps
 * its class if the contract lists that class, and a cast is retried as the `retry` of the procedure says. The
 * `maxDuration` of the procedure begins with the first interceptor.
 */
export function withInterceptors(
  inner: Dispatcher,
  interceptors: readonly ServiceInterceptor[],
): Dispatcher {
  return {
    topics: inner.topics,
    dispatch: (context, version, method, args, namespace) => {
      const served = findProcedure(inner, { version, method, namespace });
      const observed = observerOf(context);
      if (served) observed?.onProcedure(served.procedure, served.qualifiedName);
      const topic = served?.contract.topic ?? inner.topics[0] ?? "";
      const request = { topic, procedure: method, version, args };
      const once = served?.procedure.delivery === "at-most-once";
      const streams = new InterceptedStreams(context, served);
      let called = false;
      const dispatch = async (changed: ServiceRequest) => {
        if (once && called) throw calledTwice(served.qualifiedName);
        called = true;
        const { args } = changed;
        return streams.open(
          await inner.dispatch(context, version, method, args, namespace),
        );
      };
      return streams.step(async () => {
        observed?.startRun(served?.procedure);
        return await intercept(
          interceptors,
          requestFor(context, request),
          dispatch,
        );
      }).then(
        (result) => streams.wrap(result),
        (error) => streams.fail(error),
      );
    },
  };
}

/** Creates the error for a second call of `next` where the handler must run once at most. */
function calledTwice(name: string): InvalidValueError {
  return new InvalidValueError(
    `Cannot call next a second time: the delivery of ${name} is at-most-once`,
  );
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
