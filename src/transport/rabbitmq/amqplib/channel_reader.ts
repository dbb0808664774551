/** Input of one channel: messages for its consumers, and publisher confirms. @module */
import { Buffer } from "node:buffer";
import type { Message } from "../../transport.ts";
import {
  ACK,
  BASIC,
  CONTENT_ENCODING,
  CONTENT_TYPE,
  CORRELATION_ID,
  DELIVER,
  DELIVERY_MODE,
  EXPIRATION,
  HEADERS,
  MESSAGE_ID,
  NACK,
  PRIORITY,
  REPLY_TO,
} from "./protocol.ts";
import { bodyBudget, BodyEdges, type BodyLimit } from "../../oversized_body.ts";
import { PublisherConfirms } from "./publisher_confirms.ts";
import type { FieldReader } from "./field_reader.ts";

const EMPTY = Buffer.alloc(0);

/** Fields of `basic.deliver`. */
export interface DeliveryFields {
  /** Routing key. */
  readonly key: string;
  /** Delivery tag. */
  readonly tag: number;
  /** True if the broker may have delivered the message before. */
  readonly redelivered: boolean;
}

/** Receives a message; must not throw. `body` tells which part of an oversized body is in memory. */
export type Receive = (
  message: Message,
  fields: DeliveryFields,
  body?: LargeBody,
) => void;

/**
 * Part of an oversized body that is in memory: the two ends; the whole body, if the semaphore was free; or nothing,
 * until the message is delivered again.
 */
export type LargeBody = "ends" | "whole" | "later";

/** Receiver of a consumer, with its limit. */
export interface ConsumerReader {
  /** Receives messages. */
  readonly receive: Receive;
  /** Limit on the size of bodies. */
  readonly limit?: BodyLimit | undefined;
}

const discard: Receive = () => {};

/** Message that is assembled from its frames. */
class ContentAssembler implements Message {
  body: Uint8Array = EMPTY;
  headers: Message["headers"] = {};
  messageId: string | undefined;
  correlationId: string | undefined;
  replyTo: string | undefined;
  expiration: number | undefined;
  persistent = false;
  declare unreadable?: string;
  declare oversized?: number;
  #receive: Receive;
  readonly #limit: BodyLimit | undefined;
  #large: LargeBody | undefined;
  #edges: BodyEdges | undefined;
  readonly #fields: DeliveryFields;
  /** Length of the body in bytes, and the number of bytes received. */
  #length = 0;
  #received = 0;
  /** Buffer that holds the properties, and their start and end in it. */
  #frame: Buffer = EMPTY;
  #from = 0;
  #end = 0;

  /** Reads the fields of `basic.deliver` after the consumer tag. */
  constructor({ receive, limit }: ConsumerReader, octets: FieldReader) {
    this.#receive = receive;
    this.#limit = limit;
    const tag = octets.u64();
    const redelivered = octets.u8() !== 0;
    octets.skip(); // exchange
    this.#fields = { key: octets.name(), tag, redelivered };
  }

  get properties(): Uint8Array {
    return this.#frame.subarray(this.#from, this.#end);
  }

  /**
   * Reads the header frame, which ends at `end` of `bytes`; returns true if the message is complete. Properties that
   * cannot be decoded do not end the connection, since the frames say where the message ends.
   */
  header(octets: FieldReader, bytes: Buffer, end: number): boolean {
    octets.u32(); // class and weight
    this.#length = octets.u64();
    this.#frame = bytes;
    this.#from = octets.at;
    this.#end = end;
    try {
      this.#properties(octets);
    } catch (error) {
      this.unreadable ??= `its properties: ${(error as Error).message}`;
    }
    if (this.#length > (this.#limit?.bytes ?? Infinity)) this.#measure();
    return this.#length === 0;
  }

  /** Decides which part of an oversized body is kept, before the body arrives. */
  #measure(): void {
    this.oversized = this.#length;
    const asks = this.replyTo !== undefined && this.correlationId !== undefined;
    const kept = this.#limit?.allowWhole && !asks && this.#receive !== discard;
    this.#large = !kept ? "ends" : bodyBudget.tryAcquire() ? "whole" : "later";
    if (this.#large === "whole") return;
    this.#edges = new BodyEdges(this.#large === "ends" ? this.#length : 0);
    this.body = this.#edges.bytes;
  }

  /** Reads the properties that are used, and skips the others. */
  #properties(octets: FieldReader): void {
    const flags = octets.u16();
    if (flags & CONTENT_TYPE) octets.skip();
    if (flags & CONTENT_ENCODING) octets.skip();
    if (flags & HEADERS) this.#table(octets);
    if (flags & DELIVERY_MODE) this.persistent = octets.u8() === 2;
    if (flags & PRIORITY) octets.u8();
    if (flags & CORRELATION_ID) this.correlationId = octets.short();
    if (flags & REPLY_TO) this.replyTo = octets.name();
    if (flags & EXPIRATION) this.expiration = Number(octets.name());
    if (flags & MESSAGE_ID) this.messageId = octets.short();
  }

