/** Messages that arrive on a channel: for its consumers, for `basic.get`, and returned ones. @module */
import type { Buffer } from "node:buffer";
import type { FieldReader } from "../codec/field_reader.ts";
import type { Args } from "../codec/method_args.ts";
import { FrameError } from "../codec/protocol.ts";
import type {
  BodySink,
  Envelope,
  MessageReceiver,
  ReceivedMessage,
} from "../codec/received_message.ts";
import { type Assembly, beginAssembly } from "./assembly.ts";

/**
 * Listener of a consumer. Its methods must not throw; an error is reported as an uncaught one.
 * @category AMQP
 */
export interface ConsumerListener extends MessageReceiver {
  /**
   * Called when the broker has cancelled the consumer: its queue was deleted, its node is down, or (RabbitMQ 4.3) a message was
   * not acknowledged within `consumer_timeout`. The client cancels the consumer as well; messages may arrive until the
   * broker has answered that.
   */
  onCancelled?(): void;
}

/**
 * A mandatory message that reached no queue.
 * @category AMQP
 */
export interface ReturnedMessage {
  /** Reply code: 312 if no queue was bound. */
  readonly replyCode: number;
  /** Text of the broker, e.g. `NO_ROUTE`. */
  readonly replyText: string;
  /** The message. */
  readonly message: ReceivedMessage;
}

/** Options for returned messages. */
interface ReturnOptions {
  readonly onReturned?: ((returned: ReturnedMessage) => void) | undefined;
}

/** Receiver of a body that is not kept. */
const NO_BODY: BodySink = { write: () => {}, abort: () => {} };

/** Input of one channel. */
export class ChannelInput {
  /** Consumers by their tags. */
  readonly consumers: Map<string, ConsumerListener> = new Map();
  /** Receiver of the messages of unknown consumers. */
  readonly #unclaimed: MessageReceiver;
  #assembly: Assembly | undefined;
  #closed = false;

  /** `onUnclaimed` is called with the delivery tag of each message of an unknown consumer. */
  constructor(onUnclaimed: (deliveryTag: number) => void) {
    this.#unclaimed = {
      onMessage: ({ deliveryTag }) => onUnclaimed(deliveryTag),
      openBody: () => NO_BODY,
    };
  }

  /** Handles `basic.deliver`. */
  onDeliver(fields: FieldReader): void {
    const receiver = this.consumers.get(fields.name()) ?? this.#unclaimed;
    this.#begin({
      deliveryTag: fields.u64(),
      redelivered: fields.u8() !== 0,
      exchange: fields.name(),
      routingKey: fields.name(),
    }, receiver);
  }

  /** Handles `basic.return`. */
  onReturn(
    { replyCode, replyText, exchange, routingKey }: Args<"basic.return">,
    { onReturned }: ReturnOptions,
  ): void {
    this.#begin({ deliveryTag: 0, redelivered: false, exchange, routingKey }, {
      onMessage: (message) => onReturned?.({ replyCode, replyText, message }),
    });
  }

  /** Handles `basic.get-ok`. */
  onGot(
    args: Args<"basic.get-ok">,
    onMessage: (message: ReceivedMessage) => void,
  ): void {
    this.#begin(args, { onMessage });
  }

  /** Handles a header frame. */
  onHeader(fields: FieldReader): void {
    const assembly = this.#expected();
    if (assembly?.addHeader(fields)) this.#complete(assembly);
  }

  /** Handles a part of a body; returns true if the bytes are kept. */
  onBody(part: Buffer): boolean {
    const assembly = this.#expected();
    if (!assembly) return false;
    const kept = assembly.addBody(part);
    if (assembly.isComplete) this.#complete(assembly);
    return kept;
  }

  /** Ends all deliveries. A message that still arrives is dropped; the broker requeues it. */
  close(): void {
    this.#closed = true;
    this.consumers.clear();
    this.#assembly?.abort();
    this.#assembly = undefined;
  }

  #begin(envelope: Envelope, receiver: MessageReceiver): void {
    if (this.#closed) return;
    if (this.#assembly) throw new FrameError("a method interrupts a content");
    this.#assembly = beginAssembly(envelope, receiver);
  }

  /** Returns the content that is arriving; undefined if it belongs to a channel that is closing. */
  #expected(): Assembly | undefined {
    if (this.#assembly || this.#closed) return this.#assembly;
    throw new FrameError("a content belongs to no method");
  }

  #complete(assembly: Assembly): void {
    this.#assembly = undefined;
    assembly.deliver();
  }
}
