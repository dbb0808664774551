/** Bytes and headers to messages and back: finds the dialect, checks the schema, adds Warren's own headers. @module */
import { Buffer } from "node:buffer";
import { InvalidValueError } from "../errors.ts";
import { decodeBody, encodeBody, excerptOf } from "./body.ts";
import { type BodyMessage, type Dialect, grizzly, oslo } from "./dialect.ts";
import type {
  Control,
  JsonObject,
  ReplyAddress,
  ReplyForm,
  RpcMessage,
} from "./rpc_message.ts";
import {
  controlSchema,
  requestSchema,
  schemaFor,
} from "./rpc_message_schema.ts";
import {
  BATCHES,
  header,
  number,
  ownHeaders,
  PROTOCOL,
  replyHeaders,
  requestHeaders,
  versionOf,
  type WireHeaders,
} from "./headers.ts";
import {
  assertJson,
  defaultLimits,
  type Limits,
  parseJson,
  sendLimitViolation,
} from "./json.ts";
import { decompressed } from "./compression.ts";
import { isEnvelope, openEnvelope } from "./oslo.ts";

export {
  type BatchPart,
  decodeBatch,
  isBatch,
  ReplyBatch,
} from "./reply_batch.ts";
export { copyForCall } from "./dialect.ts";
export { assertJson, BATCHES, defaultLimits, type Limits, PROTOCOL };
export {
  attemptOf,
  deadLetterCountOf,
  deadLetterHeaders,
  deferralHeaders,
  forwardedHeaders,
  interruptionsOf,
  isShortString,
  propertyHeaders,
  redeliveryHeaders,
  retryHeaders,
} from "./headers.ts";

/** A message ready to go. */
export interface Encoded {
  /** Bytes. */
  readonly body: Uint8Array;
  /** Warren's own headers; no peer needs them. */
  readonly headers: WireHeaders;
}

/** A message that is not accepted, and why. */
export interface DecodeError {
  /** In a few words, without the content of the message. */
  readonly reason: string;
  /** Where the refusal can be told, if the message said so. */
  readonly reply?: ReplyAddress | undefined;
  /** In which dialect it was said, as far as that can be told. */
  readonly dialect: Dialect;
  /** The version of Warren's headers that the sender understands; undefined = it is not Warren. */
  readonly warren: number | undefined;
  /** Of a message above the limit: its bytes, and the call whose id it seems to have. */
  readonly large?: {
    readonly bytes: number;
    readonly call?: string | undefined;
  };
}

/** The fault of a message that was found before its body is read. */
export interface DeliveryFault {
  /** Why its headers are missing. */
  readonly unreadable?: string | undefined;
  /** Its bytes, where they are above the limit; of its body there is at least the beginning and the end. */
  readonly oversized?: number | undefined;
}

/** What arrived. */
export type Decoded =
  | { readonly message: RpcMessage; readonly dialect: Dialect }
  | { readonly refusal: DecodeError };

function assertSerializable(message: BodyMessage): void {
  if (message.kind === "request") {
    if (Array.isArray(message.args)) {
      throw new InvalidValueError(
        "Invalid args: an array; give keyword arguments, an object",
        { data: { path: "args" } },
      );
    }
    assertJson(message.args, "args");
    assertJson(message.context, "context");
  } else if (message.kind === "notification") {
    assertJson(message.payload ?? null, "payload");
    assertJson(message.context, "context");
  } else if (message.result !== undefined) {
    assertJson(message.result, "result", message.parsed);
  }
}

/**
 * The bytes of a message.
 *
 * @throws {InvalidValueError} if JSON cannot carry a value, or the body is larger than the limit.
 */
export function encode(
  message: BodyMessage,
  dialect: Dialect,
  limits: Limits = defaultLimits,
  form?: ReplyForm,
): Encoded {
  assertSerializable(message);
  const text = encodeBody(message, form);
  const body = Buffer.from(dialect.seal(text));
  // Within an envelope the text is a single value, but whoever opens it counts again.
  const reason = sendLimitViolation(body, limits) ??
    (dialect === oslo
      ? sendLimitViolation(Buffer.from(text), limits)
      : undefined);
  if (reason !== undefined) {
    throw new InvalidValueError(
      `Cannot send a ${message.kind} of ${reason}; send less${
        body.length > limits.bytes
          ? ", or raise the option maxMessageSize at both ends"
          : ""
      }`,
      { data: { bytes: body.length, limit: limits.bytes } },
    );
  }
  if (message.kind === "request") {
    return { body, headers: requestHeaders(message) };
  }
  return {
    body,
    headers: message.kind === "reply" ? replyHeaders(message) : {},
  };
}

