/** Exchanges, queues and bindings on a real broker. */
import assert from "node:assert/strict";
import type { AmqpError } from "../../../src/amqp/mod.ts";
import { until } from "../../setup/probe.ts";
import { exclusiveQueue, newName, opened, put } from "../broker.ts";
import { withCode } from "../fake_broker.ts";

Deno.test("an exchange is declared, found, bound to another, unbound and deleted", async () => {
  await using it = await opened();
  const { channel, connection } = it;
  const [source, destination] = [newName(), newName()];
  for (const exchange of [source, destination]) {
    const args = { exchange, type: "topic", autoDelete: false };
    assert.deepEqual(await channel.request("exchange.declare", args), {});
    await channel.request("exchange.declare", { exchange, passive: true });
  }
  const queue = await exclusiveQueue(channel);
  await channel.request("queue.bind", {
    queue,
    exchange: destination,
    routingKey: "a.*",
  });
  const binding = { source, destination, routingKey: "#" };
  await channel.request("exchange.bind", binding);
  const body = new Uint8Array(1);
  const next = async () =>
    (await until("a message", () => channel.get(queue))).routingKey;
  channel.publish({ exchange: source, routingKey: "a.b" }, { body });
  assert.equal(await next(), "a.b");
  await channel.request("exchange.unbind", binding);
  channel.publish({ exchange: source, routingKey: "a.b" }, { body });
  channel.publish({ exchange: destination, routingKey: "a.c" }, { body });
  assert.equal(await next(), "a.c");
  for (const exchange of [source, destination]) {
    await channel.request("exchange.delete", { exchange });
    const other = await connection.openChannel();
    await assert.rejects(
      other.request("exchange.declare", { exchange, passive: true }),
      withCode("NOT_FOUND", "channel"),
    );
  }
});

Deno.test("an exchange that is in use is not deleted with ifUnused", async () => {
  await using it = await opened();
  const exchange = newName();
  const queue = await exclusiveQueue(it.channel);
  await it.channel.request("exchange.declare", {
    exchange,
    type: "fanout",
    autoDelete: true,
  });
  await it.channel.request("queue.bind", { queue, exchange });
  await assert.rejects(
    it.channel.request("exchange.delete", { exchange, ifUnused: true }),
    withCode("PRECONDITION_FAILED", "channel"),
  );
});

Deno.test("a queue is declared, found, bound, unbound, purged and deleted, with the broker's counts", async () => {
  await using it = await opened();
  const { channel } = it;
  const queue = newName();
  const declared = { queue, messageCount: 0, consumerCount: 0 };
  const args = { queue, exclusive: true, arguments: { "x-max-length": 100 } };
  assert.deepEqual(await channel.request("queue.declare", args), declared);
  const exchange = "amq.headers";
  const binding = {
    queue,
    exchange,
    arguments: { "x-match": "all", number: 7, text: "ä", flag: true },
  };
  await channel.request("queue.bind", binding);
  const to = { exchange, routingKey: "" };
  const message = {
    headers: { number: 7, text: "ä", flag: true },
    body: new Uint8Array(1),
  };
  const counted = async () => {
    const passive = { queue, passive: true };
    return (await channel.request("queue.declare", passive)).messageCount;
  };
  for (let n = 0; n < 3; n++) channel.publish(to, message);
  await until("the broker routes by headers", async () => await counted() >= 3);
  await channel.request("queue.unbind", binding);
  channel.publish(to, message);
  assert.deepEqual(await channel.request("queue.purge", { queue }), {
    messageCount: 3,
  });
  put(channel, queue, "a");
  put(channel, queue, "b");
  await until("both arrive", async () => await counted() === 2);
  assert.deepEqual(await channel.request("queue.delete", { queue }), {
    messageCount: 2,
  });
});

Deno.test("a queue with messages is not deleted with ifEmpty, and one with consumers not with ifUnused", async () => {
  await using it = await opened();
  const { channel, connection } = it;
  const other = await connection.openChannel();
  const queue = await exclusiveQueue(channel);
  put(channel, queue, "a");
  await until(
    "the message arrives",
    async () =>
      (await channel.request("queue.declare", { queue, passive: true }))
        .messageCount === 1,
  );
  await assert.rejects(
    channel.request("queue.delete", { queue, ifEmpty: true }),
    withCode("PRECONDITION_FAILED", "channel"),
  );
  await other.consume(queue, { onMessage: () => {} });
  await assert.rejects(
    other.request("queue.delete", { queue, ifUnused: true }),
    withCode("PRECONDITION_FAILED", "channel"),
  );
});

