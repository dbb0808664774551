/** The client beside another one on the same broker: what amqplib sends is read as amqplib reads it, and the other way round. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import * as amqplib from "npm:amqplib@2.3.1";
import fc from "npm:fast-check@^4.10.2";
import {
  type Channel,
  type Confirmation,
  connect,
  type Connection,
  type Content,
  FieldValue,
  type ReceivedMessage,
} from "../../src/amqp/mod.ts";
import { withDeadline } from "../../src/async/deadline.ts";
import { brokerUrl } from "../setup/broker.ts";
import { exclusiveQueue } from "./broker.ts";

/** Messages in the order in which they arrive. */
class Arrivals<T> {
  readonly #arrived: T[] = [];
  #waiting: PromiseWithResolvers<T> | undefined;

  add(item: T): void {
    if (this.#waiting) this.#waiting.resolve(item);
    else this.#arrived.push(item);
    this.#waiting = undefined;
  }

  /** Resolves with the next message; rejects if a connection is closed before. */
  next(): Promise<T> {
    const first = this.#arrived.shift();
    if (first !== undefined) return Promise.resolve(first);
    this.#waiting = Promise.withResolvers();
    return this.#waiting.promise;
  }

  readonly fail = (reason: Error): void => this.#waiting?.reject(reason);
}

/** A connection of this client and one of amqplib, each with a queue that it consumes. */
interface Peers extends AsyncDisposable {
  readonly connection: Connection;
  readonly channel: Channel;
  readonly amqplib: amqplib.Channel;
  /** Queue that this client consumes. */
  readonly queue: string;
  readonly arrivals: Arrivals<ReceivedMessage>;
  /** Queue that amqplib consumes. */
  readonly amqplibQueue: string;
  readonly amqplibArrivals: Arrivals<amqplib.ConsumeMessage>;
}

async function peers(): Promise<Peers> {
  const url = await brokerUrl();
  const connection = await connect(url);
  const channel = await connection.openChannel({ confirms: true });
  const queue = await exclusiveQueue(channel);
  const arrivals = new Arrivals<ReceivedMessage>();
  const onMessage = (message: ReceivedMessage) => arrivals.add(message);
  await channel.consume(queue, { onMessage }, { noAck: true });
  const peer = await amqplib.connect(url);
  const peerChannel = await peer.createChannel();
  const declared = await peerChannel.assertQueue("", { exclusive: true });
  const amqplibArrivals = new Arrivals<amqplib.ConsumeMessage>();
  await peerChannel.consume(declared.queue, (message) => {
    if (message) amqplibArrivals.add(message);
  }, { noAck: true });
  const fail = (reason: Error) => {
    arrivals.fail(reason);
    amqplibArrivals.fail(reason);
  };
  void connection.closed.then(fail);
  peer.on("error", fail);
  return {
    connection,
    channel,
    amqplib: peerChannel,
    queue,
    arrivals,
    amqplibQueue: declared.queue,
    amqplibArrivals,
    [Symbol.asyncDispose]: async () => {
      await peer.close();
      await connection.close();
    },
  };
}

/** Publishes to a queue; resolves with the confirmation. */
const publish = (
  channel: Channel,
  queue: string,
  content: Content,
): Promise<Confirmation> =>
  new Promise((resolve) =>
    channel.publish({ exchange: "", routingKey: queue }, content, resolve)
  );

const bytes = (text: string) => new TextEncoder().encode(text);

/** A text of at most 255 bytes. */
const short = fc.string({ unit: "grapheme", maxLength: 60 })
  .filter((text) => Buffer.byteLength(text) <= 255);
/** amqplib takes a table with the field `!` for a type, and assigns to the field `__proto__`. */
const name = short.filter((text) => text !== "!" && text !== "__proto__");
const integers = {
  int8: fc.integer({ min: -128, max: 127 }),
  uint8: fc.nat(255),
  int16: fc.integer({ min: -32_768, max: 32_767 }),
  uint16: fc.nat(65_535),
  int32: fc.integer(),
  uint32: fc.nat(2 ** 32 - 1),
  int64: fc.maxSafeInteger(),
  timestamp: fc.nat(),
} as const;
// RabbitMQ closes the connection for an infinite number: Erlang has none.
const numbers = {
  float: fc.float({ noNaN: true, noDefaultInfinity: true }),
  double: fc.double({ noNaN: true, noDefaultInfinity: true }),
} as const;
const digits = fc.record({ places: fc.nat(255), digits: integers.uint32 });

/** Values as amqplib is given them. */
const { value: amqplibValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    short,
    fc.boolean(),
    fc.constant(null),
    integers.int64,
    ...Object.entries({ ...integers, ...numbers, decimal: digits }).map((
      [type, value],
    ) => fc.record({ "!": fc.constant(type), value })),
    fc.uint8Array({ maxLength: 20 }).map((value) => Buffer.from(value)),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(name, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
}));

