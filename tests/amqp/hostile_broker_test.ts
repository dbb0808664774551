/** Brokers that break the protocol on an open connection. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { AmqpError, ReceivedMessage } from "../../src/amqp/mod.ts";
import { until } from "../setup/probe.ts";
import { Mailbox } from "./broker.ts";
import {
  body,
  delivery,
  FakeBroker,
  frame,
  header,
  method,
  reported,
  text,
  withCode,
} from "./fake_broker.ts";

const hex = (text: string) => Buffer.from(text.replaceAll(" ", ""), "hex");

const DELIVER = method(1, "basic.deliver", { consumerTag: "tag" });

/** Bytes that a broker never sends, and the error that they cause. Channel 1 is open and has the consumer `tag`. */
const VIOLATIONS: readonly (readonly [string, Uint8Array, RegExp])[] = [
  ["a frame of an unknown type", hex("07"), /unknown type 7/],
  ["10 MB of zeros", Buffer.alloc(10_000_000), /unknown type 0/],
  ["an HTTP answer", Buffer.from("HTTP/1.1 200 OK\r\n\r\n"), /unknown type 72/],
  ["the header of a protocol", Buffer.from("AMQP0091"), /unknown type 65/],
  ["a method with a wrong end", hex("0100010000000400140029cf"), /wrong end/],
  ["a heartbeat with a wrong end", hex("0800000000000000"), /wrong end/],
  ["a method of 4 GB", hex("010001ffffffff"), /more than 67108864/],
  ["a header of 4 GB", hex("020001ffffffff"), /more than 67108864/],
  ["a body above the limit", hex("03000100020000"), /more than 131064/],
  ["an empty method", frame(1, 1, hex("")), /ends too early/],
  ["an empty method of channel 0", frame(1, 0, hex("")), /ends too early/],
  ["an unknown method", frame(1, 1, hex("003c0063")), /no method 60.99/],
  ["an unknown class", frame(1, 0, hex("00630001")), /no method 99.1/],
  ["a method of a closed channel", method(2, "basic.qos-ok"), /channel 2,/],
  ["a header of a closed channel", header(2, text("a")), /channel 2,/],
  ["a body of a closed channel", body(65_535, hex("00")), /channel 65535,/],
  ["a header of channel 0", header(0, text("a")), /channel 0,/],
  ["a channel's method on channel 0", method(0, "basic.qos-ok"), /unexpected/],
  [
    "a connection's method on channel 1",
    method(1, "connection.open-ok"),
    /unexpected/,
  ],
  ["a request of a client", method(1, "queue.declare"), /unexpected/],
  ["a reply to nothing", method(1, "basic.qos-ok"), /unexpected/],
  ["a closing reply to nothing", method(1, "channel.close-ok"), /unexpected/],
  ["a message that nobody asked for", method(1, "basic.get-ok"), /unexpected/],
  ["a second start", method(0, "connection.start"), /unexpected/],
  ["a close-ok to nothing", method(0, "connection.close-ok"), /unexpected/],
  [
    "a renewal of nothing",
    method(0, "connection.update-secret-ok"),
    /unexpected/,
  ],
  [
    "a short string that is too long",
    frame(1, 1, hex("003c003c ff 00")),
    /ends too early/,
  ],
  [
    "a delivery that is cut short",
    frame(1, 1, hex("003c003c 00 0000")),
    /ends too early/,
  ],
  [
    "a confirm that is cut short",
    frame(1, 1, hex("003c0050 0000")),
    /ends too early/,
  ],
  [
    "a close with a text that is too long",
    frame(1, 1, hex("00140028 00c8 ff61")),
    /ends too early/,
  ],
  [
    "a long string that is too long",
    frame(1, 0, hex("000a0014 ffffffff")),
    /ends too early/,
  ],
  [
    "a table that is too long",
    frame(1, 0, hex("000a000a 0009 0000ffff")),
    /ends too early/,
  ],
  ["a header without a method", header(1, text("a")), /belongs to no method/],
  ["a body without a method", body(1, hex("00")), /belongs to no method/],
  [
    "a body without a header",
    Buffer.concat([DELIVER, body(1, hex("00"))]),
    /no header/,
  ],
  [
    "two headers",
    Buffer.concat([DELIVER, header(1, text("a")), header(1, text("a"))]),
    /two headers/,
  ],
  [
    "a header that is cut short",
    Buffer.concat([DELIVER, frame(2, 1, hex("003c00"))]),
    /ends too early/,
  ],
  [
    "a delivery inside a content",
    Buffer.concat([DELIVER, DELIVER]),
    /interrupts a content/,
  ],
  [
    "a body that is too long",
    Buffer.concat([DELIVER, header(1, text("a"), 3), body(1, hex("01020304"))]),
    /longer than its 3 bytes/,
  ],
  [
    "a second body that is too long",
    Buffer.concat([
      DELIVER,
      header(1, text("a"), 3),
      body(1, hex("0102")),
      body(1, hex("0102")),
    ]),
    /longer than its 3 bytes/,
  ],
  [
    "a body of 2^53 bytes",
    Buffer.concat([
      DELIVER,
      header(1, text("a"), 2 ** 53 - 1),
      body(1, hex("01")),
    ]),
    /./,
  ],
];

