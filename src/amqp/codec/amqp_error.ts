/** Errors of AMQP connections and channels. @module */
import { methodName } from "./methods.ts";
import { REPLY_CODES } from "./protocol.ts";

/**
 * Part of a connection that an error has ended: the socket, the AMQP connection, or one channel.
 * @category AMQP
 */
export type AmqpScope = "socket" | "connection" | "channel";

/** Details of an {@linkcode AmqpError}. */
export interface AmqpErrorOptions {
  /** Stable code. */
  readonly code: string;
  /** Part that the error has ended. */
  readonly scope: AmqpScope;
  /** Reply code of the broker. */
  readonly replyCode?: number | undefined;
  /** Text of the broker. */
  readonly replyText?: string | undefined;
  /** Method that failed. */
  readonly method?: string | undefined;
  /** Original error. */
  readonly cause?: unknown;
}

/**
 * Error of an AMQP connection or channel. `code` is the name of the broker's reply code, e.g. `NOT_FOUND`,
 * `ACCESS_REFUSED`, `PRECONDITION_FAILED`, or one of this client:
 *
 * - `CONNECT_FAILED`, `CONNECT_TIMEOUT`, `NOT_AMQP`: the connection was not opened.
 * - `SOCKET_CLOSED`, `SOCKET_ERROR`, `HEARTBEAT_TIMEOUT`: the connection was lost.
 * - `CLOSED`: this client has closed the connection or the channel.
 * - `NOT_PROCESSED`: the channel was closed because of another request, so that this one was not processed.
 * - `CHANNEL_LIMIT`: all channels of the connection are in use.
 * @category AMQP
 */
export class AmqpError extends Error {
  /** Name of the class. */
  override readonly name = "AmqpError";
  /** Stable code. */
  readonly code: string;
  /** Part that the error has ended. */
  readonly scope: AmqpScope;
  /** Reply code of the broker; undefined if the broker sent none. */
  readonly replyCode: number | undefined;
  /** Text of the broker, e.g. `NOT_FOUND - no queue 'tasks' in vhost '/'`; undefined if the broker sent none. */
  readonly replyText: string | undefined;
  /** Method that failed, e.g. `queue.declare`; undefined if the error belongs to none. */
  readonly method: string | undefined;

  /** Creates an error. */
  constructor(message: string, options: AmqpErrorOptions) {
    const { code, scope, replyCode, replyText, method, cause } = options;
    super(message, cause === undefined ? {} : { cause });
    this.code = code;
    this.scope = scope;
    this.replyCode = replyCode;
    this.replyText = replyText;
    this.method = method;
  }
}

/** Arguments of `connection.close` and `channel.close`. */
export interface Closing {
  /** Reply code. */
  readonly replyCode: number;
  /** Text of the broker. */
  readonly replyText: string;
  /** Numbers of the class and the method that failed; 0 for none. */
  readonly classId: number;
  readonly methodId: number;
}

/** Creates the error for a connection or a channel that the broker has closed. */
export function closedByBroker(
  { replyCode, replyText, classId, methodId }: Closing,
  scope: AmqpScope,
): AmqpError {
  const code = REPLY_CODES[replyCode] ?? `REPLY_${replyCode}`;
  const method = methodName(classId << 16 | methodId);
  const during = method === undefined ? "" : ` (${method})`;
  return new AmqpError(
    `The broker has closed the ${scope}: ${replyCode} ${replyText}${during}`,
    { code, scope, replyCode, replyText, method },
  );
}

/** Creates the reason of a connection or a channel that this client has closed. */
export function closedByClient(scope: AmqpScope): AmqpError {
  const text = `The ${scope} was closed by this client`;
  return new AmqpError(text, { code: "CLOSED", scope });
}

/** Creates the error for a request that was not processed, because its channel was closed for another reason. */
export function notProcessed(method: string, reason: AmqpError): AmqpError {
  const { scope, replyCode } = reason;
  const code = scope === "channel" && replyCode !== undefined
    ? "NOT_PROCESSED"
    : reason.code;
  return new AmqpError(`${method} was not answered: ${reason.message}`, {
    code,
    scope,
    method,
    cause: reason,
  });
}
