/** Answers of procedures that are acknowledged before their handlers: sent without the broker's confirm. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import {
  type Client,
  contract,
  createConnection,
  implement,
  RpcDispatcher,
  TimeoutError,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import {
  all,
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
  type Raw,
} from "../support.ts";

const once = { delivery: "at-most-once" } as const;
const procedures = {
  double: { args: z.object({ n: z.number() }), result: z.number(), ...once },
  sure: { args: z.object({ n: z.number() }), result: z.number() },
  fail: once,
  count: { args: z.object({ to: z.number() }), yields: z.number(), ...once },
};
const doubles = (topic: string) =>
  contract({ topic, version: "1.0", procedures });

/** A worker that can be cut off from the broker, whose handlers wait for a gate before they answer. */
class Gated implements AsyncDisposable {
  readonly #bus: Bus;
  readonly proxy;
  readonly #gate = Promise.withResolvers<void>();
  /** Handlers that wait. */
  waiting = 0;
  /** Items that the stream was asked for. */
  items = 0;

  constructor(bus: Bus) {
    this.#bus = bus;
    this.proxy = proxyTo(bus.url);
  }

  /** Serves the contract. */
  async serve(options: { readonly prefetch?: number } = {}) {
    const worker = await createConnection(this.proxy.url(this.#bus.url), {
      grace: 100,
      ...options,
    });
    const manager = implement(doubles(this.#bus.topic), {
      double: ({ n }) => n === 0 ? 0 : this.#answer(2 * n),
      sure: ({ n }) => n === 0 ? 0 : this.#answer(2 * n),
      fail: () => {},
      count: ({ to }) => this.#count(to),
    });
    const dispatcher = new RpcDispatcher([manager]);
    await worker.createConsumer(this.#bus.topic, dispatcher);
    await worker.consume();
    return worker;
  }

  /** Lets the handlers answer. */
  open(): void {
    this.#gate.resolve();
  }

  async #answer<T>(result: T): Promise<T> {
    this.waiting++;
    await this.#gate.promise;
    return result;
  }

  /** The first item at once, the others when the gate is open. */
  async *#count(to: number) {
    for (let n = 1; n <= to; n++) {
      this.items = n;
      if (n === 2) await this.#answer(n);
      yield n;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.proxy[Symbol.asyncDispose]();
  }
}

/** Answers once in each way, so that the worker has opened its channels. */
async function warmUp(client: Client<ReturnType<typeof doubles>>) {
  assert.equal(await client.call("double", { n: 0 }), 0);
  assert.equal(await client.call("sure", { n: 0 }), 0);
}

