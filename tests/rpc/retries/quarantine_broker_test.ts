/** Quarantine where the broker is cut off, or forbids it: it costs speed, never a message. */
import assert from "node:assert/strict";
import { createConnection, TopologyError } from "../../../mod.ts";
import { node, onNode } from "../../transport/node.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import {
  aborted,
  Bus,
  failureOf,
  onRabbit,
  Raw,
  sumHandlers,
  sums,
} from "../support.ts";

const IN_HAND = 64;

/** Casts with tags from 0 on. */
async function castAll(bus: Bus): Promise<string[]> {
  await using connection = await bus.connect();
  const client = connection.client(sums(bus.topic));
  const tags = Array.from({ length: IN_HAND }, (_, n) => `${n}`);
  await Promise.all(tags.map((tag) => client.cast("wait", { tag })));
  return tags;
}

for (const others of [0, 1]) {
  onRabbit(
    `a worker that is cut off with ${IN_HAND} in hand loses none of them, with ${others} other workers`,
    async (bus) => {
      await using _log = await logged();
      const base = await brokerUrl();
      await using proxy = proxyTo(base);
      await using far = new Bus(proxy.url(base));
      const open = Promise.withResolvers<void>();
      const runs: string[] = [];
      const handlers = sumHandlers({
        wait: async ({ tag }) => {
          runs.push(`${tag}`);
          await open.promise;
        },
      });
      const api = sums(bus.topic);
      const worker = await far.serve(api, handlers);
      const tags = await castAll(bus);
      await until("all are in hand", () => worker.stats.active === IN_HAND);
      const more = Array.from(
        { length: others },
        () => bus.serve(api, handlers),
      );
      const workers = [worker, ...await Promise.all(more)];
      await using stack = new AsyncDisposableStack();
      for (const each of workers) stack.use(each);
      const sum = (name: "redelivered" | "handled" | "dead" | "repeated") =>
        workers.reduce((all, { stats }) => all + stats[name], 0);
      proxy.reset();
      await until("all came again", () => sum("redelivered") >= IN_HAND);
      open.resolve();
      await using raw = await Raw.open(base);
      const idle = () => workers.every(({ stats }) => stats.active === 0);
      await until("nothing is left", async () => {
        const { messageCount } = await raw.channel.checkQueue(bus.topic);
        return messageCount === 0 && idle();
      });
      assert.deepEqual([...new Set(runs)].sort(), tags.sort());
      assert.equal(sum("handled"), runs.length);
      assert.equal(sum("dead"), 0);
      if (others === 0) {
        assert.equal(runs.length, IN_HAND, "it knew them");
        assert.equal(worker.stats.interrupted, 0);
      }
    },
  );
}

for (const verb of ["cast", "call"] as const) {
  onRabbit(
    `a ${verb} whose worker lost its connection three times is one message when that stops`,
    async (bus) => {
      await using _log = await logged();
      const base = await brokerUrl();
      await using proxy = proxyTo(base);
      await using far = new Bus(proxy.url(base));
      const handlers = sumHandlers({
        wait: (_, { signal }) => aborted(signal),
      });
      const api = sums(bus.topic);
      const worker = await far.serve(api, handlers, { grace: 200 });
      await using connection = await bus.connect();
      const client = connection.client(api, { timeout: 60_000 });
      const caller = new AbortController();
      const { signal } = caller;
      const asked = verb === "cast"
        ? client.cast("wait", { tag: "a" })
        : client.call("wait", { tag: "a" }, { signal });
      const over = Promise.allSettled([asked]);
      await until("it is in hand", () => worker.stats.active === 1);
      for (let losses = 1; losses <= 3; losses++) {
        proxy.reset();
        await until("it came again", () => worker.stats.redelivered === losses);
      }
      await worker[Symbol.asyncDispose]();
      await using raw = await Raw.open(base);
      assert.equal((await raw.channel.checkQueue(bus.topic)).messageCount, 1);
      caller.abort();
      await over;
    },
  );
}

