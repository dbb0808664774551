/** Requests that wait for something else than a handler: good ones go on beside them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import { Bus, onRabbit, type Raw, sumHandlers, sums } from "../support.ts";

/** Milliseconds within which good calls are answered, each behind hundreds of bad ones. */
const timeout = 10_000;

onRabbit(
  "calls whose reply queues are away hold no places of good ones",
  async (bus) => {
    await using _log = await logged();
    const api = sums(bus.topic);
    await using worker = await bus.serve(api, sumHandlers(), {
      concurrency: 2,
    });
    await using connection = await bus.connect();
    await using raw = await bus.raw() as Raw;
    for (let n = 0; n < 200; n++) {
      const asked = {
        ...{ method: "add", args: { a: n, b: 1 }, version: "1.0" },
        ...{
          _msg_id: `m${n}`,
          _unique_id: `u${n}`,
          _reply_q: `reply_away${n}`,
        },
      };
      const body = Buffer.from(JSON.stringify(asked));
      raw.channel.publish("", bus.topic, body);
    }
    await raw.channel.waitForConfirms();
    const client = connection.client(api, { timeout });
    for (let a = 0; a < 10; a++) {
      assert.equal(await client.call("add", { a, b: 1 }), a + 1);
    }
    assert.ok(worker.stats.active > 100, "the others wait still");
    await until("the others are given up", () => worker.stats.active === 0);
  },
);

onRabbit(
  "casts that cannot be kept as dead letters hold no places of good calls, and none is lost",
  async (bus) => {
    await using log = await logged();
    const api = sums(bus.topic);
    await using raw = await bus.raw() as Raw;
    const other = { durable: true, arguments: { "x-max-length": 5 } };
    await raw.channel.assertQueue(`${bus.topic}.dead`, other);
    const worker = await bus.serve(
      api,
      sumHandlers({ wait: () => Promise.reject(new Error("boom")) }),
      { concurrency: 2, grace: 500 },
    );
    await using connection = await bus.connect();
    const client = connection.client(api, { timeout });
    const casts = Array.from(
      { length: 40 },
      (_, n) => client.cast("wait", { tag: `${n}` }),
    );
    await Promise.all(casts);
    await until("20 of them wait", () => worker.stats.active > 20);
    for (let a = 0; a < 10; a++) {
      assert.equal(await client.call("add", { a, b: 1 }), a + 1);
    }
    assert.equal(worker.stats.dead, 0);
    assert.ok(log.times(/goes back into its queue/) >= 20);
    await worker[Symbol.asyncDispose]();
    const { messageCount } = await raw.channel.checkQueue(bus.topic);
    assert.equal(messageCount, 40);
  },
);

onRabbit(
  "however often a consumer is renewed, and the connection lost meanwhile, there is one of it",
  async (bus) => {
    await using _log = await logged();
    await using proxy = proxyTo(bus.url);
    await using far = new Bus(proxy.url(bus.url));
    const api = sums(bus.topic);
    await using worker = await far.serve(api, sumHandlers(), { prefetch: 4 });
    await using raw = await bus.raw() as Raw;
    const away = (n: number) => {
      const asked = {
        ...{ method: "add", args: { a: n, b: 1 }, version: "1.0" },
        ...{
          _msg_id: `m${n}`,
          _unique_id: `u${n}`,
          _reply_q: `reply_away${n}`,
        },
      };
      const body = Buffer.from(JSON.stringify(asked));
      raw.channel.publish("", bus.topic, body);
    };
    proxy.slow({ latency: 40 });
    for (let n = 0; n < 60; n++) {
      away(n);
      await until("it is in hand", () => worker.stats.active > 0);
      if (n % 20 === 19) proxy.reset();
      await new Promise((resolve) => setTimeout(resolve, 15));
    }
    proxy.slow({});
    const { topic } = bus;
    await until("all are given up", async () => {
      const { messageCount } = await raw.channel.checkQueue(topic);
      return messageCount === 0 && worker.stats.active === 0;
    }, 30_000);
    assert.equal((await raw.channel.checkQueue(topic)).consumerCount, 1);
  },
);
