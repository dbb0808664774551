/** Encoder of the fields in frames of AMQP 0-9-1, with the types that RabbitMQ knows. @module */
import { Buffer } from "node:buffer";
import { TABLE_LIMITS } from "./field_reader.ts";
import {
  checkInteger,
  checkNumber,
  type FieldType,
  FieldValue,
  type Table,
} from "./field_value.ts";

/** Size of the buffer in bytes; larger where one frame needs it. */
const SLAB_BYTES = 256 * 1024;

/** Size of a buffer above which it is not reused. */
const MAX_KEPT_BYTES = 1024 * 1024;

const utf8 = new TextEncoder();

const letter = (text: string) => text.charCodeAt(0);

/** Letters of the types, as RabbitMQ writes and reads them. */
const LETTERS: Readonly<Record<FieldType, number>> = {
  int8: letter("b"),
  uint8: letter("B"),
  int16: letter("s"),
  uint16: letter("u"),
  int32: letter("I"),
  uint32: letter("i"),
  int64: letter("l"),
  float: letter("f"),
  double: letter("d"),
  timestamp: letter("T"),
  decimal: letter("D"),
};

/** Encodes fields in sequence, into a buffer from which complete frames are taken. */
export class FieldWriter {
  #slab: Buffer = Buffer.allocUnsafeSlow(SLAB_BYTES);
  #start = 0;
  #at = 0;
  #depth = 0;

  /** Number of bytes that were not taken yet. */
  get length(): number {
    return this.#at - this.#start;
  }

  /** Returns the bytes that were not taken yet. They stay valid until `reset`. */
  take(): Uint8Array {
    const taken = this.#slab.subarray(this.#start, this.#at);
    this.#start = this.#at;
    return taken;
  }

  /** Reuses the buffer from its beginning, if everything was taken. The bytes that were taken must not be used any more. */
  reset(): void {
    if (this.length > 0) return;
    this.#start = this.#at = 0;
    if (this.#slab.length > MAX_KEPT_BYTES) {
      this.#slab = Buffer.allocUnsafeSlow(SLAB_BYTES);
    }
  }

  /** Removes the bytes after the first `length` bytes that were not taken. */
  truncate(length: number): void {
    this.#at = this.#start + length;
  }

  /** Makes room for a number of bytes. */
  ensure(bytes: number): void {
    if (this.#at + bytes <= this.#slab.length) return;
    const pending = this.#slab.subarray(this.#start, this.#at);
    const size = Math.max(
      SLAB_BYTES,
      2 * pending.length,
      pending.length + bytes,
    );
    const slab = Buffer.allocUnsafeSlow(size);
    slab.set(pending);
    this.#slab = slab;
    this.#start = 0;
    this.#at = pending.length;
  }

  /** Octet; there must be room for it, as for the other integers. */
  u8(value: number): void {
    this.#slab[this.#at++] = value;
  }

  /** Short. */
  u16(value: number): void {
    this.#slab[this.#at++] = value >> 8;
    this.#slab[this.#at++] = value;
  }

  /** Long. */
  u32(value: number): void {
    this.#at = this.#slab.writeUInt32BE(value, this.#at);
  }

  /** Longlong. */
  u64(value: number): void {
    const high = Math.floor(value / 2 ** 32);
    this.#at = this.#slab.writeUInt32BE(high, this.#at);
    this.#at = this.#slab.writeUInt32BE(value % 2 ** 32, this.#at);
  }

  /** Overwrites the long at a position, which counts from the first byte that was not taken, with the number of bytes after it. */
  patchLength(position: number): void {
    const at = this.#start + position;
    this.#slab.writeUInt32BE(this.#at - at - 4, at);
  }

  /** Bytes without a length. */
  bytes(bytes: Uint8Array): void {
    this.ensure(bytes.length);
    this.#slab.set(bytes, this.#at);
    this.#at += bytes.length;
  }

  /**
   * Short string.
   *
   * @throws {TypeError} the text has more than 255 bytes; `what` names it.
   */
  short(text: string, what: string): void {
    this.ensure(1 + 3 * text.length);
    const at = this.#at++;
    this.#text(text);
    const length = this.#at - at - 1;
    if (length > 255) {
      throw new TypeError(`the ${what} has ${length} bytes, more than 255`);
    }
    this.#slab[at] = length;
  }

  /** Long string. */
  long(text: string): void {
    this.ensure(4 + 3 * text.length);
    const position = this.#skipLength();
    this.#text(text);
    this.patchLength(position);
  }

  /**
   * Field table. Values that are `undefined` are omitted.
   *
   * @throws {TypeError} AMQP cannot encode a value, or the table is nested deeper than a `FieldReader` reads.
   */
  table(fields: Table): void {
    this.#depth = 0;
    this.#table(fields);
  }

  #table(fields: Table): void {
    const position = this.#enter();
    for (const name of Object.keys(fields)) {
      const value = fields[name];
      if (value === undefined) continue;
      this.short(name, "name of a field");
      this.#value(value);
    }
    this.#leave(position);
  }

