/** Numbers of AMQP 0-9-1: frames, and the class `basic`, which carries messages. @module */

/** Types of frames, and the octet at the end of each frame. */
export const METHOD = 1, HEADER = 2, BODY = 3, END = 0xce;
/** Bytes of a frame besides its payload: type, channel and length before it, and the end octet. */
export const FRAME_OVERHEAD_BYTES = 8;

/** The class `basic`, and its methods. */
export const BASIC = 60,
  PUBLISH = 40,
  DELIVER = 60,
  ACK = 80,
  REJECT = 90,
  NACK = 120;

/** Flags of properties, in the order in which the values follow. */
export const CONTENT_TYPE = 1 << 15,
  CONTENT_ENCODING = 1 << 14,
  HEADERS = 1 << 13,
  DELIVERY_MODE = 1 << 12,
  PRIORITY = 1 << 11,
  CORRELATION_ID = 1 << 10,
  REPLY_TO = 1 << 9,
  EXPIRATION = 1 << 8,
  MESSAGE_ID = 1 << 7;
