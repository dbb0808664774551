/** Starts and ends of consumers, in the orders in which a broker may answer. */
import assert from "node:assert/strict";
import { until } from "../../setup/probe.ts";
import type { AmqpError } from "../../../src/amqp/mod.ts";
import { ConsumerStarts } from "../../../src/amqp/channel/consumer_starts.ts";
import { ChannelInput } from "../../../src/amqp/channel/channel_input.ts";
import { exclusiveQueue, Mailbox, opened, put } from "../broker.ts";
import {
  body,
  delivery,
  FakeBroker,
  header,
  method,
  text,
  withCode,
} from "../fake_broker.ts";

Deno.test("consumers with a prefetch start together, each with its own", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const starts = [1, 2].map((prefetchCount) =>
    channel.consume("q", new Mailbox(), { prefetchCount })
  );
  for (const prefetch of [1, 2]) {
    const { prefetchCount } = await peer.expect("basic.qos", 1);
    assert.equal(prefetchCount, prefetch);
    await peer.expect("basic.consume", 1);
  }
  await peer.write(
    method(1, "basic.qos-ok"),
    method(1, "basic.qos-ok"),
    method(1, "basic.consume-ok", { consumerTag: "one" }),
    method(1, "basic.consume-ok", { consumerTag: "two" }),
  );
  assert.deepEqual(await Promise.all(starts), ["one", "two"]);
  connection.destroy("the test ends");
});

Deno.test("a consumer without a prefetch starts after those before it, and before those after it", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const prefetches: ({ readonly prefetchCount?: number })[] = [
    { prefetchCount: 1 },
    {},
    {},
    { prefetchCount: 2 },
  ];
  const starts = prefetches.map((options) =>
    channel.consume("q", new Mailbox(), options)
  );
  for (const { prefetchCount } of prefetches) {
    if (prefetchCount !== undefined) await peer.expect("basic.qos", 1);
    await peer.expect("basic.consume", 1);
    assert.deepEqual(peer.sent, []);
    await peer.write(
      ...(prefetchCount === undefined ? [] : [method(1, "basic.qos-ok")]),
      method(1, "basic.consume-ok", { consumerTag: `${prefetchCount}` }),
    );
  }
  const tags = ["1", "undefined", "undefined", "2"];
  assert.deepEqual(await Promise.all(starts), tags);
  connection.destroy("the test ends");
});

Deno.test("at most 64 consumers of a channel start at the same time", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const starts = Array.from(
    { length: 100 },
    () => channel.consume("q", new Mailbox(), { prefetchCount: 1 }),
  );
  for (let n = 0; n < 64; n++) {
    await peer.expect("basic.qos", 1);
    await peer.expect("basic.consume", 1);
  }
  assert.deepEqual(peer.sent, []);
  for (let n = 0; n < 100; n++) {
    if (n >= 64) {
      await peer.expect("basic.qos", 1);
      await peer.expect("basic.consume", 1);
    }
    await peer.write(
      method(1, "basic.qos-ok"),
      method(1, "basic.consume-ok", { consumerTag: `${n}` }),
    );
  }
  assert.equal(new Set(await Promise.all(starts)).size, 100);
  connection.destroy("the test ends");
});

Deno.test("of consumers that start together, the refusal belongs to the one that the broker has come to", async () => {
  using broker = new FakeBroker();
  for (const refused of [0, 1, 2]) {
    const { connection, peer } = await broker.connect();
    const channel = await peer.channel(connection);
    const outcomes = [0, 1, 2].map((n) =>
      channel.consume(`q${n}`, new Mailbox(), { prefetchCount: 1 })
        .then(() => "started", ({ code }: AmqpError) => code)
    );
    // The replies to the consumers that were started before come too late.
    await peer.write(
      ...Array.from({ length: refused + 1 }, () => method(1, "basic.qos-ok")),
      method(1, "channel.close", {
        replyCode: 404,
        replyText: "NOT_FOUND",
        classId: 60,
        methodId: 20,
      }),
    );
    const expected = ["NOT_PROCESSED", "NOT_PROCESSED", "NOT_PROCESSED"]
      .with(refused, "NOT_FOUND");
    assert.deepEqual(await Promise.all(outcomes), expected);
    connection.destroy("the test ends");
  }
});

Deno.test("RabbitMQ: of 60 consumers that start together, the one that is refused has the broker's error", async () => {
  for (const refused of [0, 1, 30, 59]) {
    await using it = await opened();
    const queue = await exclusiveQueue(it.channel);
    const outcomes = await Promise.all(
      Array.from({ length: 60 }, (_, n) => n === refused ? "none" : queue).map(
        (queue) =>
          it.channel.consume(queue, new Mailbox(), { prefetchCount: 1 })
            .then(() => "started", ({ code }: AmqpError) => code),
      ),
    );
    assert.equal(outcomes.indexOf("NOT_FOUND"), refused);
    assert.equal(outcomes.lastIndexOf("NOT_FOUND"), refused);
    const after = new Set(outcomes.slice(refused + 1));
    assert.deepEqual([...after], refused < 59 ? ["NOT_PROCESSED"] : []);
  }
});