/** Values as this client is given them. */
const { value: ownValue } = fc.letrec((tie) => ({
  value: fc.oneof(
    { maxDepth: 3 },
    fc.string({ unit: "grapheme" }),
    fc.boolean(),
    fc.constant(null),
    integers.int64,
    fc.integer({ min: -40_000, max: 40_000 }),
    numbers.double,
    fc.bigInt({ min: -(2n ** 53n), max: 2n ** 53n }),
    fc.nat().map((seconds) => new Date(seconds * 1_000)),
    ...Object.entries({ ...integers, ...numbers }).map(([type, value]) =>
      (value as fc.Arbitrary<number>).map((value) =>
        new FieldValue(type as FieldValue["type"], value)
      )
    ),
    digits.map(({ places, digits }) =>
      new FieldValue("decimal", digits, places)
    ),
    fc.uint8Array({ maxLength: 20 }),
    fc.array(tie("value"), { maxLength: 4 }),
    fc.dictionary(name, tie("value"), { maxKeys: 4, noNullPrototype: true }),
  ),
}));

/** Lengths around what a frame, and the buffers of reader and writer, hold. */
const EDGES = [0, 1, 131_063, 131_064, 131_065, 262_128, 262_129, 600_000];
const body = fc.oneof(fc.nat(2_000), fc.constantFrom(...EDGES))
  .map((length) => Buffer.alloc(length, "a body "));
/** Properties that both clients name and write alike. */
const properties = {
  contentType: short,
  contentEncoding: short,
  persistent: fc.boolean(),
  priority: fc.nat(9),
  correlationId: short,
  replyTo: short,
  expiration: fc.integer({ min: 60_000, max: 2 ** 32 - 1 }),
  messageId: short,
  timestamp: fc.nat(),
  type: short,
  appId: short,
} as const;
const headersOf = (value: fc.Arbitrary<unknown>) =>
  fc.dictionary(name, value, { maxKeys: 6, noNullPrototype: true });
const batchOf = (value: fc.Arbitrary<unknown>) =>
  fc.array(
    fc.record({ body, headers: headersOf(value), ...properties }, {
      requiredKeys: ["body"],
    }),
    { minLength: 1, maxLength: 8 },
  );

/** Values without their types, which the clients express in different ways; -0 is 0. */
function untyped(value: unknown): unknown {
  if (Array.isArray(value)) return value.map(untyped);
  if (value instanceof Uint8Array) return Buffer.from(value);
  if (value instanceof Date) return value.getTime() / 1_000;
  if (typeof value === "bigint") return Number(value);
  if (value instanceof FieldValue) {
    const { type, value: number, places } = value;
    return type === "decimal" ? { places, digits: number } : untyped(number);
  }
  if (typeof value !== "object" || value === null) {
    return value === 0 ? 0 : value;
  }
  if ("!" in value && "value" in value) return untyped(value.value);
  return Object.fromEntries(
    Object.entries(value).map(([key, item]) => [key, untyped(item)]),
  );
}

