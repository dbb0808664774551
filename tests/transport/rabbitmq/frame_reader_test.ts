/** What comes is read as amqplib reads it, in whatever pieces it comes. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { EventEmitter } from "node:events";
import fc from "npm:fast-check@^4.10.2";
import type { ConsumeMessage, Options } from "npm:amqplib@2.3.1";
import { GracefulClose } from "../../../src/transport/rabbitmq/amqplib/graceful_close.ts";
import {
  type AmqplibConnection,
  connectionOf,
} from "../../../src/transport/rabbitmq/amqplib/private_members.ts";
import type { Receive } from "../../../src/transport/rabbitmq/amqplib/channel_reader.ts";
import { openConfirmChannel } from "../../../src/transport/rabbitmq/amqplib/channel.ts";
import { FrameReader } from "../../../src/transport/rabbitmq/amqplib/frame_reader.ts";
import { fromAmqp } from "../../../src/transport/rabbitmq/amqplib/properties.ts";
import {
  FieldReader,
  TABLE_LIMITS,
} from "../../../src/transport/rabbitmq/amqplib/field_reader.ts";
import { openSocket } from "../../../src/transport/rabbitmq/connection/dial.ts";
import type { Message } from "../../../src/transport/transport.ts";
import { brokerUrl } from "../../setup/broker.ts";

/** What comes, for whoever waits for it. */
class Came<T> {
  readonly #come: T[] = [];
  #waiting: ((item: T) => void) | undefined;

  add(item: T): void {
    if (this.#waiting) this.#waiting(item);
    else this.#come.push(item);
    this.#waiting = undefined;
  }

  next(): Promise<T> {
    const first = this.#come.shift();
    if (first !== undefined) return Promise.resolve(first);
    return new Promise((resolve) => this.#waiting = resolve);
  }
}

interface Delivered {
  readonly message: Message;
  readonly key: string;
  readonly tag: number;
  readonly redelivered: boolean;
}

const receiver = (came: Came<Delivered>): Receive => (message, fields) =>
  came.add({ message, ...fields });

async function connected() {
  const url = new URL(await brokerUrl());
  const settings = {
    name: "incoming",
    heartbeat: 0,
    connectTimeout: 10_000,
    gracefulClose: new GracefulClose(),
  };
  const { signal } = new AbortController();
  const socket = await openSocket({ url }, settings, signal);
  const open = await openConfirmChannel(socket);
  return {
    socket,
    channel: open.channel,
    input: open.input,
    close: () => open.close(),
    inner: connectionOf(socket.model),
    [Symbol.asyncDispose]: () => socket.close(),
  };
}

type Connected = Awaited<ReturnType<typeof connected>>;

/** A queue that Warren reads, and one that amqplib reads. */
async function twice(
  { channel, input }: Connected,
) {
  const [ours, theirs] = [new Came<Delivered>(), new Came<ConsumeMessage>()];
  const { queue } = await channel.assertQueue("", { exclusive: true });
  const { queue: other } = await channel.assertQueue("", { exclusive: true });
  input.consumers.set("ours", { receive: receiver(ours) });
  const never = () => assert.fail("amqplib got it");
  await channel.consume(queue, never, { consumerTag: "ours", noAck: true });
  const take = (message: ConsumeMessage | null) =>
    message && theirs.add(message);
  await channel.consume(other, take, { noAck: true });
  return { queue, other, ours, theirs };
}

const text = fc.string({ unit: "grapheme", maxLength: 40 })
  .filter((text) => Buffer.byteLength(text) <= 255);
const typed = (type: string, value: fc.Arbitrary<unknown>) =>
  value.map((value) => ({ "!": type, value }));
const { value: field } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    text,
    fc.boolean(),
    fc.constant(null),
    fc.maxSafeInteger(),
    typed("byte", fc.integer({ min: -128, max: 127 })),
    typed("unsignedbyte", fc.nat(255)),
    typed("short", fc.integer({ min: -32_768, max: 32_767 })),
    typed("unsignedshort", fc.nat(65_535)),
    typed("int", fc.integer()),
    typed("unsignedint", fc.nat(2 ** 32 - 1)),
    typed("long", fc.maxSafeInteger()),
    typed("timestamp", fc.nat()),
    // RabbitMQ ends the connection for an infinite number: Erlang has none.
    typed("float", fc.float({ noNaN: true, noDefaultInfinity: true })),
    typed("double", fc.double({ noNaN: true, noDefaultInfinity: true })),
    typed(
      "decimal",
      fc.record({ places: fc.nat(255), digits: fc.nat(2 ** 32 - 1) }),
    ),
    fc.uint8Array({ maxLength: 20 }).map((bytes) => Buffer.from(bytes)),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(text, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
}));

