/** What must stay bounded, whoever misbehaves: slots, channels, pools, and what travels. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  cleanup,
  type Contract,
  contract,
  implement,
  InvalidValueError,
  RpcDispatcher,
  Service,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import {
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../support.ts";

onEachBus(
  "the longest timeout of all hurts neither its call nor others",
  async (bus) => {
    const api = sums(bus.topic);
    await using _worker = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    const client = connection.client(api);
    const timeouts = [undefined, Number.MAX_SAFE_INTEGER, Infinity, 5_000];
    const sums_ = timeouts.map((timeout, a) =>
      client.call("add", { a, b: 1 }, { timeout })
    );
    assert.deepEqual(await Promise.all(sums_), [1, 2, 3, 4]);
  },
);

onEachBus(
  "a handler that ignores its signal does not keep its slot",
  async (bus) => {
    const api = sums(bus.topic);
    const never = Promise.withResolvers<void>();
    await using _worker = await bus.serve(
      api,
      sumHandlers({ wait: () => never.promise }),
      { concurrency: 1, grace: 0 },
    );
    await using connection = await bus.connect();
    const client = connection.client(api);
    await failureOf(client.call("wait", {}, { timeout: 50 }));
    assert.equal(
      await client.call("add", { a: 1, b: 1 }, { timeout: 5_000 }),
      2,
    );
    never.resolve();
  },
);

onEachBus(
  "keys that the schema drops do not travel; beside a Date, what the handler gave travels whole",
  async (bus) => {
    const at = z.iso.datetime().transform((text) => new Date(text));
    const person = z.object({
      at,
      names: z.array(z.object({ first: z.string() })),
    });
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: {
        get: { result: person },
        name: { result: z.object({ first: z.string() }) },
      },
    });
    const names = [{ first: "Ada", secret: 1 }];
    const row = { at: "2026-01-01T00:00:00Z", names, secret: 2 };
    await using _worker = await bus.serve(api, {
      get: () => row,
      name: () => ({ first: "Ada", secret: 1 }),
    });
    await using connection = await bus.connect();
    const typed = await connection.client(api).call("get");
    assert.deepEqual(typed, {
      at: new Date(row.at),
      names: [{ first: "Ada" }],
    });
    const target = { topic: bus.topic };
    assert.deepEqual(await connection.call(target, "get"), row);
    assert.deepEqual(await connection.call(target, "name"), { first: "Ada" });
  },
);

Deno.test("RpcDispatcher refuses a contract that was written by hand and lists a private name", () => {
  const written: Contract = {
    topic: "t",
    version: "1.0",
    procedures: { _secret: {} },
  };
  const endpoint = { contract: written, _secret: () => {} };
  assert.throws(() => new RpcDispatcher([endpoint]), InvalidValueError);
});

onEachBus("a manager serves in one running service at a time", async (bus) => {
  const manager = implement(sums(bus.topic), sumHandlers());
  const start = (host: string) =>
    Service.start({ url: bus.url, host, signals: false, manager });
  const first = await start("one");
  const error = await failureOf(start("two"));
  assert.ok(error instanceof InvalidValueError);
  assert.match(error.message, /already serves on one/);
  assert.equal(manager.host, "one");
  await first.stop();
  await (await start("two")).stop();
});

onRabbit(
  "a pooled context that is disposed while it sets up a consumer leaves none",
  async (bus) => {
    const api = sums(bus.topic);
    const dispatcher = new RpcDispatcher([implement(api, sumHandlers())]);
    await using raw = await bus.raw();
    for (let round = 0; round < 5; round++) {
      const pooled = await bus.connect({ pooled: true });
      await pooled.consume();
      const creating = pooled.createConsumer(bus.topic, dispatcher).catch(
        () => {},
      );
      await pooled[Symbol.asyncDispose]();
      await creating;
    }
    await raw?.channel.assertQueue(bus.topic, { durable: true });
    await until("no consumer is left", async () => {
      return (await raw?.channel.checkQueue(bus.topic))?.consumerCount === 0;
    });
    await cleanup();
  },
);
