/**
 * Reads bzip2, which the platform does not: bodies of peers that are set up with `kombu_compression = bz2`. What is written is
 * bounded while it is read, and so is what is kept for it.
 *
 * @module
 */

/** Bits of a stream, the highest of each byte first. */
class Bits {
  readonly #bytes: Uint8Array;
  #at = 0;
  #kept = 0;
  #bits = 0;

  constructor(bytes: Uint8Array) {
    this.#bytes = bytes;
  }

  /** The next bits as a number, 24 at most. Throws at the end. */
  take(count: number): number {
    const bits = this.peek(count);
    this.skip(count);
    return bits;
  }

  /** The same, and they stay the next; past the end come zeros. */
  peek(count: number): number {
    while (this.#bits < count) {
      this.#kept = this.#kept << 8 | (this.#bytes[this.#at++] ?? 0);
      this.#bits += 8;
    }
    return this.#kept >>> (this.#bits - count) & ((1 << count) - 1);
  }

  /** Goes on after bits that were peeked at. */
  skip(count: number): void {
    this.#bits -= count;
    const read = this.#at - (this.#bits >>> 3);
    if (read > this.#bytes.length) throw new Error("cut off");
  }

  /** The next 32 bits. */
  word(): number {
    return (this.take(16) << 16 | this.take(16)) >>> 0;
  }
}

/** Bits of the longest code, symbols that share a table, and bytes of a block for each step of the level. */
const LONGEST = 20, GROUP = 50, LEVEL = 100_000;

/** Bits of the codes that are looked up in one step. */
const SHORT = 10;

/** One Huffman table: the symbols by their codes, how many codes each length has, and the short codes by all that may follow. */
interface Table {
  readonly counts: Uint16Array;
  readonly symbols: Uint16Array;
  /** The symbol and, in the lowest five bits, the length of its code; 0 where that is longer. */
  readonly short: Uint16Array;
}

function readLengths(bits: Bits, size: number): Uint8Array {
  const lengths = new Uint8Array(size);
  let length = bits.take(5);
  for (let symbol = 0; symbol < size; symbol++) {
    while (bits.take(1)) length += bits.take(1) ? -1 : 1;
    if (length < 1 || length > LONGEST) throw new Error("a wrong code");
    lengths[symbol] = length;
  }
  return lengths;
}

function readTable(bits: Bits, size: number): Table {
  const lengths = readLengths(bits, size);
  const counts = new Uint16Array(LONGEST + 1);
  const symbols = new Uint16Array(size);
  const short = new Uint16Array(1 << SHORT);
  for (let length = 1, at = 0, code = 0; length <= LONGEST; length++) {
    for (let symbol = 0; symbol < size; symbol++) {
      if (lengths[symbol] !== length) continue;
      symbols[at++] = symbol;
      counts[length] = (counts[length] ?? 0) + 1;
      if (length <= SHORT) {
        const free = SHORT - length;
        short.fill(symbol << 5 | length, code << free, (code + 1) << free);
      }
      code++;
    }
    code <<= 1;
  }
  return { counts, symbols, short };
}

function readSymbol(bits: Bits, { counts, symbols, short }: Table): number {
  const known = short[bits.peek(SHORT)] ?? 0;
  if (known) {
    bits.skip(known & 31);
    return known >>> 5;
  }
  const ahead = bits.peek(LONGEST);
  for (let length = 1, first = 0, at = 0; length <= LONGEST; length++) {
    const code = ahead >>> (LONGEST - length);
    const count = counts[length] ?? 0;
    if (code - first < count) {
      bits.skip(length);
      return symbols[at + code - first] ?? 0;
    }
    at += count;
    first = (first + count) << 1;
  }
  throw new Error("an unknown code");
}

/** The bytes that a block uses. */
function readAlphabet(bits: Bits): Uint8Array {
  const used = bits.take(16);
  const alphabet: number[] = [];
  for (let high = 0; high < 16; high++) {
    const low = used >> (15 - high) & 1 ? bits.take(16) : 0;
    for (let each = 0; each < 16; each++) {
      if (low >> (15 - each) & 1) alphabet.push(high * 16 + each);
    }
  }
  if (alphabet.length === 0) throw new Error("an empty alphabet");
  return Uint8Array.from(alphabet);
}

/** Moves an entry to the front, and returns it. */
function toFront(list: Uint8Array, at: number): number {
  const found = list[at];
  if (found === undefined) throw new Error("a wrong position");
  list.copyWithin(1, 0, at);
  return list[0] = found;
}

/** The tables of a block, and which of them each group of symbols uses. */
function readTables(bits: Bits, size: number) {
  const count = bits.take(3);
  const groups = bits.take(15);
  if (count < 2 || count > 6 || groups === 0) throw new Error("no tables");
  const order = Uint8Array.from({ length: count }, (_, at) => at);
  const chosen = new Uint8Array(groups);
  for (let group = 0; group < groups; group++) {
    let at = 0;
    while (bits.take(1)) at++;
    chosen[group] = toFront(order, at);
  }
  return { chosen, tables: Array.from(order, () => readTable(bits, size)) };
}

/** Reads the bytes of a block into `block`, as they were sorted; returns how many. */
function readSorted(bits: Bits, block: Uint32Array): number {
  const recent = readAlphabet(bits);
  const end = recent.length + 1;
  const { chosen, tables } = readTables(bits, end + 1);
  let length = 0, run = 0, weight = 1;
  for (let read = 0;; read++) {
    const table = tables[chosen[read / GROUP | 0] ?? -1];
    if (!table) throw new Error("more symbols than groups");
    const symbol = readSymbol(bits, table);
    if (symbol < 2) { // a digit of the length of a run
      run += weight << symbol;
      weight *= 2;
      if (run > block.length) throw new TooLong();
      continue;
    }
    const last = symbol === end;
    if (length + run + (last ? 0 : 1) > block.length) throw new TooLong();
    if (run > 0) block.fill(recent[0] ?? 0, length, length += run);
    run = 0;
    weight = 1;
    if (last) return length;
    block[length++] = toFront(recent, symbol - 1);
  }
}

/** Links the bytes of a sorted block: in the upper bits of each entry is where its successor is. */
function unsort(block: Uint32Array): void {
  const starts = new Uint32Array(256);
  for (const byte of block) starts[byte] = (starts[byte] ?? 0) + 1;
  for (let byte = 0, total = 0; byte < 256; byte++) {
    total += starts[byte] ?? 0;
    starts[byte] = total - (starts[byte] ?? 0);
  }
  for (let at = 0; at < block.length; at++) {
    const byte = (block[at] ?? 0) & 0xff;
    const to = starts[byte] ?? 0;
    starts[byte] = to + 1;
    block[to] = (block[to] ?? 0) | at << 8;
  }
}

/** Checksums of one byte, the highest bit first. */
const CRC = Uint32Array.from({ length: 256 }, (_, byte) => {
  let crc = byte << 24;
  for (let bit = 0; bit < 8; bit++) {
    crc = crc << 1 ^ (crc < 0 ? 0x04c11db7 : 0);
  }
  return crc;
});

/** There is more than was allowed. */
class TooLong extends Error {}

/** What was read, up to a limit. */
class Output {
  readonly #limit: number;
  #bytes = new Uint8Array(1024);
  #length = 0;

