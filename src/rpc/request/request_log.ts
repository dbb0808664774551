/** Log entries of requests: one for each failure, and at level debug one for each step. @module */
import { logger, type Properties } from "../../logging.ts";
import { type QueueAddress, queueName } from "../../transport/address.ts";
import type { Disposition } from "../server_stats.ts";
import type { IncomingRequest } from "./incoming_request.ts";
import { isDispatchError } from "../dispatch/handler_result.ts";
import { nextDelay } from "../../contract/retry_policy.ts";

const rpc = logger("rpc");

/** Logs a step of a request at level debug, if the steps of requests were logged when the request arrived. */
export function logStep(
  incoming: IncomingRequest,
  step: string,
  more?: Properties,
): void {
  if (!incoming.logsSteps) return;
  rpc.debug(`Request {request} of {procedure}: ${step}`, {
    request: incoming.requestId,
    procedure: incoming.name,
    ...more,
  });
}

/** Logs a failed call at level info only, because its caller gets the error. */
export function logFailedCall(incoming: IncomingRequest, error: unknown): void {
  if (incoming.cancellation.cancelled) {
    return logStep(incoming, "failed after its end: {error}", { error });
  }
  const text = "{procedure} failed, request {request}: {error}";
  const procedure = incoming.name;
  const request = incoming.requestId;
  rpc.info(text, { procedure, request, error }, kindOf(incoming));
}

/**
 * Returns the kind of a log entry, for the rate limit of entries: one kind for each procedure, and one for all requests
 * without a procedure.
 */
function kindOf({ procedure, name }: IncomingRequest): string | undefined {
  return procedure && name;
}

/** Returns a text on what follows a failed cast, and the values for that text. */
function nextStep(
  { attempt, procedure, settlement }: IncomingRequest,
  disposition: Disposition,
  queue: QueueAddress | undefined,
): [string, Properties] {
  if (disposition === "retried") {
    return ["next in {wait} ms", {
      wait: nextDelay(attempt, procedure?.retry),
    }];
  }
  if (disposition === "deadLettered" && queue) {
    return ["kept in {deadLetters}", {
      deadLetters: queueName({ kind: "deadLetter", of: queue }),
    }];
  }
  const requeued = disposition === "requeued" || settlement.abandoned;
  return [requeued ? "back into its queue" : "dropped", {}];
}

/**
 * Logs a failed cast and its disposition at level error, because no caller gets the error. Each error of a handler is a
 * kind of its own, so that the rate limit drops none before the limit of the whole log.
 */
export function logFailedCast(
  incoming: IncomingRequest,
  error: unknown,
  disposition: Disposition,
  queue: QueueAddress | undefined,
): void {
  if (incoming.cancellation.cancelled) {
    return logStep(incoming, "failed after its end: {error}", { error });
  }
  const { request: { method }, procedure, name } = incoming;
  const { attempt, requestId } = incoming;
  const [then, values] = nextStep(incoming, disposition, queue);
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
    thrown ? `${name} ${requestId} ${attempt}` : kindOf(incoming),
  );
}