/** A user that may do all but what the patterns say with names that end in `.quarantine`. */
async function userOf(
  name: string,
  configure: boolean,
  read: boolean,
): Promise<string> {
  const pattern = (allowed: boolean) => allowed ? ".*" : "^(?!.*quarantine$).*";
  await node.ctl("add_user", name, "secret");
  const patterns = [pattern(configure), ".*", pattern(read)];
  await node.ctl("set_permissions", name, ...patterns);
  return node.url.replace(/\/\/[^@/]*@|\/\//, `//${name}:secret@`);
}

/** Workers are begun and ended so many times, each with all of the tags in hand; the last one handles them. */
async function handleAtLast(bus: Bus, times: number) {
  const api = sums(bus.topic);
  for (let n = 0; n < times; n++) {
    let began = 0;
    const stuck = sumHandlers({
      wait: async (_, { signal }) => {
        began++;
        await aborted(signal);
      },
    });
    await using worker = await bus.serve(api, stuck);
    await until(`worker ${n} has some`, () => began > 0);
    await worker.drain(0);
  }
  const done: string[] = [];
  const handlers = sumHandlers({ wait: ({ tag }) => void done.push(`${tag}`) });
  return { done, worker: await bus.serve(api, handlers) };
}

for (const configure of [true, false]) {
  const verb = configure ? "read from" : "make";
  onNode(
    `a service that may not ${verb} a quarantine serves all the same`,
    async () => {
      const name = configure ? "no-reader" : "no-maker";
      const url = await userOf(name, configure, false);
      await using log = await logged();
      const bus = new Bus(url); // its queues go with the broker
      const first = await bus.serve(sums(bus.topic), sumHandlers());
      await using connection = await createConnection(url);
      const client = connection.client(sums(bus.topic));
      for (let n = 0; n < 20; n++) {
        assert.equal(await client.call("add", { a: n, b: 2 }), n + 2);
      }
      const said = log.lines.filter((line) => /not kept apart/.test(line));
      assert.equal(said.length, 1, said.join(""));
      await first[Symbol.asyncDispose]();
      await client.cast("wait", { tag: "a" });
      const { done, worker } = await handleAtLast(bus, 3);
      await until("it is handled", () => worker.stats.handled === 1);
      assert.deepEqual(done, ["a"]);
      await worker[Symbol.asyncDispose]();
    },
  );
}

onNode(
  "what a quarantine does not take is handled where it is, and said once",
  async () => {
    const policy = { "max-length": 0, overflow: "reject-publish" };
    const name = ["set_policy", "--apply-to", "queues", "full"];
    await node.ctl(...name, "quarantine$", JSON.stringify(policy));
    await using log = await logged();
    await using bus = new Bus(node.url);
    await (await bus.serve(sums(bus.topic), sumHandlers()))
      [Symbol.asyncDispose]();
    const tags = await castAll(bus);
    const { done, worker } = await handleAtLast(bus, 2);
    await until("all are handled", () => worker.stats.handled === IN_HAND);
    assert.deepEqual(done.sort(), tags.sort());
    assert.equal(worker.stats.interrupted, IN_HAND);
    const said = log.lines.filter((line) => /handled where it is/.test(line));
    assert.equal(said.length, 1, said.join(""));
    await worker[Symbol.asyncDispose]();
  },
);

onNode(
  "a user that may declare only its exchange and reply queues calls OpenStack's servers all the same",
  async () => {
    await node.ctl("add_user", "clerk", "secret");
    const own = "^(nova|reply_.*)$";
    await node.ctl("set_permissions", "clerk", own, ".*", ".*");
    const url = node.url.replace(/\/\/[^@/]*@|\/\//, "//clerk:secret@");
    await using log = await logged();
    const bus = new Bus(node.url);
    const profile = "nova";
    await using worker = await bus.serve(sums(bus.topic), sumHandlers(), {
      profile,
    });
    await using connection = await createConnection(url, { profile });
    const client = connection.client(sums(bus.topic), { timeout: 10_000 });
    const calls = Array.from(
      { length: 20 },
      (_, n) => client.call("add", { a: n, b: 2 }),
    );
    assert.deepEqual(await Promise.all(calls), calls.map((_, n) => n + 2));
    const said = log.lines.filter((line) => /go on without a queue/.test(line));
    assert.equal(said.length, 1, said.join(""));
    await using folsom = await createConnection(url, {
      profile,
      dialect: "folsom",
    });
    const target = { topic: bus.topic, version: "1.0" };
    const error = await failureOf(folsom.call(target, "add", { a: 1, b: 2 }));
    assert.ok(error instanceof TopologyError);
    assert.match(error.message, /another dialect/);
    await worker[Symbol.asyncDispose]();
  },
);
