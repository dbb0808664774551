/**
 * Encodes and decodes messages: finds the dialect, checks the limits and the schema, and adds Warren's own headers.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import { InvalidValueError } from "../errors.ts";
import { decodeBody, encodeBody } from "./body.ts";
import {
  type BodyMessage,
  type Dialect,
  excerptOf,
  grizzly,
  oslo,
} from "./dialect.ts";
import type {
  Control,
  JsonObject,
  ReplyAddress,
  ReplyForm,
  RpcMessage,
} from "./rpc_message.ts";
import {
  controlSchema,
  isPlain,
  requestSchema,
  schemaFor,
} from "./rpc_message_schema.ts";
import {
  header,
  numberFrom,
  replyHeaders,
  requestHeaders,
  versionOf,
  type WireHeaders,
} from "./headers.ts";
import {
  assertJson,
  defaultLimits,
  isJsonObject,
  type Limits,
  parseJson,
  sendLimitViolation,
} from "./json.ts";
import { decompress } from "./python.ts";
import { isEnvelope, openEnvelope } from "./oslo.ts";

/** Encoded message. */
export interface Encoded {
  /** Body. */
  readonly body: Uint8Array;
  /** Warren's own headers; no peer needs them. */
  readonly headers: WireHeaders;
}

/** Reason why a message was rejected. */
export interface DecodeError {
  /** Short reason, without content of the message. */
  readonly reason: string;
  /** Address for an error reply, if the message names one. */
  readonly reply?: ReplyAddress | undefined;
  /** Dialect of the message, as far as it is known. */
  readonly dialect: Dialect;
  /** Version of Warren's headers that the sender understands; undefined if the sender is not Warren. */
  readonly warren: number | undefined;
  /** Size of a message above the limit, and the call to which it probably belongs. */
  readonly oversized?: {
    readonly bytes: number;
    readonly call?: string | undefined;
  };
}

/** Fault that was found before the body is decoded. */
export interface DeliveryFault {
  /** Reason why the headers are missing. */
  readonly unreadable?: string | undefined;
  /** Size in bytes of a body above the limit. At least the beginning and the end of such a body are present. */
  readonly oversized?: number | undefined;
}

/** Decoded message, or the reason why it was rejected. */
export type Decoded =
  | { readonly message: RpcMessage; readonly dialect: Dialect }
  | { readonly error: DecodeError };

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
 * Encodes a message.
 *
 * @throws {InvalidValueError} JSON cannot represent a value, or the body is larger than the limit.
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
  // An envelope contains the body as one string, but its reader counts the values in that text as well.
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

/** Encodes a control command, which consists of headers alone. */
export function encodeControl(control: Control): Encoded {
  const { command, call, credit, read, sequence, runId } = control;
  return {
    body: Buffer.from("{}"),
    headers: {
      [header.control]: command,
      [header.call]: call,
      ...(credit !== undefined && { [header.credit]: `${credit}` }),
      ...(read !== undefined && { [header.read]: `${read}` }),
      ...(sequence !== undefined && { [header.sequence]: `${sequence}` }),
      ...(runId !== undefined && { [header.runId]: runId }),
    },
  };
}

/** Returns the decode error. A request whose reply address is valid gets an error reply. */
function rejected(
  reason: string,
  headers: JsonObject,
  dialect: Dialect = grizzly,
  raw?: JsonObject,
): Decoded {
  const reply = raw?.kind === "request"
    ? requestSchema.safeParse({ ...raw, ...validRest }).data?.reply
    : undefined;
  const warren = versionOf(headers);
  return { error: { reason, reply, dialect, warren } };
}

/** Valid values for all other members of a request, so that only its reply address is validated. */
const validRest = {
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
    credit: numberFrom(headers[header.credit]),
    read: numberFrom(headers[header.read]),
    sequence: numberFrom(headers[header.sequence]),
    runId: headers[header.runId],
  };
  const parsed = controlSchema.safeParse(raw);
  return parsed.success
    ? { message: parsed.data, dialect: grizzly }
    : rejected("an unknown control", headers);
}

/** Returns parsed JSON if it is an object, or the reason for its rejection. */
function objectOf(
  json: ReturnType<typeof parseJson>,
): { readonly fields: JsonObject } | { readonly rejected: string } {
  if ("rejected" in json) return json;
  const { value } = json;
  return isJsonObject(value)
    ? { fields: value }
    : { rejected: "not a JSON object" };
}

/** Error for a body above the limit, with the call and the reply address that were found at its two ends. */
function oversizedError(
  body: Uint8Array,
  headers: JsonObject,
  bytes: number,
  limits: Limits,
): Decoded {
  const { call, ...excerpt } = excerptOf(body);
  return {
    error: {
      reason: `${bytes} bytes, the limit is ${limits.bytes}`,
      ...excerpt,
      warren: versionOf(headers),
      oversized: { bytes, call },
    },
  };
}

/** Fields of a message's JSON, without its envelope, and the dialect. */
interface OpenedBody {
  readonly inner: ReturnType<typeof objectOf>;
  readonly dialect: Dialect;
}

/** Decompresses a body, parses it, and opens its envelope. */
function openBody(
  body: Uint8Array,
  headers: JsonObject,
  limits: Limits,
): OpenedBody {
  const plain = limits.python
    ? decompress(body, headers, limits.bytes)
    : { body };
  const outer = "rejected" in plain
    ? plain
    : objectOf(parseJson(plain.body, limits));
  return "rejected" in outer || !isEnvelope(outer.fields)
    ? { inner: outer, dialect: grizzly }
    : { inner: objectOf(openEnvelope(outer.fields, limits)), dialect: oslo };
}

/** Decodes the body and headers of a message. Never throws. */
export function decode(
  body: Uint8Array,
  headers: JsonObject,
  limits: Limits = defaultLimits,
  { unreadable, oversized }: DeliveryFault = {},
): Decoded {
  if (oversized !== undefined) {
    return oversizedError(body, headers, oversized, limits);
  }
  if (header.control in headers) return decodeControl(headers);
  const { inner, dialect } = openBody(body, headers, limits);
  if ("rejected" in inner) return rejected(inner.rejected, headers, dialect);
  const own = unreadable === undefined ? headers : {};
  const raw = decodeBody(inner.fields, own);
  if (!raw) {
    const reason = "neither a request, a reply nor a notification";
    return rejected(reason, headers, dialect);
  }
  if (unreadable !== undefined) return rejected(unreadable, {}, dialect, raw);
  if (isPlain(raw)) return { message: raw, dialect };
  const parsed = schemaFor(raw).safeParse(raw);
  if (parsed.success) return { message: parsed.data, dialect };
  const issue = parsed.error.issues[0];
  const member = issue?.path.join(".") || "shape";
  const reason = `a ${raw.kind} with a wrong ${member}: ${
    issue?.message ?? "invalid"
  }`;
  return rejected(reason, headers, dialect, raw);
}