  #array(values: readonly unknown[]): void {
    const position = this.#enter();
    for (const value of values) this.#value(value);
    this.#leave(position);
  }

  /** Begins a table or an array; returns the position of its length. */
  #enter(): number {
    if (++this.#depth > TABLE_LIMITS.depth) {
      throw new TypeError(
        `a table is nested deeper than ${TABLE_LIMITS.depth}`,
      );
    }
    return this.#skipLength();
  }

  #leave(position: number): void {
    this.#depth--;
    this.patchLength(position);
  }

  /** Leaves room for a length; returns its position. */
  #skipLength(): number {
    this.ensure(4);
    this.#at += 4;
    return this.length - 4;
  }

  #value(value: unknown): void {
    this.ensure(16);
    switch (typeof value) {
      case "string":
        this.u8(0x53); // S
        return this.long(value);
      case "boolean":
        this.u8(0x74); // t
        return this.u8(value ? 1 : 0);
      case "number":
        return this.#number(typeOf(value), value);
      case "bigint":
        if (value !== BigInt.asIntN(64, value)) {
          throw new TypeError("a field is an integer of more than 64 bits");
        }
        this.u8(LETTERS.int64);
        this.#at = this.#slab.writeBigInt64BE(value, this.#at);
        return;
      default:
        return this.#object(value);
    }
  }

  #object(value: unknown): void {
    if (value === null || value === undefined) return this.u8(0x56); // V
    if (value instanceof Uint8Array) {
      this.u8(0x78); // x
      this.u32(value.length);
      return this.bytes(value);
    }
    if (value instanceof Date) {
      return this.#number("timestamp", Math.floor(value.getTime() / 1_000));
    }
    if (value instanceof FieldValue) {
      return this.#number(value.type, value.value, value.places);
    }
    if (Array.isArray(value)) {
      this.u8(0x41); // A
      return this.#array(value);
    }
    if (typeof value !== "object") {
      throw new TypeError(
        `a field is a ${typeof value}, which AMQP cannot encode`,
      );
    }
    this.u8(0x46); // F
    this.#table(value as Table);
  }

  #number(type: FieldType, value: number, places = 0): void {
    checkNumber(type, value);
    this.u8(LETTERS[type]);
    switch (type) {
      case "int8":
      case "uint8":
        return this.u8(value);
      case "int16":
      case "uint16":
        return this.u16(value);
      case "int32":
        this.#at = this.#slab.writeInt32BE(value, this.#at);
        return;
      case "uint32":
        return this.u32(value);
      case "int64":
        this.#at = this.#slab.writeBigInt64BE(BigInt(value), this.#at);
        return;
      case "timestamp":
        return this.u64(value);
      case "float":
        this.#at = this.#slab.writeFloatBE(value, this.#at);
        return;
      case "double":
        this.#at = this.#slab.writeDoubleBE(value, this.#at);
        return;
      case "decimal":
        checkInteger(places, [0, 255], "number of decimal places");
        this.u8(places);
        return this.u32(value);
    }
  }

  /** Encodes a text; most texts are ASCII. There must be room for three bytes of each character. */
  #text(text: string): void {
    const slab = this.#slab;
    let at = this.#at;
    for (let i = 0; i < text.length; i++) {
      const code = text.charCodeAt(i);
      if (code > 0x7f) {
        this.#at += utf8.encodeInto(text, slab.subarray(this.#at)).written;
        return;
      }
      slab[at++] = code;
    }
    this.#at = at;
  }
}

/** Returns the type of a number. Integers have 32 or 64 bits, because py-amqp decodes those of 16 bits as texts. */
function typeOf(value: number): FieldType {
  if (Number.isInteger(value) && Math.abs(value) < 2 ** 31) return "int32";
  return Number.isSafeInteger(value) ? "int64" : "double";
}
