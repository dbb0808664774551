/**
 * Client for AMQP 0-9-1 and RabbitMQ's extensions, on Deno's sockets.
 *
 * @module
 */
export { connect } from "./connect.ts";
export type { Connection } from "./connection.ts";
export type { Channel } from "./channel/channel.ts";
export type {
  ChannelOptions,
  ChannelRequest,
  ConsumeOptions,
  NackOptions,
  RequestArgs,
} from "./channel/channel_options.ts";
export type {
  ConsumerListener,
  ReturnedMessage,
} from "./channel/channel_input.ts";
export type { ConnectOptions, Login } from "./connect_options.ts";
export type { TlsSettings } from "./socket/socket.ts";
export type { Confirmation, ConfirmListener } from "./channel/confirms.ts";
export { AmqpError } from "./codec/amqp_error.ts";
export type { AmqpErrorOptions, AmqpScope } from "./codec/amqp_error.ts";
export type { Content, Properties } from "./codec/content.ts";
export type {
  Args,
  MethodName,
  Methods,
  RequestName,
} from "./codec/method_args.ts";
export type { Destination } from "./codec/frame_writer.ts";
export { FieldValue } from "./codec/field_value.ts";
export type { FieldType, Table } from "./codec/field_value.ts";
export type {
  BodySink,
  Envelope,
  MessageReceiver,
  ReceivedMessage,
} from "./codec/received_message.ts";
