/** Assembly of a message from its frames. @module */
import { Buffer } from "node:buffer";
import { decodeProperties, type MutableProperties } from "../codec/content.ts";
import type { FieldReader } from "../codec/field_reader.ts";
import type { Table } from "../codec/field_value.ts";
import { FrameError } from "../codec/protocol.ts";
import type {
  BodySink,
  Envelope,
  MessageReceiver,
  ReceivedMessage,
} from "../codec/received_message.ts";
import { notify } from "./listeners.ts";

/** A message whose content is arriving. */
export interface Assembly {
  /** Reads the header frame; returns true if the message is complete, since its body is empty. */
  addHeader(fields: FieldReader): boolean;
  /** Adds a part of the body; returns true if the message keeps these bytes. */
  addBody(part: Buffer): boolean;
  /** True if all of the body has arrived. */
  readonly isComplete: boolean;
  /** Hands the message to its receiver. */
  deliver(): void;
  /** Discards the message. */
  abort(): void;
}

/** Begins a message. */
export function beginAssembly(
  envelope: Envelope,
  receiver: MessageReceiver,
): Assembly {
  return new AssembledMessage(envelope, receiver);
}

const EMPTY = Buffer.alloc(0);
const NO_HEADERS: Table = {};

/** Message and assembly in one. It has all of its fields from the beginning, since V8 handles it faster then. */
class AssembledMessage implements Assembly, ReceivedMessage, MutableProperties {
  readonly deliveryTag: number;
  readonly redelivered: boolean;
  readonly exchange: string;
  readonly routingKey: string;
  body: Uint8Array = EMPTY;
  bodySize = 0;
  headers: Table = NO_HEADERS;
  persistent: boolean | undefined = undefined;
  correlationId: string | undefined = undefined;
  replyTo: string | undefined = undefined;
  expiration: number | undefined = undefined;
  messageId: string | undefined = undefined;
  contentType: string | undefined = undefined;
  contentEncoding: string | undefined = undefined;
  priority: number | undefined = undefined;
  timestamp: number | undefined = undefined;
  type: string | undefined = undefined;
  userId: string | undefined = undefined;
  appId: string | undefined = undefined;
  clusterId: string | undefined = undefined;
  unreadable: string | undefined = undefined;
  readonly #receiver: MessageReceiver;
  #sink: BodySink | undefined = undefined;
  /** Bytes of the body that have arrived; -1 before the header. */
  #received = -1;
  /** Buffer with the encoded properties, and their start and end in it. */
  #frame: Buffer = EMPTY;
  #from = 0;
  #to = 0;

  constructor(
    { deliveryTag, redelivered, exchange, routingKey }: Envelope,
    receiver: MessageReceiver,
  ) {
    this.deliveryTag = deliveryTag;
    this.redelivered = redelivered;
    this.exchange = exchange;
    this.routingKey = routingKey;
    this.#receiver = receiver;
  }

  get encodedProperties(): Uint8Array {
    return this.#frame.subarray(this.#from, this.#to);
  }

  get isComplete(): boolean {
    return this.#received === this.bodySize;
  }

  /** Properties that cannot be decoded do not end the connection, since the frames say where the message ends. */
  addHeader(fields: FieldReader): boolean {
    if (this.#received >= 0) throw new FrameError("a content has two headers");
    this.#received = 0;
    fields.u32(); // class and weight
    this.bodySize = fields.u64();
    this.#frame = fields.bytes;
    this.#from = fields.at;
    this.#to = fields.end;
    this.unreadable = decodeProperties(fields, this);
    if (this.bodySize === 0) return true;
    notify(() => this.#sink = this.#receiver.openBody?.(this), undefined);
    return false;
  }

  /** Most bodies arrive in one part, which is kept; the parts of any other are copied. */
  addBody(part: Buffer): boolean {
    const { bodySize } = this;
    const before = this.#received;
    if (before < 0) throw new FrameError("a body has no header");
    if (before + part.length > bodySize) {
      throw new FrameError(`a body is longer than its ${bodySize} bytes`);
    }
    this.#received += part.length;
    if (this.#sink) return writeTo(this.#sink, part);
    if (part.length === bodySize) {
      this.body = part;
      return true;
    }
    if (before === 0) this.body = Buffer.allocUnsafeSlow(bodySize);
    this.body.set(part, before);
    return false;
  }

  deliver(): void {
    try {
      this.#receiver.onMessage(this);
    } catch (error) {
      reportError(error);
    }
  }

  abort(): void {
    notify(() => this.#sink?.abort(), undefined);
  }
}

/** Writes a part of a body, which the sink does not keep: it may copy it with `slice`, which does not copy a `Buffer`. */
function writeTo(sink: BodySink, part: Buffer): false {
  const { buffer, byteOffset, length } = part;
  try {
    sink.write(new Uint8Array(buffer, byteOffset, length));
  } catch (error) {
    reportError(error);
  }
  return false;
}
