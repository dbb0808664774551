/** Splits received bytes into frames, with no object for each frame. @module */
import { Buffer } from "node:buffer";
import { FieldReader } from "./field_reader.ts";
import {
  BODY,
  END,
  FRAME_HEAD_BYTES,
  FRAME_OVERHEAD_BYTES,
  FrameError,
  HEADER,
  HEARTBEAT,
  METHOD,
} from "./protocol.ts";

/** Size of a buffer for received bytes; larger while one frame needs it. */
const SLAB_BYTES = 64 * 1024;
/** Minimum number of bytes for which a read has room. */
const MIN_READ_BYTES = 16 * 1024;
/**
 * Maximum number of bytes of a frame that is not a body. RabbitMQ does not keep to the agreed maximum where headers are
 * long.
 */
const MAX_FRAME_BYTES = 64 * 1024 * 1024;

/** Handler of frames. The fields are valid during the call only. */
export interface FrameHandler {
  /** Called with a method, before its class number. */
  onMethod(channel: number, fields: FieldReader): void;
  /** Called with the header of a content, before its class number. */
  onHeader(channel: number, fields: FieldReader): void;
  /** Called with a part of a body. Returns true if it keeps the bytes, which are then never overwritten. */
  onBody(channel: number, part: Buffer): boolean;
}

/** Reads frames from buffers that `space` provides. */
export class FrameReader {
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  /** Offset of the first byte that was not handled, and the end of the received bytes. */
  #at = 0;
  #end = 0;
  /** True if a handler keeps bytes of the buffer. */
  #kept = false;
  /** Channel of the body frame of which a part was handled, and the number of its bytes that are missing. */
  #bodyChannel = 0;
  #bodyMissing = 0;
  /** True if the end octet of that body frame is missing. */
  #endMissing = false;
  readonly #fields = new FieldReader();
  #maxBodyBytes = MAX_FRAME_BYTES;

  /** Sets the maximum number of bytes of a body frame, as agreed with the broker; 0 = no limit. */
  set frameMax(bytes: number) {
    this.#maxBodyBytes = (bytes || MAX_FRAME_BYTES) - FRAME_OVERHEAD_BYTES;
  }

  /** Bytes that were received and not handled. */
  get rest(): Uint8Array {
    return this.#slab.subarray(this.#at, this.#end);
  }

  /** Returns the part of the buffer into which the next bytes must be read. */
  space(): Uint8Array {
    const have = this.#end - this.#at;
    if (have === 0 && !this.#kept) this.#at = this.#end = 0;
    if (this.#slab.length - this.#end < MIN_READ_BYTES) this.#replaceSlab(have);
    return this.#slab.subarray(this.#end);
  }

  /** Moves the unhandled bytes to the beginning of a buffer with room for more. */
  #replaceSlab(have: number): void {
    const fits = have + MIN_READ_BYTES <= this.#slab.length;
    if (this.#kept || !fits) {
      const slab = Buffer.allocUnsafeSlow(Math.max(SLAB_BYTES, 2 * have));
      slab.set(this.#slab.subarray(this.#at, this.#end));
      this.#slab = slab;
      this.#kept = false;
    } else this.#slab.copyWithin(0, this.#at, this.#end);
    this.#at = 0;
    this.#end = have;
  }

  /**
   * Handles all frames that are complete, once `bytes` more bytes were read into `space`.
   *
   * @throws {FrameError} the bytes are no frames.
   */
  received(bytes: number, handler: FrameHandler): void {
    this.#end += bytes;
    let complete = true;
    while (complete) {
      complete = this.#endMissing
        ? this.#continueBody(handler)
        : this.#frame(handler);
    }
  }

  /** Handles the next frame; returns false if it is not complete. */
  #frame(handler: FrameHandler): boolean {
    const slab = this.#slab, at = this.#at;
    const have = this.#end - at;
    if (have < FRAME_HEAD_BYTES) {
      if (have > 0) checkType(slab[at]!);
      return false;
    }
    const type = slab[at]!;
    const channel = slab.readUInt16BE(at + 1);
    const size = slab.readUInt32BE(at + 3);
    checkType(type);
    if (type === BODY) return this.#body(handler, channel, size);
    if (size > MAX_FRAME_BYTES) throw tooLarge(size, MAX_FRAME_BYTES);
    const end = at + FRAME_HEAD_BYTES + size;
    if (end >= this.#end) return false;
    if (slab[end] !== END) throw wrongEnd();
    this.#at = end + 1;
    if (type === HEARTBEAT) return true;
    const fields = this.#fields.from(slab, at + FRAME_HEAD_BYTES, end);
    if (type === METHOD) handler.onMethod(channel, fields);
    else {
      handler.onHeader(channel, fields);
      this.#kept = true; // a message refers to its encoded properties
    }
    return true;
  }

  /** Handles a body frame, or the part of it that has arrived: most frames that are not complete belong to large bodies. */
  #body(handler: FrameHandler, channel: number, size: number): boolean {
    if (size > this.#maxBodyBytes) throw tooLarge(size, this.#maxBodyBytes);
    const from = this.#at + FRAME_HEAD_BYTES;
    const end = from + size;
    this.#at = from;
    if (end >= this.#end) {
      this.#bodyChannel = channel;
      this.#bodyMissing = size;
      this.#endMissing = true;
      return true;
    }
    if (this.#slab[end] !== END) throw wrongEnd();
    this.#at = end + 1;
    this.#pass(handler, channel, from, end);
    return true;
  }

  #continueBody(handler: FrameHandler): boolean {
    const part = Math.min(this.#bodyMissing, this.#end - this.#at);
    if (part > 0) {
      this.#bodyMissing -= part;
      this.#at += part;
      this.#pass(handler, this.#bodyChannel, this.#at - part, this.#at);
    }
    if (this.#bodyMissing > 0 || this.#at === this.#end) return false;
    if (this.#slab[this.#at++] !== END) throw wrongEnd();
    this.#endMissing = false;
    return true;
  }

  #pass(
    handler: FrameHandler,
    channel: number,
    from: number,
    end: number,
  ): void {
    const part = this.#slab.subarray(from, end);
    if (handler.onBody(channel, part)) this.#kept = true;
  }
}

function checkType(type: number): void {
  if (
    type === METHOD || type === HEADER || type === BODY || type === HEARTBEAT
  ) return;
  throw new FrameError(`a frame has the unknown type ${type}`);
}

const tooLarge = (size: number, most: number) =>
  new FrameError(`a frame has ${size} bytes, more than ${most}`);

const wrongEnd = () => new FrameError("a frame has the wrong end octet");
