/** Casts that fail: tried again as their procedure says, then kept as dead letters. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  type Contract,
  contract,
  type Handlers,
  InvalidValueError,
  type ProcedureOptions,
  type RetryPolicy,
} from "../../mod.ts";
import { logged } from "../setup/logged.ts";
import { until } from "../setup/probe.ts";
import { type Bus, failureOf, onEachBus, onRabbit } from "./bus.ts";

const options = {
  args: z.object({ tag: z.string() }),
  retry: { attempts: 3, backoff: [100] },
} as const satisfies ProcedureOptions;

/** `work` is tried three times, `once` not again. */
function works(topic: string) {
  const { args } = options;
  const procedures = { work: options, once: { args } };
  return contract({ topic, version: "1.0", procedures });
}
type Works = ReturnType<typeof works>;

/** Serves it; the queues beside its topic's go with the test. */
async function serve(
  bus: Bus,
  handlers: Handlers<Works>,
): Promise<ConnectionContext> {
  bus.owns(`${bus.topic}.delay.100`);
  return await bus.serve(works(bus.topic), handlers, { hosts: ["one"] });
}

const boom = () => {
  throw new Error("boom");
};

onEachBus("a cast that fails is tried again after its wait", async (bus) => {
  await using _log = await logged();
  const attempts: { attempt: number; at: number }[] = [];
  await using worker = await serve(bus, {
    once: boom,
    work: (_, { attempt }) => {
      attempts.push({ attempt, at: performance.now() });
      if (attempt < 3) boom();
    },
  });
  await using connection = await bus.connect();
  await connection.client(works(bus.topic)).cast("work", { tag: "a" });
  await until("the third attempt is done", () => worker.stats.handled === 1);
  assert.deepEqual(attempts.map(({ attempt }) => attempt), [1, 2, 3]);
  for (const n of [1, 2]) {
    const waited = Number(attempts[n]?.at) - Number(attempts[n - 1]?.at);
    assert.ok(waited >= 95, `${waited} ms`);
  }
  const { failed, retried, dead, redelivered } = worker.stats;
  assert.deepEqual([failed, retried, dead, redelivered], [2, 2, 0, 0]);
});

onEachBus(
  "a cast for one host is tried again on that host, and a call is not",
  async (bus) => {
    await using _log = await logged();
    bus.owns(`${bus.topic}.one.delay.100`);
    let runs = 0;
    await using worker = await serve(bus, {
      once: boom,
      work: (_, { attempt }) => {
        runs++;
        if (attempt === 1) boom();
      },
    });
    await using connection = await bus.connect();
    const client = connection.client(works(bus.topic));
    assert.match(
      (await failureOf(client.call("work", { tag: "a" }))).message,
      /boom/,
    );
    assert.equal(worker.stats.retried, 0);
    await client.cast("work", { tag: "a" }, { host: "one" });
    await until("the second attempt is done", () => worker.stats.handled === 1);
    assert.deepEqual([runs, worker.stats.retried], [3, 1]);
  },
);

onEachBus(
  "after the last attempt a cast is a dead letter that says why",
  async (bus) => {
    await using _log = await logged();
    await using worker = await serve(bus, { once: boom, work: boom });
    await using connection = await bus.connect();
    const client = connection.client(works(bus.topic));
    await client.cast("work", { tag: "a" });
    await client.cast("once", { tag: "b" });
    await until("both are dead letters", () => worker.stats.dead === 2);
    assert.deepEqual([worker.stats.failed, worker.stats.retried], [4, 2]);
    const raw = await bus.raw();
    await using _raw = raw;
    const letters = new Map<string, Record<string, unknown>>();
    for (let n = 0; raw && n < 2; n++) {
      const letter = await raw.channel.get(`${bus.topic}.dead`);
      assert.ok(letter);
      raw.channel.ack(letter);
      const { properties: { headers, deliveryMode }, content } = letter;
      const { method, args } = JSON.parse(content.toString());
      assert.equal(deliveryMode, 2);
      letters.set(`${method} ${args.tag}`, {
        attempt: headers?.["warren-attempt"],
        reason: headers?.["warren-reason"],
        queue: headers?.["warren-queue"],
      });
    }
    const queue = bus.topic;
    const reason = "Error: boom";
    const wanted = {
      "work a": { attempt: "3", reason, queue },
      "once b": { attempt: "1", reason, queue },
    };
    if (raw) assert.deepEqual(Object.fromEntries(letters), wanted);
  },
);

onEachBus(
  "what can never be handled is not tried again, and a cast to all is nobody's dead letter",
  async (bus) => {
    await using _log = await logged();
    await using worker = await serve(bus, { once: boom, work: boom });
    await using connection = await bus.connect();
    const { topic } = bus;
    await connection.cast({ topic }, "work", { tag: 7 });
    await connection.cast({ topic }, "nothing", {});
    await until("both are dead letters", () => worker.stats.dead === 2);
    await connection.client(works(topic)).fanoutCast("work", { tag: "a" });
    await until("it failed everywhere", () => worker.stats.failed === 3);
    await worker.drain(1_000);
    assert.deepEqual([worker.stats.retried, worker.stats.dead], [0, 2]);
  },
);

