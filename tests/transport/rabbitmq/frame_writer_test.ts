/** Frames as the broker reads them: what amqplib then receives is what was sent. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import type { ConfirmChannel, ConsumeMessage } from "npm:amqplib@2.3.1";
import {
  type OpenChannel,
  openConfirmChannel,
} from "../../../src/transport/rabbitmq/amqplib/channel.ts";
import { GracefulClose } from "../../../src/transport/rabbitmq/amqplib/graceful_close.ts";
import {
  openSocket,
  type Socket,
} from "../../../src/transport/rabbitmq/connection/dial.ts";
import type { Message } from "../../../src/transport/transport.ts";
import { brokerUrl } from "../../setup/broker.ts";

/** A connection with a queue of its own: what is sent there comes back. */
class Loop implements AsyncDisposable {
  readonly #came: ConsumeMessage[] = [];
  #waiting: ((message: ConsumeMessage) => void) | undefined;

  readonly socket: Socket;
  readonly channel: ConfirmChannel;
  readonly queue: string;
  readonly #open: OpenChannel<ConfirmChannel>;

  private constructor(
    socket: Socket,
    open: OpenChannel<ConfirmChannel>,
    queue: string,
  ) {
    this.socket = socket;
    this.#open = open;
    this.channel = open.channel;
    this.queue = queue;
  }

  static async open(): Promise<Loop> {
    const url = new URL(await brokerUrl());
    const settings = {
      name: "frames",
      heartbeat: 0,
      connectTimeout: 10_000,
      gracefulClose: new GracefulClose(),
    };
    const socket = await openSocket(
      { url },
      settings,
      new AbortController().signal,
    );
    const open = await openConfirmChannel(socket);
    const { channel } = open;
    const { queue } = await channel.assertQueue("", { exclusive: true });
    const loop = new Loop(socket, open, queue);
    await channel.consume(queue, (message) => loop.#take(message));
    return loop;
  }

  #take(message: ConsumeMessage | null): void {
    if (!message) return;
    this.socket.writer.ack(this.channel, message.fields.deliveryTag, false);
    if (this.#waiting) this.#waiting(message);
    else this.#came.push(message);
    this.#waiting = undefined;
  }

  /** Sends a message; resolves when the broker has it. */
  send(message: Message): Promise<void> {
    const to = { exchange: "", key: this.queue };
    this.socket.writer.publish(this.channel, to, message);
    return new Promise((resolve, reject) => {
      this.#open.input.confirms.add((word) =>
        word === "ack" ? resolve() : reject(new Error(word))
      );
    });
  }

  /** The next one that comes. */
  next(): Promise<ConsumeMessage> {
    const first = this.#came.shift();
    if (first) return Promise.resolve(first);
    return new Promise((resolve) => this.#waiting = resolve);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.channel.close();
    await this.socket.close();
  }
}

/** A text of at most 255 bytes. */
const short = fc.string({ unit: "grapheme", maxLength: 60 })
  .filter((text) => Buffer.byteLength(text) <= 255);
const header = fc.oneof(
  fc.string({ unit: "grapheme" }),
  fc.boolean(),
  fc.constant(null),
  fc.maxSafeInteger(),
  fc.integer({ min: -40_000, max: 40_000 }),
  fc.double({ noNaN: true, noDefaultInfinity: true }),
);
const name = short.filter((text) => text !== "__proto__");

/** Lengths around what a frame and a slab hold. */
const lengths = [
  0,
  1,
  300,
  131_063,
  131_064,
  131_065,
  131_072,
  262_128,
  262_129,
  600_000,
];
const length = fc.oneof(fc.nat(2_000), fc.constantFrom(...lengths));

const messages: fc.Arbitrary<Message> = fc.record({
  body: length.map((bytes) => Buffer.alloc(bytes, "a message ")),
  headers: fc.dictionary(name, header, { maxKeys: 8 }),
  messageId: fc.option(short, { nil: undefined }),
  correlationId: fc.option(short, { nil: undefined }),
  replyTo: fc.option(short, { nil: undefined }),
  expiration: fc.option(fc.integer({ min: 60_000, max: 2 ** 33 }), {
    nil: undefined,
  }),
  persistent: fc.boolean(),
});

/** What amqplib makes of a whole number that does not fit in 32 bits, or of -0, is the same number. */
const plain = (headers: object) =>
  Object.fromEntries(
    Object.entries(headers).map(([key, value]) => [
      key,
      value === 0 ? 0 : value,
    ]),
  );

function same(sent: Message, { content, properties }: ConsumeMessage): void {
  assert.ok(content.equals(sent.body), "the body");
  assert.deepEqual(plain(properties.headers ?? {}), plain(sent.headers));
  const { expiration } = sent;
  const told = expiration !== undefined && expiration < 2 ** 32;
  assert.deepEqual({
    contentType: properties.contentType,
    contentEncoding: properties.contentEncoding,
    deliveryMode: properties.deliveryMode,
    id: properties.messageId,
    correlationId: properties.correlationId,
    replyTo: properties.replyTo,
    expiration: properties.expiration,
  }, {
    contentType: "application/json",
    contentEncoding: "utf-8",
    deliveryMode: sent.persistent ? 2 : 1,
    id: sent.messageId,
    correlationId: sent.correlationId,
    replyTo: sent.replyTo,
    expiration: told ? String(expiration) : undefined,
  });
}

Deno.test("whatever is sent, alone or with others in one write, comes as it was", async () => {
  await using loop = await Loop.open();
  const batch = fc.array(messages, { minLength: 1, maxLength: 12 });
  await fc.assert(
    fc.asyncProperty(batch, async (sent) => {
      const confirmed = Promise.all(sent.map((message) => loop.send(message)));
      for (const message of sent) same(message, await loop.next());
      await confirmed;
    }),
    { numRuns: 60 },
  );
});

Deno.test("what AMQP cannot carry is refused, and hurts nothing that is sent before or after it", async () => {
  await using loop = await Loop.open();
  const body = Buffer.from("{}");
  const good = (id: string): Message => ({ body, headers: {}, messageId: id });
  const long = "é".repeat(128);
  const bad: Message[] = [
    { body, headers: {}, messageId: long },
    { body, headers: { [long]: 1 } },
    { body, headers: { text: "x".repeat(200_000) } },
  ];
  const to = { exchange: "", key: loop.queue };
  for (const [n, message] of bad.entries()) {
    const sent = [loop.send(good(`before ${n}`))];
    assert.throws(
      () => loop.socket.writer.publish(loop.channel, to, message),
      TypeError,
    );
    sent.push(loop.send(good(`after ${n}`)));
    for (const id of [`before ${n}`, `after ${n}`]) {
      assert.equal((await loop.next()).properties.messageId, id);
    }
    await Promise.all(sent);
  }
});

Deno.test("what is sent faster than it goes waits, and goes", async () => {
  await using loop = await Loop.open();
  const body = Buffer.alloc(400_000, "x");
  const sent = Array.from(
    { length: 20 },
    () => loop.send({ body, headers: {} }),
  );
  const { full } = loop.socket.writer;
  assert.ok(full, "eight megabytes are more than a socket takes at once");
  await full;
  for (const each of sent) {
    assert.equal((await loop.next()).content.length, body.length);
    await each;
  }
});
