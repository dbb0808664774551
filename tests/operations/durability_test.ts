/** Nothing is lost: replayers that are killed, listings again and again, connections that are cut, and many letters. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  type DeadLetter,
  memoryLedgerStore,
  operations,
} from "../../mod.ts";
import { connect } from "../../src/amqp/mod.ts";
import { isAll, ONLY_ALL } from "../setup/all.ts";
import { brokerUrl } from "../setup/broker.ts";
import { logged } from "../setup/logged.ts";
import { until } from "../setup/probe.ts";
import { proxyTo } from "../setup/proxy.ts";
import { Bus } from "../rpc/support.ts";
import { fill, type Hidden } from "./hidden.ts";

const TYPES = isAll ? ["quorum", "classic"] as const : ["quorum"] as const;
/** Processes that are killed. */
const KILLS = isAll ? 10 : 3;

/** A contract for the letters of `fill`. */
const volumes = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      grow: { args: z.object({ n: z.number(), text: z.string() }) },
    },
  });

/** Letters of a topic on a queue of that type. */
async function lettersOn(bus: Bus, type: string, letters: number) {
  const raw = await connect(bus.url);
  try {
    const channel = await raw.openChannel({ confirms: true });
    await fill(channel, bus.topic, type, { letters, bytes: 100 });
  } finally {
    await raw.close();
  }
}

/** Number of ready letters, by an observer of its own. */
async function observer(bus: Bus) {
  const raw = await connect(bus.url);
  const channel = await raw.openChannel();
  const declared = { queue: `${bus.topic}.dead`, passive: true };
  return {
    ready: async () =>
      (await channel.request("queue.declare", declared)).messageCount,
    [Symbol.asyncDispose]: () => raw.close(),
  };
}

/** Ids of the letters of a topic. */
async function idsOf(letters: AsyncIterable<DeadLetter>): Promise<string[]> {
  const ids: string[] = [];
  for await (const { id } of letters) ids.push(`${id}`);
  return ids;
}

for (const type of TYPES) {
  Deno.test({
    name:
      `of 1000 letters that ${KILLS} killed processes replay, each runs once (${type})`,
    timeout: 240_000,
    fn: async () => {
      await using _log = await logged();
      await using bus = new Bus(await brokerUrl());
      const runs = new Map<number, number>();
      const grow = ({ n }: { n: number }) => {
        runs.set(n, (runs.get(n) ?? 0) + 1);
      };
      const ledger = memoryLedgerStore();
      const options = { queueType: type, ledger } as const;
      await using worker = await bus.serve(
        volumes(bus.topic),
        { grow },
        options,
      );
      const letters = 1_000;
      await lettersOn(bus, type, letters);
      for (let kill = 0; kill < KILLS; kill++) {
        const goal = runs.size + 1 + Math.floor(Math.random() * 80);
        const child = new Deno.Command(Deno.execPath(), {
          args: [
            ...["run", "-A", "--no-check"],
            new URL("replayer.ts", import.meta.url).pathname,
            ...[bus.url, bus.topic],
          ],
          ...{ stdout: "null", stderr: "null" },
        }).spawn();
        await until("it has begun", () => runs.size >= goal, 60_000, 1);
        child.kill("SIGKILL");
        await child.status;
      }
      await using connection = await bus.connect();
      const { replay, deadLetters } = operations(connection);
      await replay({ topic: bus.topic });
      await until("all have run", () => runs.size === letters, 30_000);
      assert.deepEqual(await idsOf(deadLetters({ topic: bus.topic })), []);
      await until("the worker is idle", () => worker.stats.active === 0);
      const twice = [...runs.values()].filter((count) => count > 1).length;
      assert.equal(twice, 0, "the ledger knows doubles");
    },
  });

  Deno.test({
    name:
      `50 listings of one queue lose no letter, and keep the order (${type})`,
    timeout: 120_000,
    fn: async () => {
      await using bus = new Bus(await brokerUrl());
      await lettersOn(bus, type, 300);
      await using connection = await bus.connect();
      const { deadLetters } = operations(connection);
      const expected = Array.from({ length: 300 }, (_, n) => `id${n}`);
      for (let round = 0; round < 50; round++) {
        const ids = await idsOf(deadLetters({ topic: bus.topic }));
        assert.deepEqual(ids, expected, `listing ${round}`);
      }
      await using watch = await observer(bus);
      await until("all are there", async () => await watch.ready() === 300);
    },
  });

  Deno.test({
    name: `every second letter is deleted, and no other one (${type})`,
    timeout: 120_000,
    fn: async () => {
      await using bus = new Bus(await brokerUrl());
      const { topic } = bus;
      await lettersOn(bus, type, 1_000);
      await using connection = await bus.connect();
      const { deadLetters, discard } = operations(connection);
      const all = Array.from({ length: 1_000 }, (_, n) => `id${n}`);
      const ids = all.filter((_, n) => n % 2 === 0);
      const { discarded } = await discard({ topic, ids });
      assert.equal(discarded, 500);
      const others = all.filter((_, n) => n % 2 === 1);
      assert.deepEqual(await idsOf(deadLetters({ topic })), others);
    },
  });

  Deno.test({
    name:
      `a listing and a replay whose connection is cut go on, and nothing is lost (${type})`,
    timeout: 120_000,
    fn: async () => {
      await using _log = await logged();
      await using bus = new Bus(await brokerUrl());
      const letters = 5_000;
      const runs = new Set<number>();
      const grow = ({ n }: { n: number }) => void runs.add(n);
      await lettersOn(bus, type, letters);
      await using proxy = proxyTo(bus.url);
      await using watch = await observer(bus);
      await using connection = await createConnection(proxy.url(bus.url));
      const { deadLetters, replay } = operations(connection);
      const { topic } = bus;
      const cut = async () => {
        await until(
          "some are hidden",
          async () => await watch.ready() < letters,
          10_000,
          1,
        );
        proxy.reset();
      };
      const [ids] = await Promise.all([idsOf(deadLetters({ topic })), cut()]);
      const expected = Array.from({ length: letters }, (_, n) => `id${n}`);
      assert.deepEqual(ids, expected);
      await using _worker = await bus.serve(volumes(topic), { grow }, {
        queueType: type,
      });
      await until("all are back", async () => await watch.ready() === letters);
      const [result] = await Promise.all([replay({ topic }), cut()]);
      assert.equal(result.failed, 0);
      assert.equal(result.replayed, letters);
      await until("all have run", () => runs.size === letters, 60_000);
      assert.equal(await watch.ready(), 0);
    },
  });

  Deno.test({
    name:
      `100 000 letters are listed, none hidden for more than 5 s, in 64 MiB (${type}) ${ONLY_ALL}`,
    ignore: !isAll,
    timeout: 600_000,
    fn: async () => {
      const { stdout } = await new Deno.Command(Deno.execPath(), {
        args: [
          ...["run", "-A", "--no-check"],
          new URL("hidden.ts", import.meta.url).pathname,
          ...[await brokerUrl(), type, "100000"],
        ],
        stderr: "inherit",
      }).output();
      const text = new TextDecoder().decode(stdout);
      console.log(text);
      const { letters, listed, inOrder, hiddenMs, grownMiB } = JSON.parse(
        text,
      ) as Hidden;
      assert.deepEqual([listed, inOrder], [letters, true]);
      assert.ok(hiddenMs <= 5_000, `${hiddenMs} ms`);
      assert.ok(grownMiB <= 64, `${grownMiB} MiB`);
    },
  });
}
