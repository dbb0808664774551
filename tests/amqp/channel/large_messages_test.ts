/** Large messages, whose bodies are written in chunks, and what is sent meanwhile. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import type { Confirmation } from "../../../src/amqp/mod.ts";
import { until } from "../../setup/probe.ts";
import { exclusiveQueue, Mailbox, MIN_FRAME, opened } from "../broker.ts";
import { FakeBroker, method, withCode } from "../fake_broker.ts";

const LARGE = Buffer.alloc(5_000_000, "large ");

for (const frameMax of [MIN_FRAME, 131_072]) {
  Deno.test(`other messages, requests and acknowledgements follow a large message, with frames of ${frameMax} bytes`, async () => {
    await using it = await opened({ confirms: true }, { frameMax });
    const { channel } = it;
    const queue = await exclusiveQueue(channel);
    const to = { exchange: "", routingKey: queue };
    const mail = new Mailbox();
    await channel.consume(queue, mail);
    channel.publish(to, { body: Buffer.from("first") });
    await mail.first(1);
    const confirmations: [number, Confirmation][] = [];
    const confirm = (n: number) => (confirmation: Confirmation) =>
      void confirmations.push([n, confirmation]);
    const large = channel.publishLarge(
      to,
      { body: LARGE, messageId: "large" },
      confirm(1),
    );
    assert.ok(channel.writing);
    const medium = Buffer.alloc(200_000, "medium");
    channel.publish(to, { body: medium }, confirm(2));
    channel.ack(1);
    const declared = channel.request("queue.declare", { queue, passive: true });
    assert.throws(
      () => channel.publishLarge(to, { body: LARGE }),
      /Another large message/,
    );
    await large;
    assert.equal(channel.writing, undefined);
    assert.equal((await declared).queue, queue);
    const [, one, two] = await mail.first(3);
    assert.equal(one?.messageId, "large");
    assert.ok(LARGE.equals(one!.body));
    assert.ok(medium.equals(two!.body));
    await until("both are confirmed", () => confirmations.length === 2);
    assert.deepEqual(confirmations, [[1, "ack"], [2, "ack"]]);
    await channel.publishLarge(to, { body: new Uint8Array() });
    assert.equal((await mail.first(4))[3]?.body.length, 0);
  });
}

Deno.test("a frame that is too large is refused while a large message is written as well", async () => {
  await using it = await opened({}, { frameMax: MIN_FRAME });
  const queue = await exclusiveQueue(it.channel);
  const to = { exchange: "", routingKey: queue };
  const large = it.channel.publishLarge(to, { body: LARGE });
  const headers = { long: "x".repeat(MIN_FRAME) };
  const body = new Uint8Array(1);
  assert.throws(() => it.channel.publish(to, { body, headers }), TypeError);
  await large;
  await exclusiveQueue(it.channel);
});

Deno.test("a channel that is closed during a large message is closed after it", async () => {
  await using it = await opened();
  const other = await it.connection.openChannel();
  const queue = await exclusiveQueue(other);
  const large = it.channel.publishLarge({ exchange: "", routingKey: queue }, {
    body: LARGE,
  });
  await it.channel.close();
  await large;
  withCode("CLOSED", "channel")(await it.channel.closed);
  const { bodySize } = await until("it arrives", () => other.get(queue));
  assert.equal(bodySize, LARGE.length);
  const next = await it.connection.openChannel();
  assert.equal(next.number, it.channel.number);
});

Deno.test("a connection that is closed during a large message is closed", async () => {
  const it = await opened();
  const queue = await exclusiveQueue(it.channel);
  const large = it.channel.publishLarge({ exchange: "", routingKey: queue }, {
    body: LARGE,
  });
  await it.connection.close();
  await large;
  withCode("CLOSED", "connection")(await it.channel.closed);
});

Deno.test("an exchange that does not exist ends a large message, and its number is used again", async () => {
  await using it = await opened({ confirms: true });
  const confirmations: Confirmation[] = [];
  const large = it.channel.publishLarge(
    { exchange: "no-such-exchange", routingKey: "" },
    { body: LARGE },
    (confirmation) => void confirmations.push(confirmation),
  );
  withCode("NOT_FOUND", "channel")(await it.channel.closed);
  await large;
  assert.deepEqual(confirmations, ["lost"]);
  const next = await it.connection.openChannel();
  assert.equal(next.number, it.channel.number);
  await exclusiveQueue(next);
});

Deno.test("messages of other channels are written between the parts of a large message", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const [one, two] = [
    await peer.channel(connection),
    await peer.channel(connection),
  ];
  const to = { exchange: "", routingKey: "q" };
  const large = one.publishLarge(to, { body: Buffer.alloc(20_000_000) });
  two.publish(to, { body: Buffer.from("small") });
  await large;
  await until(
    "all is sent",
    () =>
      peer.sent.filter(({ channel, name }) => channel === 1 && name === "body")
        .length >= 153,
  );
  const at = peer.sent.findIndex(({ channel }) => channel === 2);
  assert.ok(at > 0 && at < 100, `after ${at} of ${peer.sent.length} frames`);
  connection.destroy("the test ends");
});

Deno.test("a broker that closes a channel, whose closing waits for a large message, frees its number", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const large = channel.publishLarge({ exchange: "", routingKey: "q" }, {
    body: Buffer.alloc(50_000_000),
  });
  const closing = channel.close();
  await peer.write(
    method(1, "channel.close", { replyCode: 404, replyText: "gone" }),
  );
  await closing;
  await large;
  withCode("NOT_FOUND", "channel")(await channel.closed);
  const opening = connection.openChannel();
  await until(
    "the next channel is opened",
    () => peer.sent.some(({ name }) => name === "channel.open"),
  );
  const { channel: number } = peer.sent.find(({ name }) =>
    name === "channel.open"
  )!;
  assert.equal(number, 1);
  assert.ok(!peer.sent.some(({ name }) => name === "channel.close"));
  await peer.write(method(1, "channel.open-ok"));
  await opening;
  connection.destroy("the test ends");
});

Deno.test("a large message ends with its connection", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const large = channel.publishLarge({ exchange: "", routingKey: "q" }, {
    body: Buffer.alloc(50_000_000),
  });
  connection.destroy("the test ends");
  await large;
  await connection.drained();
  await peer.closed();
});
