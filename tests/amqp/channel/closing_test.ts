/** Channels that end: by either side, by both at once, and again and again. */
import assert from "node:assert/strict";
import { until } from "../../setup/probe.ts";
import { exclusiveQueue, Mailbox, opened } from "../broker.ts";
import {
  body,
  delivery,
  FakeBroker,
  header,
  method,
  text,
  withCode,
} from "../fake_broker.ts";

const GONE = method(1, "channel.close", {
  replyCode: 404,
  replyText: "NOT_FOUND - no queue",
  classId: 50,
  methodId: 10,
});

Deno.test("a channel that is closed drops what still arrives, and frees its number with the reply", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const mail = new Mailbox();
  const consuming = channel.consume("q", mail, { consumerTag: "tag" });
  await peer.expect("basic.consume", 1);
  await peer.write(method(1, "basic.consume-ok", { consumerTag: "tag" }));
  await consuming;
  const asked = channel.request("basic.qos", {});
  const got = channel.get("q");
  const closing = channel.close();
  const again = channel.close();
  assert.equal(channel.isOpen, false);
  channel.ack(1);
  assert.throws(
    () => channel.publish({ exchange: "", routingKey: "q" }, text("a")),
    withCode("CLOSED", "channel"),
  );
  await assert.rejects(
    channel.request("basic.qos", {}),
    withCode("CLOSED", "channel"),
  );
  await peer.expect("basic.qos", 1);
  await peer.expect("basic.get", 1);
  await peer.expect("channel.close", 1);
  const second = await peer.channel(connection);
  assert.equal(second.number, 2, "the first number is in use");
  await peer.write(
    delivery(1, { consumerTag: "tag", deliveryTag: 1 }, text("late")),
    method(1, "basic.qos-ok"),
    method(1, "basic.get-ok"),
    header(1, text("late")),
    body(1, text("late").body),
    method(1, "basic.cancel", { consumerTag: "tag", noWait: true }),
    method(1, "channel.close-ok"),
  );
  await Promise.all([closing, again, asked]);
  await assert.rejects(got, withCode("CLOSED", "channel"));
  withCode("CLOSED", "channel")(await channel.closed);
  assert.deepEqual([mail.texts, mail.cancelled], [[], 0]);
  assert.equal((await peer.channel(connection)).number, 1);
  connection.destroy("the test ends");
});

Deno.test("a channel that the broker closes inside a content aborts its sink, and is answered", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const seen: string[] = [];
  const consuming = channel.consume("q", {
    onMessage: () => void seen.push("message"),
    openBody: () => ({
      write: (part) => void seen.push(`${part.length} bytes`),
      abort: () => void seen.push("abort"),
    }),
  }, { consumerTag: "tag" });
  await peer.write(
    method(1, "basic.consume-ok", { consumerTag: "tag" }),
    method(1, "basic.deliver", { consumerTag: "tag" }),
    header(1, text("four")),
    body(1, text("th").body),
    GONE,
  );
  await consuming;
  const reason = await channel.closed;
  withCode("NOT_FOUND", "channel")(reason);
  assert.equal(reason.method, "queue.declare");
  assert.deepEqual(seen, ["2 bytes", "abort"]);
  await peer.expect("basic.consume", 1);
  await peer.expect("channel.close-ok", 1);
  const next = await peer.channel(connection);
  assert.equal(next.number, 1);
  connection.destroy("the test ends");
});

Deno.test("both sides close a channel at once", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const closing = channel.close();
  await peer.expect("channel.close", 1);
  await peer.write(GONE);
  await closing;
  withCode("NOT_FOUND", "channel")(await channel.closed);
  await peer.expect("channel.close-ok", 1);
  const other = await peer.channel(connection);
  assert.equal(other.number, 2, "the reply to the closing has not arrived");
  await peer.write(method(1, "channel.close-ok"));
  await until("the number is free", async () => {
    const next = await peer.channel(connection);
    return next.number === 1;
  });
  assert.ok(connection.isOpen);
  connection.destroy("the test ends");
});

Deno.test("both sides close a connection at once", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const closing = connection.close();
  assert.equal(connection.isOpen, false);
  await assert.rejects(connection.openChannel(), withCode("CLOSED"));
  await peer.expect("connection.close");
  await peer.write(
    method(0, "connection.close", { replyCode: 320, replyText: "bye" }),
  );
  await closing;
  withCode("CONNECTION_FORCED", "connection")(await connection.closed);
  withCode("CONNECTION_FORCED", "connection")(await channel.closed);
  await peer.expect("connection.close-ok");
  await peer.closed();
});

Deno.test("a connection that is closed while a channel is opened, and while another is closed", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const closingChannel = channel.close();
  const opening = connection.openChannel({ confirms: true });
  const closing = connection.close();
  await peer.expect("channel.close", 1);
  await peer.expect("channel.open", 2);
  await peer.expect("confirm.select", 2);
  await peer.expect("connection.close");
  await peer.write(method(0, "connection.close-ok"));
  await assert.rejects(opening, withCode("CLOSED", "connection"));
  await Promise.all([closing, closingChannel]);
  withCode("CLOSED", "channel")(await channel.closed);
  withCode("CLOSED", "connection")(await connection.closed);
  await connection.close();
  await peer.closed();
});

