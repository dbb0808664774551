/** What comes on one channel: messages for its consumers, and the broker's word on what was sent. @module */
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

/** Takes a message. It must not throw. `body` says what is held of a body that is too large. */
export type Receive = (
  message: Message,
  key: string,
  tag: number,
  redelivered: boolean,
  body?: LargeBody,
) => void;

/** The part of a too large body that is in memory: its two ends; all of it, if the room for one is free; or nothing until there is room. */
export type LargeBody = "ends" | "whole" | "later";

/** The consumer. */
export interface Reader {
  /** Takes what comes. */
  readonly receive: Receive;
  /** Bodies that are too large. */
  readonly limit?: BodyLimit | undefined;
}

const nobody: Receive = () => {};

/** A message that comes in several frames. */
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
  readonly #tag: number;
  readonly #redelivered: boolean;
  readonly #key: string;
  /** Bytes of its body, and how many of them are there. */
  #length = 0;
  #come = 0;
  /** The bytes where its properties are, and their place there. */
  #frame: Buffer = EMPTY;
  #from = 0;
  #end = 0;

  /** Announced by `basic.deliver`, after the consumer's tag. */
  constructor({ receive, limit }: Reader, octets: FieldReader) {
    this.#receive = receive;
    this.#limit = limit;
    this.#tag = octets.u64();
    this.#redelivered = octets.u8() !== 0;
    octets.skip(); // exchange
    this.#key = octets.name();
  }

  get properties(): Uint8Array {
    return this.#frame.subarray(this.#from, this.#end);
  }

  /**
   * True if it is whole; the frame ends at `end` of `bytes`. Properties that cannot be read are no fault of the connection:
   * the frames say where the message ends.
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

  /** Decides what is held of a body that is too large, before any of it comes. */
  #measure(): void {
    this.oversized = this.#length;
    const asks = this.replyTo !== undefined && this.correlationId !== undefined;
    const kept = this.#limit?.keep && !asks && this.#receive !== nobody;
    this.#large = !kept ? "ends" : bodyBudget.take() ? "whole" : "later";
    if (this.#large === "whole") return;
    this.#edges = new BodyEdges(this.#large === "ends" ? this.#length : 0);
    this.body = this.#edges.kept;
  }

  /** Those that nobody here needs are not read. */
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

  /** True if it is whole: most have one part. */
  part(bytes: Buffer): boolean {
    if (this.#edges) this.#edges.add(bytes);
    else if (bytes.length === this.#length) this.body = bytes;
    else {
      if (this.#come === 0) this.body = Buffer.allocUnsafeSlow(this.#length);
      this.body.set(bytes, this.#come);
    }
    this.#come += bytes.length;
    return this.#come === this.#length;
  }

  /** Nobody gets it. */
  drop(): void {
    this.#receive = nobody;
    if (this.#large !== "whole") return;
    this.#large = undefined;
    this.body = EMPTY;
    this.#edges = new BodyEdges(0);
    bodyBudget.give();
  }

  /** To its consumer. */
  deliver(): void {
    this.#receive(
      this,
      this.#key,
      this.#tag,
      this.#redelivered,
      this.#large,
    );
  }
}

/** Reads what is for its consumers and its publishers; the rest is amqplib's. */
export class ChannelReader {
  /** Those who wait for the broker's word. */
  readonly confirms = new PublisherConfirms();
  /** By the tags of the consumers. Messages of one that is not among them are amqplib's. */
  readonly consumers = new Map<string, Reader>();
  #coming: ContentAssembler | undefined;
  #closed = false;

  /** False if it is another method. */
  method(octets: FieldReader): boolean {
    if (octets.u16() !== BASIC) return false;
    const method = octets.u16();
    if (method === DELIVER) {
      const consumer = octets.name();
      const reader = this.#closed
        ? { receive: nobody }
        : this.consumers.get(consumer);
      this.#coming = reader && new ContentAssembler(reader, octets);
      return reader !== undefined;
    }
    if (method !== ACK && method !== NACK) return false;
    const tag = octets.u64();
    const multiple = (octets.u8() & 1) !== 0;
    this.confirms.settle(tag, multiple, method === ACK ? "taken" : "refused");
    return true;
  }

  /** False if the message is not for one of its consumers. */
  header(octets: FieldReader, bytes: Buffer, end: number): boolean {
    if (!this.#coming) return false;
    const whole = this.#coming.header(octets, bytes, end);
    if (whole) this.#deliver(this.#coming);
    return true;
  }

  /** The same. */
  body(bytes: Buffer): boolean {
    if (!this.#coming) return false;
    if (this.#coming.part(bytes)) this.#deliver(this.#coming);
    return true;
  }

  /**
   * Nothing is delivered any more. A message that still comes, even in part, goes back to its queue. amqplib must not get it:
   * headers that it cannot read would end the connection, which others use as well.
   */
  close(): void {
    this.#closed = true;
    this.consumers.clear();
    this.#coming?.drop();
  }

  #deliver(coming: ContentAssembler): void {
    this.#coming = undefined;
    coming.deliver();
  }
}
