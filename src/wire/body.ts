/**
 * JSON bodies of Nova's messages. Folsom, Grizzly and oslo.messaging use the same keys, whatever the envelope (Folsom
 * `rpc/amqp.py`, `pack_context`, `msg_reply`; oslo.messaging `_drivers/amqpdriver.py`).
 *
 * @module
 */
import type { BodyMessage, RawMessage } from "./dialect.ts";
import type {
  JsonObject,
  Notification,
  Reply,
  ReplyAddress,
  ReplyForm,
  Request,
} from "./rpc_message.ts";
import type { Failure } from "../errors.ts";
import { innerErrorFields, innerErrorsIn } from "./failure.ts";
import { flagFrom, header, numberFrom, versionOf } from "./headers.ts";
import { defaultLimits, isJsonObject, type Limits, parseJson } from "./json.ts";

const utf8 = new TextEncoder();
const CONTEXT_PREFIX = "_context_";

function packContext(
  context: JsonObject,
  body: Record<string, unknown>,
): JsonObject {
  for (const key of Object.keys(context)) {
    body[CONTEXT_PREFIX + key] = context[key];
  }
  return body;
}

function unpackContext(body: JsonObject): JsonObject {
  const context: Record<string, unknown> = {};
  for (const key in body) {
    if (key.startsWith(CONTEXT_PREFIX)) {
      context[key.slice(CONTEXT_PREFIX.length)] = body[key];
    }
  }
  return context;
}

/**
 * Returns the keys that name the reply queue. The key `_timeout` requests one message with `ending: true`
 * (oslo.messaging ≥ 6.3); without it, the reply is two messages.
 */
function replyFields(
  { call, queue, form }: ReplyAddress,
  monitor: number | undefined,
): JsonObject {
  if (form === "perCallQueue") return { _msg_id: call };
  return form === "twoMessages"
    ? { _msg_id: call, _reply_q: queue }
    : { _msg_id: call, _reply_q: queue, _timeout: wholeSeconds(monitor) };
}

/** Converts milliseconds to whole seconds, the unit of every oslo.messaging. */
function wholeSeconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.ceil(ms / 1_000);
}

function encodeRequest(request: Request): JsonObject {
  const { method, args, namespace, version, reply, monitor, id } = request;
  const body: Record<string, unknown> = { method, args, namespace, version }; // JSON.stringify omits keys that are undefined
  if (reply) Object.assign(body, replyFields(reply, monitor));
  body._unique_id = id;
  return packContext(request.context, body);
}

function encodeReply(reply: Reply, form: ReplyForm): JsonObject {
  const { result = null, empty, failure, ending } = reply;
  const body: Record<string, unknown> = {
    result: empty ? undefined : result, // JSON.stringify omits the key; a reader that interprets the result as null loses nothing
    failure: failure ? encodeFailure(failure) : null,
  };
  if (form === "oneMessage") body.ending = ending;
  else if (ending && !failure) body.ending = true;
  if (form !== "perCallQueue") body._msg_id = reply.call;
  body._unique_id = reply.id;
  return body;
}

/**
 * Encodes a failure, which is a JSON text within the JSON body, in ASCII (Folsom `rpc/common.py`,
 * `serialize_remote_exception`).
 */
function encodeFailure(
  { type, module, message, data, traceback, args = [message], ...inner }:
    Failure,
): string {
  const text = JSON.stringify({
    class: type,
    module,
    message,
    tb: traceback,
    args,
    kwargs: data,
    ...innerErrorFields(inner),
  });
  return text.replace(NON_ASCII, escapeUnit);
}

/**
 * Characters that are escaped: peers on Python 2 call `str()` on a failure, which fails for any of these (Havana
 * `rpc/common.py`).
 */
const NON_ASCII = /[\u007f-\uffff]/g;
const escapeUnit = (unit: string) =>
  `\\u${unit.charCodeAt(0).toString(16).padStart(4, "0")}`;

function encodeNotification(event: Notification): JsonObject {
  return packContext(event.context, {
    message_id: event.messageId,
    publisher_id: event.publisherId,
    event_type: event.eventType,
    priority: event.priority,
    payload: event.payload ?? null,
    timestamp: event.timestamp,
    _unique_id: event.id,
  });
}

const stringOrUndefined = (value: unknown) =>
  typeof value === "string" ? value : undefined;

