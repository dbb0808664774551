/**
 * Messages on the wire: the neutral form, and its encoding in each dialect. Other folders import only this file.
 *
 * @module
 */
export { decode, encode, encodeControl } from "./codec.ts";
export { copyForCall, dialects, grizzly, oslo } from "./dialect.ts";
export { fromFailure, toFailure } from "./failure.ts";
export {
  attemptOf,
  deadLetterCountOf,
  deadLetterDetailsOf,
  deadLetterHeaders,
  deadLetterMark,
  deferralHeaders,
  forwardedHeaders,
  interruptionsOf,
  propertyHeaders,
  PROTOCOL_VERSION,
  redeliveryHeaders,
  retryHeaders,
  sentAt,
} from "./headers.ts";
export { assertJson, defaultLimits } from "./json.ts";
export { osloPeerOf } from "./oslo.ts";
export {
  BATCH_VERSION,
  decodeBatch,
  isBatch,
  ReplyBatch,
} from "./reply_batch.ts";
export { isShortString } from "./rpc_message_schema.ts";

export type { DecodeError } from "./codec.ts";
export type { Dialect } from "./dialect.ts";
export type { ErrorClasses } from "./failure.ts";
export type { Limits } from "./json.ts";
export type {
  Control,
  Notification,
  Reply,
  ReplyAddress,
  Request,
} from "./rpc_message.ts";