  #table(octets: FieldReader): void {
    try {
      this.headers = octets.table();
    } catch (error) {
      this.unreadable = `its table of headers: ${(error as Error).message}`;
    }
  }

  /** Adds a body frame; returns true if the message is complete. Most bodies have one frame. */
  addBody(bytes: Buffer): boolean {
    if (this.#edges) this.#edges.add(bytes);
    else if (bytes.length === this.#length) this.body = bytes;
    else {
      if (this.#received === 0) {
        this.body = Buffer.allocUnsafeSlow(this.#length);
      }
      this.body.set(bytes, this.#received);
    }
    this.#received += bytes.length;
    return this.#received === this.#length;
  }

  /** Discards the message. */
  drop(): void {
    this.#receive = discard;
    if (this.#large !== "whole") return;
    this.#large = undefined;
    this.body = EMPTY;
    this.#edges = new BodyEdges(0);
    bodyBudget.release();
  }

  /** Hands the message to its consumer. */
  deliver(): void {
    this.#receive(this, this.#fields, this.#large);
  }
}

/** Reads messages and confirms of a channel; all other frames are for amqplib. */
export class ChannelReader {
  /** Listeners for publisher confirms. */
  readonly confirms = new PublisherConfirms();
  /** Consumers by their tags. Messages for other tags are for amqplib. */
  readonly consumers = new Map<string, ConsumerReader>();
  #incomplete: ContentAssembler | undefined;
  #closed = false;

  /** Reads a method frame; returns false if the method is for amqplib. */
  method(octets: FieldReader): boolean {
    if (octets.u16() !== BASIC) return false;
    const method = octets.u16();
    if (method === DELIVER) {
      const consumer = octets.name();
      const reader = this.#closed
        ? { receive: discard }
        : this.consumers.get(consumer);
      this.#incomplete = reader && new ContentAssembler(reader, octets);
      return reader !== undefined;
    }
    if (method !== ACK && method !== NACK) return false;
    const tag = octets.u64();
    const multiple = (octets.u8() & 1) !== 0;
    this.confirms.settle(tag, multiple, method === ACK ? "ack" : "nack");
    return true;
  }

  /** Reads a header frame; returns false if the message belongs to no consumer of this channel. */
  header(octets: FieldReader, bytes: Buffer, end: number): boolean {
    if (!this.#incomplete) return false;
    const whole = this.#incomplete.header(octets, bytes, end);
    if (whole) this.#deliver(this.#incomplete);
    return true;
  }

  /** Reads a body frame; returns false if the message belongs to no consumer of this channel. */
  body(bytes: Buffer): boolean {
    if (!this.#incomplete) return false;
    if (this.#incomplete.addBody(bytes)) this.#deliver(this.#incomplete);
    return true;
  }

  /**
   * Ends all deliveries. A message that still arrives, even in part, is requeued by the broker. amqplib must not read
   * it: headers that amqplib cannot decode would end the connection, which other channels use.
   */
  close(): void {
    this.#closed = true;
    this.consumers.clear();
    this.#incomplete?.drop();
  }

  #deliver(coming: ContentAssembler): void {
    this.#incomplete = undefined;
    coming.deliver();
  }
}
