/** The schemas that check what arrives, in the neutral form. @module */
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

/** AMQP has one byte for the length of a name, and an id may become one. */
const short = (name: string) =>
  name.length <= 85 || utf8.encode(name).length <= 255;
const utf8 = new TextEncoder();
const text = z.string().min(1).max(255).refine(short, "more than 255 bytes");
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
    form: z.enum(["single", "parts", "bare"]),
    ids: z.boolean().optional(),
  }).optional(),
  to: z.string().max(512).optional(),
  timeout: duration.optional(),
  warren: z.int().positive().optional(),
});

/** What few requests say: checking that it is not there takes as long as all the rest. */
const rareRequestFields = {
  monitor: duration.optional(),
  attempt: z.int().positive().optional(),
  deadLetterCount: z.int().positive().optional(),
  interruptions: z.int().positive().optional(),
  expires: z.number().optional(),
  deferred: z.int().positive().optional(),
  credit: z.int().positive().optional(),
};

/** Checks a {@linkcode Request}. */
export const requestSchema: z.ZodType<Request> = request.extend(
  rareRequestFields,
);

/** Checks a {@linkcode Failure}. */
export const failureSchema: z.ZodType<Failure> = z.object({
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

/** The same of replies. */
const rareReplyFields = {
  failure: failureSchema.optional(),
  sequence: z.int().positive().optional(),
  run: text.optional(),
  inbox: text.optional(),
  heartbeat: z.boolean().optional(),
};

/** Checks a {@linkcode Reply}. */
export const replySchema: z.ZodType<Reply> = reply.extend(rareReplyFields);

/** Checks a {@linkcode Notification}. */
export const notificationSchema: z.ZodType<Notification> = z.object({
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

/** Checks a {@linkcode Control}. */
export const controlSchema: z.ZodType<Control> = z.object({
  kind: z.literal("control"),
  command: z.enum(["cancel", "credit", "resume"]),
  call: text,
  credit: z.int().positive().optional(),
  sequence: z.int().positive().optional(),
  run: text.optional(),
});

const forms = {
  request: {
    usual: request as z.ZodType<Request>,
    whole: requestSchema,
    names: Object.keys(rareRequestFields),
  },
  reply: {
    usual: reply as z.ZodType<Reply>,
    whole: replySchema,
    names: Object.keys(rareReplyFields),
  },
};

/** The schema for a raw message: a smaller one that says the same, where it has nothing that few have. */
export function schemaFor(
  raw: { readonly kind: BodyMessage["kind"] } & JsonObject,
): z.ZodType<BodyMessage> {
  if (raw.kind === "notification") return notificationSchema;
  const { usual, whole, names } = forms[raw.kind];
  return names.every((name) => raw[name] === undefined) ? usual : whole;
}
