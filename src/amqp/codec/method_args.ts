/**
 * Arguments of the methods of AMQP 0-9-1 and of RabbitMQ's extensions, by their names in the specification, in camel case.
 *
 * @module
 */
import type { Table } from "./field_value.ts";

/**
 * Arguments by method; a method without arguments has no members. A type alias, since the documentation linter asks for a
 * comment on each member of an interface.
 * @category AMQP
 */
export type Methods = {
  readonly "connection.start": {
    readonly versionMajor: number;
    readonly versionMinor: number;
    readonly serverProperties: Table;
    readonly mechanisms: string;
    readonly locales: string;
  };
  readonly "connection.start-ok": {
    readonly clientProperties: Table;
    readonly mechanism: string;
    readonly response: string;
    readonly locale: string;
  };
  readonly "connection.secure": { readonly challenge: string };
  readonly "connection.tune": {
    readonly channelMax: number;
    readonly frameMax: number;
    readonly heartbeat: number;
  };
  readonly "connection.tune-ok": {
    readonly channelMax: number;
    readonly frameMax: number;
    readonly heartbeat: number;
  };
  readonly "connection.open": {
    readonly virtualHost: string;
    readonly capabilities: string;
    readonly insist: boolean;
  };
  readonly "connection.open-ok": { readonly knownHosts: string };
  readonly "connection.close": {
    readonly replyCode: number;
    readonly replyText: string;
    readonly classId: number;
    readonly methodId: number;
  };
  readonly "connection.close-ok": Readonly<Record<never, never>>;
  readonly "connection.blocked": { readonly reason: string };
  readonly "connection.unblocked": Readonly<Record<never, never>>;
  readonly "connection.update-secret": {
    readonly newSecret: string;
    readonly reason: string;
  };
  readonly "connection.update-secret-ok": Readonly<Record<never, never>>;
  readonly "channel.open": { readonly outOfBand: string };
  readonly "channel.open-ok": { readonly channelId: string };
  readonly "channel.flow": { readonly active: boolean };
  readonly "channel.flow-ok": { readonly active: boolean };
  readonly "channel.close": {
    readonly replyCode: number;
    readonly replyText: string;
    readonly classId: number;
    readonly methodId: number;
  };
  readonly "channel.close-ok": Readonly<Record<never, never>>;
  readonly "exchange.declare": {
    readonly reserved: number;
    readonly exchange: string;
    readonly type: string;
    readonly passive: boolean;
    readonly durable: boolean;
    readonly autoDelete: boolean;
    readonly internal: boolean;
    readonly noWait: boolean;
    readonly arguments: Table;
  };
  readonly "exchange.declare-ok": Readonly<Record<never, never>>;
  readonly "exchange.delete": {
    readonly reserved: number;
    readonly exchange: string;
    readonly ifUnused: boolean;
    readonly noWait: boolean;
  };
  readonly "exchange.delete-ok": Readonly<Record<never, never>>;
  readonly "exchange.bind": {
    readonly reserved: number;
    readonly destination: string;
    readonly source: string;
    readonly routingKey: string;
    readonly noWait: boolean;
    readonly arguments: Table;
  };
  readonly "exchange.bind-ok": Readonly<Record<never, never>>;
  readonly "exchange.unbind": {
    readonly reserved: number;
    readonly destination: string;
    readonly source: string;
    readonly routingKey: string;
    readonly noWait: boolean;
    readonly arguments: Table;
  };
  readonly "exchange.unbind-ok": Readonly<Record<never, never>>;
  readonly "queue.declare": {
    readonly reserved: number;
    readonly queue: string;
    readonly passive: boolean;
    readonly durable: boolean;
    readonly exclusive: boolean;
    readonly autoDelete: boolean;
    readonly noWait: boolean;
    readonly arguments: Table;
  };
  readonly "queue.declare-ok": {
    readonly queue: string;
    readonly messageCount: number;
    readonly consumerCount: number;
  };
  readonly "queue.bind": {
    readonly reserved: number;
    readonly queue: string;
    readonly exchange: string;
    readonly routingKey: string;
    readonly noWait: boolean;
    readonly arguments: Table;
  };
  readonly "queue.bind-ok": Readonly<Record<never, never>>;
  readonly "queue.purge": {
    readonly reserved: number;
    readonly queue: string;
    readonly noWait: boolean;
  };
  readonly "queue.purge-ok": { readonly messageCount: number };
  readonly "queue.delete": {
    readonly reserved: number;
    readonly queue: string;
    readonly ifUnused: boolean;
    readonly ifEmpty: boolean;
    readonly noWait: boolean;
  };
  readonly "queue.delete-ok": { readonly messageCount: number };
  readonly "queue.unbind": {
    readonly reserved: number;
    readonly queue: string;
    readonly exchange: string;
    readonly routingKey: string;
    readonly arguments: Table;
  };
  readonly "queue.unbind-ok": Readonly<Record<never, never>>;
  readonly "basic.qos": {
    readonly prefetchSize: number;
    readonly prefetchCount: number;
    readonly global: boolean;
  };
  readonly "basic.qos-ok": Readonly<Record<never, never>>;
  readonly "basic.consume": {
    readonly reserved: number;
    readonly queue: string;
    readonly consumerTag: string;
    readonly noLocal: boolean;
    readonly noAck: boolean;
    readonly exclusive: boolean;
    readonly noWait: boolean;
    readonly arguments: Table;
  };
  readonly "basic.consume-ok": { readonly consumerTag: string };
  readonly "basic.cancel": {
    readonly consumerTag: string;
    readonly noWait: boolean;
  };
  readonly "basic.cancel-ok": { readonly consumerTag: string };
  readonly "basic.publish": {
    readonly reserved: number;
    readonly exchange: string;
    readonly routingKey: string;
    readonly mandatory: boolean;
    readonly immediate: boolean;
  };
  readonly "basic.return": {
    readonly replyCode: number;
    readonly replyText: string;
    readonly exchange: string;
    readonly routingKey: string;
  };
  readonly "basic.deliver": {
    readonly consumerTag: string;
    readonly deliveryTag: number;
    readonly redelivered: boolean;
    readonly exchange: string;
    readonly routingKey: string;
  };
  readonly "basic.get": {
    readonly reserved: number;
    readonly queue: string;
    readonly noAck: boolean;
  };
  readonly "basic.get-ok": {
    readonly deliveryTag: number;
    readonly redelivered: boolean;
    readonly exchange: string;
    readonly routingKey: string;
    readonly messageCount: number;
  };
  readonly "basic.get-empty": { readonly reserved: string };
  readonly "basic.ack": {
    readonly deliveryTag: number;
    readonly multiple: boolean;
  };
  readonly "basic.reject": {
    readonly deliveryTag: number;
    readonly requeue: boolean;
  };
  readonly "basic.recover": { readonly requeue: boolean };
  readonly "basic.recover-ok": Readonly<Record<never, never>>;
  readonly "basic.nack": {
    readonly deliveryTag: number;
    readonly multiple: boolean;
    readonly requeue: boolean;
  };
  readonly "confirm.select": { readonly noWait: boolean };
  readonly "confirm.select-ok": Readonly<Record<never, never>>;
};

/**
 * Name of a method in the specification.
 * @category AMQP
 */
export type MethodName = keyof Methods;

/**
 * Arguments of a method.
 * @category AMQP
 */
export type Args<N extends MethodName> = Methods[N];

/** A method with its arguments. */
export type Method = {
  [N in MethodName]: { readonly name: N; readonly args: Args<N> };
}[MethodName];

/**
 * Methods to which the peer replies with the method of the same name and `-ok`.
 * @category AMQP
 */
export type RequestName = {
  [N in MethodName]: `${N}-ok` extends MethodName ? N : never;
}[MethodName];
