/** Nothing is left of what was settled: requests, consumers, confirms. */
import assert from "node:assert/strict";
import { setFlagsFromString } from "node:v8";
import { runInNewContext } from "node:vm";
import { ChannelInput } from "../../../src/amqp/channel/channel_input.ts";
import { ConsumerEnds } from "../../../src/amqp/channel/consumer_ends.ts";
import { Confirms } from "../../../src/amqp/channel/confirms.ts";
import { Requests } from "../../../src/amqp/channel/requests.ts";
import { AmqpError } from "../../../src/amqp/mod.ts";
import { FakeBroker, method, text } from "../fake_broker.ts";

setFlagsFromString("--expose-gc");
const gc: () => void = runInNewContext("gc");

/** Bytes of the heap by which something makes it grow. */
async function growth(work: () => Promise<void>): Promise<number> {
  gc();
  const before = Deno.memoryUsage().heapUsed;
  await work();
  gc();
  return Deno.memoryUsage().heapUsed - before;
}

Deno.test("requests of which one always waits leave nothing behind", async () => {
  const requests = new Requests();
  void requests.add("basic.get").catch(() => {});
  const grown = await growth(async () => {
    for (let n = 0; n < 100_000; n++) {
      const next = requests.add("basic.get");
      requests.settle("basic.get-empty", undefined);
      if (n % 1_000 === 0) await Promise.resolve();
      next.catch(() => {});
    }
  });
  assert.ok(grown < 3_000_000, `${grown} bytes`);
  assert.ok(requests.has("basic.get"));
});

Deno.test("confirms of which the oldest waits, or the newest, leave nothing behind", async () => {
  const confirms = new Confirms();
  let settled = 0;
  const grown = await growth(async () => {
    await Promise.resolve();
    for (let tag = 1; tag <= 100_000; tag++) {
      confirms.add(() => void settled++);
      if (tag > 1) confirms.settle(tag - 1, tag % 3 === 0, "ack");
    }
  });
  assert.equal(settled, 99_999);
  assert.ok(grown < 2_000_000, `${grown} bytes`);
});

Deno.test("requests are settled in order by their own replies, also by replies that overtake others, and fail together", async () => {
  const requests = new Requests();
  const log: string[] = [];
  const failures: Promise<unknown>[] = [];
  const add = (
    name: "queue.declare" | "queue.bind" | "basic.cancel",
    text: string,
    tag?: string,
  ) => {
    const answered = requests.add(name, () => void log.push(text), tag);
    failures.push(answered.then(() => "answered", ({ code }) => code));
  };
  add("queue.declare", "first");
  add("basic.cancel", "cancel a", "a");
  add("basic.cancel", "cancel b", "b");
  add("queue.declare", "second");
  add("queue.declare", "third");
  assert.equal(requests.settle("queue.bind-ok", {}), false);
  assert.equal(requests.settle("basic.get-empty", undefined), false);
  assert.equal(requests.settle("queue.declare-ok", {}), true);
  assert.equal(requests.settle("queue.declare-ok", {}), true);
  assert.equal(requests.settle("basic.cancel-ok", { consumerTag: "b" }), true);
  assert.equal(requests.settle("basic.cancel-ok", { consumerTag: "b" }), false);
  assert.equal(requests.settle("basic.cancel-ok", { consumerTag: "a" }), true);
  assert.deepEqual(log, ["first", "second", "cancel b", "cancel a"]);
  add("queue.bind", "fourth");
  failures.push(requests.add("basic.get").catch(({ code }) => code));
  requests.fail(
    new AmqpError("refused", {
      code: "NOT_FOUND",
      scope: "channel",
      replyCode: 404,
      method: "queue.declare",
    }),
  );
  assert.deepEqual(await Promise.all(failures), [
    ...["answered", "answered", "answered", "answered"],
    ...["NOT_FOUND", "NOT_PROCESSED", "NOT_PROCESSED"],
  ]);
  assert.equal(requests.settle("queue.bind-ok", {}), false);
  assert.equal(requests.has("basic.get"), false);
});

Deno.test("consumers are forgotten when they are cancelled by either side, and when the channel is closed", async () => {
  const input = new ChannelInput(() => {});
  const { consumers } = input;
  const sent: string[] = [];
  const replies: (() => void)[] = [];
  const ends = new ConsumerEnds(consumers, (tag, onReply) => {
    sent.push(tag);
    const { promise, resolve } = Promise.withResolvers<void>();
    replies.push(() => (onReply(), resolve()));
    return promise;
  });
  const cancelled: string[] = [];
  for (const tag of ["a", "b", "c"]) {
    const onCancelled = () => void cancelled.push(tag);
    consumers.set(tag, { onMessage: () => {}, onCancelled });
  }
  for (const tag of ["a", "a", "unknown"]) ends.onCancelled(tag);
  const ended = ends.cancel("b");
  ends.onCancelled("b"); // both sides cancel it
  assert.deepEqual([sent, cancelled], [["a", "b"], ["a"]]);
  assert.deepEqual([...consumers.keys()], ["a", "b", "c"]);
  for (const reply of replies) reply();
  await ended;
  assert.deepEqual([...consumers.keys()], ["c"]);
  input.close();
  assert.equal(consumers.size, 0);
});

Deno.test("the listener of a consumer that was cancelled is not held", async () => {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect();
  const channel = await peer.channel(connection);
  const consume = async () => {
    const listener = { onMessage: () => {} };
    const consuming = channel.consume("q", listener, { consumerTag: "tag" });
    await peer.expect("basic.consume", 1);
    await peer.write(method(1, "basic.consume-ok", { consumerTag: "tag" }));
    await consuming;
    const cancelling = channel.cancel("tag");
    await peer.expect("basic.cancel", 1);
    await peer.write(method(1, "basic.cancel-ok", { consumerTag: "tag" }));
    await cancelling;
    return new WeakRef(listener);
  };
  const held = await consume();
  await new Promise((resolve) => setTimeout(resolve));
  gc();
  assert.equal(held.deref(), undefined);
  channel.publish(
    { exchange: "", routingKey: "q" },
    text("the channel is open"),
  );
  connection.destroy("the test ends");
});
