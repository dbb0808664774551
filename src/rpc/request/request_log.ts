/** Requests in the log: one line for each that failed, and at level debug one for each step of its life. @module */
import { logger, type Properties } from "../../logging.ts";
import { type QueueAddress, queueName } from "../../transport/address.ts";
import type { Disposition } from "../server_stats.ts";
import type { IncomingRequest } from "./incoming_request.ts";
import { isDispatchError } from "../dispatch/handler_result.ts";
import { nextDelay } from "../../contract/retry_policy.ts";

const rpc = logger("rpc");

/** A step in the life of a request, which is told to whoever reads level debug. */
export function logStep(
  incoming: IncomingRequest,
  step: string,
  more?: Properties,
): void {
  if (!rpc.enabled("debug")) return;
  rpc.debug(`Request {request} of {procedure}: ${step}`, {
    request: incoming.context.requestId,
    procedure: incoming.name,
    ...more,
  });
}

/** A call that failed. Its caller is told, so that it is no error here. */
export function logFailedCall(incoming: IncomingRequest, error: unknown): void {
  if (incoming.over) {
    return logStep(incoming, "failed after its end: {error}", { error });
  }
  const text = "{procedure} failed, request {request}: {error}";
  const procedure = incoming.name;
  const request = incoming.context.requestId;
  rpc.info(text, { procedure, request, error }, known(incoming));
}

/** The kind of a line: one for each procedure that is served, and one for all requests of strangers. */
function known({ procedure, name }: IncomingRequest): string | undefined {
  return procedure && name;
}

/** The next step of a cast that failed, and the values of that text. */
function next(
  { context: { attempt }, procedure, abandoned }: IncomingRequest,
  fate: Disposition,
  queue: QueueAddress | undefined,
): [string, Properties] {
  if (fate === "again") {
    return ["next in {wait} ms", {
      wait: nextDelay(attempt, procedure?.retry),
    }];
  }
  if (fate === "dead" && queue) {
    return ["kept in {deadLetters}", {
      deadLetters: queueName({ kind: "deadLetter", of: queue }),
    }];
  }
  const back = fate === "back" || abandoned;
  return [back ? "back into its queue" : "dropped", {}];
}

/**
 * A cast that failed, with what becomes of it: an error, since nobody else is told. One that a handler threw at has a line
 * of its own, as many as the log takes.
 */
export function logFailedCast(
  incoming: IncomingRequest,
  error: unknown,
  fate: Disposition,
  queue: QueueAddress | undefined,
): void {
  if (incoming.over) {
    return logStep(incoming, "failed after its end: {error}", { error });
  }
  const { request: { method }, context, procedure, name } = incoming;
  const { attempt, requestId } = context;
  const [then, values] = next(incoming, fate, queue);
  const topic = procedure
    ? name.slice(0, -method.length - 1)
    : queue && queueName(queue);
  const thrown = procedure && !isDispatchError(error);
  rpc.error(
    `Cast {procedure} of topic {topic} failed, request {request}, attempt {attempt} of {attempts}, ${then}: {error}`,
    {
      ...{ procedure: method, topic, request: requestId, attempt },
      attempts: procedure?.retry?.attempts ?? 1,
      ...{ ...values, error },
    },
    thrown ? `${name} ${requestId} ${attempt}` : known(incoming),
  );
}
