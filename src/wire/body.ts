/**
 * The words of Nova's messages, whatever is put around them: Folsom, Grizzly and oslo.messaging say the same in the same
 * keys (Folsom `rpc/amqp.py`, `pack_context`, `msg_reply`; oslo.messaging `_drivers/amqpdriver.py`).
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { type BodyMessage, type Dialect, grizzly, oslo } from "./dialect.ts";
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
import { defaultLimits, type Limits, parseJson } from "./json.ts";

const utf8 = new TextEncoder();
const CONTEXT = "_context_";

function packContext(
  context: JsonObject,
  body: Record<string, unknown>,
): JsonObject {
  for (const key of Object.keys(context)) body[CONTEXT + key] = context[key];
  return body;
}

function unpackContext(body: JsonObject): JsonObject {
  const context: Record<string, unknown> = {};
  for (const key of Object.keys(body)) {
    if (key.startsWith(CONTEXT)) context[key.slice(CONTEXT.length)] = body[key];
  }
  return context;
}

/** The key `_timeout` asks for one message with `ending: true` (oslo.messaging ≥ 6.3), its absence for two. */
function replyFields(
  { call, queue, form }: ReplyAddress,
  monitor: number | undefined,
): JsonObject {
  if (form === "bare") return { _msg_id: call };
  return form === "parts"
    ? { _msg_id: call, _reply_q: queue }
    : { _msg_id: call, _reply_q: queue, _timeout: seconds(monitor) };
}

/** Whole seconds, as every oslo.messaging reads them. */
function seconds(ms: number | undefined): number | null {
  return ms === undefined ? null : Math.ceil(ms / 1_000);
}

function encodeRequest(request: Request): JsonObject {
  const { method, args, namespace, version, reply, monitor, id } = request;
  const body: Record<string, unknown> = { method, args, namespace, version }; // undefined keys are left out by JSON.stringify
  if (reply) Object.assign(body, replyFields(reply, monitor));
  body._unique_id = id;
  return packContext(request.context, body);
}

function encodeReply(reply: Reply, form: ReplyForm): JsonObject {
  const { result = null, empty, failure, ending } = reply;
  const body: Record<string, unknown> = {
    result: empty ? undefined : result, // an undefined key is left out: who reads it as null does no wrong
    failure: failure ? encodeFailure(failure) : null,
  };
  if (form === "single") body.ending = ending;
  else if (ending && !failure) body.ending = true;
  if (form !== "bare") body._msg_id = reply.call;
  body._unique_id = reply.id;
  return body;
}

/** A failure is JSON inside JSON, in ASCII (Folsom `rpc/common.py`, `serialize_remote_exception`). */
function encodeFailure(
  { type, module, message, data, traceback, args = [message], ...held }:
    Failure,
): string {
  const text = JSON.stringify({
    class: type,
    module,
    message,
    tb: traceback,
    args,
    kwargs: data,
    ...innerErrorFields(held),
  });
  return text.replace(BEYOND_ASCII, escaped);
}

/** Peers on Python 2 call `str()` on a failure, which fails over any other character (Havana `rpc/common.py`). */
const BEYOND_ASCII = /[\u007f-\uffff]/g;
const escaped = (unit: string) =>
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

const string = (value: unknown) =>
  typeof value === "string" ? value : undefined;

function decodeRequest(body: JsonObject): JsonObject {
  const { _msg_id: call, _reply_q: queue } = body;
  const form: ReplyForm = queue === undefined || queue === null
    ? "bare"
    : "_timeout" in body
    ? "single"
    : "parts";
  return {
    // What is null was not given: Havana sends such a namespace. Folsom's network API sends no arguments where it has none.
    id: body._unique_id ?? undefined,
    method: body.method,
    args: body.args ?? {},
    context: unpackContext(body),
    version: body.version ?? undefined,
    namespace: body.namespace ?? undefined,
    monitor: typeof body._timeout === "number"
      ? Math.trunc(body._timeout) * 1_000 // as oslo.messaging reads it
      : undefined,
    reply: call === undefined || call === null ? undefined : {
      call,
      queue: queue ?? call,
      form,
      ...("_unique_id" in body ? {} : { ids: false }),
    },
  };
}

