/** Connections: the handshake, the channels, heartbeats and the closing. @module */
import { Channel } from "./channel/channel.ts";
import type { ChannelHandler, ChannelHost } from "./channel/channel_host.ts";
import { ChannelTable } from "./channel_table.ts";
import type { ChannelOptions } from "./channel/channel_options.ts";
import { CLOSE_TIMEOUT_MS, waitForClose } from "./channel/closing.ts";
import { notify } from "./channel/listeners.ts";
import { Requests } from "./channel/requests.ts";
import {
  AmqpError,
  closedByBroker,
  closedByClient,
  notProcessed,
} from "./codec/amqp_error.ts";
import type { FieldReader } from "./codec/field_reader.ts";
import type { Table } from "./codec/field_value.ts";
import { type FrameHandler, FrameReader } from "./codec/frame_reader.ts";
import { FrameError } from "./codec/protocol.ts";
import { decodeMethod } from "./codec/method_codec.ts";
import type { Args, MethodName } from "./codec/method_args.ts";
import type { ConnectOptions, Target } from "./connect_options.ts";
import {
  channelLimit,
  heartbeatTimeout,
  notAmqp,
  protocolViolation,
  socketClosed,
  socketError,
} from "./connection_errors.ts";
import {
  type Agreement,
  type Control,
  ControlInbox,
  handshake,
  NOTHING_AGREED,
} from "./handshake.ts";
import { Heartbeat } from "./socket/heartbeat.ts";
import { closeSocket, type Socket } from "./socket/socket.ts";
import { SocketWriter } from "./socket/socket_writer.ts";

/**
 * An open connection. Disposal closes it.
 * @category AMQP
 */
export class Connection implements AsyncDisposable {
  /** Resolves with the reason once the connection is closed by either side, or lost. */
  readonly closed: Promise<AmqpError>;
  readonly #socket: Socket;
  readonly #options: ConnectOptions;
  readonly #writer: SocketWriter;
  readonly #reader = new FrameReader();
  readonly #channels = new ChannelTable();
  readonly #host: ChannelHost;
  readonly #resolveClosed: (reason: AmqpError) => void;
  /** Methods of the handshake, until the connection is open. */
  #inbox: ControlInbox | undefined = new ControlInbox();
  #agreement: Agreement = NOTHING_AGREED;
  #heartbeat: Heartbeat | undefined;
  #blocked: string | undefined;
  /** Renewals of the secret that the broker has not answered yet. */
  readonly #renewals = new Requests();
  #reason: AmqpError | undefined;
  #closing = false;

