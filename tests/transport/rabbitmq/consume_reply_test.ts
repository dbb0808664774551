/** A channel on which the broker starts no consumer is left for another one. */
import assert from "node:assert/strict";
import type { ConsumerSpec } from "../../../src/transport/rabbitmq/consuming/consumer_spec.ts";
import {
  type ReceiverOptions,
  startConsumer,
} from "../../../src/transport/rabbitmq/consuming/receiver.ts";
import { direct } from "../../../src/transport/address.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import {
  Mailbox,
  message,
  plain,
  queue,
  rabbitLink,
  removeNames,
  soon,
} from "../support.ts";

Deno.test("a consumer whose start is not answered is started on another channel, with those that shared the channel", async () => {
  const base = await brokerUrl();
  const names = [1, 2].map(() => `test_${crypto.randomUUID()}`);
  const [first = "", second = ""] = names;
  await using log = await logged();
  await using proxy = proxyTo(base);
  await using link = rabbitLink(proxy.url(base));
  const session = await link.openSession(soon());
  const [early, late] = [new Mailbox(), new Mailbox()];
  await session.consume(queue(first), early.receive, { prefetch: 1 }, soon());
  await session.declare(queue(second), soon());
  proxy.swallow(true);
  const consuming = session.consume(
    queue(second),
    late.receive,
    { prefetch: 1 },
    { at: performance.now() + 30_000 },
  );
  await plain(base, async (channel) => {
    const consumers = async () =>
      (await channel.checkQueue(second)).consumerCount;
    await until("the answer is lost", async () => await consumers() === 1);
  });
  proxy.swallow(false);
  await consuming;
  assert.equal(log.times(/has not started a consumer of .* in 5000 ms/), 1);
  for (const name of names) {
    await session.publish(direct(name), message("x"), soon());
  }
  await early.first(1);
  await late.first(1);
  assert.equal(link.health().consuming.losses, 0, "the connection stays");
  await removeNames(base, names);
});

Deno.test("a channel on which the broker starts consumers slowly, one after the other, is not left", async () => {
  await using log = await logged();
  const replies: PromiseWithResolvers<void>[] = [];
  const channel = {
    isOpen: true,
    consume() {
      const reply = Promise.withResolvers<void>();
      replies.push(reply);
      return reply.promise;
    },
    close() {
      channel.isOpen = false;
      for (const { reject } of replies) reject(new Error("closed"));
      return Promise.resolve();
    },
  };
  const start = (name: string) => {
    const route = { queue: { name, arguments: {} } };
    const spec = { route, options: { prefetch: 1 } } as unknown;
    const options = { consuming: { channel }, tag: name } as unknown;
    return startConsumer(
      spec as ConsumerSpec,
      name,
      options as ReceiverOptions,
      () => {},
    );
  };
  const [first, second] = [start("first"), start("second")];
  const began = performance.now();
  const after = (ms: number) =>
    until(`${ms} ms`, () => performance.now() - began > ms);
  await after(2_500); // half of the time for one reply
  replies[0]?.resolve();
  await first;
  await after(5_500);
  assert.equal(channel.isOpen, true);
  replies[1]?.resolve();
  await second;
  assert.equal(log.times(/has not started a consumer/), 0);
});