function decodeReply(body: JsonObject): JsonObject {
  const failure = body.failure ? decodeFailure(body.failure) : undefined;
  const ending = body.ending === true || failure !== undefined; // Folsom sends no ending after a failure
  return {
    id: body._unique_id ?? undefined,
    call: body._msg_id ?? undefined,
    result: body.result,
    failure,
    ending,
  };
}

const object = (value: unknown) =>
  typeof value === "object" && value !== null && !Array.isArray(value)
    ? value as JsonObject
    : undefined;

/** The body that holds the text was measured already. */
const inner: Limits = { ...defaultLimits, bytes: Infinity, python: true };

/** Keys that are missing or wrong are empty (oslo does the same); a text that is no JSON is kept as the message. */
function decodeFailure(failure: unknown): Failure {
  const parsed = typeof failure === "string"
    ? parseJson(utf8.encode(failure), inner)
    : { value: failure };
  const fields = ("value" in parsed ? object(parsed.value) : undefined) ??
    { message: failure };
  return {
    type: string(fields.class) ?? "Error",
    module: string(fields.module) ?? "",
    message: string(fields.message) ?? "",
    data: object(fields.kwargs) ?? {},
    ...argumentsOf(fields),
    traceback: Array.isArray(fields.tb)
      ? fields.tb.filter((line) => typeof line === "string")
      : [],
    ...innerErrorsIn(fields),
  };
}

/** The arguments of an exception, unless its message is the only one. */
function argumentsOf({ args, message }: JsonObject): Pick<Failure, "args"> {
  if (!Array.isArray(args)) return {};
  return args.length === 1 && args[0] === message ? {} : { args };
}

function decodeNotification(body: JsonObject): JsonObject {
  return {
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

/** The body of a message, as JSON text. A reply takes the form that its request asked for. */
export function encodeBody(
  message: BodyMessage,
  form: ReplyForm = "single",
): string {
  if (message.kind === "request") return JSON.stringify(encodeRequest(message));
  return JSON.stringify(
    message.kind === "reply"
      ? encodeReply(message, form)
      : encodeNotification(message),
  );
}

/**
 * The raw neutral form of a body, still to be checked by its schema; undefined if it is none of the three. What has the id of a
 * call and nothing else of these is a request without a method: its sender waits for an answer.
 */
export function decodeBody(
  body: JsonObject,
): { readonly kind: BodyMessage["kind"] } & JsonObject | undefined {
  if ("method" in body) return { kind: "request", ...decodeRequest(body) };
  if ("failure" in body || "result" in body) {
    return { kind: "reply", ...decodeReply(body) };
  }
  if ("event_type" in body) {
    return { kind: "notification", ...decodeNotification(body) };
  }
  const asks = typeof body._msg_id === "string";
  return asks ? { kind: "request", ...decodeRequest(body) } : undefined;
}

/** Bytes of each end that are looked at. */
const END = 64 * 1024;

/** The parts that were found. */
export interface BodyExcerpt {
  /** Id of a call. */
  readonly call: string | undefined;
  /** Address of its answer. */
  readonly reply: ReplyAddress | undefined;
  /** In which dialect. */
  readonly dialect: Dialect;
}

/** The last text under a key, in JSON or in JSON within JSON. */
function last(text: string, key: string): string | undefined {
  const pattern = new RegExp(
    `\\\\?"${key}\\\\?" ?: ?\\\\?"([\\w.:-]{1,255})\\\\?"`,
    "g",
  );
  let found: string | undefined;
  for (const [, value] of text.matchAll(pattern)) found = value;
  return found;
}

/** Looks for the keys of Nova's messages. Arguments may have the same ones: it is a guess, for those who get nothing else. */
export function excerptOf(body: Uint8Array): BodyExcerpt {
  const ends = body.length <= 2 * END
    ? [body]
    : [body.subarray(0, END), body.subarray(-END)];
  const text = Buffer.concat(ends).toString("latin1");
  const call = last(text, "_msg_id");
  const queue = last(text, "_reply_q");
  const dialect = text.includes('"oslo.version"') ? oslo : grizzly;
  if (call === undefined) return { call, reply: undefined, dialect };
  const form = queue === undefined
    ? "bare"
    : text.includes("_timeout")
    ? "single"
    : "parts";
  return { call, reply: { call, queue: queue ?? call, form }, dialect };
}
