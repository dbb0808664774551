/** Decoder of the fields in frames of AMQP 0-9-1, with the types that RabbitMQ sends. @module */
import { Buffer } from "node:buffer";

/** Number of slots for repeated texts. */
const CACHE_SLOTS = 2_048;

/** Cache of texts that are in every message, such as the names of headers, so that each is decoded once. */
class StringCache {
  readonly #texts: (string | undefined)[] = new Array(CACHE_SLOTS).fill(
    undefined,
  );

  /** Returns the text of the bytes between two offsets. */
  text(bytes: Buffer, at: number, end: number): string {
    const slot = slotOf(bytes, at, end);
    const known = this.#texts[slot];
    if (known?.length === end - at && same(known, bytes, at)) return known;
    return this.#texts[slot] = bytes.toString("utf8", at, end);
  }
}

/** Returns the slot of a text, by its length and five of its bytes: names that are numbered differ in the last ones. */
function slotOf(bytes: Buffer, at: number, end: number): number {
  let hash = end - at;
  hash = 31 * hash + (bytes[at] ?? 0);
  hash = 31 * hash + (bytes[(at + end) >> 1] ?? 0);
  for (let i = Math.max(at, end - 3); i < end; i++) {
    hash = 31 * hash + (bytes[i] ?? 0);
  }
  return hash % CACHE_SLOTS;
}

/** True if the bytes are that text. Only ASCII is compared; any other text is decoded each time. */
function same(text: string, bytes: Buffer, at: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[at + i] ?? 0;
    if (byte > 0x7f || byte !== text.charCodeAt(i)) return false;
  }
  return true;
}

const stringCache = new StringCache();

/** Limits of a field table: its depth of nesting, and its number of values. Tables of a broker are far smaller. */
export const TABLE_LIMITS = { depth: 32, values: 4_096 } as const;

/** Reads values in sequence. A missing or invalid value throws an error that does not quote it. */
export class FieldReader {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;
  /** End of the innermost frame, table or array that is being read. */
  #end = 0;
  #depth = 0;
  #values = 0;
  /** Short string that was read last: the id of a call is two properties of its message. */
  #lastShort = "";

  /** Starts to read other bytes between two offsets, so that one object reads all frames. */
  from(bytes: Buffer, at: number, end: number = bytes.length): this {
    this.#bytes = bytes;
    this.#at = at;
    this.#end = end;
    return this;
  }

  /** Bytes that are read. */
  get bytes(): Buffer {
    return this.#bytes;
  }

  /** Offset of the next value. */
  get at(): number {
    return this.#at;
  }

  /** Offset after the last value. */
  get end(): number {
    return this.#end;
  }

  /** Octet. */
  u8(): number {
    return this.#bytes.readUInt8(this.#past(1));
  }

  /** Short. */
  u16(): number {
    return this.#bytes.readUInt16BE(this.#past(2));
  }

  /** Long. */
  u32(): number {
    return this.#bytes.readUInt32BE(this.#past(4));
  }

  /** Longlong; the values that RabbitMQ uses are exact as numbers. */
  u64(): number {
    return this.u32() * 2 ** 32 + this.u32();
  }

  /** Short string, for values that differ with each message. */
  short(): string {
    const length = this.u8();
    const at = this.#past(length);
    const last = this.#lastShort;
    if (last.length === length && same(last, this.#bytes, at)) return last;
    return this.#lastShort = this.#bytes.toString("utf8", at, at + length);
  }

  /** Long string. */
  long(): string {
    return this.#text(this.u32());
  }

  /** Short string, for values that repeat: they are cached. */
  name(): string {
    const length = this.u8();
    const at = this.#past(length);
    return stringCache.text(this.#bytes, at, at + length);
  }

  /**
   * Field table.
   *
   * @throws {RangeError} It is longer than its frame, too deep, or has too many values. What follows it can still be read.
   * @throws {TypeError} A value has a type that RabbitMQ does not know. What follows the table can still be read.
   */
  table(): Record<string, unknown> {
    const frame = this.#end;
    const end = this.u32() + this.#at;
    this.#at -= 4;
    this.#depth = this.#values = 0;
    try {
      return this.#table();
    } finally {
      this.#end = frame;
      this.#at = Math.min(end, frame);
    }
  }

  /** Advances by a number of bytes; returns their start. */
  #past(bytes: number): number {
    const at = this.#at;
    if (at + bytes > this.#end) throw new RangeError("it ends too early");
    this.#at = at + bytes;
    return at;
  }

  #table(): Record<string, unknown> {
    const outer = this.#enter();
    const fields: Record<string, unknown> = {};
    while (this.#at < this.#end) {
      const name = this.name();
      const value = this.#value();
      // An object without a prototype costs more.
      if (name === "__proto__") defineField(fields, name, value);
      else fields[name] = value;
    }
    this.#leave(outer);
    return fields;
  }

  #array(): unknown[] {
    const outer = this.#enter();
    const values: unknown[] = [];
    while (this.#at < this.#end) values.push(this.#value());
    this.#leave(outer);
    return values;
  }

  /** Into a table or an array; returns where that ends in which it is. */
  #enter(): number {
    const length = this.u32();
    const outer = this.#end, end = this.#at + length;
    if (end > outer) throw new RangeError("it ends too early");
    if (++this.#depth > TABLE_LIMITS.depth) {
      throw new RangeError(`it is nested deeper than ${TABLE_LIMITS.depth}`);
    }
    this.#end = end;
    return outer;
  }

  #leave(outer: number): void {
    this.#end = outer;
    this.#depth--;
  }

  #text(length: number): string {
    const at = this.#past(length);
    return this.#bytes.toString("utf8", at, at + length);
  }

  /** Reads a value by its type. RabbitMQ's types differ from those of the specification. */
  #value(): unknown {
    if (++this.#values > TABLE_LIMITS.values) {
      throw new RangeError(`it has more than ${TABLE_LIMITS.values} values`);
    }
    const type = this.u8();
    switch (type) {
      case 0x53: // S
        return this.#text(this.u32());
      case 0x74: // t
        return this.u8() !== 0;
      case 0x56: // V
        return null;
      case 0x46: // F
        return this.#table();
      case 0x41: // A
        return this.#array();
      case 0x44: // D
        return { places: this.u8(), digits: this.u32() };
      case 0x78: { // x
        const length = this.u32();
        const at = this.#past(length);
        return this.#bytes.subarray(at, at + length);
      }
      default:
        return this.#number(type);
    }
  }

  #number(type: number): number {
    switch (type) {
      case 0x49: // I
        return this.u32() | 0;
      case 0x6c: // l
      case 0x4c: // L, signed as well
        return Number(this.#bytes.readBigInt64BE(this.#past(8)));
      case 0x54: // T, in seconds
        return Number(this.#bytes.readBigUInt64BE(this.#past(8)));
      case 0x64: // d
        return this.#bytes.readDoubleBE(this.#past(8));
      case 0x66: // f
        return this.#bytes.readFloatBE(this.#past(4));
      case 0x62: // b
        return this.u8() << 24 >> 24;
      case 0x42: // B
        return this.u8();
      case 0x73: // s
        return this.u16() << 16 >> 16;
      case 0x75: // u
        return this.u16();
      case 0x69: // i
        return this.u32();
      default:
        throw new TypeError(`it has a value of the unknown type ${type}`);
    }
  }
}

/** Defines a field whose name has a meaning in assignments. */
function defineField(fields: object, name: string, value: unknown): void {
  const field = { enumerable: true, configurable: true, writable: true };
  Object.defineProperty(fields, name, { ...field, value });
}