/** A message as amqplib is given it. */
const sent = fc.record({
  length: fc.oneof(fc.nat(400), fc.constantFrom(0, 131_064, 131_065, 300_000)),
  headers: fc.option(
    fc.dictionary(text, field, { maxKeys: 6, noNullPrototype: true }),
    { nil: undefined },
  ),
  properties: fc.record({
    contentType: text,
    contentEncoding: text,
    persistent: fc.boolean(),
    priority: fc.nat(9),
    correlationId: text,
    replyTo: text,
    expiration: fc.integer({ min: 60_000, max: 2 ** 31 }),
    messageId: text,
    timestamp: fc.nat(),
    type: text,
    appId: text,
  }, { requiredKeys: [] }),
});

/** Empty properties are left out by amqplib, and as good as none. */
const plain = ({ unreadable: _, oversized: __, ...message }: Message) =>
  message;

Deno.test("whatever amqplib can send comes as amqplib would read it", async () => {
  await using connection = await connected();
  const { channel } = connection;
  const { queue, other, ours, theirs } = await twice(connection);
  const batch = fc.array(sent, { minLength: 1, maxLength: 8 });
  await fc.assert(
    fc.asyncProperty(batch, async (batch) => {
      for (const { length, headers, properties } of batch) {
        const body = Buffer.alloc(length, "a body ");
        const options: Options.Publish = { ...properties, headers };
        for (const to of [queue, other]) {
          channel.sendToQueue(to, body, options);
        }
      }
      for (const _ of batch) {
        const [our, their] = [await ours.next(), await theirs.next()];
        assert.deepEqual(plain(our.message), fromAmqp(their));
        assert.equal(our.key, queue);
        assert.equal(our.redelivered, false);
      }
    }),
    { numRuns: 100 },
  );
});

Deno.test("a header named __proto__ is a header", async () => {
  await using connection = await connected();
  const { queue, ours } = await twice(connection);
  const headers = JSON.parse('{ "__proto__": { "a": 1 }, "b": 2 }');
  connection.channel.sendToQueue(queue, Buffer.from("{}"), { headers });
  const { message } = await ours.next();
  assert.deepEqual(Object.keys(message.headers), ["__proto__", "b"]);
  assert.equal(message.headers.a, undefined);
  assert.deepEqual(Object.entries(message.headers), [
    ["__proto__", { a: 1 }],
    ["b", 2],
  ]);
});

