/** What workers did not finish: counted, handled apart, given up at last, and never lost. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import type { Address } from "../../../src/transport/address.ts";
import {
  type ConnectionContext,
  type ConnectionOptions,
  contract,
  InterruptedError,
} from "../../../mod.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import {
  aborted,
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
  sumHandlers,
  sums,
} from "../support.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";
import type { IncomingRequest } from "../../../src/rpc/request/incoming_request.ts";
import { RequestKey } from "../../../src/rpc/request/request_key.ts";
import type { ServedQueue } from "../../../src/rpc/request/served_queue.ts";
import {
  Quarantine,
  type QuarantineOptions,
} from "../../../src/rpc/retries/quarantine.ts";

/** A topic's queue where what was not finished is handled. */
function quarantineOf(topic: string): Address {
  return { kind: "quarantine", of: { kind: "topic", topic } };
}

/** A worker whose handlers finish nothing. */
function idle(bus: Bus, began: (tag: unknown) => void) {
  return bus.serve(
    sums(bus.topic),
    sumHandlers({
      wait: async ({ tag }, { signal }) => {
        began(tag);
        await aborted(signal);
      },
    }),
  );
}

/** It ends with all that it has in hand, as far as its queues can see. */
async function end(worker: ConnectionContext): Promise<void> {
  await worker.drain(0);
  await worker[Symbol.asyncDispose]();
}

/** Workers take what is in the queue, and end, so many times one after the other; what their handlers began. */
async function interrupt(bus: Bus, times: number, count = 1) {
  const began: unknown[] = [];
  for (let n = 1; n <= times; n++) {
    const worker = await idle(bus, (tag) => void began.push(tag));
    await until(`worker ${n} has it`, () => began.length >= n * count);
    await end(worker);
  }
  return began;
}

/** A worker that finishes what comes. */
function busy(
  bus: Bus,
  done: (tag: unknown) => void | Promise<void>,
  options?: ConnectionOptions,
) {
  const handlers = sumHandlers({ wait: ({ tag }) => done(tag) });
  return bus.serve(sums(bus.topic), handlers, options);
}

onEachBus(
  "a cast that five workers did not finish is a dead letter",
  async (bus) => {
    await using _log = await logged();
    await using connection = await bus.connect();
    await (await idle(bus, () => {}))[Symbol.asyncDispose](); // makes the queue
    await connection.client(sums(bus.topic)).cast("wait", { tag: "a" });
    assert.equal((await interrupt(bus, 5)).length, 5);
    const done: unknown[] = [];
    await using worker = await busy(bus, (tag) => void done.push(tag));
    await until("it is a dead letter", () => worker.stats.dead === 1);
    assert.deepEqual([done.length, worker.stats.interrupted], [0, 1]);
    await using stranger = await Stranger.on(bus);
    const [letter] = await stranger.take(deadOf(bus.topic), 1);
    assert.ok(letter);
    const { headers } = letter.message;
    assert.match(`${headers["warren-reason"]}`, /^Interrupted 5 times: /);
    assert.equal(headers["warren-queue"], bus.topic);
    assert.equal(headers["warren-attempts"], "1");
    assert.equal(headers["warren-interrupted"], undefined, "it begins anew");
  },
);

onEachBus(
  "a call that five workers did not finish fails, in doubt",
  async (bus) => {
    await using _log = await logged();
    await using connection = await bus.connect();
    await (await idle(bus, () => {}))[Symbol.asyncDispose]();
    const client = connection.client(sums(bus.topic));
    const failing = failureOf(client.call("wait", { tag: "a" }));
    assert.equal((await interrupt(bus, 5)).length, 5);
    const done: unknown[] = [];
    const worker = await busy(bus, (tag) => void done.push(tag));
    const error = await failing;
    assert.ok(error instanceof InterruptedError);
    assert.match(error.message, /^Interrupted 5 times: /);
    assert.deepEqual([error.code, error.inDoubt], ["INTERRUPTED", true]);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await until("nothing is in hand", () => worker.stats.active === 0);
    await worker[Symbol.asyncDispose]();
    assert.deepEqual([done.length, worker.stats.dead], [0, 0]);
    await using stranger = await Stranger.on(bus);
    assert.deepEqual(await stranger.left(bus.topic), []);
  },
);

