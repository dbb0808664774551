/** Listeners that throw: the error is reported, and the connection stays open. */
import assert from "node:assert/strict";
import { until } from "../setup/probe.ts";
import type { ConsumerListener } from "../../src/amqp/mod.ts";
import {
  body,
  type Connected,
  delivery,
  FakeBroker,
  header,
  method,
  type Peer,
  reported,
  text,
} from "./fake_broker.ts";

/** Listener that throws an error with that name. */
const thrower = (name: string) => () => {
  throw new Error(name);
};

/** Errors that were reported while a broker played; the connection must still work. */
async function errorsOf(
  connected: Connected,
  play: (peer: Peer) => Promise<void>,
): Promise<readonly string[]> {
  using errors = reported();
  const { peer, connection } = connected;
  await play(peer);
  const channel = await peer.channel(connection);
  assert.ok(connection.isOpen);
  await peer.write(method(channel.number, "channel.close", { replyCode: 404 }));
  await channel.closed;
  return errors.messages;
}

/** A channel with a consumer `tag`. */
async function consumer(
  { connection, peer }: Connected,
  listener: ConsumerListener,
) {
  const channel = await peer.channel(connection);
  const consuming = channel.consume("q", listener, { consumerTag: "tag" });
  await peer.expect("basic.consume", 1);
  await peer.write(method(1, "basic.consume-ok", { consumerTag: "tag" }));
  await consuming;
  return channel;
}

Deno.test("onMessage, openBody and onCancelled", async () => {
  using broker = new FakeBroker();
  const connected = await broker.connect();
  let messages = 0;
  await consumer(connected, {
    onMessage: () => thrower(`message ${++messages}`)(),
    openBody: thrower("openBody"),
    onCancelled: thrower("cancelled"),
  });
  const errors = await errorsOf(connected, async (peer) => {
    const args = { consumerTag: "tag" };
    await peer.write(
      delivery(1, args, text("a")),
      delivery(1, args, text("b")),
    );
    await peer.write(method(1, "basic.cancel", { ...args, noWait: true }));
    await until("both arrive", () => messages === 2, 5_000, 1);
    await peer.expect("basic.cancel", 1);
  });
  assert.deepEqual(errors, [
    "openBody",
    "message 1",
    "openBody",
    "message 2",
    "cancelled",
  ]);
  connected.connection.destroy("the test ends");
});

Deno.test("write and abort of a sink", async () => {
  using broker = new FakeBroker();
  const connected = await broker.connect();
  const channel = await consumer(connected, {
    onMessage: thrower("message"),
    openBody: () => ({ write: thrower("write"), abort: thrower("abort") }),
  });
  const asked = channel.request("basic.qos", {}).catch(({ code }) => code);
  await connected.peer.expect("basic.qos", 1);
  const errors = await errorsOf(connected, async (peer) => {
    await peer.write(
      method(1, "basic.deliver", { consumerTag: "tag" }),
      header(1, text("abc")),
      body(1, text("ab").body),
      method(1, "channel.close", { replyCode: 404 }),
    );
    await channel.closed;
    await peer.expect("channel.close-ok", 1);
  });
  assert.deepEqual(errors, ["write", "abort"]);
  assert.equal(await asked, "NOT_PROCESSED");
  connected.connection.destroy("the test ends");
});

Deno.test("onReturned, onFlow and the confirmation of a message", async () => {
  using broker = new FakeBroker();
  const connected = await broker.connect();
  const channel = await connected.peer.channel(connected.connection, {
    confirms: true,
    onReturned: thrower("returned"),
    onFlow: thrower("flow"),
  });
  const to = { exchange: "", routingKey: "q", mandatory: true };
  let confirmed = 0;
  const confirm = (confirmation: string) => {
    confirmed++;
    throw new Error(confirmation);
  };
  for (let n = 0; n < 4; n++) {
    channel.publish(to, { body: new Uint8Array() }, confirm);
  }
  for (let n = 0; n < 4; n++) {
    await connected.peer.expect("basic.publish", 1);
    await until("the header", () => connected.peer.sent.shift(), 1_000, 1);
  }
  const errors = await errorsOf(connected, async (peer) => {
    await peer.write(
      method(1, "basic.return", { replyCode: 312 }),
      header(1, { body: new Uint8Array() }),
      method(1, "basic.ack", { deliveryTag: 1 }),
      method(1, "basic.nack", { deliveryTag: 3, multiple: true }),
      method(1, "channel.flow", { active: true }),
      method(1, "channel.close", { replyCode: 404 }),
    );
    await channel.closed;
    await peer.expect("channel.flow-ok", 1);
    await peer.expect("channel.close-ok", 1);
  });
  assert.deepEqual(errors, ["returned", "ack", "nack", "nack", "flow", "lost"]);
  assert.equal(confirmed, 4);
  connected.connection.destroy("the test ends");
});

Deno.test("onBlocked, onUnblocked and onReceived", async () => {
  using broker = new FakeBroker();
  let fails = false;
  const connected = await broker.connect({
    onBlocked: (reason) => thrower(`blocked: ${reason}`)(),
    onUnblocked: thrower("unblocked"),
    onReceived: () => {
      if (fails) throw new Error("received");
    },
  });
  const { connection } = connected;
  const errors = await errorsOf(connected, async (peer) => {
    await peer.write(method(0, "connection.blocked", { reason: "low" }));
    await until("it is blocked", () => connection.blocked === "low", 5_000, 1);
    await peer.write(method(0, "connection.unblocked"));
    await until("it is not", () => connection.blocked === undefined, 5_000, 1);
    fails = true;
    const channel = await peer.channel(connection);
    assert.ok(channel.isOpen);
    fails = false;
  });
  assert.deepEqual([...new Set(errors)], [
    "blocked: low",
    "unblocked",
    "received",
  ]);
  connection.destroy("the test ends");
});
