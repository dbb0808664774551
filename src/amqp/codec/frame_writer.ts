/** Encoder of frames of AMQP 0-9-1: methods, contents and heartbeats. @module */
import { type Content, encodeHeader } from "./content.ts";
import { FieldWriter } from "./field_writer.ts";
import { encodeMethod } from "./method_codec.ts";
import type { Args, MethodName } from "./method_args.ts";
import {
  ACK,
  BASIC,
  BODY,
  END,
  FRAME_OVERHEAD_BYTES,
  HEADER,
  HEARTBEAT,
  METHOD,
  NACK,
  PROTOCOL_HEADER,
  PUBLISH,
  REJECT,
} from "./protocol.ts";

/** Maximum body frame in bytes if the broker sets no limit. */
const DEFAULT_FRAME_BYTES = 128 * 1024;

/**
 * Destination of a message.
 * @category AMQP
 */
export interface Destination {
  /** Name of the exchange; empty for the default one, which routes by the name of a queue. */
  readonly exchange: string;
  /** Routing key. */
  readonly routingKey: string;
  /** True if a message that reaches no queue is returned; default: it is dropped. */
  readonly mandatory?: boolean | undefined;
}

/** Encodes frames in sequence until they are taken. */
export class FrameWriter {
  readonly #fields = new FieldWriter();
  #maxBodyBytes = DEFAULT_FRAME_BYTES - FRAME_OVERHEAD_BYTES;
  #maxFrameBytes = Infinity;

  /** Sets the maximum number of bytes of a frame, as agreed with the broker; 0 = no limit. */
  set frameMax(bytes: number) {
    this.#maxFrameBytes = bytes || Infinity;
    this.#maxBodyBytes = (bytes || DEFAULT_FRAME_BYTES) - FRAME_OVERHEAD_BYTES;
  }

  /** Maximum number of bytes in a body frame. */
  get maxBodyBytes(): number {
    return this.#maxBodyBytes;
  }

  /** Creates an empty writer with the same limits. */
  withSameLimits(): FrameWriter {
    const writer = new FrameWriter();
    writer.#maxFrameBytes = this.#maxFrameBytes;
    writer.#maxBodyBytes = this.#maxBodyBytes;
    return writer;
  }

  /** Number of bytes that were not taken yet. */
  get length(): number {
    return this.#fields.length;
  }

  /** Returns the bytes that were not taken yet. They stay valid until `reset`. */
  take(): Uint8Array {
    return this.#fields.take();
  }

  /** Reuses the buffer, if everything was taken. The bytes that were taken must not be used any more. */
  reset(): void {
    this.#fields.reset();
  }

  /** Appends frames that are encoded already. */
  append(frames: Uint8Array): void {
    this.#fields.bytes(frames);
  }

  /** Encodes the protocol header. */
  protocolHeader(): void {
    this.#fields.bytes(PROTOCOL_HEADER);
  }

  /** Encodes a heartbeat. */
  heartbeat(): void {
    this.#endFrame(this.#startFrame(HEARTBEAT, 0));
  }

  /**
   * Encodes a method.
   *
   * @throws {TypeError} an argument cannot be encoded, or the frame is too large; nothing is encoded then.
   */
  method<N extends MethodName>(
    channel: number,
    name: N,
    args: Partial<Args<N>>,
  ): void {
    const fields = this.#fields;
    const before = fields.length;
    try {
      const start = this.#startFrame(METHOD, channel);
      encodeMethod(fields, name, args);
      this.#endFrame(start, name);
    } catch (error) {
      fields.truncate(before);
      throw error;
    }
  }

  /** Encodes `basic.ack` of a delivery, or with `multiple` of all deliveries up to it. */
  ack(channel: number, deliveryTag: number, multiple: boolean): void {
    this.#settle(channel, ACK, deliveryTag, multiple ? 1 : 0);
  }

  /** Encodes `basic.nack`. */
  nack(
    channel: number,
    deliveryTag: number,
    multiple: boolean,
    requeue: boolean,
  ): void {
    const bits = (multiple ? 1 : 0) | (requeue ? 2 : 0);
    this.#settle(channel, NACK, deliveryTag, bits);
  }

  /** Encodes `basic.reject`. */
  reject(channel: number, deliveryTag: number, requeue: boolean): void {
    this.#settle(channel, REJECT, deliveryTag, requeue ? 1 : 0);
  }

  /**
   * Encodes a message with its body.
   *
   * @throws {TypeError} a name or a property cannot be encoded; nothing is encoded then.
   */
  publish(channel: number, to: Destination, content: Content): void {
    this.announce(channel, to, content);
    const { body } = content;
    const most = this.#maxBodyBytes;
    if (body.length <= most) {
      if (body.length > 0) this.body(channel, body);
      return;
    }
    for (let from = 0; from < body.length; from += most) {
      this.body(channel, body.subarray(from, from + most));
    }
  }

  /**
   * Encodes a message without its body, which must follow on the channel before any other frame.
   *
   * @throws {TypeError} a name or a property cannot be encoded; nothing is encoded then.
   */
  announce(channel: number, to: Destination, content: Content): void {
    const fields = this.#fields;
    const before = fields.length;
    try {
      this.#publishMethod(channel, to);
      const start = this.#startFrame(HEADER, channel);
      encodeHeader(fields, content);
      this.#endFrame(start, "header");
    } catch (error) {
      fields.truncate(before);
      throw error;
    }
  }

  /** Encodes a body frame. */
  body(channel: number, part: Uint8Array): void {
    const start = this.#startFrame(BODY, channel);
    this.#fields.bytes(part);
    this.#endFrame(start);
  }

  #publishMethod(
    channel: number,
    { exchange, routingKey, mandatory }: Destination,
  ): void {
    const fields = this.#fields;
    const start = this.#startFrame(METHOD, channel);
    fields.u16(BASIC);
    fields.u16(PUBLISH);
    fields.u16(0);
    fields.short(exchange, "exchange");
    fields.short(routingKey, "routing key");
    fields.ensure(2);
    fields.u8(mandatory ? 1 : 0);
    this.#endFrame(start);
  }

  #settle(
    channel: number,
    method: number,
    deliveryTag: number,
    bits: number,
  ): void {
    const fields = this.#fields;
    const start = this.#startFrame(METHOD, channel);
    fields.u16(BASIC);
    fields.u16(method);
    fields.u64(deliveryTag);
    fields.u8(bits);
    this.#endFrame(start);
  }

  /** Starts a frame, with room for 32 bytes of payload; returns the position of its length. */
  #startFrame(type: number, channel: number): number {
    const fields = this.#fields;
    fields.ensure(48);
    fields.u8(type);
    fields.u16(channel);
    fields.u32(0);
    return fields.length - 4;
  }

  /** Ends a frame; `what` names a frame whose size is not known to be below the limit. */
  #endFrame(start: number, what?: string): void {
    const fields = this.#fields;
    fields.patchLength(start);
    fields.ensure(1);
    fields.u8(END);
    if (what === undefined) return;
    const bytes = fields.length - start + 3; // type and channel stand before the length
    if (bytes <= this.#maxFrameBytes) return;
    throw new TypeError(
      `the ${what} frame has ${bytes} bytes, more than ${this.#maxFrameBytes}`,
    );
  }
}