Deno.test("in whatever pieces bytes come, they are the same messages, and amqplib gets the same frames", async () => {
  const bytes: Buffer[] = [];
  const lengths = [0, 5, 131_064, 131_065, 300_000, 7];
  {
    await using connection = await connected();
    const { queue, ours } = await twice(connection);
    const { channel, inner } = connection;
    inner.stream.on("data", (chunk: Buffer) => bytes.push(chunk));
    for (const length of lengths) {
      const headers = { a: "text", n: 1 };
      channel.sendToQueue(queue, Buffer.alloc(length, "body"), { headers });
    }
    for (const _ of lengths) await ours.next();
    await channel.checkQueue(queue); // a frame for amqplib behind them
  }
  const whole = Buffer.concat(bytes);
  const read = (sizes: readonly number[]) => {
    const frames: Buffer[] = [];
    const fake = Object.assign(new EventEmitter(), {
      stream: new EventEmitter(),
      rest: Buffer.alloc(0),
      recvSinceLastCheck: false,
      recvFrame: () => Buffer.from(fake.rest),
      accept: (frame: Buffer) => frames.push(frame),
    });
    const incoming = new FrameReader(
      fake as unknown as AmqplibConnection,
      new GracefulClose(),
    );
    const arrivals = incoming.on({ ch: 1 } as never);
    const came: [string, number, number][] = [];
    arrivals.consumers.set(
      "ours",
      {
        receive: ({ body, headers }, { tag }) =>
          came.push([JSON.stringify(headers), body.length, tag]),
      },
    );
    let at = 0;
    for (let n = 0; at < whole.length; n++) {
      const size = sizes[n % sizes.length] ?? whole.length;
      fake.stream.emit("data", whole.subarray(at, at += size));
    }
    return { came, frames };
  };
  const expected = read([]);
  assert.deepEqual(expected.came.map(([, length]) => length), lengths);
  assert.ok(expected.frames.length > 0);
  const sizes = fc.array(
    fc.oneof(
      fc.integer({ min: 1, max: 12 }),
      fc.integer({ min: 1, max: 200_000 }),
    ),
    { minLength: 1, maxLength: 40 },
  ).filter((sizes) => Math.max(...sizes) > 2_000); // else it takes minutes
  fc.assert(
    fc.property(sizes, (sizes) => {
      assert.deepEqual(read(sizes), expected);
    }),
    { numRuns: 60 },
  );
});

Deno.test.each(
  [
    ["without an end", 8, 64],
    ["that nothing could hold", 64 * 1024 * 1024, 64],
    [
      "that nothing could hold, of which only the length has come",
      2 ** 32 - 1,
      7,
    ],
  ] as const,
)("a frame %s ends the connection", async (_name, length, come) => {
  const { socket, inner } = await connected();
  const garbage = Buffer.alloc(64, 1);
  garbage.writeUInt32BE(length, 3);
  inner.stream.emit("data", garbage.subarray(0, come));
  assert.match((await socket.lost).message, /Invalid frame/);
  await socket.close();
});

Deno.test("headers that fill more than a frame come, as the broker sends them", async () => {
  await using connection = await connected();
  const { queue, ours } = await twice(connection);
  const { socket, channel } = connection;
  const { queue: dying } = await channel.assertQueue("", {
    exclusive: true,
    messageTtl: 1,
    deadLetterExchange: "",
    deadLetterRoutingKey: queue,
  });
  const text = "x".repeat(130_900); // the broker adds where and why it died
  const message = { body: Buffer.from("{}"), headers: { text } };
  socket.writer.publish(channel, { exchange: "", key: dying }, message);
  const { headers } = (await ours.next()).message;
  assert.equal(headers.text, text);
  assert.ok("x-death" in headers);
});

Deno.test.each(
  [
    ["channel", ({ close }: Connected) => close()],
    ["connection", ({ socket }: Connected) => socket.close()],
  ] as const,
)(
  "of a message that is half there when its %s closes, nothing is delivered",
  async (_name, close) => {
    await using connection = await connected();
    const { queue, ours } = await twice(connection);
    const { channel, input } = connection;
    let parts = 0;
    const { body } = input;
    const half = Promise.withResolvers<void>();
    input.body = (bytes) => {
      if (++parts === 2) half.resolve(close(connection));
      return body.call(input, bytes);
    };
    let came = 0;
    void ours.next().then(() => came++);
    channel.sendToQueue(queue, Buffer.alloc(300_000));
    await half.promise;
    assert.equal(came, 0);
  },
);

const raw = fc.oneof(
  fc.string({ unit: "grapheme", maxLength: 12 }).map((text) =>
    Buffer.from(text)
  ),
  fc.string({ unit: "grapheme", maxLength: 12 })
    .map((text) => Buffer.from(text, "latin1")),
  fc.uint8Array({ maxLength: 12 }).map((bytes) => Buffer.from(bytes)),
);

