/** Interfaces between a channel and its connection. @module */
import type { Buffer } from "node:buffer";
import type { AmqpError } from "../codec/amqp_error.ts";
import type { FieldReader } from "../codec/field_reader.ts";
import type { SocketWriter } from "../socket/socket_writer.ts";

/** Handler of the frames of one channel. */
export interface ChannelHandler {
  onMethod(fields: FieldReader): void;
  onHeader(fields: FieldReader): void;
  /** Returns true if it keeps the bytes. */
  onBody(part: Buffer): boolean;
  /** Called when this client closes the connection. The broker may still send frames, up to its answer. */
  onClosing(): void;
  /** Called when the connection is lost or closed. */
  onLost(reason: AmqpError): void;
}

/** Members of a connection that a channel uses. */
export interface ChannelHost {
  /** Writes frames. */
  readonly writer: SocketWriter;
  /** Adds a channel with a free number, which it returns. */
  attach(handler: ChannelHandler): number;
  /** Called when the number of a channel can be used again. */
  release(channel: number): void;
}
