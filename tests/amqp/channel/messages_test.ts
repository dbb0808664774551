/** Messages on a real broker: published, delivered, fetched, returned and settled. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  FieldValue,
  type Properties,
  type ReturnedMessage,
} from "../../../src/amqp/mod.ts";
import { until } from "../../setup/probe.ts";
import { exclusiveQueue, Mailbox, MIN_FRAME, opened, put } from "../broker.ts";
import { withCode } from "../fake_broker.ts";

Deno.test("a message arrives with all of its properties", async () => {
  await using it = await opened();
  const { channel } = it;
  const queue = await exclusiveQueue(channel);
  const mail = new Mailbox();
  await channel.consume(queue, mail, { noAck: true });
  const properties: Properties = {
    contentType: "text/plain",
    contentEncoding: "utf-8",
    headers: {
      ["__proto__"]: "a name like others",
      list: [1, -1.5, "é", null, { deep: true }],
      when: new FieldValue("timestamp", 7),
      bytes: new Uint8Array([1, 2]),
    },
    persistent: true,
    priority: 3,
    correlationId: "correlation",
    replyTo: "amq.rabbitmq.reply-to.x",
    expiration: 60_000,
    messageId: "id",
    timestamp: 1_800_000_000,
    type: "type",
    userId: "guest",
    appId: "app",
    clusterId: "cluster",
  };
  const body = Buffer.from("héllo");
  channel.publish({ exchange: "", routingKey: queue }, { ...properties, body });
  const [message] = await mail.first(1);
  assert.ok(message);
  for (const [name, value] of Object.entries(properties)) {
    const seen: unknown = message[name as keyof Properties];
    if (name !== "headers") assert.equal(seen, value, name);
  }
  assert.deepEqual(message.headers, {
    ["__proto__"]: "a name like others",
    list: [1, -1.5, "é", null, { deep: true }],
    when: 7,
    bytes: Buffer.from([1, 2]),
  });
  assert.equal(message.unreadable, undefined);
  const { exchange, routingKey, deliveryTag, redelivered, bodySize } = message;
  assert.deepEqual([exchange, routingKey, deliveryTag, redelivered, bodySize], [
    "",
    queue,
    1,
    false,
    6,
  ]);
  assert.ok(body.equals(message.body));
});

Deno.test("a message without properties has none", async () => {
  await using it = await opened();
  const queue = await exclusiveQueue(it.channel);
  put(it.channel, queue, "");
  const message = await until("it arrives", () => it.channel.get(queue));
  assert.deepEqual([
    message?.headers,
    message?.persistent,
    message?.body.length,
  ], [{}, undefined, 0]);
});

Deno.test("bodies of any size arrive as they were, also those around the limit of a frame", async () => {
  await using it = await opened({}, { frameMax: MIN_FRAME });
  const queue = await exclusiveQueue(it.channel);
  const mail = new Mailbox();
  await it.channel.consume(queue, mail, { noAck: true });
  const frame = MIN_FRAME - 8; // bytes of a body in a frame
  const around = [frame - 1, frame, frame + 1, 2 * frame, 2 * frame + 1];
  const sizes = [0, 1, ...around, 300_000, 5_000_000];
  const bodies = sizes.map((size) => Buffer.alloc(size, `${size} bytes `));
  for (const body of bodies) {
    it.channel.publish({ exchange: "", routingKey: queue }, { body });
  }
  const messages = await mail.first(sizes.length);
  for (const [n, { body, bodySize }] of messages.entries()) {
    assert.equal(bodySize, sizes[n]);
    assert.ok(bodies[n]!.equals(body), `${sizes[n]} bytes`);
  }
});

Deno.test("bodies that are held are not overwritten by later ones", async () => {
  await using it = await opened();
  const queue = await exclusiveQueue(it.channel);
  const mail = new Mailbox();
  await it.channel.consume(queue, mail, { noAck: true });
  const texts = Array.from(
    { length: 3_000 },
    (_, n) => `${n}`.repeat(1 + n % 90),
  );
  for (const text of texts) put(it.channel, queue, text);
  await mail.first(texts.length);
  assert.deepEqual(mail.texts, texts);
});

Deno.test("a body goes to a sink in parts, and not to the message", async () => {
  await using it = await opened({}, { frameMax: MIN_FRAME });
  const queue = await exclusiveQueue(it.channel);
  const parts: Uint8Array[] = [];
  const mail = new Mailbox();
  const sizes: number[] = [];
  await it.channel.consume(queue, {
    onMessage: mail.onMessage,
    openBody: ({ bodySize, messageId }) => {
      sizes.push(bodySize);
      if (messageId !== "large") return undefined;
      return {
        write: (part) => void parts.push(part.slice()),
        abort: () => {},
      };
    },
  }, { noAck: true });
  const body = Buffer.alloc(100_000, "abc");
  const to = { exchange: "", routingKey: queue };
  it.channel.publish(to, { body, messageId: "large" });
  it.channel.publish(to, { body, messageId: "small" });
  const [large, small] = await mail.first(2);
  assert.deepEqual(sizes, [100_000, 100_000]);
  assert.deepEqual([large?.body.length, large?.bodySize], [0, 100_000]);
  assert.ok(body.equals(Buffer.concat(parts)));
  assert.ok(body.equals(small!.body));
});

Deno.test("get takes one message, and undefined of an empty queue; many at once are answered in order", async () => {
  await using it = await opened();
  const { channel } = it;
  const queue = await exclusiveQueue(channel);
  assert.equal(await channel.get(queue), undefined);
  for (const text of ["a", "b", "c"]) put(channel, queue, text);
  await until(
    "they arrive",
    async () =>
      (await channel.request("queue.declare", { queue, passive: true }))
        .messageCount === 3,
  );
  const got = await Promise.all(
    Array.from({ length: 5 }, () => channel.get(queue)),
  );
  const texts = got.map((message) => message && `${message.body}`);
  assert.deepEqual(texts, ["a", "b", "c", undefined, undefined]);
  assert.deepEqual(got.map((message) => message?.deliveryTag), [
    1,
    2,
    3,
    undefined,
    undefined,
  ]);
  await assert.rejects(
    channel.get("no-such-queue"),
    withCode("NOT_FOUND", "channel"),
  );
});

Deno.test("qos limits what is delivered; ack, nack and reject settle one or several", async () => {
  await using it = await opened();
  const { channel } = it;
  const queue = await exclusiveQueue(channel);
  await channel.request("basic.qos", { prefetchCount: 2 });
  const mail = new Mailbox();
  await channel.consume(queue, mail);
  for (let n = 1; n <= 9; n++) put(channel, queue, `${n}`);
  const left = async () =>
    (await channel.request("queue.declare", { queue, passive: true }))
      .messageCount;
  await until("all but two are in the queue", async () => await left() === 7);
  assert.deepEqual(mail.texts, ["1", "2"]);
  channel.ack(1);
  await mail.first(3);
  channel.ack(3, true); // 2 and 3
  await mail.first(5);
  channel.nack(4, { requeue: false });
  channel.reject(5, false);
  await mail.first(7);
  channel.nack(7, { multiple: true, requeue: false });
  await mail.first(9);
  assert.deepEqual(mail.texts, ["1", "2", "3", "4", "5", "6", "7", "8", "9"]);
  channel.nack(9);
  const again = (await mail.first(10))[9];
  assert.deepEqual([`${again?.body}`, again?.redelivered], ["9", true]);
  channel.reject(again!.deliveryTag, true);
  const third = (await mail.first(11))[10];
  assert.deepEqual([`${third?.body}`, third?.redelivered], ["9", true]);
  assert.equal(mail.messages.length, 11);
});

Deno.test("recover delivers what was not acknowledged again", async () => {
  await using it = await opened();
  const queue = await exclusiveQueue(it.channel);
  const mail = new Mailbox();
  await it.channel.consume(queue, mail);
  put(it.channel, queue, "a");
  await mail.first(1);
  assert.deepEqual(
    await it.channel.request("basic.recover", { requeue: true }),
    {},
  );
  const [first, second] = await mail.first(2);
  assert.deepEqual([first?.redelivered, second?.redelivered], [false, true]);
});

Deno.test("an unknown delivery tag closes the channel with PRECONDITION_FAILED, and not its requests with that", async () => {
  await using it = await opened();
  it.channel.ack(77);
  const request = it.channel.request("queue.declare", { exclusive: true });
  await assert.rejects(request, withCode("NOT_PROCESSED", "channel"));
  const reason = await it.channel.closed;
  withCode("PRECONDITION_FAILED", "channel")(reason);
  assert.equal(reason.method, "basic.ack");
  it.channel.ack(78);
  it.channel.nack(78);
  it.channel.reject(78, true);
  await it.channel.close();
});

Deno.test("a consumer is cancelled by its own side: nothing arrives after the reply", async () => {
  await using it = await opened();
  const { channel } = it;
  const queue = await exclusiveQueue(channel);
  const mail = new Mailbox();
  const consumerTag = await channel.consume(queue, mail, { noAck: true });
  put(channel, queue, "a");
  await mail.first(1);
  await channel.cancel(consumerTag);
  put(channel, queue, "b");
  const { body } = await until("it arrives", () => channel.get(queue));
  assert.equal(`${body}`, "b");
  assert.deepEqual([mail.texts, mail.cancelled], [["a"], 0]);
});

Deno.test("a consumer whose queue is deleted is cancelled by the broker, once", async () => {
  await using it = await opened();
  const { channel, connection } = it;
  const [queue, other] = [
    await exclusiveQueue(channel),
    await exclusiveQueue(channel),
  ];
  const [mail, stays] = [new Mailbox(), new Mailbox()];
  await channel.consume(queue, mail);
  await channel.consume(other, stays);
  const second = await connection.openChannel();
  await second.request("queue.delete", { queue });
  await until("the consumer is cancelled", () => mail.cancelled > 0, 10_000, 1);
  put(channel, other, "a");
  await stays.first(1);
  assert.deepEqual([mail.cancelled, stays.cancelled, channel.isOpen], [
    1,
    0,
    true,
  ]);
});

Deno.test("a tag may be used again as soon as its consumer is told to end", async () => {
  await using it = await opened();
  const { channel } = it;
  const [one, two] = [
    await exclusiveQueue(channel),
    await exclusiveQueue(channel),
  ];
  const [first, second] = [new Mailbox(), new Mailbox()];
  const options = { consumerTag: "tag", noAck: true };
  assert.equal(await channel.consume(one, first, options), "tag");
  await Promise.all([
    channel.cancel("tag"),
    channel.consume(two, second, options),
  ]);
  put(channel, two, "a");
  await second.first(1);
  assert.deepEqual([first.texts, second.texts], [[], ["a"]]);
});

Deno.test("a mandatory message without a queue is returned before its confirmation", async () => {
  const events: (ReturnedMessage | string)[] = [];
  await using it = await opened({
    confirms: true,
    onReturned: (returned) => void events.push(returned),
  });
  const { channel } = it;
  const body = Buffer.from("back");
  const to = { exchange: "amq.direct", routingKey: "nowhere", mandatory: true };
  const confirmed = Promise.withResolvers<string>();
  channel.publish(
    to,
    { body, messageId: "id", headers: { a: 1 } },
    (confirmation) => {
      events.push(confirmation);
      confirmed.resolve(confirmation);
    },
  );
  assert.equal(await confirmed.promise, "ack");
  const [returned, confirmation] = events as [ReturnedMessage, string];
  assert.equal(confirmation, "ack");
  assert.deepEqual([returned.replyCode, returned.replyText], [312, "NO_ROUTE"]);
  const { message } = returned;
  assert.deepEqual([
    message.exchange,
    message.routingKey,
    message.messageId,
    message.headers,
  ], [
    ...["amq.direct", "nowhere", "id"],
    { a: 1 },
  ]);
  assert.equal(`${message.body}`, "back");
  channel.publish({ ...to, mandatory: false }, { body });
  channel.publish({ ...to, exchange: "" }, { body: new Uint8Array() });
  await until("the empty one returns", () => events.length === 3);
  assert.equal((events[2] as ReturnedMessage).message.body.length, 0);
});
