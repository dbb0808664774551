/** Each answer of `diagnose`, from a fault that is made. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  contract,
  createConnection,
  type FindingCode,
  implement,
  operations,
  Service,
  type ServiceOptions,
  type Target,
} from "../../mod.ts";
import { type Bus, failureOf, onEachBus, onRabbit } from "../rpc/support.ts";
import { isAll, ONLY_ALL } from "../setup/all.ts";
import { privateBroker, rabbitmqServer } from "../setup/broker.ts";
import { privateCluster } from "../setup/cluster.ts";
import { until } from "../setup/probe.ts";

const api = (topic: string, version = "1.0") =>
  contract({
    topic,
    version,
    procedures: {
      add: { args: z.object({ a: z.number() }), result: z.number() },
      holds: {},
      dies: {},
    },
  });

/** A worker whose procedure `holds` waits until it is released. */
async function serve(bus: Bus, options: Partial<ServiceOptions> = {}) {
  const held = Promise.withResolvers<void>();
  const handlers = {
    add: ({ a }: { a: number }) => a + 1,
    holds: () => held.promise,
    dies: () => {
      throw new Error("no");
    },
  };
  const service = await Service.start({
    ...{ url: bus.url, host: "one", signals: false, reportInterval: 0 },
    ...options,
    manager: implement(api(bus.topic), handlers),
  });
  return {
    service,
    release: held.resolve,
    async [Symbol.asyncDispose]() {
      held.resolve();
      await service.stop();
    },
  };
}

/** Codes of the findings on a target, with `!` for a reason. */
async function codes(
  connection: ConnectionContext,
  target: Target,
  procedure?: string,
): Promise<string[]> {
  const { findings } = await operations(connection)
    .diagnose(target, procedure, { timeout: 500 });
  for (const { text } of findings) assert.match(text, /^[A-Z0-9].*\.$/);
  return findings.map(({ code, weight }) =>
    weight === "reason" ? `${code}!` : code
  );
}

onEachBus("nothing is found where calls succeed", async (bus) => {
  await using _worker = await serve(bus);
  await using connection = await bus.connect();
  const { topic } = bus;
  for (const host of [undefined, "one"]) {
    const target = { topic, host, version: "1.0" };
    assert.deepEqual(await codes(connection, target, "add"), []);
  }
});

onEachBus("no queue, then no worker, and messages that wait", async (bus) => {
  const { topic } = bus;
  await using connection = await bus.connect();
  assert.deepEqual(await codes(connection, { topic }), ["NO_QUEUE!"]);
  const worker = await serve(bus);
  await worker.service.stop();
  const client = connection.client(api(topic));
  await client.cast("holds");
  await client.cast("holds");
  const { findings, state } = await operations(connection).diagnose({ topic });
  assert.deepEqual(findings.map(({ code }) => code), ["NO_WORKER", "BACKLOG"]);
  assert.equal(findings[0]?.data.waiting, 2);
  const { oldest } = findings[0]?.data ?? {};
  assert.ok(Number(oldest) >= 0 && Number(oldest) < 60_000, `${oldest} ms`);
  const { queues } = operations(connection);
  const [first] = await queues({ topic }, { oldest: true, timeout: 200 });
  assert.ok(Number(first?.oldest) >= Number(oldest));
  assert.equal(first?.messages, 2);
  assert.deepEqual(state, { messages: 2, consumers: 0 });
});

onEachBus("another version, and a procedure that nobody has", async (bus) => {
  await using _worker = await serve(bus);
  await using connection = await bus.connect();
  const { topic } = bus;
  const newer = { topic, version: "1.3" };
  assert.deepEqual(await codes(connection, newer, "add"), [
    "UNSUPPORTED_VERSION!",
  ]);
  const known = { topic, version: "1.0" };
  assert.deepEqual(await codes(connection, known, "no"), [
    "NO_SUCH_PROCEDURE!",
  ]);
  const other = { topic, version: "1.0", namespace: "other" };
  assert.deepEqual(await codes(connection, other, "add"), [
    "UNSUPPORTED_VERSION!",
  ]);
});

