/** Schemas that validate the neutral form of messages that arrive. @module */
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import type { Failure } from "../errors.ts";
import type { BodyMessage, RawMessage } from "./dialect.ts";
import { isJsonObject } from "./json.ts";
import type { Control, Notification, Reply, Request } from "./rpc_message.ts";

/**
 * Bytes that AMQP allows for a name or a property. A text that arrived may have more when it is encoded again, since it
 * is then written as UTF-8, with at most three bytes for each unit.
 */
const MAX_SHORT_STRING_BYTES = 255;
const MAX_BYTES_PER_UNIT = 3;

/** True if AMQP can encode a text as a name or as a property. An id may become the name of a queue. */
export const isShortString = (text: string): boolean =>
  text.length <= MAX_SHORT_STRING_BYTES &&
  (text.length * MAX_BYTES_PER_UNIT <= MAX_SHORT_STRING_BYTES ||
    Buffer.byteLength(text) <= MAX_SHORT_STRING_BYTES);
const text = z.string().min(1).max(255).refine(
  isShortString,
  "more than 255 bytes",
);
const fields = z.looseObject({});
const duration = z.number().nonnegative();

/** Schema of a {@linkcode Request}. */
export const requestSchema: z.ZodType<Request> = z.object({
  kind: z.literal("request"),
  id: text.optional(),
  method: z.string(),
  args: fields,
  context: fields,
  version: z.string().max(32).optional(),
  namespace: z.string().max(255).optional(),
  reply: z.object({
    call: text,
    queue: text,
    form: z.enum(["oneMessage", "twoMessages", "perCallQueue"]),
    ids: z.boolean().optional(),
  }).optional(),
  to: z.string().max(512).optional(),
  timeout: duration.optional(),
  warren: z.int().positive().optional(),
  monitor: duration.optional(),
  attempt: z.int().positive().optional(),
  deadLetterCount: z.int().positive().optional(),
  interruptions: z.int().positive().optional(),
  expires: z.number().optional(),
  deferred: z.int().positive().optional(),
  credit: z.int().positive().optional(),
});

/** Schema of a {@linkcode Failure}. */
const failureSchema: z.ZodType<Failure> = z.object({
  type: z.string(),
  module: z.string(),
  message: z.string(),
  data: fields,
  traceback: z.array(z.string()),
  args: z.array(z.unknown()).optional(),
  details: z.record(z.string(), z.union([z.string(), z.number(), z.boolean()]))
    .exactOptional(),
  cause: z.lazy(() => failureSchema).exactOptional(),
  errors: z.array(z.lazy(() => failureSchema)).exactOptional(),
  error: z.lazy(() => failureSchema).exactOptional(),
  suppressed: z.lazy(() => failureSchema).exactOptional(),
});

/** Schema of a {@linkcode Reply}. */
const replySchema: z.ZodType<Reply> = z.object({
  kind: z.literal("reply"),
  id: text.optional(),
  call: text.optional(),
  result: z.unknown(),
  ending: z.boolean(),
  parsed: z.boolean().optional(),
  failure: failureSchema.optional(),
  sequence: z.int().positive().optional(),
  runId: text.optional(),
  inbox: text.optional(),
  heartbeat: z.boolean().optional(),
  window: z.int().positive().optional(),
});

const isText = (value: unknown) =>
  typeof value === "string" && value.length > 0 && isShortString(value);
const isOptionalText = (value: unknown) => value === undefined || isText(value);
const isOptionalString = (value: unknown, maxLength: number) =>
  value === undefined || typeof value === "string" && value.length <= maxLength;
const isOptionalFlag = (value: unknown) =>
  value === undefined || typeof value === "boolean";
const isOptionalCount = (value: unknown) =>
  value === undefined || Number.isSafeInteger(value) && Number(value) > 0;
const isOptionalDuration = (value: unknown) =>
  value === undefined || Number.isFinite(value) && Number(value) >= 0;

function isPlainReply(raw: RawMessage): boolean {
  return raw.failure === undefined && typeof raw.ending === "boolean" &&
    isOptionalText(raw.id) && isOptionalText(raw.call) &&
    isOptionalText(raw.runId) && isOptionalText(raw.inbox) &&
    isOptionalFlag(raw.parsed) && isOptionalFlag(raw.heartbeat) &&
    isOptionalCount(raw.sequence) && isOptionalCount(raw.window);
}

function isPlainRequest(raw: RawMessage): boolean {
  return typeof raw.method === "string" &&
    isJsonObject(raw.args) && isJsonObject(raw.context) &&
    isOptionalText(raw.id) && isOptionalAddress(raw.reply) &&
    isOptionalString(raw.version, 32) && isOptionalString(raw.namespace, 255) &&
    isOptionalString(raw.to, 512) && isOptionalCount(raw.warren) &&
    isOptionalDuration(raw.timeout) && isOptionalCount(raw.credit) &&
    isOptionalCount(raw.attempt) && hasNoRareMember(raw);
}

/** True for a request without the members that few requests have, which are left to the schema. */
const hasNoRareMember = (raw: RawMessage) =>
  raw.monitor === undefined && raw.deadLetterCount === undefined &&
  raw.interruptions === undefined && raw.expires === undefined &&
  raw.deferred === undefined;

/** True for the reply address of a peer whose messages have ids, which `decodeBody` has made. */
function isOptionalAddress(reply: unknown): boolean {
  if (reply === undefined) return true;
  return isJsonObject(reply) && isText(reply.call) && isText(reply.queue) &&
    reply.ids === undefined;
}

/**
 * True for a common message that fits its schema. This check takes a tenth of the schema's time, and copies nothing; the
 * schema has to check any other message.
 */
export function isPlain(raw: RawMessage): raw is RawMessage & BodyMessage {
  if (raw.kind === "request") return isPlainRequest(raw);
  return raw.kind === "reply" && isPlainReply(raw);
}

/** Schema of a {@linkcode Notification}. */
const notificationSchema: z.ZodType<Notification> = z.object({
  kind: z.literal("notification"),
  id: text.optional(),
  messageId: text,
  publisherId: z.string(),
  eventType: text,
  priority: z.string().min(1).max(32),
  payload: z.unknown(),
  timestamp: z.string(),
  context: fields,
});

/** Schema of a {@linkcode Control}. */
export const controlSchema: z.ZodType<Control> = z.object({
  kind: z.literal("control"),
  command: z.enum(["cancel", "credit", "resume"]),
  call: text,
  credit: z.int().positive().optional(),
  read: z.int().nonnegative().optional(),
  sequence: z.int().positive().optional(),
  runId: text.optional(),
});

const schemas: Readonly<Record<BodyMessage["kind"], z.ZodType<BodyMessage>>> = {
  request: requestSchema,
  reply: replySchema,
  notification: notificationSchema,
};

/** Returns the schema for a message that is not validated yet. */
export const schemaFor = ({ kind }: RawMessage): z.ZodType<BodyMessage> =>
  schemas[kind];
