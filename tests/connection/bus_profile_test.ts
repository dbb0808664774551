/** Options that say whose bus it is, and in which words: what is refused. */
import assert from "node:assert/strict";
import {
  createConnection,
  implement,
  InvalidValueError,
  TopologyError,
} from "../../mod.ts";
import { Routes } from "../../src/transport/rabbitmq/routes/routes.ts";
import type { Address } from "../../src/transport/address.ts";
import { busProfile } from "../../src/connection/bus_profile.ts";
import {
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../rpc/support.ts";

const wrong: readonly [object, RegExp][] = [
  [
    { profile: "novae" },
    /^Invalid option profile "novae": give warren, nova, or/,
  ],
  [{ profile: null }, /^Invalid option profile object: give/],
  [
    { profile: { durabel: true } },
    /profile\.durabel boolean: give exchange, member, arguments, declare, durable/,
  ],
  [
    { profile: { durable: "yes" } },
    /profile\.durable "yes": give true or false/,
  ],
  [
    { profile: { arguments: { topic: {} } } },
    /profile\.arguments\.topic object: give shared, fanout, reply/,
  ],
  [
    { profile: { arguments: { shared: { ttl: 1 } } } },
    /profile\.arguments\.shared\.ttl number: give names x-/,
  ],
  [
    { profile: { arguments: { reply: { "x-queue-type": "quorum" } } } },
    /reply\.x-queue-type "quorum": give queueType, transientQuorum/,
  ],
  [
    { profile: { arguments: { fanout: { "x-expires": [1] } } } },
    /fanout\.x-expires object: give a text, a number/,
  ],
  [{ profile: { arguments: "x" } }, /profile\.arguments "x": give an object/],
  [
    { profile: { declare: "never" } },
    /profile\.declare "never": give active or passive/,
  ],
  [{ profile: { exchange: "a b" } }, /Invalid profile\.exchange "a b"/],
  [{ profile: { member: "a b" } }, /profile\.member "a b": give 1 to 150/],
  [
    { dialect: "havana" },
    /^Invalid option dialect havana: give grizzly, folsom or oslo/,
  ],
  [{ dialect: "toString" }, /^Invalid option dialect toString/],
];

for (const [options, message] of wrong) {
  Deno.test(`${JSON.stringify(options)} is refused`, async () => {
    const error = await failureOf(createConnection("memory:profiles", options));
    assert.ok(error instanceof InvalidValueError);
    assert.match(error.message, message);
  });
}

Deno.test("the arguments of a profile are in place of or beside those of each kind of queue", () => {
  const routes = new Routes(busProfile({
    streamFanout: true,
    arguments: {
      shared: { "x-delivery-limit": 20 },
      fanout: { "x-max-age": "600s" },
      reply: { "x-expires": null, "x-max-length": 9 },
    },
  }, "quorum"));
  const argumentsOf = (address: Address) => routes.of(address).queue?.arguments;
  const topic: Address = { kind: "topic", topic: "t" };
  assert.deepEqual(argumentsOf(topic), {
    "x-queue-type": "quorum",
    "x-delivery-limit": 20,
  });
  assert.equal(routes.of(topic), routes.of(topic), "kept for each address");
  assert.deepEqual(argumentsOf({ kind: "fanout", topic: "t" }), {
    "x-queue-type": "stream",
    "x-max-age": "600s",
  });
  assert.deepEqual(routes.inbox("i").queue.arguments, { "x-max-length": 9 });
});

onRabbit("the broker has the arguments of a profile", async (bus) => {
  const options = (most: number) => ({
    profile: {
      exchange: `${bus.topic}_control`,
      autoDelete: true,
      arguments: { shared: { "x-max-length": most, "x-expires": 60_000 } },
    },
  });
  const handlers = sumHandlers();
  await using _worker = await bus.serve(
    sums(bus.topic),
    handlers,
    options(1e3),
  );
  await using connection = await bus.connect(options(1e3));
  assert.equal(
    await connection.client(sums(bus.topic)).call("add", { a: 1, b: 2 }),
    3,
  );
  await using other = await bus.connect(options(1e4));
  const dispatcher = implement(sums(bus.topic), handlers).createRpcDispatcher();
  const error = await failureOf(other.createConsumer(bus.topic, dispatcher));
  assert.ok(error instanceof TopologyError, String(error));
  assert.deepEqual(
    [error.data.argument, error.data.wanted, error.data.existing],
    ["x-max-length", "10000", "1000"],
  );
});

onRabbit(
  "a service of a passive profile takes what processes share as it is, and makes what is its own",
  async (bus) => {
    const { topic } = bus;
    const exchange = `${topic}_control`;
    const forms = { exchange, durable: false, autoDelete: true };
    const profile = { ...forms, declare: "passive" } as const;
    const handlers = sumHandlers();
    const served = sums(topic);
    const refusal = async (entity: string) => {
      await using connection = await bus.connect({ profile });
      const dispatcher = implement(served, handlers).createRpcDispatcher();
      const error = await failureOf(
        connection.createConsumer(topic, dispatcher),
      );
      assert.ok(error instanceof TopologyError, String(error));
      assert.deepEqual(error.data, { entity, reason: "missing" });
    };
    await refusal(`exchange ${exchange}`);
    await using raw = await bus.raw();
    assert.ok(raw);
    const { channel } = raw;
    await channel.assertExchange(exchange, "topic", { autoDelete: true });
    await refusal(`queue ${topic}`);
    const form = { durable: true, arguments: { "x-max-length": 7 } };
    await channel.assertQueue(topic, form);
    await channel.bindQueue(topic, exchange, topic);
    await using _worker = await bus.serve(served, handlers, { profile });
    await using connection = await bus.connect({ profile });
    const client = connection.client(served);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await client.fanoutCast("wait", {});
  },
);

onEachBus("monitor is 2000 milliseconds or more", async (bus) => {
  await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  for (const monitor of [0, -1, 1_999, NaN, Infinity]) {
    const call = client.call("add", { a: 1, b: 2 }, { monitor });
    const error = await failureOf(call);
    assert.ok(error instanceof InvalidValueError, String(error));
    assert.match(error.message, /option monitor/);
  }
  const options = { monitor: 2_000 };
  assert.equal(await client.call("add", { a: 1, b: 2 }, options), 3);
});

for (const dialect of ["folsom", "grizzly", "oslo"] as const) {
  for (const profile of ["warren", "nova"] as const) {
    onEachBus(
      `all verbs work in the dialect ${dialect}, profile ${profile}`,
      async (bus) => {
        const common = { dialect, profile };
        const heard: string[] = [];
        const handlers = sumHandlers({
          wait: ({ tag }) => void heard.push(`${tag}`),
        });
        await using _worker = await bus.serve(
          sums(bus.topic),
          handlers,
          common,
        );
        await using connection = await bus.connect(common);
        const client = connection.client(sums(bus.topic));
        assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
        const items: number[] = [];
        for await (const item of client.multicall("count", { to: 3 })) {
          items.push(item);
        }
        assert.deepEqual(items, [1, 2, 3]);
        await client.cast("wait", { tag: "cast" });
        await client.fanoutCast("wait", { tag: "fanout" });
        const done = async () => {
          while (heard.length < 2) {
            await new Promise((resolve) => setTimeout(resolve, 5));
          }
        };
        await done();
        const failed = failureOf(client.call("add", { a: "x" as never, b: 2 }));
        assert.ok(await failed instanceof InvalidValueError);
      },
    );
  }
}

onEachBus(
  "connections of different settings on one URL share its queues of any type, and one of another form is refused",
  async (bus) => {
    const served = sums(bus.topic);
    await using worker = await bus.serve(served, sumHandlers());
    await using other = await bus.connect({ queueType: "quorum" });
    const client = other.client(served);
    assert.equal(await client.call("add", { a: 1, b: 1 }), 2);
    const dispatcher = implement(served, sumHandlers()).createRpcDispatcher();
    await other.createConsumer(bus.topic, dispatcher);
    const profile = { exchange: "warren" }; // not durable
    await using odd = await bus.connect({ profile });
    const error = await failureOf(odd.createConsumer(bus.topic, dispatcher));
    assert.ok(error instanceof TopologyError, String(error));
    assert.equal(error.data.reason, "inequivalent");
    assert.equal(worker.stats.handled, 1);
  },
);

onEachBus(
  "a passive caller reaches what an active worker has made, and misses what nobody has made",
  async (bus) => {
    const exchange = `${bus.topic}_control`;
    const profile = { exchange, durable: true, autoDelete: true };
    const passive = { profile: { ...profile, declare: "passive" } } as const;
    const served = sums(bus.topic);
    {
      await using early = await bus.connect(passive);
      const error = await failureOf(
        early.client(served).call("add", { a: 1, b: 1 }),
      );
      assert.ok(error instanceof TopologyError, String(error));
      assert.equal(error.data.entity, `exchange ${exchange}`);
    }
    await using _worker = await bus.serve(served, sumHandlers(), { profile });
    await using caller = await bus.connect(passive);
    assert.equal(await caller.client(served).call("add", { a: 1, b: 1 }), 2);
  },
);