  /** Use {@linkcode connect}. */
  constructor(socket: Socket, options: ConnectOptions) {
    const { promise, resolve } = Promise.withResolvers<AmqpError>();
    this.closed = promise;
    this.#resolveClosed = resolve;
    this.#socket = socket;
    this.#options = options;
    const onSent = () => this.#heartbeat?.onSent();
    const onError = (error: Error) => this.#end(socketError(error));
    this.#writer = new SocketWriter(socket, onSent, onError);
    this.#host = {
      writer: this.#writer,
      attach: (handler) => this.#attach(handler),
      release: (number) => this.#channels.remove(number),
    };
  }

  /** True until the connection is closed, or closing. */
  get isOpen(): boolean {
    return this.#reason === undefined && !this.#closing;
  }

  /** Reason why the broker accepts no messages; undefined while it accepts them. */
  get blocked(): string | undefined {
    return this.#blocked;
  }

  /** Properties of the broker, e.g. `product` and `version`. */
  get serverProperties(): Table {
    return this.#agreement.serverProperties;
  }

  /** Maximum number of channels that can be open at the same time. */
  get channelMax(): number {
    return this.#agreement.channelMax;
  }

  /** True while more bytes wait to be written than the socket takes at once (1 MiB). Publishers should wait for `drained`. */
  get isFull(): boolean {
    return this.#writer.full;
  }

  /** Resolves when the socket is not full any more, or the connection is closed. */
  async drained(): Promise<void> {
    await this.#writer.drained();
  }

  /**
   * Opens a channel.
   *
   * @throws {AmqpError} the connection is closed, or all of its channels are in use.
   */
  async openChannel(options: ChannelOptions = {}): Promise<Channel> {
    this.#checkOpen("channel.open");
    const channel = new Channel(this.#host, options);
    await channel.open();
    return channel;
  }

  /**
   * Replaces the secret of the login, e.g. an OAuth 2 token before it expires.
   *
   * @throws {AmqpError} the broker refuses the secret, which closes the connection.
   */
  async updateSecret(newSecret: string, reason: string): Promise<void> {
    this.#checkOpen("connection.update-secret");
    this.#send("connection.update-secret", { newSecret, reason });
    await this.#renewals.add("connection.update-secret");
  }

  /**
   * Closes the connection and all channels: unacknowledged messages are requeued, and messages that still arrive are dropped.
   * Resolves when the broker has answered, or after `timeoutMs` milliseconds.
   */
  async close(timeoutMs: number = CLOSE_TIMEOUT_MS): Promise<void> {
    if (this.isOpen) {
      this.#send("connection.close", { replyCode: 200, replyText: "closed" });
      this.#closing = true;
      this.#channels.stop();
    }
    const end = () => this.#end(closedByClient("socket"));
    await waitForClose(this.closed, timeoutMs, end);
  }

  /** Closes the connection. */
  async [Symbol.asyncDispose](): Promise<void> {
    await this.close();
  }

  /** Closes the socket at once; `closed` resolves with an error that has this reason as its message. */
  destroy(reason: string): void {
    this.#end(new AmqpError(reason, { code: "CLOSED", scope: "socket" }));
  }

  /** Keeps the process alive while the connection is open, which is the default. */
  ref(): void {
    this.#socket.ref();
    this.#heartbeat?.setRef(true);
  }

  /** Lets the process exit while the connection is open. */
  unref(): void {
    this.#socket.unref();
    this.#heartbeat?.setRef(false);
  }

  /** @internal Opens the connection; called once, by {@linkcode connect}. */
  async open(target: Target): Promise<void> {
    const inbox = this.#inbox ?? new ControlInbox();
    this.#writer.frames.protocolHeader();
    this.#writer.schedule();
    void this.#read();
    const control: Control = {
      send: (name, args) => this.#send(name, args),
      receive: () => inbox.receive(),
    };
    try {
      this.#agreement = await handshake(control, target, this.#options);
    } catch (error) {
      if (!this.#reason) this.destroy((error as Error).message);
      throw error;
    }
    this.#inbox = undefined;
    const { frameMax, heartbeat } = this.#agreement;
    this.#writer.frames.frameMax = this.#reader.frameMax = frameMax;
    if (heartbeat > 0 && this.isOpen) this.#startHeartbeat(heartbeat);
  }

  #startHeartbeat(seconds: number): void {
    this.#heartbeat = new Heartbeat({
      intervalMs: seconds * 1_000,
      send: () => {
        this.#writer.frames.heartbeat();
        this.#writer.schedule();
      },
      onSilent: () => this.#end(heartbeatTimeout(seconds)),
    });
  }

  /** Reads until the socket is closed. */
  async #read(): Promise<void> {
    const reader = this.#reader;
    const handler: FrameHandler = {
      onMethod: (channel, fields) => this.#onMethod(channel, fields),
      onHeader: (channel, fields) =>
        this.#channels.get(channel).onHeader(fields),
      onBody: (channel, part) => this.#channels.get(channel).onBody(part),
    };
    try {
      while (!this.#reason) {
        const bytes = await this.#socket.read(reader.space());
        if (bytes === null) {
          return this.#end(socketClosed(this.#inbox !== undefined));
        }
        this.#heartbeat?.onReceived();
        notify(this.#options.onReceived, undefined);
        reader.received(bytes, handler);
      }
    } catch (error) {
      this.#onReadError(error as Error);
    }
  }

  #onReadError(error: Error): void {
    if (this.#reason) return;
    const isViolation = error instanceof FrameError ||
      error instanceof RangeError || error instanceof TypeError;
    if (!isViolation) return this.#end(socketError(error));
    if (this.#inbox) return this.#end(notAmqp(this.#reader.rest, error));
    const replyText = error.message.slice(0, 200);
    this.#send("connection.close", { replyCode: 501, replyText });
    this.#end(protocolViolation(error));
  }

  #onMethod(channel: number, fields: FieldReader): void {
    if (this.#reason) return;
    if (channel > 0) return this.#channels.get(channel).onMethod(fields);
    const method = decodeMethod(fields);
    switch (method.name) {
      case "connection.close":
        this.#send("connection.close-ok", {});
        return this.#end(closedByBroker(method.args, "connection"));
      case "connection.close-ok":
        if (!this.#closing) break;
        return this.#end(closedByClient("connection"));
      case "connection.blocked":
        this.#blocked = method.args.reason;
        return notify(this.#options.onBlocked, method.args.reason);
      case "connection.unblocked":
        this.#blocked = undefined;
        return notify(this.#options.onUnblocked, undefined);
      case "connection.update-secret-ok":
        if (this.#renewals.settle(method.name, method.args)) return;
    }
    if (!this.#inbox) throw new FrameError(`unexpected method ${method.name}`);
    this.#inbox.put(method);
  }

  #attach(handler: ChannelHandler): number {
    const number = this.#channels.add(handler, this.channelMax);
    if (number === undefined) throw channelLimit(this.channelMax);
    return number;
  }

  #checkOpen(method: string): void {
    if (this.isOpen) return;
    throw notProcessed(method, this.#reason ?? closedByClient("connection"));
  }

  #send<N extends MethodName>(name: N, args: Partial<Args<N>>): void {
    this.#writer.frames.method(0, name, args);
    this.#writer.schedule();
  }

  /** Ends the connection. The last frames are still written, unless the socket takes none. */
  #end(reason: AmqpError): void {
    if (this.#reason) return;
    this.#reason = reason;
    this.#heartbeat?.stop();
    this.#inbox?.fail(reason);
    this.#renewals.fail(reason);
    this.#channels.lose(reason);
    void this.#closeSocket(reason.scope !== "socket");
    this.#resolveClosed(reason);
  }

  async #closeSocket(flushes: boolean): Promise<void> {
    if (flushes) {
      const timer = setTimeout(closeSocket, CLOSE_TIMEOUT_MS, this.#socket);
      await this.#writer.flush();
      clearTimeout(timer);
    }
    this.#writer.close();
    closeSocket(this.#socket);
  }
}
