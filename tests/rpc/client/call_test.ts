/** The verb `call`: routing, values, and what is checked before anything is sent. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  InvalidResultError,
  InvalidValueError,
  NoRouteError,
  NoSuchMethodError,
  RpcDispatcher,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import { failureOf, onEachBus, sumHandlers, sums } from "../support.ts";

onEachBus(
  "call gets the answer of the worker that took it: 1000 calls over two",
  async (bus) => {
    const api = sums(bus.topic);
    await using one = await bus.serve(api, sumHandlers());
    await using two = await bus.serve(api, sumHandlers());
    await using connection = await bus.connect();
    const client = connection.client(api);
    const numbers = Array.from({ length: 1_000 }, (_, i) => i);
    const results = await Promise.all(
      numbers.map((a) => client.call("add", { a, b: 1 })),
    );
    assert.deepEqual(results, numbers.map((a) => a + 1));
    const handled = () => one.stats.handled + two.stats.handled;
    await until("all are acknowledged", () => handled() === 1_000);
    assert.ok(one.stats.handled > 100 && two.stats.handled > 100);
  },
);

onEachBus("call with a host reaches that host alone", async (bus) => {
  const api = contract({
    topic: bus.topic,
    version: "1.0",
    procedures: { who: { result: z.string() } },
  });
  await using _one = await bus.serve(api, { who: () => "one" }, {
    hosts: ["one"],
  });
  await using _two = await bus.serve(api, { who: () => "two" }, {
    hosts: ["two"],
  });
  await using connection = await bus.connect();
  const client = connection.client(api, { host: "one" });
  for (let i = 0; i < 10; i++) {
    assert.equal(await client.call("who"), "one");
    assert.equal(await client.call("who", {}, { host: "two" }), "two");
  }
  const target = { topic: bus.topic, host: "two" };
  assert.equal(await connection.call(target, "who"), "two");
});

onEachBus(
  "call of an unknown topic or host fails at once with NoRouteError",
  async (bus) => {
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const args = { a: 1, b: 2 };
    const options = { timeout: 600_000 }; // would outlast the test if it waited
    const unknown = await failureOf(client.call("add", args, options));
    assert.ok(unknown instanceof NoRouteError);
    assert.equal(unknown.inDoubt, false);
    const text =
      `The queue ${bus.topic} does not exist yet: no worker has served ${bus.topic}; start`;
    assert.ok(unknown.message.startsWith(text), unknown.message);
    await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
    const host = { ...options, host: "nowhere" };
    assert.ok(
      await failureOf(client.call("add", args, host)) instanceof NoRouteError,
    );
    assert.equal(await client.call("add", args), 3);
  },
);

onEachBus("call waits for a queue with waitForRoute", async (bus) => {
  await using connection = await bus.connect({ waitForRoute: true });
  await using hasty = await bus.connect();
  const api = sums(bus.topic);
  let settled = false;
  const call = connection.client(api).call("add", { a: 1, b: 2 })
    .finally(() => settled = true);
  await failureOf(hasty.client(api).call("add", { a: 1, b: 2 }));
  assert.ok(!settled, "a queue that another call missed is still waited for");
  await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
  assert.equal(await call, 3);
});

onEachBus(
  "call with waitForRoute ends at its deadline with NoRouteError",
  async (bus) => {
    await using connection = await bus.connect({ waitForRoute: true });
    const client = connection.client(sums(bus.topic));
    const started = performance.now();
    const error = await failureOf(
      client.call("add", { a: 1, b: 2 }, { timeout: 250 }),
    );
    assert.ok(error instanceof NoRouteError);
    assert.ok(performance.now() - started < 1_500);
  },
);

onEachBus(
  "arguments are parsed by the worker, and results arrive as parsed",
  async (bus) => {
    const seen: unknown[] = [];
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: {
        run: {
          args: z.object({
            n: z.string().transform(Number),
            ram: z.number().default(512),
          }),
          result: z.object({
            at: z.iso.datetime().transform((text) => new Date(text)),
            id: z.string(),
          }),
        },
        days: { yields: z.iso.datetime().transform((text) => new Date(text)) },
        length: { result: z.string().transform((text) => text.length) },
      },
    });
    await using _worker = await bus.serve(api, {
      run: (args) => {
        seen.push(args);
        return { at: "2020-01-01T00:00:00Z", id: "x", secret: 1 };
      },
      async *days() {
        yield "2020-01-01T00:00:00Z";
      },
      length: () => "four",
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    const result = await client.call(
      "run",
      { n: "3", extra: 1 } as { n: string },
    );
    assert.deepEqual(seen, [{ n: 3, ram: 512 }], "unknown keys are stripped");
    assert.deepEqual(result, { at: new Date("2020-01-01T00:00:00Z"), id: "x" });
    for await (const day of client.multicall("days")) {
      assert.deepEqual(day, new Date("2020-01-01T00:00:00Z"));
    }
    assert.equal(await client.call("length"), 4, "parsed once, not twice");
  },
);

onEachBus(
  "results: nothing is undefined, null stays null, what does not fit is refused",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: {
        none: {},
        empty: { result: z.null() },
        text: { result: z.string() },
        maybe: { result: z.string().optional() },
        deep: { result: z.object({ list: z.array(z.unknown()) }) },
      },
    });
    await using _worker = await bus.serve(api, {
      none: () => "not declared" as unknown as undefined,
      empty: () => null,
      text: () => undefined as unknown as string,
      maybe: () => undefined,
      deep: () => ({ list: [1, NaN] }),
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    assert.equal(await client.call("none"), undefined);
    assert.equal(await client.call("empty"), null);
    assert.equal(await client.call("maybe"), undefined);
    const error = await failureOf(client.call("text"));
    assert.ok(error instanceof InvalidResultError, String(error));
    assert.equal(error.inDoubt, true);
    assert.match(error.message, /result of .*text/);
    const deep = await failureOf(client.call("deep"));
    assert.ok(deep instanceof InvalidResultError);
    assert.equal(deep.data.path, "result.list[1]");
  },
);

onEachBus(
  "arguments that do not fit, or that JSON cannot represent, are refused before anything is sent",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { take: { args: z.object({ value: z.unknown() }) } },
    });
    await using worker = await bus.serve(api, { take: () => {} });
    await using connection = await bus.connect();
    const client = connection.client(api);
    const verbs = [
      (args: object) => client.call("take", args as never),
      (args: object) => client.cast("take", args as never),
      (args: object) => client.fanoutCast("take", args as never),
      (args: object) =>
        connection.multicall({ topic: bus.topic }, "take", args as never)
          .next(),
    ];
    const bad = [
      [{ value: [1, undefined] }, "args.value[1]"],
      [{ value: { n: NaN } }, "args.value.n"],
      [{ value: new Date() }, "args.value"],
    ] as const;
    for (const verb of verbs) {
      for (const [args, path] of bad) {
        const error = await failureOf(verb(args));
        assert.ok(error instanceof InvalidValueError);
        assert.equal(error.data.path, path);
      }
    }
    const wrong = await failureOf(
      connection.client(sums(bus.topic)).call("add", { a: "1" } as never),
    );
    assert.ok(wrong instanceof InvalidValueError);
    assert.equal(wrong.data.path, "a");
    const { handled, failed, refused } = worker.stats;
    assert.deepEqual({ handled, failed, refused }, {
      handled: 0,
      failed: 0,
      refused: 0,
    });
  },
);

onEachBus("a client knows the names of its contract alone", async (bus) => {
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  for (const name of ["constructor", "toString", "__proto__", "nothing"]) {
    const error = await failureOf(client.call(name as never));
    assert.ok(error instanceof NoSuchMethodError, name);
  }
});

onEachBus(
  "topics, hosts and namespaces that are no names are refused by the caller",
  async (bus) => {
    await using connection = await bus.connect();
    const long = "x".repeat(201);
    for (const name of ["#", "*", "a b", "", "amq.x", "é", "a/b", long]) {
      for (const target of [{ topic: name }, { topic: "t", host: name }]) {
        const error = await failureOf(connection.call(target, "m"));
        assert.ok(error instanceof InvalidValueError, name);
      }
    }
    const together = { topic: "t".repeat(150), host: "h".repeat(150) };
    const error = await failureOf(connection.call(together, "m"));
    assert.ok(error instanceof InvalidValueError, String(error));
  },
);

onEachBus(
  "the untyped call takes any method and gives what came",
  async (bus) => {
    await using worker = await bus.connect();
    const dispatcher = new RpcDispatcher([{
      contract: sums(bus.topic),
      ...sumHandlers(),
    }]);
    await worker.createConsumer(bus.topic, dispatcher);
    await worker.consume();
    await using connection = await bus.connect();
    const target = { topic: bus.topic };
    assert.equal(await connection.call(target, "add", { a: 1, b: 2 }), 3);
    const error = await failureOf(connection.call(target, "toString"));
    assert.ok(error instanceof NoSuchMethodError);
  },
);