/** The bytes of a control. */
export function encodeControl(control: Control): Encoded {
  const { command, call, credit, sequence, run } = control;
  return {
    body: Buffer.from("{}"),
    headers: {
      [header.control]: command,
      [header.call]: call,
      ...(credit !== undefined && { [header.credit]: `${credit}` }),
      ...(sequence !== undefined && { [header.sequence]: `${sequence}` }),
      ...(run !== undefined && { [header.run]: run }),
    },
  };
}

/** A refusal in answer to a message that may still say where its answer goes. */
function decodeError(
  reason: string,
  headers: JsonObject,
  dialect: Dialect = grizzly,
  raw?: JsonObject,
): Decoded {
  const reply = raw?.kind === "request"
    ? requestSchema.safeParse({ ...raw, ...blank }).data?.reply
    : undefined;
  const warren = versionOf(headers);
  return { refusal: { reason, reply, dialect, warren } };
}

/** In place of whatever may be wrong with a request, to see whether its reply address is right. */
const blank = {
  id: undefined,
  method: "",
  args: {},
  context: {},
  version: undefined,
  namespace: undefined,
  to: undefined,
  timeout: undefined,
  monitor: undefined,
  attempt: undefined,
  deadLetterCount: undefined,
  interruptions: undefined,
  expires: undefined,
  deferred: undefined,
  credit: undefined,
};

function decodeControl(headers: JsonObject): Decoded {
  const raw = {
    kind: "control",
    command: headers[header.control],
    call: headers[header.call],
    credit: number(headers[header.credit]),
    sequence: number(headers[header.sequence]),
    run: headers[header.run],
  };
  const parsed = controlSchema.safeParse(raw);
  return parsed.success
    ? { message: parsed.data, dialect: grizzly }
    : decodeError("an unknown control", headers);
}

/** Parsed JSON that is an object, or a refusal in a few words. */
function objectOf(
  json: ReturnType<typeof parseJson>,
): { readonly fields: JsonObject } | { readonly refused: string } {
  if ("refused" in json) return json;
  const { value } = json;
  return typeof value === "object" && value !== null && !Array.isArray(value)
    ? { fields: value as JsonObject }
    : { refused: "not a JSON object" };
}

/** The message in a body, or a refusal. Never throws. */
export function decode(
  body: Uint8Array,
  headers: JsonObject,
  limits: Limits = defaultLimits,
  { unreadable, oversized }: DeliveryFault = {},
): Decoded {
  if (oversized !== undefined) {
    const { call, ...found } = excerptOf(body);
    const reason = `${oversized} bytes, the limit is ${limits.bytes}`;
    const large = { bytes: oversized, call };
    return { refusal: { reason, ...found, warren: versionOf(headers), large } };
  }
  if (header.control in headers) return decodeControl(headers);
  const whole = limits.python ? decompressed(body, headers, limits) : { body };
  const outer = "refused" in whole
    ? whole
    : objectOf(parseJson(whole.body, limits));
  if ("refused" in outer) return decodeError(outer.refused, headers);
  const enveloped = isEnvelope(outer.fields);
  const dialect = enveloped ? oslo : grizzly;
  const inner = enveloped
    ? objectOf(openEnvelope(outer.fields, limits))
    : outer;
  if ("refused" in inner) return decodeError(inner.refused, headers, dialect);
  const raw = decodeBody(inner.fields);
  if (!raw) {
    const reason = "neither a request, a reply nor a notification";
    return decodeError(reason, headers, dialect);
  }
  if (unreadable !== undefined) {
    return decodeError(unreadable, {}, dialect, raw);
  }
  const said = Object.assign(raw, ownHeaders(raw.kind, headers));
  const parsed = schemaFor(said).safeParse(said);
  if (parsed.success) return { message: parsed.data, dialect };
  const issue = parsed.error.issues[0];
  return decodeError(
    `a ${raw.kind} with a wrong ${issue?.path.join(".") || "shape"}: ${
      issue?.message ?? "invalid"
    }`,
    headers,
    dialect,
    raw,
  );
}
