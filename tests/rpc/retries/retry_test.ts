/** Casts that fail: tried again as their procedure says, then kept as dead letters. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  type Contract,
  contract,
  type Handlers,
  InvalidValueError,
  type RetryPolicy,
  RpcDispatcher,
  type UnaryProcedure,
} from "../../../mod.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import {
  aborted,
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
  type Raw,
} from "../support.ts";

const options = {
  args: z.object({ tag: z.string() }),
  retry: { attempts: 3, backoff: [100] },
} as const satisfies UnaryProcedure;

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
  "each failed attempt at a cast is one line with what becomes of it",
  async (bus) => {
    await using log = await logged();
    await using worker = await serve(bus, { once: boom, work: boom });
    await using connection = await bus.connect();
    await connection.client(works(bus.topic)).cast("work", { tag: "a" });
    await until("it is given up", () => worker.stats.dead === 1);
    const failed = log.records.filter(({ level }) => level === "error");
    const all = failed.map(({ properties: { error, request, ...rest } }) => {
      assert.match(`${request}`, /^[0-9a-f]{32}$/);
      assert.match(`${(error as Error).stack}`, /^Error: boom at /);
      return rest;
    });
    const { topic } = bus;
    const common = { procedure: "work", topic, attempts: 3 };
    assert.deepEqual(all, [
      { ...common, attempt: 1, wait: 100 },
      { ...common, attempt: 2, wait: 100 },
      { ...common, attempt: 3, deadLetters: `${topic}.dead` },
    ]);
    const requests = failed.map(({ properties: { request } }) => request);
    assert.equal(new Set(requests).size, 1);
    const text = log.lines.find((line) => /attempt 3 of 3/.test(line)) ?? "";
    assert.match(text, /kept in ".*\.dead": .*boom/);
    assert.equal(text.trimEnd().split("\n").length, 1);
  },
);

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
        attempts: headers?.["warren-attempts"],
        reason: headers?.["warren-reason"],
        queue: headers?.["warren-queue"],
      });
    }
    const queue = bus.topic;
    const reason = "Error: boom";
    const wanted = {
      "work a": { attempts: "3", reason, queue },
      "once b": { attempts: "1", reason, queue },
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
    const { redelivered, interrupted, retried } = worker.stats;
    assert.deepEqual([redelivered, interrupted, retried], [0, 0, 0]);
    const said = log.lines.filter((line) => /goes back/.test(line));
    assert.match(String(said), /x-message-ttl|dead-letter/);
  },
);

onRabbit(
  "what goes back since it cannot be copied does not count as interrupted, whoever gets it",
  async (bus) => {
    await using _log = await logged();
    await using _connection = await bus.connect();
    await using raw = await bus.raw();
    await raw?.channel.assertQueue(`${bus.topic}.dead`, {
      durable: true,
      arguments: { "x-max-length": 9 },
    });
    const workers = [
      await serve(bus, { once: boom, work: boom }),
      await serve(bus, { once: boom, work: boom }),
    ];
    await using connection = await bus.connect();
    await connection.client(works(bus.topic)).cast("once", { tag: "a" });
    const sum = (of: "failed" | "redelivered" | "interrupted") =>
      workers.reduce((all, { stats }) => all + stats[of], 0);
    await until("it ran twice", () => sum("failed") === 2);
    assert.deepEqual([sum("redelivered"), sum("interrupted")], [0, 0]);
    for (const worker of workers) {
      await worker.drain(0);
      await worker[Symbol.asyncDispose]();
    }
  },
);

const wrong: [name: string, retry: unknown, says: RegExp][] = [
  ["no attempts", { attempts: 0 }, /\.attempts is 0; give 1 to 100/],
  ["half an attempt", { attempts: 1.5 }, /\.attempts is 1.5;/],
  ["too many", { attempts: 101 }, /\.attempts is 101;/],
  ["a text", { attempts: "3" }, /\.attempts is "3";/],
  ["none said", {}, /\.attempts is undefined;/],
  ["not a policy", 3, /\.retry is 3; give { attempts, backoff }/],
  ["null", null, /\.retry is null;/],
  ["a bigint", { attempts: 5n }, /\.attempts is 5;/],
  ["misspelled", { attempts: 2, backof: [] }, /\.retry\.backof is no option/],
  ["odd waits", { attempts: 2, backoff: [100, 7] }, /\.backoff has 7; give/],
  ["no waits", { attempts: 2, backoff: [] }, /\.backoff is \[\]; give a list/],
  ["one wait", { attempts: 2, backoff: 100 }, /\.backoff is 100; give a list/],
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
  const define = (more: object) => () => {
    const procedures = { work: { retry, ...more } };
    contract({ topic: "t", version: "1.0", procedures });
  };
  assert.throws(define({ delivery: "at-most-once" }), /at-most-once/);
  assert.throws(define({ yields: z.number() }), /a stream cannot be cast/);
});

onRabbit(
  "no host, topic or pool has the name of a queue beside another",
  async (bus) => {
    await using connection = await bus.connect();
    const { topic } = bus;
    const fails = async (work: Promise<unknown>) =>
      assert.match((await failureOf(work)).message, /names that end in \.dead/);
    for (const host of ["dead", "a.quarantine", "delay.100", "leader.x.y"]) {
      await fails(connection.cast({ topic, host }, "work"));
    }
    await fails(connection.cast({ topic: `${topic}.delay`, host: "100" }, "w"));
    const dispatcher = new RpcDispatcher([]);
    for (const name of [`${topic}.dead`, `${topic}.delay.100`, "a.leader.b"]) {
      await fails(connection.cast({ topic: name }, "work"));
      await fails(connection.createWorker(topic, dispatcher, name));
      await fails(connection.createConsumer(name, dispatcher));
    }
  },
);

onRabbit(
  "a dead letter that is put back into its queue begins anew",
  async (bus) => {
    await using _log = await logged();
    const attempts: number[] = [];
    await using worker = await serve(bus, {
      once: boom,
      work: (_, { attempt }) => {
        attempts.push(attempt);
        if (attempts.length < 8) boom();
      },
    });
    await using connection = await bus.connect();
    const client = connection.client(works(bus.topic));
    await client.cast("work", { tag: "a" }, { ttl: 60_000 });
    await using raw = await bus.raw();
    const { channel } = raw as Raw;
    for (const times of [1, 2]) {
      await until("it is a dead letter", () => worker.stats.dead === times);
      const letter = await channel.get(`${bus.topic}.dead`, { noAck: true });
      assert.ok(letter);
      const { content, properties: { headers, messageId } } = letter;
      const to = headers?.["warren-queue"];
      channel.sendToQueue(to, content, { headers, messageId });
    }
    await until("it is done", () => worker.stats.handled === 1);
    assert.deepEqual(attempts, [1, 2, 3, 1, 2, 3, 1, 2]);
  },
);

onEachBus(
  "a worker that stops gives back what its handlers left, and copies none of it",
  async (bus) => {
    await using log = await logged();
    await using raw = await bus.raw();
    const worker = await serve(bus, {
      once: (_, { signal }) => aborted(signal).then(boom),
      work: (_, { signal }) => aborted(signal).then(boom),
    });
    await using connection = await bus.connect();
    const client = connection.client(works(bus.topic));
    for (const tag of ["a", "b"]) {
      await client.cast("work", { tag });
      await client.cast("once", { tag });
    }
    await until("all are in hand", () => worker.stats.active === 4);
    await worker.drain(0);
    const { retried, dead } = worker.stats;
    await worker[Symbol.asyncDispose]();
    assert.deepEqual([retried, dead], [0, 0]);
    assert.ok(!/goes back/.test(log.lines.join("")));
    const { messageCount } = await raw?.channel.checkQueue(bus.topic) ??
      { messageCount: 4 };
    assert.equal(messageCount, 4);
  },
);

onEachBus("whatever is thrown, its cast is a dead letter", async (bus) => {
  await using _log = await logged();
  const odd = Object.assign(new Error("x"), { name: Symbol("odd") });
  const getter = {
    get x() {
      throw new Error("no");
    },
  };
  const circles: Record<string, unknown> = {};
  circles.a = circles;
  circles.b = { circles, list: [circles, circles] };
  const bare = Object.create(null);
  const thrown = [undefined, null, bare, odd, getter, circles];
  await using worker = await serve(bus, {
    work: () => {},
    once: ({ tag }) => {
      throw thrown[Number(tag)];
    },
  });
  await using connection = await bus.connect();
  const client = connection.client(works(bus.topic));
  for (const tag of thrown.keys()) await client.cast("once", { tag: `${tag}` });
  await until("all are", () => worker.stats.dead === thrown.length);
});

onRabbit(
  "what strangers put into headers is no reason to begin again and again, nor what a secret looks like",
  async (bus) => {
    await using _log = await logged();
    let runs = 0;
    await using worker = await serve(bus, {
      work: () => {},
      once: () => {
        runs++;
        throw new Error("away: amqp://me:HIDDEN@host and password=HIDDEN");
      },
    });
    await using raw = await bus.raw();
    const { channel } = raw as Raw;
    const body = JSON.stringify({
      method: "once",
      args: { tag: "a" },
      version: "1.0",
    });
    const long = "l".repeat(60_000);
    const all = [{ long }, { n: { "!": "double", value: -1e300 } }, {
      "warren-attempt": "9007199254740991",
    }];
    for (const headers of all) {
      channel.sendToQueue(bus.topic, Buffer.from(body), { headers });
    }
    await until("all are dead letters", () => worker.stats.dead === all.length);
    assert.equal(runs, all.length);
    const letter = await channel.get(`${bus.topic}.dead`, { noAck: true });
    assert.ok(letter);
    const { headers } = letter.properties;
    assert.deepEqual(Object.keys(headers ?? {}).sort(), [
      "warren-attempts",
      "warren-burials",
      "warren-dead-at",
      "warren-queue",
      "warren-reason",
    ]);
    assert.equal(
      headers?.["warren-reason"],
      "Error: away: amqp://<SANITIZED>@host and password=<SANITIZED>",
    );
  },
);

onRabbit("a call is its caller's, whatever it says of itself", async (bus) => {
  await using worker = await serve(bus, { once: () => {}, work: () => {} });
  await using raw = await bus.raw();
  const { channel } = raw as Raw;
  const { queue } = await channel.assertQueue("", { exclusive: true });
  const answer = Promise.withResolvers<unknown>();
  await channel.consume(
    queue,
    (message) => answer.resolve(message?.content),
    { noAck: true },
  );
  const body = {
    method: "once",
    args: { tag: "a" },
    version: "1.0",
    _msg_id: "c",
    _reply_q: queue,
  };
  channel.sendToQueue(bus.topic, Buffer.from(JSON.stringify(body)), {
    headers: { "warren-expires": "0" },
  });
  await answer.promise;
  assert.equal(worker.stats.dead, 0);
});

onRabbit(
  "on OpenStack's bus casts of procedures with attempts alone are kept, wrong ones too",
  async (bus) => {
    await using _log = await logged();
    const options = { profile: "nova" } as const;
    const api = works(bus.topic);
    const handlers = { once: boom, work: boom };
    bus.owns(`${bus.topic}.delay.100`);
    await using worker = await bus.serve(api, handlers, options);
    await using connection = await bus.connect(options);
    const { topic } = bus;
    await connection.cast({ topic }, "work", { tag: 7 });
    await until("it is kept", () => worker.stats.dead === 1);
    await connection.cast({ topic }, "once", { tag: "a" });
    await connection.cast({ topic }, "work", { tag: "a" });
    await until("it is kept", () => worker.stats.dead === 2);
    assert.deepEqual([worker.stats.failed, worker.stats.retried], [5, 2]);
    await connection.client(api).cast("work", { tag: "a" }, { ttl: 50 });
    await until("it is kept, though late", () => worker.stats.dead === 3);
  },
);

onRabbit(
  "a broadcast by stream that fails is nobody's dead letter",
  async (bus) => {
    await using log = await logged();
    const options = { profile: { streamFanout: true } } as const;
    const api = works(bus.topic);
    const handlers = { once: boom, work: boom };
    bus.owns(`${bus.topic}_fanout`);
    await using worker = await bus.serve(api, handlers, options);
    await using connection = await bus.connect(options);
    await connection.client(api).fanoutCast("work", { tag: "a" });
    await until("it failed", () => worker.stats.failed === 1);
    await worker.drain(1_000);
    assert.deepEqual([worker.stats.retried, worker.stats.dead], [0, 0]);
    assert.ok(!/goes back/.test(log.lines.join("")));
  },
);
