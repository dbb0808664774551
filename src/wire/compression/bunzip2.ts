/** Decompression of bzip2, which the platform does not support. @module */

/** Thrown when the result exceeds the limit. */
class OutputLimitReached extends Error {}

/** Reads bits, the highest of each byte first. */
class BitReader {
  readonly #bytes: Uint8Array;
  #at = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  bit(): number {
    const byte = this.#bytes[this.#at >> 3];
    if (byte === undefined) throw new Error("cut off");
    return byte >> (7 - (this.#at++ & 7)) & 1;
  }

  bits(count: number): number {
    let value = 0;
    for (let n = 0; n < count; n++) value = value * 2 + this.bit();
    return value;
  }
}

/** Collects what is decompressed, and sums up each block. */
class Bzip2Output {
  static #table: Uint32Array | undefined;
  readonly bytes: number[] = [];
  readonly #limit: number;
  #checksum = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** Adds a block, in which a count of further ones follows four equal bytes; returns its checksum. */
  addBlock(block: Iterable<number>): number {
    this.#checksum = 0xffff_ffff;
    let [last, equal] = [-1, 0];
    for (const byte of block) {
      if (equal === 4) {
        for (let n = 0; n < byte; n++) this.#add(last);
        equal = 0;
        continue;
      }
      equal = byte === last && equal > 0 ? equal + 1 : 1;
      this.#add(last = byte);
    }
    return ~this.#checksum >>> 0;
  }

  #add(byte: number): void {
    if (this.bytes.length === this.#limit) throw new OutputLimitReached();
    this.bytes.push(byte);
    const table = Bzip2Output.#table ??= Uint32Array.from(
      { length: 256 },
      (_, n) => checksumOf(n),
    );
    const sum = this.#checksum;
    this.#checksum = sum << 8 ^ (table[(sum >>> 24 ^ byte) & 255] ?? 0);
  }
}

/** Returns the CRC-32 of a byte, with the highest bit first. */
function checksumOf(byte: number): number {
  let sum = byte << 24;
  for (let n = 0; n < 8; n++) sum = sum << 1 ^ (sum < 0 ? 0x04c1_1db7 : 0);
  return sum >>> 0;
}

/** Maximum length of a code, in bits. */
const MAX_CODE_BITS = 20;
/** Symbols after which another table of codes is used. */
const SYMBOLS_PER_TABLE = 50;

/** Reads a table of codes; returns a function that reads one symbol. */
function readTable(reader: BitReader, size: number): () => number {
  const bySize: number[][] = Array.from(
    { length: MAX_CODE_BITS + 1 },
    () => [],
  );
  let length = reader.bits(5);
  for (let symbol = 0; symbol < size; symbol++) {
    while (reader.bit()) length += reader.bit() ? -1 : 1;
    if (length < 1 || length > MAX_CODE_BITS) throw new Error("no length");
    bySize[length]?.push(symbol);
  }
  return () => {
    let [code, first] = [0, 0];
    for (const symbols of bySize.slice(1)) {
      code += reader.bit();
      const symbol = symbols[code - first];
      if (symbol !== undefined) return symbol;
      first = (first + symbols.length) * 2;
      code *= 2;
    }
    throw new Error("no such code");
  };
}

/** Moves an item of a list to its front, and returns the item. */
function toFront(list: number[], at: number): number {
  const [item] = list.splice(at, 1);
  if (item === undefined) throw new Error("no such item");
  list.unshift(item);
  return item;
}

/** Reads the bytes that a block uses. */
function readAlphabet(reader: BitReader): number[] {
  const rows = reader.bits(16);
  const bytes: number[] = [];
  for (let row = 0; row < 16; row++) {
    if ((rows >> (15 - row) & 1) === 0) continue;
    const columns = reader.bits(16);
    for (let n = 0; n < 16; n++) {
      if (columns >> (15 - n) & 1) bytes.push(row * 16 + n);
    }
  }
  return bytes;
}

