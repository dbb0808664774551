/** Channels: requests, messages, acknowledgements and publisher confirms. @module */
import {
  type AmqpError,
  closedByBroker,
  closedByClient,
  notProcessed,
} from "../codec/amqp_error.ts";
import type { Content } from "../codec/content.ts";
import type { FieldReader } from "../codec/field_reader.ts";
import type { Destination } from "../codec/frame_writer.ts";
import { decodeArgs, knownName } from "../codec/method_codec.ts";
import type { Args, MethodName, RequestName } from "../codec/method_args.ts";
import { BASIC_DELIVER, FrameError } from "../codec/protocol.ts";
import type { ReceivedMessage } from "../codec/received_message.ts";
import type { ChannelHost } from "./channel_host.ts";
import { ChannelInput, type ConsumerListener } from "./channel_input.ts";
import type {
  ChannelOptions,
  ChannelRequest,
  ConsumeOptions,
  NackOptions,
  RequestArgs,
} from "./channel_options.ts";
import { ChannelOutput } from "./channel_output.ts";
import { ConsumerEnds } from "./consumer_ends.ts";
import { ConsumerStarts } from "./consumer_starts.ts";
import { CLOSE_TIMEOUT_MS, waitForClose } from "./closing.ts";
import {
  type ConfirmListener,
  Confirms,
  handleConfirm,
  ignore,
} from "./confirms.ts";
import { notify } from "./listeners.ts";
import { Requests } from "./requests.ts";

/**
 * A channel. Requests may be sent before earlier ones are answered; the broker processes them in order. All promises
 * reject with an {@linkcode AmqpError} once the channel is closed.
 * @category AMQP
 */
