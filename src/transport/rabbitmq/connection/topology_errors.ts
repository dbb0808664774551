/** Errors of declarations and consumers that the broker refuses. @module */
import { AmqpError } from "../../../amqp/mod.ts";
import { TopologyError } from "../../../errors.ts";

/**
 * Reply codes that a retry does not change: access refused, resource locked, precondition failed, not allowed, not
 * implemented, internal error.
 */
const FATAL_REPLY_CODES = new Set([403, 405, 406, 530, 540, 541]);

/** True if a retry is of no use. */
export function isFatal(code: number | undefined): boolean {
  return code !== undefined && FATAL_REPLY_CODES.has(code);
}

/** Error text of RabbitMQ for an entity that exists with other settings. */
const INEQUIVALENT =
  /inequivalent arg '([^']*)' for (\w+) '([^']*)' in vhost '[^']*': received (.*) but current is (.*?)"?$/;

/** Returns the entity, the argument, its requested and its existing value, as far as the error text contains them. */
function difference(reason: string): Record<string, string> {
  const match = INEQUIVALENT.exec(reason);
  if (!match) return {};
  const [, argument = "", kind, name, wanted = "", existing = ""] = match;
  const value = (text: string) =>
    /^(?:the value )?'([^']*)'/.exec(text)?.[1] ?? text;
  return {
    entity: `${kind} ${name}`,
    argument,
    wanted: value(wanted),
    existing: value(existing),
  };
}

/** Returns the reason in words that hold for any broker. */
function reasonOf(code: number | undefined, text: string): string {
  if (code === 405 || /in exclusive use/.test(text)) return "inUse";
  if (code === 403) return "forbidden";
  return code === 406 ? "inequivalent" : "unsupported";
}

/** RabbitMQ's name for the deprecated feature of queues that are neither durable nor exclusive. */
const TRANSIENT_QUEUES = /transient_nonexcl_queues/;

/** True for the error with which a broker closes the connection, because it does not permit such queues. */
export const isTransientDenial = (error: unknown): error is AmqpError =>
  error instanceof AmqpError && error.scope === "connection" &&
  TRANSIENT_QUEUES.test(error.replyText ?? "");

/** Text in place of RabbitMQ's, which has several lines and is cut off. */
const DENIAL =
  "the broker permits no queue that is neither durable nor exclusive (its deprecated feature transient_nonexcl_queues); " +
  "give the profile `durable: true` and `transientQuorum: true`, here and at all peers, " +
  "or set deprecated_features.permit.transient_nonexcl_queues = true at the broker";

function adviceFor(code: number | undefined): string {
  if (code === 406) {
    return "; it exists with other settings: declare it as it is, delete it, use another name, or another virtual host";
  }
  return code === 403 ? "; the user lacks the permission" : "";
}

/** Creates the error for a refused declaration, which names the entity and the difference. */
export function declareError(
  what: string,
  reason: string,
  code?: number,
): TopologyError {
  const differs = difference(reason);
  const { entity = what, argument, wanted, existing } = differs;
  const why = argument === undefined
    ? TRANSIENT_QUEUES.test(reason) ? DENIAL : reason
    : `its ${argument} is ${existing}, not ${wanted}`;
  return new TopologyError(
    `Cannot declare ${entity}: ${why}${adviceFor(code)}`,
    {
      data: {
        entity,
        reason: reasonOf(code, reason),
        replyCode: code ?? 0,
        ...differs,
      },
    },
  );
}

/** Creates the error for a refused consumer; undefined for a failure that may heal. */
export function consumeError(
  queue: string,
  error: unknown,
): TopologyError | undefined {
  if (!(error instanceof AmqpError) || !isFatal(error.replyCode)) {
    return undefined;
  }
  const { replyCode, replyText = error.message } = error;
  return new TopologyError(`Cannot consume ${queue}: ${replyText}`, {
    data: {
      entity: `queue ${queue}`,
      reason: reasonOf(replyCode, replyText),
      replyCode,
    },
  });
}

/** True if the broker has not processed a request, because it has refused another one on the same channel. */
export const isUnprocessed = (error: unknown): boolean =>
  error instanceof AmqpError && error.code === "NOT_PROCESSED";

/** True if an error is a refusal with that reply code. */
export function isRefusedWith(error: unknown, code: number): boolean {
  return error instanceof TopologyError && error.data.replyCode === code;
}
