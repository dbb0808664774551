/** Connections: renewed secrets, closings, and what is known of the broker. */
import assert from "node:assert/strict";
import { connect } from "../../src/amqp/mod.ts";
import { brokerUrl } from "../setup/broker.ts";
import { exclusiveQueue, Mailbox, newName, opened, put } from "./broker.ts";
import { FakeBroker, method, withCode } from "./fake_broker.ts";

Deno.test("a secret is renewed", async () => {
  await using it = await opened();
  await Promise.all([
    it.connection.updateSecret("new secret", "renewal"),
    it.connection.updateSecret("newer secret", "renewal"),
  ]);
  await exclusiveQueue(it.channel);
});

Deno.test("a secret that the broker refuses closes the connection with its code and text", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const renewals = ["one", "two"].map((secret) =>
    connection.updateSecret(secret, "it expires").catch((error) => error)
  );
  const { newSecret, reason } = await peer.expect("connection.update-secret");
  assert.deepEqual([newSecret, reason], ["one", "it expires"]);
  await peer.expect("connection.update-secret");
  await peer.write(method(0, "connection.close", {
    replyCode: 530,
    replyText: "NOT_ALLOWED - bad token",
    classId: 10,
    methodId: 70,
  }));
  const [first, second] = await Promise.all(renewals);
  withCode("NOT_ALLOWED", "connection")(first);
  assert.deepEqual([first.method, first.replyCode], [
    "connection.update-secret",
    530,
  ]);
  withCode("NOT_ALLOWED", "connection")(second);
  assert.equal(second.cause, first);
  await assert.rejects(
    connection.updateSecret("three", ""),
    withCode("NOT_ALLOWED"),
  );
});

Deno.test("a connection that is closed twice, or disposed, is closed once; what was sent before arrives", async () => {
  const url = await brokerUrl();
  await using reader = await opened();
  const queue = newName();
  await reader.channel.request("queue.declare", { queue, autoDelete: true });
  const mail = new Mailbox();
  await reader.channel.consume(queue, mail, { noAck: true });
  const connection = await connect(url);
  const channel = await connection.openChannel();
  for (let n = 0; n < 1_000; n++) put(channel, queue, `${n}`);
  await Promise.all([
    connection.close(),
    connection.close(),
    connection[Symbol.asyncDispose](),
  ]);
  assert.equal(connection.isOpen, false);
  const reason = await connection.closed;
  withCode("CLOSED", "connection")(reason);
  assert.equal(reason.message, "The connection was closed by this client");
  await mail.first(1_000);
  assert.equal(mail.texts[999], "999");
  await assert.rejects(
    connection.openChannel(),
    withCode("CLOSED", "connection"),
  );
});

Deno.test("a connection that is destroyed closes its socket at once", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const closing = connection.close();
  connection.destroy("no time left");
  connection.destroy("again");
  await closing;
  const reason = await connection.closed;
  withCode("CLOSED", "socket")(reason);
  assert.equal(reason.message, "no time left");
  assert.equal(await channel.closed, reason);
  await peer.closed();
});

Deno.test("the socket is closed if the broker does not answer the closing in time", async () => {
  using broker = new FakeBroker();
  for (const timeoutMs of [0, 50]) {
    const { connection, peer } = await broker.connect();
    const channel = await peer.channel(connection);
    await channel.close(timeoutMs);
    withCode("CLOSED", "channel")(await channel.closed);
    await connection.close(timeoutMs);
    withCode("CLOSED", "socket")(await connection.closed);
    await peer.closed();
    const names = peer.sent.map(({ name }) => name);
    if (timeoutMs > 0) {
      assert.deepEqual(names, ["channel.close", "connection.close"]);
    }
  }
});

Deno.test("the properties of the broker are those that it has sent", async () => {
  await using it = await opened();
  const { product, capabilities } = it.connection.serverProperties;
  assert.equal(product, "RabbitMQ");
  assert.equal(
    (capabilities as Record<string, unknown>).publisher_confirms,
    true,
  );
});