Deno.test("messages that arrive before the reply to basic.consume belong to the consumer", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const mail = new Mailbox();
  const consuming = channel.consume("q", mail, { consumerTag: "tag" });
  await peer.write(
    delivery(1, { consumerTag: "tag" }, text("early")),
    method(1, "basic.consume-ok", { consumerTag: "tag" }),
  );
  await consuming;
  assert.deepEqual(mail.texts, ["early"]);
  connection.destroy("the test ends");
});

Deno.test("a message of get may arrive before the reply to an earlier basic.consume", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const consuming = channel.consume("q", new Mailbox());
  const got = [channel.get("other"), channel.get("other")];
  await peer.write(
    method(1, "basic.get-ok", { deliveryTag: 1 }),
    header(1, text("got")),
    body(1, text("got").body),
    method(1, "basic.get-empty"),
    method(1, "basic.consume-ok", { consumerTag: "tag" }),
  );
  assert.equal(await consuming, "tag");
  const [first, second] = await Promise.all(got);
  assert.deepEqual([`${first?.body}`, second], ["got", undefined]);
  connection.destroy("the test ends");
});

Deno.test("a consumer that cannot be encoded throws, leaves nothing behind, and the next one starts", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const queue = "x".repeat(256);
  const wrong = channel.consume(queue, new Mailbox(), { prefetchCount: 1 });
  await assert.rejects(wrong, TypeError);
  const next = channel.consume("q", new Mailbox());
  await peer.expect("basic.qos", 1);
  await peer.expect("basic.consume", 1);
  await peer.write(method(1, "basic.consume-ok", { consumerTag: "tag" }));
  assert.equal(await next, "tag");
  connection.destroy("the request basic.qos was not answered");
  await connection.closed;
  await assert.rejects(
    channel.consume("q", new Mailbox(), { consumerTag: "late" }),
    withCode("CLOSED"),
  );
});

Deno.test("the listener of a consumer that was not started is not kept", async () => {
  const { consumers } = new ChannelInput(() => {});
  const refused = () => Promise.reject(new TypeError("refused"));
  const thrown = () => {
    throw new TypeError("thrown");
  };
  for (const request of [refused, thrown]) {
    const starts = new ConsumerStarts(consumers, request);
    const options = { consumerTag: "tag", prefetchCount: 1 };
    await assert.rejects(starts.start("q", new Mailbox(), options), TypeError);
    assert.equal(consumers.size, 0);
  }
});

Deno.test("a tag may be used again as soon as its consumer is told to end, also if that is answered late", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const [first, second] = [new Mailbox(), new Mailbox()];
  const options = { consumerTag: "tag" };
  const consuming = channel.consume("one", first, options);
  await peer.write(method(1, "basic.consume-ok", options));
  await consuming;
  const ends = [
    channel.cancel("tag"),
    channel.consume("two", second, options),
  ];
  await peer.write(
    method(1, "basic.consume-ok", options),
    method(1, "basic.cancel-ok", options),
    delivery(1, options, text("a")),
  );
  await Promise.all(ends);
  await until("it arrives", () => second.texts.length > 0, 5_000, 1);
  assert.deepEqual([first.texts, second.texts], [[], ["a"]]);
  connection.destroy("the test ends");
});

Deno.test("RabbitMQ: a quorum queue has consumers that start, are cancelled and start again, with other requests between", async () => {
  await using it = await opened({ confirms: true });
  const { channel } = it;
  const queue = `quorum_${crypto.randomUUID().slice(0, 8)}`;
  await channel.request("queue.declare", {
    queue,
    durable: true,
    arguments: { "x-queue-type": "quorum", "x-expires": 60_000 },
  });
  try {
    const mail = new Mailbox();
    for (let n = 1; n <= 5; n++) {
      const options = { consumerTag: "tag", noAck: true, prefetchCount: n };
      const [tag] = await Promise.all([
        channel.consume(queue, mail, options),
        channel.request("basic.qos", { prefetchCount: 7 }),
        exclusiveQueue(channel),
      ]);
      put(channel, queue, `${n}`);
      await mail.first(n);
      await Promise.all([channel.cancel(tag), exclusiveQueue(channel)]);
    }
    assert.deepEqual(mail.texts, ["1", "2", "3", "4", "5"]);
  } finally {
    await channel.request("queue.delete", { queue });
  }
});