onEachBus(
  "calls, errors and streams of an at-most-once procedure are answered",
  async (bus) => {
    const api = doubles(bus.topic);
    await using worker = await bus.serve(api, {
      double: ({ n }) => 2 * n,
      sure: ({ n }) => 2 * n,
      fail: () => {
        throw new Error("no");
      },
      async *count({ to }) {
        for (let n = 1; n <= to; n++) yield n;
      },
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    const numbers = Array.from({ length: 100 }, (_, n) => n);
    const results = numbers.map((n) => client.call("double", { n }));
    assert.deepEqual(await Promise.all(results), numbers.map((n) => 2 * n));
    assert.match(String(await failureOf(client.call("fail"))), /no/);
    const items = await all(client.multicall("count", { to: 500 }));
    assert.deepEqual(items, Array.from({ length: 500 }, (_, n) => n + 1));
    await until("all are done", () => worker.stats.active === 0);
  },
);

onRabbit(
  "a worker waits for no confirm of an at-most-once answer, and for that of any other",
  async (bus) => {
    await using gated = new Gated(bus);
    const worker = await gated.serve();
    await using connection = await bus.connect();
    const client = connection.client(doubles(bus.topic));
    await warmUp(client);
    const answers = [
      ...[1, 2, 3].map((n) => client.call("double", { n })),
      client.call("sure", { n: 4 }),
    ];
    await until("all are in hand", () => gated.waiting === 4);
    gated.proxy.swallow(true); // what is confirmed is not told to the worker
    gated.open();
    assert.deepEqual(await Promise.all(answers), [2, 4, 6, 8]);
    await until("three are done", () => worker.stats.handled === 5);
    assert.equal(worker.stats.active, 1);
    gated.proxy.swallow(false);
    gated.proxy.reset();
    await worker[Symbol.asyncDispose]();
  },
);

onRabbit(
  "a worker waits for no confirm of the items of an at-most-once stream",
  async (bus) => {
    await using gated = new Gated(bus);
    const worker = await gated.serve();
    await using connection = await bus.connect();
    const items = connection.client(doubles(bus.topic))
      .multicall("count", { to: 20 });
    assert.equal((await items.next()).value, 1);
    gated.proxy.swallow(true);
    gated.open();
    const others = Array.from({ length: 19 }, (_, n) => n + 2);
    assert.deepEqual(await all(items), others);
    await until("it is done", () => worker.stats.handled === 1);
    gated.proxy.swallow(false);
    gated.proxy.reset();
    await worker[Symbol.asyncDispose]();
  },
);

onRabbit(
  "an at-most-once answer that is lost with the worker's connection leaves its call in doubt",
  async (bus) => {
    await using gated = new Gated(bus);
    const worker = await gated.serve({ prefetch: 2 });
    await using connection = await bus.connect();
    const client = connection.client(doubles(bus.topic));
    await warmUp(client);
    const lost = failureOf(client.call("double", { n: 1 }, { timeout: 2_000 }));
    const sure = client.call("sure", { n: 2 });
    await until("both are in hand", () => gated.waiting === 2);
    // The broker delivers a third only when it has the acknowledgement of the first, so that this does not come again.
    assert.equal(await client.call("double", { n: 0 }), 0);
    gated.proxy.blackhole(true);
    gated.open();
    await until("one is done", () => worker.stats.handled === 4);
    gated.proxy.reset();
    gated.proxy.blackhole(false);
    assert.equal(await sure, 4);
    const error = await lost;
    assert.ok(error instanceof TimeoutError && error.inDoubt);
    assert.equal(await client.call("double", { n: 3 }), 6);
    await worker[Symbol.asyncDispose]();
  },
);

onRabbit(
  "items of an at-most-once stream that were lost with the worker's connection are sent again",
  async (bus) => {
    await using gated = new Gated(bus);
    const worker = await gated.serve();
    await using connection = await bus.connect();
    const items = connection.client(doubles(bus.topic))
      .multicall("count", { to: 60 });
    assert.equal((await items.next()).value, 1);
    await until("it waits", () => gated.waiting === 1);
    gated.proxy.blackhole(true);
    gated.open();
    await until("items are written", () => gated.items > 20);
    gated.proxy.reset();
    gated.proxy.blackhole(false);
    const others = Array.from({ length: 59 }, (_, n) => n + 2);
    assert.deepEqual(await all(items), others);
    await worker[Symbol.asyncDispose]();
  },
);

onRabbit(
  "an at-most-once answer whose queue is gone is not tried again",
  async (bus) => {
    await using gated = new Gated(bus);
    const worker = await gated.serve();
    await using raw = await bus.raw() as Raw;
    const queue = `${bus.topic}-nobody`; // there is none
    for (const method of ["sure", "double"]) {
      const call = `${method}-${bus.topic}`;
      const ids = { _msg_id: call, _unique_id: call, _reply_q: queue };
      const body = { method, args: { n: 1 }, _timeout: null, ...ids };
      const bytes = Buffer.from(JSON.stringify(body));
      const headers = { warren: "2", "warren-timeout": "60000" };
      raw.channel.publish("warren", bus.topic, bytes, { headers });
    }
    await until("both are in hand", () => gated.waiting === 2);
    gated.open();
    await until("one is done", () => worker.stats.handled === 1);
    assert.equal(worker.stats.active, 1); // the other is tried for five seconds
    await worker[Symbol.asyncDispose]();
  },
);

onRabbit(
  "at-most-once answers that are written arrive, although the worker stops at once",
  async (bus) => {
    await using gated = new Gated(bus);
    const worker = await gated.serve();
    await using connection = await bus.connect();
    const client = connection.client(doubles(bus.topic));
    const numbers = Array.from({ length: 50 }, (_, n) => n + 1);
    const answers = numbers.map((n) => client.call("double", { n }));
    await until("all are in hand", () => gated.waiting === 50);
    gated.open();
    await worker[Symbol.asyncDispose]();
    assert.deepEqual(await Promise.all(answers), numbers.map((n) => 2 * n));
  },
);
