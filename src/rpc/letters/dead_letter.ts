/** Dead letters as records: messages that failed for good, with the reason. @module */
import { withoutUndefined } from "../../option_names.ts";
import { logText, redact } from "../../redaction.ts";
import type { Message } from "../../transport/transport.ts";
import {
  deadLetterDetailsOf,
  decode,
  type Limits,
  type Notification,
  type Request,
} from "../../wire/mod.ts";

/**
 * Cast, event or unreadable message that failed for good, as data that JSON can represent. Times are in epoch milliseconds.
 * A member is undefined if the message does not tell it, as letters of earlier versions do not.
 * @category Operations
 */
export interface DeadLetter {
  /** Kind of message; `unreadable` if it is neither a request nor an event that can be decoded. */
  readonly kind: "cast" | "event" | "unreadable";
  /** Id of the request or of the event, the same in all attempts; of an unreadable message, the id in its properties. */
  readonly id?: string | undefined;
  /** Queue in which the message was, and to which `replay` returns it. */
  readonly queue: string;
  /** Procedure, or type of the event. */
  readonly procedure?: string | undefined;
  /** Version of the contract that the sender of a cast needs. */
  readonly version?: string | undefined;
  /** Namespace of that contract. */
  readonly namespace?: string | undefined;
  /** Arguments of the cast, or payload of the event; values whose names are those of secrets are masked. */
  readonly args?: unknown;
  /** Context values of the sender; secrets are masked. */
  readonly values: Readonly<Record<string, unknown>>;
  /** Reason of the last failure, in one line. */
  readonly reason: string;
  /** Stack of the last error, if the worker keeps it; see `deadLetterStacks`. */
  readonly stack?: string | undefined;
  /** Number of attempts; 0 if the message was refused before the first. */
  readonly attempts: number;
  /** Number of times that the message has become a dead letter. */
  readonly deadLetterCount: number;
  /** Host of the service that gave the message up; undefined for a connection without a service. */
  readonly host?: string | undefined;
  /** Time at which the message was first sent. */
  readonly sentAt?: number | undefined;
  /** Time at which the message became a dead letter, by the clock of that worker. */
  readonly deadAt?: number | undefined;
  /** Trace of the sender: the header `traceparent`. */
  readonly traceparent?: string | undefined;
  /** Length of the body in bytes. */
  readonly bytes: number;
}

/** Maximum bytes of the reason in a record. */
const MAX_REASON_BYTES = 1_000;

/** Returns the record of a dead letter; `queue` is the queue in which it was. */
export function deadLetterOf(
  message: Message,
  queue: string,
  limits: Limits,
): DeadLetter {
  const { body, headers, oversized, messageId } = message;
  const { reason, ...details } = deadLetterDetailsOf(headers);
  const { traceparent } = headers;
  const decoded = decode(body, headers, limits, message);
  const read = "message" in decoded ? readable(decoded.message) : undefined;
  const wrong = "error" in decoded ? decoded.error.reason : "no request";
  return withoutUndefined<DeadLetter>({
    ...{ kind: "unreadable" as const, id: messageId, values: {} },
    ...details,
    ...read,
    sentAt: details.sentAt ?? read?.sentAt,
    queue, // the headers may name any other one
    reason: logText(reason ?? (read ? "" : wrong), MAX_REASON_BYTES),
    traceparent: typeof traceparent === "string" ? traceparent : undefined,
    bytes: oversized ?? body.length,
  });
}

/** Returns the members of a record that the body tells; undefined for a message that is no request and no event. */
function readable(
  message: { readonly kind: string },
):
  | Pick<DeadLetter, "kind" | "id" | "procedure" | "args" | "values" | "sentAt">
  | undefined {
  if (message.kind === "request") return castOf(message as Request);
  if (message.kind !== "notification") return undefined;
  const { id, messageId, eventType, payload, context, timestamp } =
    message as Notification;
  const sentAt = Date.parse(`${timestamp.replace(" ", "T")}Z`);
  return {
    kind: "event",
    id: id ?? messageId,
    procedure: eventType,
    args: redact(payload),
    values: redact(context) as DeadLetter["values"],
    ...(Number.isFinite(sentAt) && { sentAt }),
  };
}

function castOf(
  { id, method, args, context, version, namespace }: Request,
) {
  return {
    ...{ kind: "cast" as const, id, version, namespace },
    procedure: method,
    args: redact(args),
    values: redact(context) as DeadLetter["values"],
  };
}