Deno.test("a channel that the broker stops and resumes says so to both sides", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const seen: boolean[] = [];
  const channel = await peer.channel(connection, {
    onFlow: (active) => void seen.push(active),
  });
  await peer.write(
    method(1, "channel.flow", { active: false }),
    method(1, "channel.flow", { active: true }),
  );
  for (const active of [false, true]) {
    assert.deepEqual(await peer.expect("channel.flow-ok", 1), { active });
  }
  assert.deepEqual(seen, [false, true]);
  const asked = channel.request("channel.flow", { active: true });
  await peer.expect("channel.flow", 1);
  await peer.write(method(1, "channel.flow-ok", { active: true }));
  assert.deepEqual(await asked, { active: true });
  connection.destroy("the test ends");
});

Deno.test("a consumer that the broker cancels is cancelled in return, and gets its messages until that is answered", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const mail = new Mailbox();
  const consuming = channel.consume("q", mail);
  await peer.expect("basic.consume", 1);
  const args = { consumerTag: "tag" };
  await peer.write(
    method(1, "basic.consume-ok", args),
    method(1, "basic.cancel", { ...args, noWait: true }),
    method(1, "basic.cancel", { ...args, noWait: true }),
    delivery(1, { ...args, deliveryTag: 1 }, text("late")),
    method(1, "basic.cancel-ok", args),
    delivery(1, { ...args, deliveryTag: 2 }, text("too late")),
    method(1, "basic.deliver", { ...args, deliveryTag: 3 }),
    header(1, text("large and too late")),
    ...["large and", " too late"].map((part) => body(1, text(part).body)),
  );
  assert.equal(await consuming, "tag");
  assert.deepEqual(await peer.expect("basic.cancel", 1), {
    ...args,
    noWait: false,
  });
  for (const deliveryTag of [2, 3]) {
    const nack = { deliveryTag, multiple: false, requeue: true };
    assert.deepEqual(await peer.expect("basic.nack", 1), nack);
  }
  assert.deepEqual([mail.cancelled, mail.texts], [1, ["late"]]);
  assert.deepEqual(peer.sent, []);
  connection.destroy("the test ends");
});

Deno.test("a broker that waits for the answer to its cancellation gets it", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const mail = new Mailbox();
  const consuming = channel.consume("q", mail);
  await peer.expect("basic.consume", 1);
  await peer.write(
    method(1, "basic.consume-ok", { consumerTag: "tag" }),
    method(1, "basic.cancel", { consumerTag: "tag" }),
  );
  await consuming;
  await peer.expect("basic.cancel-ok", 1);
  await peer.expect("basic.cancel", 1);
  assert.equal(mail.cancelled, 1);
  connection.destroy("the test ends");
});

Deno.test("messages of unknown consumers are dropped if no consumer of the channel acknowledges", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const mail = new Mailbox();
  const consuming = channel.consume("q", mail, { noAck: true });
  await peer.expect("basic.consume", 1);
  await peer.write(
    method(1, "basic.consume-ok", { consumerTag: "tag" }),
    delivery(1, { consumerTag: "unknown" }, text("a")),
    delivery(1, { consumerTag: "tag" }, text("b")),
  );
  await consuming;
  await mail.first(1);
  assert.deepEqual([mail.texts, peer.sent], [["b"], []]);
  connection.destroy("the test ends");
});

Deno.test("RabbitMQ: a channel with an error and its closing at once frees its number", async () => {
  await using it = await opened();
  for (let n = 0; n < 20; n++) {
    const channel = await it.connection.openChannel();
    channel.publish(
      { exchange: "no-such-exchange", routingKey: "" },
      text("a"),
    );
    const failed = channel.request("queue.declare", {
      queue: "no-such-queue",
      passive: true,
    });
    const closing = channel.close();
    await assert.rejects(failed);
    await closing;
  }
  await until("all numbers are free", async () => {
    const channel = await it.connection.openChannel();
    await channel.close();
    return channel.number === 2;
  });
});

Deno.test("1000 channels, one after the other, use the same number; 1000 at once do not", async () => {
  await using it = await opened();
  for (let n = 0; n < 1_000; n++) {
    const channel = await it.connection.openChannel();
    assert.equal(channel.number, 2);
    await channel.close();
  }
  const channels = await Promise.all(
    Array.from({ length: 1_000 }, () => it.connection.openChannel()),
  );
  const numbers = channels.map(({ number }) => number);
  assert.deepEqual(numbers, Array.from({ length: 1_000 }, (_, n) => n + 2));
  await channels[500]!.close();
  assert.equal((await it.connection.openChannel()).number, 502);
});

Deno.test("a connection opens as many channels as were agreed on, and again when one is closed", async () => {
  await using it = await opened({}, { channelMax: 3 });
  const { connection } = it;
  const more = await Promise.all([
    connection.openChannel(),
    connection.openChannel(),
  ]);
  await assert.rejects(
    connection.openChannel(),
    withCode("CHANNEL_LIMIT", "channel"),
  );
  await more[0].close();
  const [channel] = await Promise.all([connection.openChannel()]);
  assert.equal(channel?.number, 2);
  await exclusiveQueue(channel!);
});
