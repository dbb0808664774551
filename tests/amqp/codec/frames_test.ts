/** Frames: written and read, in one piece and in any pieces. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import { FrameReader } from "../../../src/amqp/codec/frame_reader.ts";
import { FrameWriter } from "../../../src/amqp/codec/frame_writer.ts";
import { decodeMethod } from "../../../src/amqp/codec/method_codec.ts";
import { FrameError } from "../../../src/amqp/codec/protocol.ts";

/** Frames as text, bodies of consecutive parts in one piece. */
class Log {
  readonly #reader = new FrameReader();
  readonly #kept: { readonly part: Buffer; readonly hex: string }[] = [];
  #lines: string[] = [];
  #body: { channel: number; hex: string } | undefined;

  constructor(frameMax?: number) {
    if (frameMax !== undefined) this.#reader.frameMax = frameMax;
  }

  get lines(): readonly string[] {
    this.#endBody();
    return this.#lines;
  }

  /** Reads bytes, as many at once as there is room for. */
  read(bytes: Uint8Array): this {
    for (let at = 0; at < bytes.length;) {
      const space = this.#reader.space();
      const part = bytes.subarray(at, at + space.length);
      space.set(part);
      at += part.length;
      this.#received(part.length);
    }
    return this;
  }

  /** Checks that no part of a body was overwritten, since the reader was told that all are kept. */
  checkKept(): void {
    for (const { part, hex } of this.#kept) {
      assert.equal(part.toString("hex"), hex);
    }
  }

  #received(bytes: number): void {
    this.#reader.received(bytes, {
      onMethod: (channel, fields) => {
        const { name, args } = decodeMethod(fields);
        this.#add(`${channel} ${name} ${JSON.stringify(args)}`);
      },
      onHeader: (channel, fields) => {
        const bytes = fields.bytes.subarray(fields.at, fields.end);
        this.#add(`${channel} header ${bytes.toString("hex")}`);
      },
      onBody: (channel, part) => {
        const hex = part.toString("hex");
        this.#kept.push({ part, hex });
        if (this.#body?.channel !== channel) this.#endBody();
        this.#body = { channel, hex: (this.#body?.hex ?? "") + hex };
        return true;
      },
    });
  }

  #add(line: string): void {
    this.#endBody();
    this.#lines.push(line);
  }

  #endBody(): void {
    if (this.#body) this.#lines.push(`${this.#body.channel} ${this.#body.hex}`);
    this.#body = undefined;
  }
}

/** Frames of all kinds, some of them larger than the buffer of a reader. */
function frames(bodySizes: readonly number[]): Buffer {
  const writer = new FrameWriter();
  for (const [n, size] of bodySizes.entries()) {
    writer.method(n, "queue.declare", { queue: `queue ${n}` });
    const body = Buffer.alloc(size, n + 1);
    const headers = { n, text: "x".repeat(n * 7) };
    writer.publish(n + 1, { exchange: "é", routingKey: "" }, { body, headers });
    writer.heartbeat();
    writer.ack(n, 2 ** 40 + n, true);
  }
  return Buffer.from(writer.take());
}

Deno.test("frames that are cut in two at each byte are read as in one piece", () => {
  const bytes = frames([0, 1, 40]);
  const { lines } = new Log().read(bytes);
  assert.equal(lines.length, 14);
  for (let at = 0; at <= bytes.length; at++) {
    const log = new Log().read(bytes.subarray(0, at)).read(bytes.subarray(at));
    assert.deepEqual(log.lines, lines, `cut at ${at}`);
  }
});

Deno.test("frames that arrive one byte at a time are read as in one piece", () => {
  const bytes = frames([0, 1, 200, 5_000]);
  const { lines } = new Log().read(bytes);
  const log = new Log();
  for (const byte of bytes) log.read(new Uint8Array([byte]));
  assert.deepEqual(log.lines, lines);
  log.checkKept();
});