/** The same of each client's form of a message: body, headers and properties. */
function comparable(
  { headers, body, ...rest }: Content,
): Record<string, unknown> {
  const names = Object.keys(properties) as (keyof typeof properties)[];
  return {
    body: Buffer.from(body).toString("latin1"),
    headers: untyped(headers ?? {}),
    ...Object.fromEntries(names.map((name) => [name, rest[name]])),
  };
}

function contentOf({ content, properties }: amqplib.Message): Content {
  const { deliveryMode, expiration } = properties;
  return {
    ...properties,
    body: content,
    persistent: deliveryMode === undefined ? undefined : deliveryMode === 2,
    expiration: expiration === undefined ? undefined : Number(expiration),
  };
}

Deno.test("whatever amqplib can send comes as amqplib reads it", async () => {
  await using both = await peers();
  const { queue, amqplibQueue, arrivals, amqplibArrivals } = both;
  let tag = 0;
  await fc.assert(
    fc.asyncProperty(batchOf(amqplibValue), async (batch) => {
      for (const { body, ...options } of batch) {
        for (const to of [queue, amqplibQueue]) {
          both.amqplib.sendToQueue(to, body, options);
        }
      }
      for (const _ of batch) {
        const message = await arrivals.next();
        const expected = contentOf(await amqplibArrivals.next());
        assert.deepEqual(comparable(message), comparable(expected));
        assert.equal(message.bodySize, expected.body.length);
        assert.equal(message.unreadable, undefined);
        const { deliveryTag, redelivered, exchange, routingKey } = message;
        assert.deepEqual(
          { deliveryTag, redelivered, exchange, routingKey },
          {
            deliveryTag: ++tag,
            redelivered: false,
            exchange: "",
            routingKey: queue,
          },
        );
      }
    }),
    { numRuns: 100 },
  );
});

Deno.test("whatever is sent, alone or with others in one write, comes to amqplib as it was", async () => {
  await using both = await peers();
  const { channel, amqplibQueue, amqplibArrivals } = both;
  const to = { exchange: "", routingKey: amqplibQueue };
  await fc.assert(
    fc.asyncProperty(batchOf(ownValue), fc.nat(8), async (batch, large) => {
      const confirmations: Promise<Confirmation>[] = [];
      for (const [n, content] of batch.entries()) {
        const confirmed = Promise.withResolvers<Confirmation>();
        confirmations.push(confirmed.promise);
        if (n === large) {
          await channel.publishLarge(to, content, confirmed.resolve);
        } else channel.publish(to, content, confirmed.resolve);
      }
      for (const content of batch) {
        const received = contentOf(await amqplibArrivals.next());
        assert.deepEqual(comparable(received), comparable(content));
      }
      const expected = batch.map(() => "ack");
      assert.deepEqual(await Promise.all(confirmations), expected);
    }),
    { numRuns: 100 },
  );
});

Deno.test("a header named __proto__ is a header", async () => {
  await using both = await peers();
  const headers = JSON.parse('{ "__proto__": { "a": 1 }, "b": 2 }');
  both.amqplib.sendToQueue(both.queue, Buffer.from("{}"), { headers });
  void publish(both.channel, both.queue, { body: bytes("{}"), headers });
  for (const _ of ["of amqplib", "of this client"]) {
    const message = await both.arrivals.next();
    assert.equal(message.headers.a, undefined);
    assert.equal(Object.getPrototypeOf(message.headers), Object.prototype);
    assert.deepEqual(Object.entries(message.headers), [
      ["__proto__", { a: 1 }],
      ["b", 2],
    ]);
  }
});

Deno.test("headers that fill more than a frame come, as the broker sends them", async () => {
  await using both = await peers();
  const dying = await exclusiveQueue(both.channel, {
    "x-message-ttl": 1,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": both.queue,
  });
  // The broker adds where the message expired and why.
  const text = "x".repeat(130_900);
  const content = { body: bytes("{}"), headers: { text } };
  assert.equal(await publish(both.channel, dying, content), "ack");
  const { headers, encodedProperties } = await both.arrivals.next();
  assert.ok(encodedProperties.length > 131_072);
  assert.equal(headers.text, text);
  assert.ok("x-death" in headers);
});