onEachBus("a cast that has expired is not tried again", async (bus) => {
  await using _log = await logged();
  let runs = 0;
  await using worker = await serve(bus, {
    once: boom,
    work: () => {
      runs++;
      boom();
    },
  });
  await using connection = await bus.connect();
  const client = connection.client(works(bus.topic));
  await client.cast("work", { tag: "a" }, { ttl: 50 });
  await until("it is a dead letter", () => worker.stats.dead === 1);
  assert.deepEqual([runs, worker.stats.retried], [1, 1]);
});

onRabbit("waiting casts outlive their worker", async (bus) => {
  await using _log = await logged();
  const connection = await bus.connect();
  {
    await using worker = await serve(bus, { once: boom, work: boom });
    await connection.client(works(bus.topic)).cast("work", { tag: "a" });
    await until("it waits", () => worker.stats.retried === 1);
  }
  const came: string[] = [];
  await using worker = await serve(bus, {
    once: boom,
    work: ({ tag }, { attempt }) => void came.push(`${tag} ${attempt}`),
  });
  await until("it came", () => worker.stats.handled === 1);
  // The first worker may have had the second attempt as well.
  assert.match(String(came), /^a [23]$/);
  await connection[Symbol.asyncDispose]();
});

onRabbit("a removed queue of waiting casts is made again", async (bus) => {
  await using _log = await logged();
  await using worker = await serve(bus, {
    once: boom,
    work: (_, { attempt }) => {
      if (attempt === 1) boom();
    },
  });
  await using connection = await bus.connect();
  const client = connection.client(works(bus.topic));
  await client.cast("work", { tag: "a" });
  await until("it was tried again", () => worker.stats.handled === 1);
  const raw = await bus.raw();
  await raw?.channel.deleteQueue(`${bus.topic}.delay.100`);
  await client.cast("work", { tag: "b" });
  await until("it was tried again", () => worker.stats.handled === 2);
  await raw?.[Symbol.asyncDispose]();
});

onRabbit(
  "what can be copied nowhere goes back into its queue, and runs again",
  async (bus) => {
    await using log = await logged();
    await using raw = await bus.raw();
    await raw?.channel.assertQueue(`${bus.topic}.delay.100`); // in another form
    const attempts: number[] = [];
    await using worker = await serve(bus, {
      once: boom,
      work: (_, { attempt }) => {
        attempts.push(attempt);
        if (attempts.length === 1) boom();
      },
    });
    await using connection = await bus.connect();
    await connection.client(works(bus.topic)).cast("work", { tag: "a" });
    await until("it ran again", () => worker.stats.handled === 1);
    assert.deepEqual(attempts, [1, 1]);
    const { redelivered, retried } = worker.stats;
    assert.deepEqual([redelivered, retried], [1, 0]);
    const said = log.lines.filter((line) => /goes back/.test(line));
    assert.match(String(said), /x-message-ttl|dead-letter/);
  },
);

const wrong: [name: string, retry: unknown, says: RegExp][] = [
  ["no attempts", { attempts: 0 }, /has 0 attempts; give 1 to 100/],
  ["half an attempt", { attempts: 1.5 }, /has 1.5 attempts/],
  ["too many", { attempts: 101 }, /has 101 attempts/],
  ["not a policy", 3, /has undefined attempts/],
  ["odd waits", { attempts: 2, backoff: [7] }, /no such backoff; give 100, /],
  ["no waits", { attempts: 2, backoff: [] }, /no such backoff/],
  ["one wait", { attempts: 2, backoff: 100 }, /no such backoff/],
];
for (const [name, retry, says] of wrong) {
  Deno.test(`a policy of attempts is checked: ${name}`, () => {
    const define = (): Contract =>
      contract({
        topic: "t",
        version: "1.0",
        procedures: { work: { retry: retry as RetryPolicy } },
      });
    assert.throws(define, (error) => {
      assert.ok(error instanceof InvalidValueError);
      assert.match(error.message, says);
      return true;
    });
  });
}

Deno.test("attempts are for casts that are acknowledged after the handler", () => {
  const retry = { attempts: 2 };
  const define = (more: object) => () =>
    contract({
      topic: "t",
      version: "1.0",
      procedures: { work: { retry, ...more } },
    });
  assert.throws(define({ delivery: "at-most-once" }), /at-most-once/);
  assert.throws(define({ yields: z.number() }), /a stream cannot be cast/);
});

onRabbit("a host has no name of a queue beside another", async (bus) => {
  await using connection = await bus.connect();
  for (const host of ["dead", "a.dead", "delay.100", "leader.x"]) {
    const cast = connection.cast({ topic: bus.topic, host }, "work");
    assert.match((await failureOf(cast)).message, /names that end so/);
  }
});
