/** Connections to a real broker: alarms, renewed secrets, and closings that an operator asks for. */
import assert from "node:assert/strict";
import { connect } from "../../src/amqp/mod.ts";
import {
  brokerUrl,
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { exclusiveQueue, Mailbox, newName, opened, put } from "./broker.ts";
import { FakeBroker, method, withCode } from "./fake_broker.ts";

let node: PrivateBroker;

Deno.test.beforeAll(async () => {
  if (rabbitmqServer) node = await privateBroker();
});
Deno.test.afterAll(() => node?.[Symbol.asyncDispose]());

function onNode(name: string, fn: () => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn });
}

onNode(
  "a broker that is short of memory blocks publishers, and says when it accepts messages again",
  async () => {
    const seen: string[] = [];
    await using connection = await connect(node.url, {
      onBlocked: (reason) => void seen.push(reason),
      onUnblocked: () => void seen.push("unblocked"),
    });
    const channel = await connection.openChannel({ confirms: true });
    const queue = await exclusiveQueue(channel);
    const confirmations: string[] = [];
    const to = { exchange: "", routingKey: queue };
    const body = new Uint8Array(10);
    assert.equal(connection.blocked, undefined);
    await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB");
    channel.publish(
      to,
      { body },
      (confirmation) => void confirmations.push(confirmation),
    );
    await until("it is blocked", () => connection.blocked);
    assert.equal(connection.blocked, "low on memory");
    await node.ctl("set_vm_memory_high_watermark", "absolute", "800MB");
    await until("the message is confirmed", () => confirmations.length > 0);
    assert.deepEqual([seen, confirmations], [["low on memory", "unblocked"], [
      "ack",
    ]]);
    assert.equal(connection.blocked, undefined);
  },
);

onNode(
  "a connection that an operator closes has the broker's code and text",
  async () => {
    const name = newName();
    const connection = await connect(node.url, {
      clientProperties: { connection_name: name },
    });
    const channel = await connection.openChannel();
    const listed = await node.ctl(
      "list_connections",
      "pid",
      "client_properties",
    );
    const line = listed.split("\n").find((line) => line.includes(name));
    const [pid = ""] = line?.split("\t") ?? [];
    const closing = node.ctl("close_connection", pid, "maintenance");
    const reason = await connection.closed;
    withCode("CONNECTION_FORCED", "connection")(reason);
    assert.equal(reason.replyCode, 320);
    assert.match(reason.message, /320 CONNECTION_FORCED - maintenance/);
    assert.equal(await channel.closed, reason);
    await closing;
  },
);

onNode(
  "a broker that is stopped closes its connections with its code, and accepts no others",
  async () => {
    const connection = await connect(node.url);
    const stopping = node.stop();
    withCode("CONNECTION_FORCED", "connection")(await connection.closed);
    await stopping;
    await assert.rejects(
      connect(node.url),
      withCode("CONNECT_FAILED", "socket"),
    );
  },
);

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
