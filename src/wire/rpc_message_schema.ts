/** Schemas that validate the neutral form of messages that arrive. @module */
import { z } from "npm:zod@^4.6.7";
import type { Failure } from "../errors.ts";
import type { BodyMessage } from "./dialect.ts";
import type {
  Control,
  JsonObject,
  Notification,
  Reply,
  Request,
} from "./rpc_message.ts";

/** True for a text that AMQP can encode with its one byte for the length: an id may become the name of a queue. */
const fitsShortString = (name: string) =>
  name.length <= 85 || utf8.encode(name).length <= 255;
const utf8 = new TextEncoder();
const text = z.string().min(1).max(255).refine(
  fitsShortString,
  "more than 255 bytes",
);
const fields = z.looseObject({});
const duration = z.number().nonnegative();

const request = z.object({
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
});

/**
 * Members that few requests have. Checking that all of these are absent takes as long as all the other checks, so they
 * have a schema of their own.
 */
const rareRequestFields = {
  monitor: duration.optional(),
  attempt: z.int().positive().optional(),
  deadLetterCount: z.int().positive().optional(),
  interruptions: z.int().positive().optional(),
  expires: z.number().optional(),
  deferred: z.int().positive().optional(),
  credit: z.int().positive().optional(),
};

/** Schema of a {@linkcode Request}. */
export const requestSchema: z.ZodType<Request> = request.extend(
  rareRequestFields,
);

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

const reply = z.object({
  kind: z.literal("reply"),
  id: text.optional(),
  call: text.optional(),
  result: z.unknown(),
  ending: z.boolean(),
  parsed: z.boolean().optional(),
});

/** Members that few replies have. */
const rareReplyFields = {
  failure: failureSchema.optional(),
  sequence: z.int().positive().optional(),
  runId: text.optional(),
  inbox: text.optional(),
  heartbeat: z.boolean().optional(),
};

/** Schema of a {@linkcode Reply}. */
const replySchema: z.ZodType<Reply> = reply.extend(rareReplyFields);

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
  sequence: z.int().positive().optional(),
  runId: text.optional(),
});

const schemas = {
  request: {
    common: request as z.ZodType<Request>,
    complete: requestSchema,
    rareNames: Object.keys(rareRequestFields),
  },
  reply: {
    common: reply as z.ZodType<Reply>,
    complete: replySchema,
    rareNames: Object.keys(rareReplyFields),
  },
};

/**
 * Returns the schema for a message that is not validated yet: a smaller, equivalent one if the message has none of the
 * rare members.
 */
export function schemaFor(
  raw: { readonly kind: BodyMessage["kind"] } & JsonObject,
): z.ZodType<BodyMessage> {
  if (raw.kind === "notification") return notificationSchema;
  const { common, complete, rareNames } = schemas[raw.kind];
  return rareNames.every((name) => raw[name] === undefined) ? common : complete;
}