onEachBus(
  "workers that are full, and handlers that run for long",
  async (bus) => {
    await using worker = await serve(bus, { concurrency: 2, longRunning: 50 });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    for (let n = 0; n < 5; n++) await client.cast("holds");
    const { topic } = bus;
    const all = ["FULL!", "LONG_RUNNING", "BACKLOG"];
    await until("both run for long", async () => {
      const found = await codes(connection, { topic });
      return all.every((code) => found.includes(code)) && found;
    });
    worker.release();
    await until(
      "nothing is left",
      async () => (await codes(connection, { topic })).length === 0,
    );
  },
);

onEachBus(
  "casts that wait for another attempt, and dead letters",
  async (bus) => {
    const { topic } = bus;
    const retried = contract({
      topic,
      version: "1.0",
      procedures: {
        later: { retry: { attempts: 2, backoff: [3_600_000] } },
        dies: { retry: { attempts: 1 } },
      },
    });
    const no = () => {
      throw new Error("no");
    };
    await using _service = await Service.start({
      ...{ url: bus.url, host: "one", signals: false, reportInterval: 0 },
      manager: implement(retried, { later: no, dies: no }),
    });
    bus.owns(`${topic}.delay.3600000`);
    await using connection = await bus.connect();
    const client = connection.client(retried);
    await client.cast("later");
    await client.cast("dies");
    await until("both are there", async () => {
      const found = await codes(connection, { topic });
      return found.join() === "RETRYING,DEAD_LETTERS";
    });
    const listed = await operations(connection).queues({ topic });
    const byName = Object.fromEntries(listed.map((each) => [each.name, each]));
    assert.equal(byName[topic]?.kind, "topic");
    assert.equal(byName[topic]?.consumers, 1);
    assert.equal(byName[`${topic}.one`]?.host, "one");
    assert.equal(byName[`${topic}.dead`]?.messages, 1);
    assert.equal(byName[`${topic}.delay.3600000`]?.messages, 1);
    assert.equal(byName[`${topic}.delay.100`], undefined);
    assert.ok(listed.every(({ meaning }) => meaning.endsWith(".")));
  },
);

onEachBus("a queue that an operator has paused", async (bus) => {
  const { topic } = bus;
  await using _worker = await serve(bus, { remoteControl: true });
  await using connection = await bus.connect();
  const { pause, resume, diagnose } = operations(connection);
  await pause({ topic }, { reason: "a full disk" });
  const { findings: [finding] } = await diagnose({ topic }, "add");
  assert.equal(finding?.code, "PAUSED");
  assert.match(String(finding?.text), /a full disk/);
  await resume({ topic });
  assert.deepEqual(await codes(connection, { topic }, "add"), []);
});

onEachBus("the rate is the change of a queue a second", async (bus) => {
  const { topic } = bus;
  await using connection = await bus.connect();
  const worker = await serve(bus);
  await worker.service.stop();
  const client = connection.client(api(topic));
  const { queues } = operations(connection);
  const options = { interval: 400, timeout: 200 };
  const listing = queues({ topic }, options);
  const sent: Promise<void>[] = [];
  const sending = setInterval(() => sent.push(client.cast("holds")), 10);
  const [first] = await listing;
  clearInterval(sending);
  await Promise.all(sent);
  assert.equal(first?.name, topic);
  assert.ok((first?.rate ?? 0) > 5, `${first?.rate} messages a second`);
});

onEachBus("wrong filters and options are refused", async (bus) => {
  await using connection = await bus.connect();
  const { queues, diagnose } = operations(connection);
  const wrong: [Promise<unknown>, RegExp][] = [
    [queues({ host: "one" }), /give the topic as well/],
    [queues({ topic: "a b" }), /Invalid topic/],
    [queues({ events: "n", topic: "t" }), /give either events/],
    [queues({ topik: "t" } as never), /topik/],
    [queues({}, { interval: -1 }), /interval/],
    [diagnose({ topic: "" }), /topic/],
    [diagnose({ topic: "t" }, "p", { timeout: Number.NaN }), /timeout/],
  ];
  for (const [promise, message] of wrong) {
    assert.match(`${await failureOf(promise)}`, message);
  }
});