Deno.test("frames that arrive in any pieces are read as in one piece, and bodies that are kept stay", () => {
  const sizes = fc.array(
    fc.oneof(fc.nat(300), fc.constantFrom(0, 131_064, 131_065, 400_000)),
    { minLength: 1, maxLength: 4 },
  );
  const cuts = fc.array(fc.nat(70_000), { minLength: 1, maxLength: 20 });
  fc.assert(
    fc.property(sizes, cuts, (sizes, cuts) => {
      const bytes = frames(sizes);
      const { lines } = new Log().read(bytes);
      const log = new Log();
      for (let at = 0, n = 0; at < bytes.length; n++) {
        const end = at + (cuts[n % cuts.length] ?? 0) + 1;
        log.read(bytes.subarray(at, end));
        at = end;
      }
      assert.deepEqual(log.lines, lines);
      log.checkKept();
    }),
    { numRuns: 25 },
  );
});

Deno.test("the body of a message is split by the limit of a frame", () => {
  for (const [size, parts] of [[4_087, 1], [4_088, 1], [4_089, 2], [0, 0]]) {
    const writer = new FrameWriter();
    writer.frameMax = 4_096;
    const to = { exchange: "", routingKey: "q" };
    writer.publish(1, to, { body: Buffer.alloc(size ?? 0, 1) });
    const bytes = Buffer.from(writer.take());
    let bodies = 0;
    for (let at = 0; at < bytes.length;) {
      const length = bytes.readUInt32BE(at + 3);
      assert.ok(length + 8 <= 4_096);
      if (bytes[at] === 3) bodies++;
      at += length + 8;
      assert.equal(bytes[at - 1], 0xce);
    }
    assert.equal(bodies, parts, `${size} bytes`);
  }
});

Deno.test("what cannot be encoded leaves no byte, and what was encoded before it stays", () => {
  const writer = new FrameWriter();
  writer.frameMax = 4_096;
  writer.heartbeat();
  const body = new Uint8Array(1);
  const long = "x".repeat(5_000);
  const to = { exchange: "", routingKey: "q" };
  const wrong: (() => void)[] = [
    () => writer.method(1, "queue.declare", { arguments: { long } }),
    () => writer.method(1, "queue.declare", { arguments: { a: Symbol() } }),
    () => writer.publish(1, to, { headers: { long }, body }),
    () => writer.publish(1, to, { priority: 256, body }),
    () => writer.publish(1, { exchange: long, routingKey: "" }, { body }),
  ];
  for (const write of wrong) {
    assert.throws(write, TypeError);
    assert.equal(writer.length, 8);
  }
  writer.heartbeat();
  const beat = "08000000000000ce";
  assert.equal(Buffer.from(writer.take()).toString("hex"), beat + beat);
});

Deno.test("bytes that were taken stay until the buffer is reused, whatever is written meanwhile", () => {
  const writer = new FrameWriter();
  writer.method(1, "queue.declare", { queue: "first" });
  const taken = writer.take();
  const before = Buffer.from(taken);
  const to = { exchange: "", routingKey: "q" };
  for (const size of [10, 300_000, 1_500_000]) {
    writer.publish(1, to, { body: Buffer.alloc(size, 7) });
    writer.reset(); // does nothing, because not everything was taken
  }
  assert.ok(before.equals(taken));
  const rest = Buffer.from(writer.take());
  const { lines } = new Log().read(rest);
  assert.equal(lines.length, 9);
  writer.reset();
  writer.heartbeat();
  assert.equal(writer.length, 8);
});

Deno.test("a frame of an unknown type, with a wrong end or too large throws a FrameError", () => {
  const beat = Buffer.from("08000000000000ce", "hex");
  const cases: readonly (readonly [string, RegExp])[] = [
    ["00", /unknown type 0/],
    ["48545450", /unknown type 72/],
    ["0100000000000400140029cf", /wrong end octet/],
    ["0200000000000400140029cf", /wrong end octet/],
    ["03000100000001aacf", /wrong end octet/],
    ["0800000000000000", /wrong end octet/],
    ["0100007fffffff", /more than 67108864/],
    ["0200007fffffff", /more than 67108864/],
    ["03000100001001", /4097 bytes, more than 4088/],
  ];
  for (const [hex, expected] of cases) {
    const bytes = Buffer.concat([beat, Buffer.from(hex, "hex")]);
    const fails = (read: () => void) =>
      assert.throws(read, (error: Error) => {
        assert.ok(error instanceof FrameError, `${hex}: ${error}`);
        assert.match(error.message, expected);
        return true;
      });
    fails(() => new Log(4_096).read(bytes));
    const log = new Log(4_096);
    fails(() => {
      for (const byte of bytes) log.read(new Uint8Array([byte]));
    });
  }
});