onEachBus(
  "what one worker did not finish is handled in its queue by the next",
  async (bus) => {
    await using _log = await logged();
    await using connection = await bus.connect();
    await (await idle(bus, () => {}))[Symbol.asyncDispose]();
    const client = connection.client(sums(bus.topic));
    const tags = Array.from({ length: 8 }, (_, n) => `${n}`);
    for (const tag of tags) await client.cast("wait", { tag });
    const call = client.call("wait", { tag: "call" });
    await interrupt(bus, 1, 9);
    const done: unknown[] = [];
    const all = Promise.withResolvers<void>();
    await using worker = await busy(bus, (tag) => {
      if (done.push(tag) === 9) all.resolve();
      return all.promise; // all at once: their queue is not the one for those that are apart
    });
    await call;
    await until("all are handled", () => worker.stats.handled === 9);
    assert.deepEqual(done.sort(), [...tags, "call"]);
    const { interrupted, redelivered, dead } = worker.stats;
    assert.deepEqual([interrupted, redelivered, dead], [9, 9, 0]);
  },
);

onEachBus(
  "what two workers did not finish is handled apart, one at a time, while others go on",
  async (bus) => {
    await using _log = await logged();
    await using connection = await bus.connect();
    await (await idle(bus, () => {}))[Symbol.asyncDispose]();
    const client = connection.client(sums(bus.topic));
    const tags = Array.from({ length: 8 }, (_, n) => `${n}`);
    for (const tag of tags) await client.cast("wait", { tag });
    await interrupt(bus, 2, 8);
    const done: unknown[] = [];
    const open = Promise.withResolvers<void>();
    let now = 0, most = 0;
    await using worker = await busy(bus, async (tag) => {
      if (tag !== "new") {
        most = Math.max(most, ++now);
        await open.promise;
        now--;
      }
      done.push(tag);
    });
    await until("all are apart", () => worker.stats.interrupted === 8);
    await client.call("wait", { tag: "new" });
    await until("one of them is in hand", () => now === 1);
    assert.deepEqual(done, ["new"]);
    open.resolve();
    await until("all are handled", () => worker.stats.handled === 9);
    assert.deepEqual(done.slice(1).sort(), tags);
    assert.equal(most, 1);
  },
);

onEachBus(
  "a copy of what was not finished says so, and is else as it came",
  async (bus) => {
    await using _log = await logged();
    await using _connection = await bus.connect();
    await (await idle(bus, () => {}))[Symbol.asyncDispose]();
    await using stranger = await Stranger.on(bus);
    const body = JSON.stringify({
      method: "wait",
      args: { tag: "a" },
      _unique_id: "u",
      _msg_id: "c",
      _reply_q: "reply_nobody",
    });
    const headers = {
      traceparent: "00-1-2-01",
      warren: "1",
      "warren-timeout": "50000",
      "warren-attempt": "3",
      "warren-burials": "2",
    };
    const more = {
      messageId: "m",
      correlationId: "c",
      replyTo: "reply_nobody",
      expiration: 40_000,
      persistent: true,
    };
    await stranger.put(bus.topic, body, { headers, ...more });
    await interrupt(bus, 3);
    const [copy] = await stranger.take(quarantineOf(bus.topic), 1);
    assert.ok(copy);
    const { message } = copy;
    assert.equal(new TextDecoder().decode(message.body), body);
    const { mandatory: _, unreadable: __, ...came } = message;
    assert.deepEqual({ ...came, headers: { ...came.headers }, body: "" }, {
      ...more,
      headers: { ...headers, "warren-interrupted": "2" },
      body: "",
    });
  },
);

onRabbit(
  "a worker that is refused a quarantine serves all the same, and loses nothing",
  async (bus) => {
    await using log = await logged();
    await using connection = await bus.connect();
    await using raw = await bus.raw();
    await raw?.channel.assertQueue(`${bus.topic}.quarantine`, {
      durable: true,
      autoDelete: true,
    });
    await (await idle(bus, () => {}))[Symbol.asyncDispose]();
    const said = () => log.times(/not kept apart/);
    assert.equal(said(), 1);
    await connection.client(sums(bus.topic)).cast("wait", { tag: "a" });
    assert.equal((await interrupt(bus, 7)).length, 7);
    const done: unknown[] = [];
    await using worker = await busy(bus, (tag) => void done.push(tag));
    await until("it is handled", () => worker.stats.handled === 1);
    assert.deepEqual(done, ["a"]);
    assert.equal(said(), 9, "once for each worker");
  },
);

