/** Errors of connections that no reply of the broker describes. @module */
import { AmqpError } from "./codec/amqp_error.ts";

/** Creates the error for an attempt that takes too long. */
export const timeoutError = (ms: number): AmqpError =>
  new AmqpError(`The connection was not open within ${ms} ms`, {
    code: "CONNECT_TIMEOUT",
    scope: "socket",
  });

/** Creates the error for a socket that cannot be opened. */
export function connectError(error: unknown): unknown {
  if (error instanceof AmqpError || error instanceof TypeError) return error;
  const { message } = error as Error;
  return new AmqpError(message || String(error), {
    code: "CONNECT_FAILED",
    scope: "socket",
    cause: error,
  });
}

/** Creates the error for a failed read or write. */
export const socketError = (cause: Error): AmqpError =>
  new AmqpError(`The socket has failed: ${cause.message}`, {
    code: "SOCKET_ERROR",
    scope: "socket",
    cause,
  });

/** Creates the error for a socket that the broker has closed; `early` = during the handshake. */
export const socketClosed = (early: boolean): AmqpError =>
  new AmqpError(
    early
      ? "The broker has closed the socket before the connection was open"
      : "The broker has closed the socket",
    { code: "SOCKET_CLOSED", scope: "socket" },
  );

/** Creates the error for a broker that has broken the protocol. */
export const protocolViolation = (cause: Error): AmqpError =>
  new AmqpError(`The broker has broken the protocol: ${cause.message}`, {
    code: "FRAME_ERROR",
    scope: "connection",
    cause,
  });

/** Creates the error for a connection on which the broker is silent. */
export const heartbeatTimeout = (seconds: number): AmqpError =>
  new AmqpError(
    `The broker has sent nothing for ${2 * seconds} s, not even heartbeats`,
    {
      code: "HEARTBEAT_TIMEOUT",
      scope: "socket",
    },
  );

/** Creates the error for a connection without a free channel number. */
export const channelLimit = (channelMax: number): AmqpError =>
  new AmqpError(`All ${channelMax} channels of the connection are in use`, {
    code: "CHANNEL_LIMIT",
    scope: "channel",
    method: "channel.open",
  });

/** Creates the error for a peer that is no broker, or one of another version. A broker answers with its own header. */
export function notAmqp(bytes: Uint8Array, cause: Error): AmqpError {
  const header = new TextDecoder().decode(bytes.subarray(0, 4)) === "AMQP";
  const text = header
    ? `The broker speaks another version: AMQP ${bytes.slice(4, 8).join("-")}`
    : "The peer does not speak AMQP; check the port";
  return new AmqpError(text, { code: "NOT_AMQP", scope: "socket", cause });
}