/** Moments at which a message is half there. */
const MOMENTS = ["its header", "the second part of its body"] as const;

for (const what of ["channel", "connection"] as const) {
  for (const moment of MOMENTS) {
    Deno.test(`a message of which ${moment} has arrived when its ${what} is closed is not delivered, and stays in its queue`, async () => {
      await using both = await peers();
      const { connection } = both;
      const queue = `test_${crypto.randomUUID()}`;
      const body = Buffer.alloc(300_000, "a body ");
      await both.amqplib.assertQueue(queue);
      both.amqplib.sendToQueue(queue, body);
      const channel = await connection.openChannel();
      const closing = Promise.withResolvers<void>();
      const close = () =>
        closing.resolve(
          what === "channel" ? channel.close() : both.connection.close(),
        );
      const seen = { delivered: 0, parts: 0, aborted: 0 };
      const sink = {
        write: () => void (++seen.parts === 2 && close()),
        abort: () => void seen.aborted++,
      };
      await channel.consume(queue, {
        onMessage: () => void seen.delivered++,
        openBody: () => {
          if (moment !== "its header") return sink;
          close();
          return undefined;
        },
      });
      await closing.promise;
      assert.equal(seen.delivered, 0);
      if (moment !== "its header") {
        assert.deepEqual(seen, { delivered: 0, parts: 2, aborted: 1 });
      }
      const again = await both.amqplib.get(queue, { noAck: true });
      assert.ok(again && again.content.equals(body));
      assert.equal(again.fields.redelivered, true);
      await both.amqplib.deleteQueue(queue);
    });
  }
}

Deno.test("what AMQP cannot carry throws a TypeError, and hurts nothing that is sent before or after it", async () => {
  await using both = await peers();
  const { channel, amqplibQueue, amqplibArrivals } = both;
  const body = bytes("{}");
  const long = "é".repeat(128);
  const bad: Content[] = [
    { body, messageId: long },
    { body, headers: { [long]: 1 } },
    { body, headers: { text: "x".repeat(200_000) } },
    { body, headers: { wrong: () => {} } },
  ];
  const to = { exchange: "", routingKey: amqplibQueue };
  for (const [n, content] of bad.entries()) {
    const ids = [`before ${n}`, `after ${n}`] as const;
    const confirmed = [
      publish(channel, amqplibQueue, { body, messageId: ids[0] }),
    ];
    assert.throws(
      () => channel.publish(to, content, () => assert.fail("it was sent")),
      TypeError,
    );
    confirmed.push(publish(channel, amqplibQueue, { body, messageId: ids[1] }));
    for (const id of ids) {
      const { properties, content } = await amqplibArrivals.next();
      assert.equal(properties.messageId, id);
      assert.deepEqual(Buffer.from(body), content);
    }
    assert.deepEqual(await Promise.all(confirmed), ["ack", "ack"]);
  }
});

Deno.test("what is sent faster than the socket takes it waits, and arrives", async () => {
  await using both = await peers();
  const { connection, channel, amqplibQueue, amqplibArrivals } = both;
  const bodies = Array.from(
    { length: 20 },
    (_, n) => Buffer.alloc(400_000, `${n} `),
  );
  assert.equal(connection.isFull, false);
  const confirmed = bodies.map((body) =>
    publish(channel, amqplibQueue, { body })
  );
  assert.ok(
    connection.isFull,
    "eight megabytes are more than a socket takes at once",
  );
  const late = () => new Error("the socket is still full");
  const soon = { at: performance.now() + 10_000 };
  await withDeadline(connection.drained(), soon, late);
  assert.equal(connection.isFull, false);
  for (const body of bodies) {
    const { content } = await amqplibArrivals.next();
    assert.ok(content.equals(body));
  }
  assert.ok((await Promise.all(confirmed)).every((each) => each === "ack"));
});