/** Reads the tables of codes; returns a function that reads the next symbol with the right one. */
function readTables(reader: BitReader, symbols: number): () => number {
  const order = Array.from({ length: reader.bits(3) }, (_, n) => n);
  const choices = Array.from({ length: reader.bits(15) }, () => {
    let at = 0;
    while (reader.bit()) at++;
    return toFront(order, at);
  });
  const tables = order.map(() => readTable(reader, symbols));
  let count = 0;
  return () => {
    const choice = choices[Math.floor(count++ / SYMBOLS_PER_TABLE)] ?? -1;
    const read = tables[choice];
    if (!read) throw new Error("no such table");
    return read();
  };
}

/** Reads the sorted bytes of a block. */
function readSorted(reader: BitReader, limit: number): Uint8Array {
  const alphabet = readAlphabet(reader);
  const end = alphabet.length + 1;
  const next = readTables(reader, end + 1);
  const bytes: number[] = [];
  const add = (byte = 0, times: number) => {
    if (bytes.length + times > limit) throw new Error("too long");
    for (let n = 0; n < times; n++) bytes.push(byte);
  };
  for (let [run, digit] = [0, 1];;) {
    const symbol = next();
    if (symbol < 2) { // a digit of the length of a run
      run += digit << symbol;
      digit *= 2;
      if (run > limit) throw new Error("too long");
      continue;
    }
    add(alphabet[0], run);
    [run, digit] = [0, 1];
    if (symbol === end) return Uint8Array.from(bytes);
    add(toFront(alphabet, symbol - 1), 1);
  }
}

/** Yields the bytes of a block in their order (Burrows-Wheeler transform). */
function* unsorted(sorted: Uint8Array, start: number): Generator<number> {
  if (start >= sorted.length) throw new Error("no such start");
  const places = new Uint32Array(256);
  for (const byte of sorted) places[byte]!++;
  let sum = 0;
  for (const [byte, count] of places.entries()) {
    places[byte] = sum;
    sum += count;
  }
  const next = new Uint32Array(sorted.length);
  for (const [at, byte] of sorted.entries()) next[places[byte]!++] = at;
  for (let n = 0, at = next[start] ?? 0; n < sorted.length; n++) {
    yield sorted[at] ?? 0;
    at = next[at] ?? 0;
  }
}

const BLOCK_MARK = 0x3141_5926_5359, END_MARK = 0x1772_4538_5090;
const BLOCK_UNIT_BYTES = 100_000;

/** Decompresses a stream of bzip2, and checks the checksum of each block. */
function readBzip2(body: Uint8Array, limit: number): Uint8Array {
  const reader = new BitReader(body);
  const output = new Bzip2Output(limit);
  const isStream = reader.bits(24) === 0x42_5a68; // BZh
  const level = reader.bits(8) - 0x30;
  if (!isStream || level < 1 || level > 9) throw new Error("no bzip2");
  for (let total = 0;;) {
    const mark = reader.bits(48);
    const checksum = reader.bits(32);
    if (mark === END_MARK && checksum === total) {
      return Uint8Array.from(output.bytes);
    }
    const isRandomized = mark === BLOCK_MARK && reader.bit() === 1;
    if (mark !== BLOCK_MARK || isRandomized) throw new Error("no block");
    const start = reader.bits(24);
    const sorted = readSorted(reader, level * BLOCK_UNIT_BYTES);
    const actual = output.addBlock(unsorted(sorted, start));
    if (actual !== checksum) throw new Error("damaged");
    total = ((total << 1 | total >>> 31) ^ checksum) >>> 0;
  }
}

/** Decompresses bzip2; undefined if the result exceeds the limit. */
export function unbzip2(
  body: Uint8Array,
  limit: number,
): Uint8Array | undefined {
  try {
    return readBzip2(body, limit);
  } catch (error) {
    if (error instanceof OutputLimitReached) return undefined;
    throw error;
  }
}
