/** Handlers that outlast their `maxDuration`, with a ledger: what they do later is not recorded beside another attempt. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  contract,
  type LedgerStore,
  type RequestContext,
} from "../../mod.ts";
import { Bus } from "../rpc/support.ts";
import { brokerUrl } from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { onEachStore, onPostgres } from "./stores.ts";
import { bound } from "./workers.ts";

const api = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      work: {
        args: z.object({ id: z.string() }),
        maxDuration: 150,
        retry: { attempts: 2, backoff: [100] },
      },
    },
  });

/** A worker, to which one cast was sent. */
async function serving(
  bus: Bus,
  ledger: LedgerStore,
  work: (context: RequestContext) => Promise<void>,
): Promise<ConnectionContext> {
  bus.owns(`${bus.topic}.delay.100`);
  const handlers = {
    work: (_: unknown, context: RequestContext) => work(context),
  };
  const worker = await bus.serve(api(bus.topic), handlers, { ledger });
  await worker.client(api(bus.topic)).cast("work", { id: "a" });
  return worker;
}

onEachStore(
  "what a handler records when its attempt has failed is refused",
  async ({ store, transaction }) => {
    await using bus = new Bus(await brokerUrl());
    const open = Promise.withResolvers<void>();
    const said: string[] = [];
    await using worker = await serving(bus, store, async (context) => {
      const { attempt } = context;
      if (attempt === 1) await open.promise;
      await transaction((client) => context.record(client, undefined)).then(
        () => said.push(`${attempt} recorded`),
        (error) => said.push(`${attempt} ${error.code}`),
      );
    });
    await until("there is another attempt", () => worker.stats.handled === 1);
    open.resolve();
    await until("the first has ended", () => said.length === 2);
    assert.deepEqual(said, ["2 recorded", "1 TIMEOUT"]);
  },
);

onEachStore(
  "what is being recorded when an attempt fails is refused by the store",
  async ({ store, transaction }) => {
    await using bus = new Bus(await brokerUrl());
    const again = Promise.withResolvers<void>();
    const tried = Promise.withResolvers<void>();
    const said: string[] = [];
    const slow: LedgerStore = {
      ...bound(store),
      done: async (claim, answers, client) => {
        await (client ? again : tried).promise;
        return await store.done(claim, answers, client);
      },
    };
    await using worker = await serving(bus, slow, async (context) => {
      const { attempt } = context;
      if (attempt === 2) return again.resolve();
      await transaction((client) => context.record(client, undefined)).then(
        () => said.push("recorded"),
        (error) => said.push(error.code),
      );
      tried.resolve();
    });
    await until("both have ended", () => worker.stats.active === 0);
    assert.deepEqual(said, ["ABORTED"]);
    assert.equal(worker.stats.handled, 1);
  },
);

onPostgres(
  "what was recorded in a transaction that commits later has no further attempt",
  async ({ store, transaction }) => {
    await using bus = new Bus(await brokerUrl());
    const attempts: number[] = [];
    const open = Promise.withResolvers<void>();
    await using worker = await serving(bus, store, async (context) => {
      attempts.push(context.attempt);
      await transaction(async (client) => {
        await context.record(client, undefined);
        await open.promise;
      });
    });
    await until("its attempt has failed", () => worker.stats.failed === 1);
    open.resolve();
    await until("it is settled", () => worker.stats.active === 0);
    const { retried, dead } = worker.stats;
    assert.deepEqual([attempts, retried, dead], [[1], 0, 0]);
  },
);

onEachStore(
  "an attempt that has failed is not taken from itself by the renewal of its claim",
  async ({ store }) => {
    await using bus = new Bus(await brokerUrl());
    const pause = () => new Promise((resolve) => setTimeout(resolve, 60));
    /** The renewal and the end of the attempt meet, since a store takes its time. */
    const slow: LedgerStore = {
      ...bound(store),
      claim: async (key, content) => (
        await pause(), await store.claim(key, content)
      ),
      renew: async (claim) => (await pause(), await store.renew(claim)),
      release: async (claim) => (await pause(), await store.release(claim)),
    };
    const attempts: number[] = [];
    await using worker = await serving(bus, slow, async ({ attempt }) => {
      attempts.push(attempt);
      if (attempt === 1) await new Promise(() => {});
    });
    const client = worker.client(api(bus.topic));
    for (let n = 1; n < 20; n++) await client.cast("work", { id: `${n}` });
    await until(
      "all have had another attempt",
      () => worker.stats.handled === 20,
      20_000,
    );
    await until("all is settled", () => worker.stats.active === 0);
    const { retried, fenced } = worker.stats;
    assert.deepEqual([retried, fenced, attempts.length], [20, 0, 40]);
  },
  { lease: 1_000 },
);