onRabbit(
  "on OpenStack's bus nothing is kept apart",
  async (bus) => {
    await using _log = await logged();
    const options = { profile: "nova" } as const;
    const handlers = sumHandlers({
      wait: (_, { signal }) => aborted(signal),
    });
    const first = await bus.serve(sums(bus.topic), handlers, options);
    await using connection = await bus.connect(options);
    await connection.client(sums(bus.topic)).cast("wait", { tag: "a" });
    await until("it is in hand", () => first.stats.active === 1);
    await end(first);
    await using worker = await busy(bus, () => {}, options);
    await until("it is handled", () => worker.stats.handled === 1);
    const { interrupted, redelivered } = worker.stats;
    assert.deepEqual([interrupted, redelivered], [0, 1]);
    await using raw = await bus.raw();
    const apart = `${bus.topic}.quarantine`;
    raw?.channel.on("error", () => {});
    assert.match(
      (await failureOf(Promise.resolve(raw?.channel.checkQueue(apart))))
        .message,
      /NOT_FOUND/,
    );
  },
);

onEachBus(
  "another attempt, and a dead letter that is put back, begin with no interruption",
  async (bus) => {
    await using _log = await logged();
    bus.owns(`${bus.topic}.delay.100`);
    await using connection = await bus.connect();
    await using stranger = await Stranger.on(bus);
    const args = z.object({ fail: z.number() });
    const retry = { attempts: 2, backoff: [100] } as const;
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { work: { args, retry } },
    });
    const seen: unknown[] = [];
    await (await bus.serve(api, { work: () => {} }))[Symbol.asyncDispose]();
    const headers = { "warren-interrupted": "4" };
    const body = JSON.stringify({
      method: "work",
      args: { fail: 2 },
      version: "1.0",
      _unique_id: "u",
    });
    await stranger.put(bus.topic, body, { headers });
    await using worker = await bus.serve(api, {
      work: ({ fail }, { attempt }) => {
        seen.push(attempt);
        if (attempt <= fail) throw new Error("boom");
      },
    });
    await until("it is a dead letter", () => worker.stats.dead === 1);
    const [letter] = await stranger.take(deadOf(bus.topic), 1);
    assert.ok(letter);
    assert.deepEqual(seen, [1, 2]);
    assert.deepEqual(Object.keys(letter.message.headers).sort(), [
      "warren-attempts",
      "warren-burials",
      "warren-dead-at",
      "warren-queue",
      "warren-reason",
    ]);
    assert.equal(connection.stats.handled, 0);
  },
);

for (const said of ["0", "-1", "many", "1.5", "1e300"]) {
  onEachBus(
    `a header that says "${said}" interruptions is refused, and its cast kept`,
    async (bus) => {
      await using _log = await logged();
      await using worker = await bus.serve(sums(bus.topic), sumHandlers());
      await using stranger = await Stranger.on(bus);
      const headers = { "warren-interrupted": said };
      const body = '{"method":"wait","args":{}}';
      await stranger.put(bus.topic, body, { headers });
      await until("it is kept", () => worker.stats.dead === 1);
      assert.equal(worker.stats.refused, 1);
    },
  );
}

onEachBus(
  "what a stop leaves when its grace time is over is not taken for interrupted",
  async (bus) => {
    await using _log = await logged();
    await using connection = await bus.connect();
    const began: unknown[] = [];
    const first = await idle(bus, (tag) => void began.push(tag));
    await connection.client(sums(bus.topic)).cast("wait", { tag: "a" });
    await until("it has it", () => began.length === 1);
    await first.drain(1);
    await first[Symbol.asyncDispose]();
    const done: unknown[] = [];
    await using second = await busy(bus, (tag) => void done.push(tag));
    await until("another has done it", () => done.length === 1);
    const { interrupted, redelivered } = second.stats;
    assert.deepEqual([interrupted, redelivered], [0, 0]);
  },
);

/** As much of a redelivered request as the quarantine reads. */
const redelivered = (settlement: object) =>
  ({
    redelivered: true,
    key: new RequestKey("r", () => ""),
    request: { kind: "request", id: "r", method: "m", warren: 2 },
    settlement,
  }) as unknown as IncomingRequest;

Deno.test("a request that its worker requeued by itself is no suspect when it comes again, however often that is asked, but the time after", () => {
  const quarantine = new Quarantine({} as QuarantineOptions);
  const served = { quarantine: {} } as ServedQueue;
  const requeued = redelivered({ abandoned: true, acknowledged: false });
  assert.equal(quarantine.isSuspect(requeued, served), true);
  quarantine.onSettled(requeued);
  const again = redelivered({ abandoned: false, acknowledged: false });
  assert.equal(quarantine.isSuspect(again, served), false);
  assert.equal(quarantine.isSuspect(again, served), false);
  quarantine.onAdmitted(again);
  assert.equal(quarantine.isSuspect(redelivered({}), served), true);
});