export class Channel {
  /** Number of the channel. */
  readonly number: number;
  /** Resolves with the reason once the channel is closed by either side, or lost with its connection. */
  readonly closed: Promise<AmqpError>;
  readonly #host: ChannelHost;
  readonly #output: ChannelOutput;
  readonly #options: ChannelOptions;
  readonly #requests = new Requests();
  readonly #input = new ChannelInput((tag) => {
    if (this.#starts.acknowledge) this.nack(tag);
  });
  readonly #starts = new ConsumerStarts(
    this.#input.consumers,
    (name, args, onReply) => this.#request(name, args, onReply),
  );
  readonly #ends = new ConsumerEnds(
    this.#input.consumers,
    (consumerTag, onReply) =>
      this.#request("basic.cancel", { consumerTag }, onReply, consumerTag),
  );
  readonly #confirms: Confirms | undefined;
  readonly #resolveClosed: (reason: AmqpError) => void;
  /** Reason why the channel is closing or closed. */
  #reason: AmqpError | undefined;
  /** True once the broker has closed the channel, or has answered its closing. */
  #ended = false;

  /** Use `Connection.openChannel`. */
  constructor(host: ChannelHost, options: ChannelOptions) {
    const { promise, resolve } = Promise.withResolvers<AmqpError>();
    this.#host = host;
    this.#options = options;
    this.#confirms = options.confirms ? new Confirms() : undefined;
    this.#resolveClosed = resolve;
    this.closed = promise;
    this.number = host.attach({
      onMethod: (fields) => this.#onFrame(fields),
      onHeader: (fields) => this.#input.onHeader(fields),
      onBody: (part) => this.#input.onBody(part),
      onClosing: () => this.#stop(),
      onLost: (reason) => this.#end(this.#reason ?? reason),
    });
    this.#output = new ChannelOutput(this.number, host.writer);
  }

  /** True until the channel is closed, or closing. */
  get isOpen(): boolean {
    return this.#reason === undefined;
  }

  /** Resolves when the body of a large message is written; undefined if none is being written. */
  get writing(): Promise<void> | undefined {
    return this.#output.writing;
  }

  /**
   * Sends a request and resolves with its reply, e.g. `request("queue.declare", { queue: "tasks", durable: true })`.
   *
   * @throws {AmqpError} the broker refuses the request, which closes the channel.
   * @throws {TypeError} an argument cannot be encoded.
   */
  async request<N extends ChannelRequest>(
    name: N,
    args: RequestArgs<N>,
  ): Promise<Args<`${N}-ok`>> {
    return await this.#request(name, args as Partial<Args<N>>);
  }

  /**
   * Starts a consumer; resolves with its tag, which the broker chooses if none is given. Consumers with a `prefetchCount`
   * start together, at most 64 of them; one without starts alone. A refusal belongs to one of them, and the others are
   * `NOT_PROCESSED`.
   *
   * @throws {AmqpError} the broker refuses the consumer, which closes the channel.
   */
  async consume(
    queue: string,
    listener: ConsumerListener,
    options: ConsumeOptions = {},
  ): Promise<string> {
    return await this.#starts.start(queue, listener, options);
  }

  /** Cancels a consumer. Messages may arrive until the promise resolves; any that arrives later is requeued. */
  async cancel(consumerTag: string): Promise<void> {
    await this.#ends.cancel(consumerTag);
  }

  /** Takes one message from a queue; undefined if the queue is empty. */
  async get(
    queue: string,
    { noAck = false }: { readonly noAck?: boolean } = {},
  ): Promise<ReceivedMessage | undefined> {
    this.#send("basic.get", { queue, noAck });
    return await this.#requests.add("basic.get") as ReceivedMessage | undefined;
  }

  /**
   * Publishes a message. With publisher confirms, `onConfirm` is called once with its confirmation; it must not throw.
   *
   * @throws {AmqpError} the channel is closed.
   * @throws {TypeError} a property cannot be encoded; nothing is sent then.
   */
  publish(
    to: Destination,
    content: Content,
    onConfirm: ConfirmListener = ignore,
  ): void {
    this.#checkOpen("basic.publish");
    this.#output.publish(to, content);
    this.#confirms?.add(onConfirm);
  }

  /**
   * Publishes a message whose body is copied in chunks, as fast as the socket takes them. All other methods of the channel
   * are sent after it. Resolves when it is written, or the channel is closed.
   *
   * @throws {AmqpError} the channel is closed.
   * @throws {TypeError} a property cannot be encoded; nothing is sent then.
   */
  publishLarge(
    to: Destination,
    content: Content,
    onConfirm: ConfirmListener = ignore,
  ): Promise<void> {
    this.#checkOpen("basic.publish");
    this.#output.announce(to, content);
    this.#confirms?.add(onConfirm);
    return this.#output.writeBody(content.body);
  }

  /** Resolves when all messages published until now have their confirmation; at once without publisher confirms. */
  async confirmed(): Promise<void> {
    await this.#confirms?.settled();
  }

  /** Acknowledges a delivery, or with `multiple` all deliveries up to it. Does nothing once the channel is closed. */
  ack(deliveryTag: number, multiple = false): void {
    this.#output.ack(deliveryTag, multiple);
  }

  /** Rejects a delivery, or several. Does nothing once the channel is closed. */
  nack(deliveryTag: number, options: NackOptions = {}): void {
    this.#output.nack(deliveryTag, options);
  }

  /** Rejects a delivery. Does nothing once the channel is closed. */
  reject(deliveryTag: number, requeue: boolean): void {
    this.#output.reject(deliveryTag, requeue);
  }

  /**
   * Closes the channel: unacknowledged messages are requeued, and messages that still arrive are dropped. Resolves when the
   * broker has answered, or after `timeoutMs` milliseconds.
   */
  async close(timeoutMs: number = CLOSE_TIMEOUT_MS): Promise<void> {
    if (!this.#reason) {
      this.#send("channel.close", { replyCode: 200, replyText: "closed" });
      this.#stop();
    }
    const reason = this.#reason ??= closedByClient("channel");
    await waitForClose(this.closed, timeoutMs, () => this.#end(reason, false));
  }

  /** Opens the channel; called once, by its connection. */
  async open(): Promise<void> {
    const opened = this.#request("channel.open", {});
    const confirming = this.#confirms && this.#request("confirm.select", {});
    await Promise.all([opened, confirming]);
  }

  #checkOpen(method: string): void {
    if (this.#reason) throw notProcessed(method, this.#reason);
  }

  #send<N extends MethodName>(name: N, args: Partial<Args<N>>): void {
    this.#checkOpen(name);
    this.#output.method(name, args);
  }

  #request<N extends RequestName>(
    name: N,
    args: Partial<Args<N>>,
    onReply?: (reply: Args<`${N}-ok`>) => void,
    tag?: string,
  ): Promise<Args<`${N}-ok`>> {
    this.#send(name, args);
    return this.#requests.add(name, onReply, tag);
  }

  #onFrame(fields: FieldReader): void {
    const id = fields.u32();
    if (id === BASIC_DELIVER) return this.#input.onDeliver(fields);
    if (handleConfirm(id, fields, this.#confirms)) return;
    this.#onMethod(knownName(id), fields);
  }

  #onMethod(name: MethodName, fields: FieldReader): void {
    switch (name) {
      case "channel.close":
        return this.#onClose(decodeArgs(fields, name));
      case "channel.close-ok":
        if (!this.#reason) break;
        this.#host.release(this.number);
        return this.#end(this.#reason);
      case "channel.flow": {
        const args = decodeArgs(fields, name);
        this.#output.method("channel.flow-ok", args);
        return notify(this.#options.onFlow, args.active);
      }
      case "basic.cancel": {
        const { consumerTag, noWait } = decodeArgs(fields, name);
        if (!noWait) this.#output.method("basic.cancel-ok", { consumerTag });
        return this.#ends.onCancelled(consumerTag);
      }
      case "basic.return":
        return this.#input.onReturn(decodeArgs(fields, name), this.#options);
      case "basic.get-ok":
        if (!this.#requests.has("basic.get")) break;
        return this.#input.onGot(
          decodeArgs(fields, name),
          (message) => this.#requests.settle(name, message),
        );
    }
    const reply = name === "basic.get-empty"
      ? undefined
      : decodeArgs(fields, name);
    // Replies to requests that were sent before the closing are dropped.
    if (this.#requests.settle(name, reply) || this.#reason) return;
    throw new FrameError(`unexpected method ${name}`);
  }

  #onClose(args: Args<"channel.close">): void {
    this.#output.urgentMethod("channel.close-ok", {});
    const error = closedByBroker(args, "channel");
    // If both sides close, the number is in use until `close-ok`; a `close` that waits for a large message is never sent.
    if (!this.#reason || this.writing) this.#host.release(this.number);
    this.#end(error);
  }

  /** Drops all later messages and acknowledgements, because the channel or its connection is closing. */
  #stop(): void {
    this.#input.close();
    this.#output.seal();
  }

  /** Ends the channel. A body that is being written is completed, unless the broker has closed the channel. */
  #end(reason: AmqpError, isGone = true): void {
    if (isGone) this.#output.end();
    if (this.#ended) return;
    this.#ended = true;
    this.#reason = reason;
    this.#stop();
    this.#requests.fail(reason);
    this.#confirms?.loseAll();
    this.#resolveClosed(reason);
  }
}
