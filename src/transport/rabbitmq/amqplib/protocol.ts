/** Numbers of AMQP 0-9-1: its frames, and its class `basic`, which carries messages. @module */

/** Types of frames, and the octet at the end of each. */
export const METHOD = 1, HEADER = 2, BODY = 3, END = 0xce;
/** Bytes of a frame beside what is in it: type, channel and length before, the end behind. */
export const OVERHEAD = 8;

/** The class, and its methods. */
export const BASIC = 60,
  PUBLISH = 40,
  DELIVER = 60,
  ACK = 80,
  REJECT = 90,
  NACK = 120;

/** Properties, by their bits, in the order in which their values follow. */
export const CONTENT_TYPE = 1 << 15,
  CONTENT_ENCODING = 1 << 14,
  HEADERS = 1 << 13,
  DELIVERY_MODE = 1 << 12,
  PRIORITY = 1 << 11,
  CORRELATION_ID = 1 << 10,
  REPLY_TO = 1 << 9,
  EXPIRATION = 1 << 8,
  MESSAGE_ID = 1 << 7;
