/** A channel on which the broker starts no consumer is left for another one. */
import assert from "node:assert/strict";
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