Deno.test("a name is what its own bytes say, whatever came before", () => {
  const octets = new FieldReader();
  fc.assert(
    fc.property(fc.array(raw, { minLength: 1, maxLength: 40 }), (names) => {
      for (const name of names) {
        const read = octets.from(Buffer.from([name.length, ...name]), 0).name();
        assert.equal(read, name.toString());
      }
    }),
    { numRuns: 1_000 },
  );
  const known = Buffer.from("óúllfzoq");
  for (const name of [known, Buffer.from("óúllfzoq", "latin1")]) {
    const read = octets.from(Buffer.from([name.length, ...name]), 0).name();
    assert.equal(read, name.toString());
  }
});

/** A field table of one value, as bytes. */
const tableOf = (value: Buffer) => sized(Buffer.concat([name("a"), value]));
const name = (text: string) => Buffer.from([text.length, ...Buffer.from(text)]);
function sized(bytes: Buffer): Buffer {
  const length = Buffer.alloc(4);
  length.writeUInt32BE(bytes.length);
  return Buffer.concat([length, bytes]);
}
const array = (inner: Buffer) =>
  Buffer.concat([Buffer.from("A"), sized(inner)]);
function arrays(depth: number): Buffer {
  let value: Buffer = Buffer.from("V");
  for (let i = 0; i < depth; i++) value = array(value);
  return value;
}

Deno.test("all types of values of RabbitMQ are read, and no other, within bounds", () => {
  const eight = Buffer.alloc(8, 0xff);
  for (const type of ["l", "L"]) { // RabbitMQ reads both of them as signed
    const table = tableOf(Buffer.concat([Buffer.from(type), eight]));
    assert.deepEqual(new FieldReader().from(table, 0).table(), { a: -1 });
  }
  for (let type = 0; type < 256; type++) {
    const table = tableOf(Buffer.concat([Buffer.from([type]), eight]));
    const read = () => new FieldReader().from(table, 0).table();
    const known = "SIDTFldbfsVxAtBuiL".includes(String.fromCharCode(type));
    if (!known) assert.throws(read, /of the unknown type/);
  }
  const deepest = tableOf(arrays(TABLE_LIMITS.depth - 1));
  assert.ok("a" in new FieldReader().from(deepest, 0).table());
  for (const depth of [TABLE_LIMITS.depth, 4_196]) {
    const deeper = tableOf(arrays(depth));
    const read = () => new FieldReader().from(deeper, 0).table();
    assert.throws(read, /nested deeper than 32/);
  }
  const full = tableOf(array(Buffer.alloc(TABLE_LIMITS.values - 1, "V")));
  assert.ok("a" in new FieldReader().from(full, 0).table());
  const fuller = tableOf(array(Buffer.alloc(TABLE_LIMITS.values, "V")));
  const read = () => new FieldReader().from(fuller, 0).table();
  assert.throws(read, /more than 4096 values/);
});

/** Bytes that look like fields: they often begin well. */
const fieldBytes = fc.oneof(
  fc.uint8Array({ maxLength: 40 }),
  fc.constantFrom(..."SIDTFldbfsVxAtBuiL?").map((type) => Buffer.from(type)),
  fc.nat(60).map((length) => Buffer.from([0, 0, 0, length])),
  fc.constantFrom("a", "__proto__", "").map(name),
);

Deno.test("whatever is in a table, what follows it is read, and nothing but an error of a few words is thrown", () => {
  const octets = new FieldReader();
  fc.assert(
    fc.property(
      fc.array(fieldBytes, { maxLength: 12 }),
      fc.option(fc.nat(200)),
      (parts, length) => {
        const table = sized(Buffer.concat(parts));
        if (length !== null) table.writeUInt32BE(length);
        const frame = Buffer.concat([table, name("behind")]);
        octets.from(frame, 0, frame.length);
        const fits = table.readUInt32BE() === table.length - 4;
        try {
          octets.table();
        } catch (error) {
          assert.match(`${error}`, /^(Range|Type)Error: it .{1,60}$/);
        }
        if (fits) assert.equal(octets.name(), "behind");
      },
    ),
    { numRuns: 5_000 },
  );
});
