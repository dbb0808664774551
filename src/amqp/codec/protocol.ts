/** Numbers of AMQP 0-9-1: frames, the class `basic`, and reply codes. @module */

/** Header that a client sends first: the protocol and its version. */
export const PROTOCOL_HEADER: Uint8Array = new Uint8Array([
  ...new TextEncoder().encode("AMQP"),
  ...[0, 0, 9, 1],
]);

/** Types of frames, and the octet at the end of each frame. */
export const METHOD = 1, HEADER = 2, BODY = 3, HEARTBEAT = 8, END = 0xce;

/** Bytes of a frame besides its payload: type, channel and length before it, and the end octet. */
export const FRAME_OVERHEAD_BYTES = 8;
/** Bytes of a frame before its payload. */
export const FRAME_HEAD_BYTES = 7;
/** Minimum of the maximum frame size; a client and a broker may agree on no less. */
export const FRAME_MIN_SIZE = 4096;

/** Class `basic`, and those of its methods that are sent and received for each message. */
export const BASIC = 60,
  PUBLISH = 40,
  DELIVER = 60,
  ACK = 80,
  REJECT = 90,
  NACK = 120;

/** Class and method of those methods that are received for each message, as one number. */
export const BASIC_DELIVER = BASIC << 16 | DELIVER,
  BASIC_ACK = BASIC << 16 | ACK,
  BASIC_NACK = BASIC << 16 | NACK;

/** Bytes that are no frames of AMQP, or frames that may not follow each other. */
export class FrameError extends Error {}

/** Names of reply codes, which are also the codes of {@linkcode AmqpError}. */
export const REPLY_CODES: Readonly<Record<number, string>> = {
  200: "REPLY_SUCCESS",
  311: "CONTENT_TOO_LARGE",
  312: "NO_ROUTE",
  313: "NO_CONSUMERS",
  320: "CONNECTION_FORCED",
  402: "INVALID_PATH",
  403: "ACCESS_REFUSED",
  404: "NOT_FOUND",
  405: "RESOURCE_LOCKED",
  406: "PRECONDITION_FAILED",
  501: "FRAME_ERROR",
  502: "SYNTAX_ERROR",
  503: "COMMAND_INVALID",
  504: "CHANNEL_ERROR",
  505: "UNEXPECTED_FRAME",
  506: "RESOURCE_ERROR",
  530: "NOT_ALLOWED",
  540: "NOT_IMPLEMENTED",
  541: "INTERNAL_ERROR",
};