  constructor(limit: number) {
    this.#limit = limit;
  }

  /** All of it. */
  get bytes(): Uint8Array {
    return this.#bytes.subarray(0, this.#length);
  }

  add(byte: number, times: number): void {
    const length = this.#length + times;
    if (length > this.#limit) throw new TooLong();
    if (length > this.#bytes.length) {
      const more = new Uint8Array(Math.max(length, 2 * this.#bytes.length));
      more.set(this.#bytes);
      this.#bytes = more;
    }
    this.#bytes.fill(byte, this.#length, length);
    this.#length = length;
  }
}

/** Writes an unsorted block: four equal bytes are followed by how often the byte comes again. Returns the checksum. */
function write(block: Uint32Array, origin: number, output: Output): number {
  let crc = -1, same = 0, last = -1;
  let at = (block[origin] ?? 0) >>> 8;
  for (let read = 0; read < block.length; read++) {
    const entry = block[at] ?? 0;
    const byte = entry & 0xff;
    at = entry >>> 8;
    const again = same === 4;
    const times = again ? byte : 1;
    if (!again) {
      same = byte === last ? same + 1 : 1;
      last = byte;
    } else same = 0;
    output.add(last, times);
    for (let each = 0; each < times; each++) {
      crc = crc << 8 ^ (CRC[(crc >>> 24 ^ last) & 0xff] ?? 0);
    }
    if (again) last = -1;
  }
  return ~crc >>> 0;
}

function readBlock(bits: Bits, block: Uint32Array, output: Output): void {
  const crc = bits.word();
  if (bits.take(1)) throw new Error("a randomised block");
  const origin = bits.take(24);
  const length = readSorted(bits, block);
  if (origin >= length) throw new Error("a wrong origin");
  const read = block.subarray(0, length);
  unsort(read);
  if (write(read, origin, output) !== crc) throw new Error("a wrong checksum");
}

/** What begins a block, and what ends the stream: 24 bits twice. */
const BLOCK = [0x314159, 0x265359], END = [0x177245, 0x385090];

/** The bytes of a stream; undefined if there are more than `limit`. Throws where it is no bzip2. */
export function unbzip2(
  bytes: Uint8Array,
  limit: number,
): Uint8Array | undefined {
  const bits = new Bits(bytes);
  if (bits.take(24) !== 0x425a68) throw new Error("no bzip2");
  const level = bits.take(8) - 0x30;
  if (level < 1 || level > 9) throw new Error("an unknown level");
  // Five bytes of a block are four at least when they are written.
  const size = Math.min(level * LEVEL, Math.ceil(limit * 1.25) + 5);
  const block = new Uint32Array(size);
  const output = new Output(limit);
  try {
    for (;;) {
      const mark = [bits.take(24), bits.take(24)];
      if (mark.every((part, at) => part === END[at])) {
        bits.word(); // the checksum of all blocks, each of which had its own
        return output.bytes;
      }
      if (!mark.every((part, at) => part === BLOCK[at])) {
        throw new Error("no block");
      }
      readBlock(bits, block, output);
    }
  } catch (error) {
    if (error instanceof TooLong) return undefined;
    throw error;
  }
}