function decodeRequest(body: JsonObject, headers: JsonObject): RawMessage {
  return {
    kind: "request",
    // A null counts as absent: Havana sends a null namespace. Folsom's network API sends no arguments where there are
    // none.
    id: body._unique_id ?? undefined,
    method: body.method,
    args: body.args ?? {},
    context: unpackContext(body),
    version: body.version ?? undefined,
    namespace: body.namespace ?? undefined,
    monitor: typeof body._timeout === "number"
      ? Math.trunc(body._timeout) * 1_000 // rounded as oslo.messaging does
      : undefined,
    reply: decodeReplyAddress(body),
    warren: versionOf(headers),
    to: headers[header.to],
    timeout: numberFrom(headers[header.timeout]),
    attempt: numberFrom(headers[header.attempt]),
    deadLetterCount: numberFrom(headers[header.deadLetterCount]),
    interruptions: numberFrom(headers[header.interruptions]),
    expires: numberFrom(headers[header.expires]),
    deferred: numberFrom(headers[header.deferred]),
    credit: numberFrom(headers[header.credit]),
  };
}

function decodeReplyAddress(body: JsonObject): JsonObject | undefined {
  const { _msg_id: call, _reply_q: queue } = body;
  if (call === undefined || call === null) return undefined;
  const form: ReplyForm = queue === undefined || queue === null
    ? "perCallQueue"
    : "_timeout" in body
    ? "oneMessage"
    : "twoMessages";
  const ids = "_unique_id" in body ? undefined : false;
  return { call, queue: queue ?? call, form, ids };
}

function decodeReply(body: JsonObject, headers: JsonObject): RawMessage {
  const failure = body.failure ? decodeFailure(body.failure) : undefined;
  const ending = body.ending === true || failure !== undefined; // Folsom sends no ending after a failure
  return {
    kind: "reply",
    id: body._unique_id ?? undefined,
    call: body._msg_id ?? undefined,
    result: body.result,
    failure,
    ending,
    sequence: numberFrom(headers[header.sequence]),
    runId: headers[header.runId],
    inbox: headers[header.inbox],
    parsed: flagFrom(headers[header.parsed]),
    heartbeat: flagFrom(headers[header.heartbeat]),
    window: numberFrom(headers[header.window]),
  };
}

const objectOrUndefined = (value: unknown) =>
  isJsonObject(value) ? value : undefined;

/** Limits for the JSON text within a body. The size of the body was checked before. */
const innerLimits: Limits = { ...defaultLimits, bytes: Infinity, python: true };

/**
 * Decodes a failure. Missing and wrong keys count as empty, as in oslo.messaging; a text that is not JSON becomes the
 * message.
 */
function decodeFailure(failure: unknown): Failure {
  const parsed = typeof failure === "string"
    ? parseJson(utf8.encode(failure), innerLimits)
    : { value: failure };
  const fields =
    ("value" in parsed ? objectOrUndefined(parsed.value) : undefined) ??
      { message: failure };
  return {
    type: stringOrUndefined(fields.class) ?? "Error",
    module: stringOrUndefined(fields.module) ?? "",
    message: stringOrUndefined(fields.message) ?? "",
    data: objectOrUndefined(fields.kwargs) ?? {},
    ...argumentsOf(fields),
    traceback: Array.isArray(fields.tb)
      ? fields.tb.filter((line) => typeof line === "string")
      : [],
    ...innerErrorsIn(fields),
  };
}

/** Returns the arguments of an exception, unless its message is the only one. */
function argumentsOf({ args, message }: JsonObject): Pick<Failure, "args"> {
  if (!Array.isArray(args)) return {};
  return args.length === 1 && args[0] === message ? {} : { args };
}

function decodeNotification(body: JsonObject): RawMessage {
  return {
    kind: "notification",
    id: body._unique_id ?? undefined,
    messageId: body.message_id,
    publisherId: body.publisher_id,
    eventType: body.event_type,
    priority: body.priority,
    payload: body.payload,
    timestamp: body.timestamp,
    context: unpackContext(body),
  };
}

/** Encodes the body of a message as JSON text. `form` is the reply form that the request requires. */
export function encodeBody(
  message: BodyMessage,
  form: ReplyForm = "oneMessage",
): string {
  if (message.kind === "request") return JSON.stringify(encodeRequest(message));
  return JSON.stringify(
    message.kind === "reply"
      ? encodeReply(message, form)
      : encodeNotification(message),
  );
}

/**
 * Decodes a body and Warren's headers to the neutral form, which is not validated yet; returns undefined if the body is no
 * message of a known kind. A body that has the id of a call and no other known key is decoded as a request without a
 * method, so that its sender, which waits for a reply, gets an error.
 */
export function decodeBody(
  body: JsonObject,
  headers: JsonObject,
): RawMessage | undefined {
  if ("method" in body) return decodeRequest(body, headers);
  if ("failure" in body || "result" in body) return decodeReply(body, headers);
  if ("event_type" in body) return decodeNotification(body);
  const isCall = typeof body._msg_id === "string";
  return isCall ? decodeRequest(body, headers) : undefined;
}