for (const [what, bytes, expected] of VIOLATIONS) {
  Deno.test(`${what} ends the connection with FRAME_ERROR`, async () => {
    using broker = new FakeBroker();
    const { connection, peer } = await broker.connect();
    const channel = await peer.channel(connection);
    const consuming = channel.consume("q", new Mailbox(), {
      consumerTag: "tag",
    });
    await peer.expect("basic.consume", 1);
    await peer.write(method(1, "basic.consume-ok", { consumerTag: "tag" }));
    await consuming;
    await peer.write(bytes);
    const error = await connection.closed;
    withCode("FRAME_ERROR", "connection")(error);
    assert.match(error.message, expected);
    assert.equal(await channel.closed, error);
    assert.equal(connection.isOpen, false);
    const { replyCode, replyText } = await peer.expect("connection.close");
    assert.equal(replyCode, 501);
    assert.ok(error.message.endsWith(replyText));
    await peer.closed();
  });
}

Deno.test("requests that wait when the protocol is broken reject with its error", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection, { confirms: true });
  const confirmations: string[] = [];
  channel.publish(
    { exchange: "", routingKey: "q" },
    text("a"),
    (confirmation) => void confirmations.push(confirmation),
  );
  const outcomes = [
    channel.request("queue.declare", {}),
    channel.get("q"),
    channel.consume("q", new Mailbox()),
    connection.updateSecret("new", "test"),
    connection.openChannel(),
  ].map((promise) =>
    Promise.resolve(promise).then(
      () => "resolved",
      (error: AmqpError) => error.code,
    )
  );
  await peer.write(hex("07"));
  assert.deepEqual(await Promise.all(outcomes), [
    ...["FRAME_ERROR", "FRAME_ERROR", "FRAME_ERROR"],
    ...["FRAME_ERROR", "FRAME_ERROR"],
  ]);
  assert.deepEqual(confirmations, ["lost"]);
  const publish = () =>
    channel.publish({ exchange: "", routingKey: "q" }, text("b"));
  assert.throws(publish, withCode("FRAME_ERROR", "connection"));
  await assert.rejects(connection.openChannel(), withCode("FRAME_ERROR"));
});

Deno.test("a connection whose broker breaks the protocol disturbs no other", async () => {
  using broker = new FakeBroker();
  const [bad, good] = [await broker.connect(), await broker.connect()];
  const channel = await good.peer.channel(good.connection);
  const asked = channel.request("basic.qos", { prefetchCount: 1 });
  await bad.peer.write(Buffer.alloc(1_000_000));
  withCode("FRAME_ERROR")(await bad.connection.closed);
  await good.peer.expect("basic.qos", 1);
  await good.peer.write(method(1, "basic.qos-ok"));
  await asked;
  assert.ok(good.connection.isOpen);
  good.connection.destroy("the test ends");
});

Deno.test("bytes after a close are not handled", async () => {
  using errors = reported();
  using broker = new FakeBroker();
  const seen: string[] = [];
  const { connection, peer } = await broker.connect({
    onBlocked: (reason) => void seen.push(reason),
  });
  await peer.write(
    method(0, "connection.close", { replyCode: 320, replyText: "bye" }),
    method(0, "connection.blocked", { reason: "late" }),
    method(0, "connection.close", { replyCode: 541, replyText: "again" }),
    Buffer.alloc(1_000),
  );
  withCode("CONNECTION_FORCED")(await connection.closed);
  await peer.expect("connection.close-ok");
  await peer.closed();
  assert.deepEqual([seen, errors.messages, peer.sent], [[], [], []]);
});

Deno.test("headers that cannot be decoded do not end the connection", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const got: ReceivedMessage[] = [];
  const consuming = channel.consume("q", {
    onMessage: (message) => void got.push(message),
  });
  await peer.expect("basic.consume", 1);
  const consumerTag = "made-up";
  await peer.write(method(1, "basic.consume-ok", { consumerTag }));
  assert.equal(await consuming, consumerTag);
  const bad = delivery(1, { consumerTag, deliveryTag: 1 }, {
    ...text("bad"),
    headers: { zzz: true },
    messageId: "id",
  });
  bad[bad.indexOf("zzzt") + 3] = 0x7a;
  const good = delivery(1, { consumerTag, deliveryTag: 2 }, text("good"));
  await peer.write(bad, good);
  await until("both arrive", () => got.length === 2, 5_000, 1);
  const [first, second] = got;
  assert.match(first?.unreadable ?? "", /unknown type 122/);
  assert.deepEqual([first?.headers, first?.messageId], [{}, "id"]);
  assert.deepEqual([`${first?.body}`, `${second?.body}`], ["bad", "good"]);
  assert.equal(second?.unreadable, undefined);
  connection.destroy("the test ends");
});

Deno.test("a flood of frames that are allowed leaves no memory behind", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection, { confirms: true });
  const flood = Buffer.concat(
    Array.from({ length: 20_000 }, (_, n) => [
      method(1, "basic.ack", { deliveryTag: n + 7, multiple: n % 2 === 0 }),
      delivery(1, { consumerTag: "nobody" }, text("dropped")),
      frame(8, 0, hex("")),
    ]).flat(),
  );
  const before = Deno.memoryUsage();
  for (let n = 0; n < 3; n++) await peer.write(flood);
  const asked = channel.request("basic.qos", {});
  await peer.expect("basic.qos", 1);
  await peer.write(method(1, "basic.qos-ok"));
  await asked;
  const after = Deno.memoryUsage();
  const grown = after.heapUsed + after.external - before.heapUsed -
    before.external;
  assert.ok(grown < 30_000_000, `${grown} bytes after ${3 * flood.length}`);
  connection.destroy("the test ends");
});
