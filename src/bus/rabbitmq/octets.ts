/** What the frames of AMQP 0-9-1 hold, as RabbitMQ sends it. @module */
import { Buffer } from "node:buffer";

/** Slots for texts that come again. */
const SLOTS = 256;

/** Texts that come with every message, such as the names of headers: decoded once. */
class Known {
  readonly #texts: (string | undefined)[] = new Array(SLOTS).fill(undefined);

  /** The text of these bytes. */
  text(bytes: Buffer, at: number, end: number): string {
    const slot = (end - at + 7 * bytes[at]! + 13 * bytes[(at + end) >> 1]! +
          31 * bytes[end - 1]!) % SLOTS || 0;
    const known = this.#texts[slot];
    if (known?.length === end - at && same(known, bytes, at)) return known;
    return this.#texts[slot] = bytes.toString("utf8", at, end);
  }
}

/** Of a text in ASCII; any other is decoded each time. */
function same(text: string, bytes: Buffer, at: number): boolean {
  for (let i = 0; i < text.length; i++) {
    const byte = bytes[at + i] ?? 0;
    if (byte > 0x7f || byte !== text.charCodeAt(i)) return false;
  }
  return true;
}

const known = new Known();

/** Reads one value after the other. */
export class Octets {
  #bytes: Buffer = Buffer.alloc(0);
  #at = 0;

  /** From a place in other bytes: one object reads them all. */
  from(bytes: Buffer, at: number): this {
    this.#bytes = bytes;
    this.#at = at;
    return this;
  }

  /** Where the next value begins. */
  get at(): number {
    return this.#at;
  }

  /** Octet. */
  u8(): number {
    return this.#bytes.readUInt8(this.#at++);
  }

  /** Short. */
  u16(): number {
    this.#at += 2;
    return this.#bytes.readUInt16BE(this.#at - 2);
  }

  /** Long. */
  u32(): number {
    this.#at += 4;
    return this.#bytes.readUInt32BE(this.#at - 4);
  }

  /** Longlong, of which the broker uses what a number holds. */
  u64(): number {
    return this.u32() * 2 ** 32 + this.u32();
  }

  /** Short string, of which most are different each time. */
  short(): string {
    const length = this.u8();
    return this.#text(length);
  }

  /** Short string, of which there are few. */
  name(): string {
    const length = this.u8();
    this.#at += length;
    return known.text(this.#bytes, this.#at - length, this.#at);
  }

  /** Past a short string. */
  skip(): void {
    const length = this.u8();
    this.#at += length;
  }

  /** Field table. */
  table(): Record<string, unknown> {
    const end = this.u32() + this.#at;
    let fields: Record<string, unknown> = {};
    while (this.#at < end) {
      const name = this.name();
      // An object without a prototype costs more.
      if (name === "__proto__") fields = harmless(fields);
      fields[name] = this.#value();
    }
    return fields;
  }

  #array(): unknown[] {
    const end = this.u32() + this.#at;
    const values: unknown[] = [];
    while (this.#at < end) values.push(this.#value());
    return values;
  }

  #text(length: number): string {
    this.#at += length;
    return this.#bytes.toString("utf8", this.#at - length, this.#at);
  }

  /** Types as RabbitMQ uses them, which are not those of the specification. */
  #value(): unknown {
    const type = this.u8();
    switch (type) {
      case 0x53: // S
        return this.#text(this.u32());
      case 0x49: // I
        return this.u32() | 0;
      case 0x74: // t
        return this.u8() !== 0;
      case 0x56: // V
        return null;
      case 0x46: // F
        return this.table();
      case 0x41: // A
        return this.#array();
      case 0x6c: // l
        return Number(BigInt.asIntN(64, this.#big()));
      case 0x54: // T, in seconds
        return Number(this.#big());
      case 0x64: // d
        this.#at += 8;
        return this.#bytes.readDoubleBE(this.#at - 8);
      case 0x66: // f
        this.#at += 4;
        return this.#bytes.readFloatBE(this.#at - 4);
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
      case 0x44: // D
        return { places: this.u8(), digits: this.u32() };
      case 0x78: { // x
        const end = this.u32() + this.#at;
        const bytes = this.#bytes.subarray(this.#at, end);
        this.#at = end;
        return bytes;
      }
      default:
        throw new TypeError(`a field of unknown type ${type}`);
    }
  }

  #big(): bigint {
    this.#at += 8;
    return this.#bytes.readBigUInt64BE(this.#at - 8);
  }
}

/** The same, with no name that means something. */
const harmless = (fields: object): Record<string, unknown> =>
  Object.assign(Object.create(null), fields);