Deno.test("declarations are sent without waiting for each other", async () => {
  await using it = await opened();
  const queues = Array.from({ length: 50 }, newName);
  const declared = await Promise.all(
    queues.map((queue) =>
      it.channel.request("queue.declare", { queue, exclusive: true })
    ),
  );
  assert.deepEqual(declared.map(({ queue }) => queue), queues);
});

Deno.test("of pipelined declarations the third has the broker's error, and the later ones are not processed", async () => {
  await using it = await opened();
  const { channel, connection } = it;
  const names = Array.from({ length: 5 }, newName);
  const outcomes = await Promise.allSettled(
    names.map((queue, n) =>
      channel.request("queue.declare", {
        queue,
        exclusive: true,
        arguments: n === 2 ? { "x-max-length": "many" } : {},
      })
    ),
  );
  assert.deepEqual(outcomes.map(({ status }) => status), [
    ...["fulfilled", "fulfilled"],
    ...["rejected", "rejected", "rejected"],
  ]);
  const [third, ...later] = outcomes.slice(2).map((outcome) =>
    (outcome as PromiseRejectedResult).reason as AmqpError
  );
  withCode("PRECONDITION_FAILED", "channel")(third!);
  assert.deepEqual([third!.replyCode, third!.method], [406, "queue.declare"]);
  assert.match(
    third!.message,
    /406 PRECONDITION_FAILED - invalid arg 'x-max-length'/,
  );
  for (const error of later) {
    withCode("NOT_PROCESSED", "channel")(error);
    assert.deepEqual([error.method, error.cause], ["queue.declare", third]);
  }
  assert.equal(await channel.closed, third);
  const other = await connection.openChannel();
  assert.equal(other.number, channel.number);
  const passive = (queue: string) =>
    other.request("queue.declare", { queue, passive: true });
  await passive(names[1]!);
  await assert.rejects(passive(names[3]!), withCode("NOT_FOUND"));
});

Deno.test("a queue of another connection is RESOURCE_LOCKED, another type of exchange PRECONDITION_FAILED", async () => {
  await using one = await opened();
  await using two = await opened();
  const queue = await exclusiveQueue(one.channel);
  await assert.rejects(
    two.channel.request("queue.declare", { queue, passive: true }),
    withCode("RESOURCE_LOCKED", "channel"),
  );
  await assert.rejects(
    one.channel.request("exchange.declare", {
      exchange: "amq.topic",
      type: "direct",
    }),
    withCode("PRECONDITION_FAILED", "channel"),
  );
});

Deno.test("a prefetch size, which RabbitMQ does not have, closes the connection, with the method that failed", async () => {
  await using it = await opened();
  const other = await it.connection.openChannel();
  const failed = it.channel.request("basic.qos", { prefetchSize: 1 });
  await assert.rejects(failed, (error: AmqpError) => {
    withCode("NOT_IMPLEMENTED", "connection")(error);
    return error.method === "basic.qos";
  });
  withCode("NOT_IMPLEMENTED")(await other.closed);
  withCode("NOT_IMPLEMENTED")(await it.connection.closed);
});

Deno.test("a name that the broker chooses is in the reply, and arguments of all types are accepted", async () => {
  await using it = await opened();
  const { queue } = await it.channel.request("queue.declare", {
    exclusive: true,
    arguments: {
      "x-expires": 60_000,
      "x-message-ttl": 2 ** 31,
      "x-nested": {
        list: [1, "é", null, true, 1.5, new Uint8Array(3)],
        when: new Date(),
      },
    },
  });
  assert.match(queue, /^amq\.gen-/);
});

Deno.test("an argument that cannot be encoded throws, and the channel stays open", async () => {
  await using it = await opened();
  const wrong = [
    it.channel.request("queue.declare", { queue: "x".repeat(256) }),
    it.channel.request("queue.declare", { arguments: { a: () => {} } }),
    it.channel.request("queue.declare", {
      arguments: { a: "x".repeat(200_000) },
    }),
    it.channel.request("basic.qos", { prefetchCount: 65_536 }),
  ];
  for (const request of wrong) await assert.rejects(request, TypeError);
  await exclusiveQueue(it.channel);
});
