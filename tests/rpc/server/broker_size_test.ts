/** Messages above the broker's `max_message_size`, for every verb: an error at once, for one and no other. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  InvalidResultError,
  memoryLedgerStore,
  RejectedError,
} from "../../../mod.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { until } from "../../setup/probe.ts";
import { all, Bus, failureOf } from "../support.ts";

const MAX = 20_000;
const LARGE = "x".repeat(MAX);
/** Milliseconds of a call; an error must come long before. */
const TIMEOUT = 10_000;
const AT_ONCE = 2_500;

let node: PrivateBroker;
Deno.test.beforeAll(async () => {
  const config = `max_message_size = ${MAX}`;
  if (rabbitmqServer) node = await privateBroker({ config });
});
Deno.test.afterAll(() => node?.[Symbol.asyncDispose]());

function onNode(name: string, fn: (bus: Bus) => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  const body = async () => {
    await using bus = new Bus(node.url);
    await fn(bus);
  };
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn: body });
}

const text = z.object({ text: z.string() });
const length = z.object({ length: z.number() });
const procedures = {
  take: { args: text, result: z.number() },
  once: { args: text, delivery: "at-most-once" },
  give: { args: length, result: z.string() },
  giveOnce: { args: length, result: z.string(), delivery: "at-most-once" },
  items: {
    args: z.object({ lengths: z.array(z.number()) }),
    yields: z.string(),
  },
} as const;
const sizes = (topic: string) =>
  contract({ topic, version: "1.0", procedures });

/** A worker that counts what it handles, and a caller. */
async function peers(bus: Bus, options: Parameters<Bus["serve"]>[2] = {}) {
  const handled: string[] = [];
  const note = (name: string) => void handled.push(name);
  const worker = await bus.serve(sizes(bus.topic), {
    take: ({ text }) => (note(`take ${text.length}`), text.length),
    once: ({ text }) => note(`once ${text.length}`),
    give: ({ length }) => "y".repeat(length),
    giveOnce: ({ length }) => "y".repeat(length),
    async *items({ lengths }, context) {
      for (const length of lengths) yield "z".repeat(length);
      if (lengths.at(-1) !== 0) return;
      // It would go on for ever.
      await new Promise((_, reject) =>
        context.signal.addEventListener("abort", () => reject(new Error("?")))
      );
    },
  }, options);
  const connection = await bus.connect({ timeout: TIMEOUT });
  const client = connection.client(sizes(bus.topic));
  return {
    handled,
    client,
    connection,
    async [Symbol.asyncDispose]() {
      await connection[Symbol.asyncDispose]();
      await worker[Symbol.asyncDispose]();
    },
  };
}

/** The error of a promise, which must come at once. */
async function failureAtOnce(promise: Promise<unknown>): Promise<Error> {
  const started = performance.now();
  const error = await failureOf(promise);
  const took = performance.now() - started;
  assert.ok(took < AT_ONCE, `${error} after ${took} ms`);
  return error;
}

async function assertRejected(promise: Promise<unknown>): Promise<void> {
  const error = await failureAtOnce(promise);
  assert.ok(error instanceof RejectedError, String(error));
  const { size, maxSize } = error.data;
  assert.ok(Number(size) > MAX, `${size}`);
  assert.equal(maxSize, MAX);
}

async function assertNoResult(promise: Promise<unknown>): Promise<void> {
  const error = await failureAtOnce(promise);
  assert.ok(error instanceof InvalidResultError, String(error));
  assert.match(error.message, /and the broker takes 20000 at most/);
}

const verbs = ["call", "cast", "castOnce", "fanout", "stream"] as const;
for (const first of verbs) {
  onNode(
    `a request that is too large is rejected at once, and nothing beside it: first of all a ${first}`,
    async (bus) => {
      await using there = await peers(bus);
      const { client, handled } = there;
      const requests = {
        call: (text: string) => client.call("take", { text }),
        cast: (text: string) => client.cast("take", { text }),
        castOnce: (text: string) =>
          client.cast("once", { text }, { confirm: false }),
        fanout: (text: string) => client.fanoutCast("take", { text }),
        stream: (text: string) =>
          all(client.multicall("items", { lengths: [...text].map(() => 1) })),
      };
      const order = [first, ...verbs.filter((verb) => verb !== first)];
      for (const verb of order) {
        const beside = Array.from(
          { length: 10 },
          () => client.call("take", { text: "a" }),
        );
        const rejected = assertRejected(requests[verb](LARGE));
        const behind = Array.from(
          { length: 10 },
          () => client.call("take", { text: "b" }),
        );
        await Promise.all([rejected, ...beside, ...behind]);
        await requests[verb]("small");
      }
      const isLarge = (entry: string) => entry.endsWith(`${LARGE.length}`);
      assert.deepEqual(handled.filter(isLarge), []);
      await until(
        "the small ones are handled",
        () => handled.filter((entry) => / 5$/.test(entry)).length === 4,
      );
      const { publishing } = there.connection.health();
      assert.equal(publishing.losses, 0);
    },
  );
}

for (const procedure of ["give", "giveOnce"] as const) {
  for (const store of ["none", "memory"] as const) {
    onNode(
      `an answer that is too large is an error at once, and the others arrive: ${procedure}, ledger ${store}`,
      async (bus) => {
        const ledger = store === "memory" ? memoryLedgerStore() : undefined;
        await using there = await peers(bus, { ledger });
        for (let round = 0; round < 3; round++) {
          const lengths = [1, 2, MAX, 3, 4];
          const answers = lengths.map((length) => {
            const answer = there.client.call(procedure, { length });
            return length === MAX
              ? assertNoResult(answer)
              : answer.then(({ length: got }) => assert.equal(got, length));
          });
          await Promise.all(answers);
        }
      },
    );
  }
}

onNode(
  "answers that are too large together arrive one by one",
  async (bus) => {
    await using there = await peers(bus);
    const lengths = Array.from({ length: 12 }, () => MAX / 4);
    const answers = await Promise.all(
      lengths.map((length) => there.client.call("give", { length })),
    );
    assert.deepEqual(answers.map(({ length }) => length), lengths);
  },
);

for (const lengths of [[1, 2, 3, MAX], [1, MAX, 2, 0]]) {
  onNode(
    `an item that is too large ends its stream at once, after the items before it: ${lengths}`,
    async (bus) => {
      await using there = await peers(bus);
      const got: number[] = [];
      const reading = async () => {
        for await (const item of there.client.multicall("items", { lengths })) {
          got.push(item.length);
        }
      };
      await assertNoResult(reading());
      assert.deepEqual(got, lengths.slice(0, lengths.indexOf(MAX)));
      assert.deepEqual(
        (await all(there.client.multicall("items", { lengths: [5, 6] })))
          .map((item) => item.length),
        [5, 6],
      );
    },
  );
}
