/** Many calls take nothing that is not given back: sockets, channels and queues stay as they were. */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import { cleanup, createConnection } from "../../../mod.ts";
import { isAll } from "../../setup/all.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { until } from "../../setup/probe.ts";
import { Bus, sumHandlers, sums } from "../support.ts";

const CALLS = isAll ? 5_000 : 1_000;

/** Calls `times`, at most 100 at once. */
async function callOften(bus: Bus, times: number): Promise<void> {
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  for (let done = 0; done < times; done += 100) {
    const calls = Array.from(
      { length: 100 },
      (_, i) => client.call("add", { a: done, b: i }),
    );
    const results = await Promise.all(calls);
    assert.deepEqual(results, results.map((_, i) => done + i));
  }
}

Deno.test("20 000 calls leave nothing in hand (memory)", async () => {
  await using bus = new Bus(`memory:${crypto.randomUUID()}`);
  await using worker = await bus.serve(sums(bus.topic), sumHandlers());
  await callOften(bus, 20_000);
  await until("all are done", () => worker.stats.handled === 20_000);
  assert.equal(worker.stats.active, 0);
});

/** Connections, channels and queues of a node. */
async function census(broker: PrivateBroker) {
  const lines = async (...args: string[]) =>
    (await broker.ctl(...args, "--quiet", "--no-table-headers")).split("\n")
      .filter((line) => line.trim() !== "").length;
  const [connections, channels, queues] = await Promise.all([
    lines("list_connections", "pid"),
    lines("list_channels", "pid"),
    lines("list_queues", "name"),
  ]);
  return { connections, channels, queues };
}

/** The broker lists what is closing for a moment longer. */
async function settles(
  broker: PrivateBroker,
  wanted: Awaited<ReturnType<typeof census>>,
): Promise<void> {
  let last = {};
  const same = async () =>
    isDeepStrictEqual(last = await census(broker), wanted);
  await until("the census is as before", same, 5_000)
    .catch(() => assert.deepEqual(last, wanted));
}

Deno.test({
  name:
    `${CALLS} calls on two sockets, and as many channels and queues as before (rabbitmq)`,
  ignore: rabbitmqServer === undefined,
  fn: async () => {
    await using broker = await privateBroker();
    await using bus = new Bus(broker.url);
    {
      const slow = () => new Promise<void>((done) => setTimeout(done, 150));
      await using _worker = await bus.serve(
        sums(bus.topic),
        sumHandlers({ wait: slow }),
      );
      {
        await using caller = await bus.connect(); // signs of life have a channel
        await caller.client(sums(bus.topic)).call("wait", {});
      }
      await callOften(bus, 100);
      const before = await census(broker);
      assert.equal(before.connections, 2);
      await callOften(bus, CALLS);
      await settles(broker, before);
      const pooled = Array.from({ length: 25 }, async () => {
        await using connection = await createConnection(bus.url, {
          pooled: true,
        });
        const client = connection.client(sums(bus.topic));
        assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
      });
      await Promise.all(pooled);
      assert.equal((await census(broker)).connections, 2);
      await cleanup();
      await settles(broker, before);
    }
    await settles(broker, { connections: 0, channels: 0, queues: 2 });
  },
});