onRabbit("requests in quarantine", async (bus) => {
  await using _worker = await serve(bus, { concurrency: 1 });
  await using connection = await bus.connect();
  await using raw = await bus.raw();
  const { topic } = bus;
  const body = { method: "holds", args: {}, version: "1.0" };
  const { Buffer } = await import("node:buffer");
  const queue = `${topic}.quarantine`;
  const channel = raw?.channel;
  await until("there is the queue", async () => {
    const { findings } = await operations(connection).diagnose({ topic });
    return findings.length === 0;
  });
  for (let n = 0; n < 3; n++) {
    channel?.sendToQueue(queue, Buffer.from(JSON.stringify(body)));
  }
  await channel?.waitForConfirms();
  await until(
    "they wait",
    async () => (await codes(connection, { topic })).includes("QUARANTINED"),
  );
});

onRabbit("workers that are stopped processes do not answer", async (bus) => {
  const program = new URL("./frozen_worker.ts", import.meta.url).pathname;
  await using connection = await bus.connect();
  const { topic } = bus;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", program, bus.url, topic],
    stdout: "piped",
    stderr: "null",
    stdin: "null",
  }).spawn();
  try {
    await until(
      "it serves",
      async () =>
        (await operations(connection).diagnose({ topic })).services.length ===
          1,
    );
    child.kill("SIGSTOP");
    const found = await codes(connection, { topic, version: "1.0" }, "add");
    assert.deepEqual(found, ["NO_ANSWER!"]);
  } finally {
    child.kill("SIGKILL");
    await child.stdout.cancel();
    await child.status;
  }
});

Deno.test({
  name:
    "a broker that is gone, and one that accepts no messages (needs rabbitmq-server)",
  ignore: !rabbitmqServer,
  fn: async () => {
    await using broker = await privateBroker();
    await using connection = await createConnection(broker.url);
    const topic = "t";
    const worker = await Service.start({
      ...{ url: broker.url, host: "one", signals: false, reportInterval: 0 },
      manager: implement(api(topic), {
        add: () => 1,
        holds: () => {},
        dies: () => {},
      }),
    });
    await broker.ctl("set_vm_memory_high_watermark", "0.00001");
    await connection.cast({ topic, version: "1.0" }, "holds", {}, {
      timeout: 100,
    })
      .catch(() => {});
    const has = (code: FindingCode) => async () =>
      (await codes(connection, { topic })).includes(`${code}!`);
    await until("it is blocked", has("BLOCKED"));
    await broker.ctl("set_vm_memory_high_watermark", "0.6");
    await until("it is well", async () => !await has("BLOCKED")());
    await worker.stop();
    await broker.kill();
    await until("it is gone", has("DISCONNECTED"));
  },
});

Deno.test({
  name: `the node of the queue is down ${ONLY_ALL}`,
  ignore: !rabbitmqServer || !isAll,
  fn: async () => {
    await using cluster = await privateCluster({ size: 2 });
    const [near, far] = cluster.nodes;
    const topic = "t";
    const handlers = { add: () => 1, holds: () => {}, dies: () => {} };
    const worker = await Service.start({
      ...{ url: String(far?.url), queueType: "classic" },
      ...{ host: "one", signals: false, reportInterval: 0 },
      manager: implement(api(topic), handlers),
    });
    await worker.stop();
    await using connection = await createConnection(String(near?.url));
    assert.deepEqual(await codes(connection, { topic }), ["NO_WORKER!"]);
    await far?.kill();
    const found = () => codes(connection, { topic });
    await until(
      "its node is down",
      async () => (await found()).join() === "QUEUE_UNAVAILABLE!",
    );
    const [queue] = await operations(connection).queues({ topic });
    assert.equal(queue?.messages, undefined);
    assert.match(
      String(queue?.unavailable),
      /down|inaccessible|does not answer/,
    );
  },
});
