/** `connection.lead`: one leader at a time, and a successor. */
import assert from "node:assert/strict";
import { createConnection, InvalidValueError } from "../../mod.ts";
import { until } from "../setup/probe.ts";
import { node, onVirtualHost } from "../transport/node.ts";
import { onEachBus } from "./support.ts";

onEachBus(
  "one of two leads; when it resigns its signal fires, and the other leads",
  async (bus) => {
    bus.owns(`${bus.topic}.leader.sweep`);
    await using one = await bus.connect();
    await using two = await bus.connect();
    const stands = [one.lead(bus.topic, "sweep"), two.lead(bus.topic, "sweep")];
    await using _stands = {
      async [Symbol.asyncDispose]() {
        for (const stand of stands) await stand[Symbol.asyncDispose]();
      },
    };
    const leader = await until(
      "a leader",
      () => stands.find((each) => each.leading),
    );
    const follower = stands.find((each) => each !== leader);
    const term = leader.leading;
    assert.equal(follower?.leading, undefined);
    assert.equal(term?.aborted, false);
    await leader[Symbol.asyncDispose]();
    assert.equal(term?.aborted, true);
    assert.equal(leader.leading, undefined);
    await until("a successor", () => follower?.leading, 20_000);
  },
);

onEachBus("two tasks of a topic have leaders of their own", async (bus) => {
  bus.owns(`${bus.topic}.leader.sweep`);
  bus.owns(`${bus.topic}.leader.count`);
  await using connection = await bus.connect();
  await using sweep = connection.lead(bus.topic, "sweep");
  await using count = connection.lead(bus.topic, "count");
  await until("both lead", () => sweep.leading && count.leading);
  assert.notEqual(sweep.leading, count.leading);
});

onEachBus("lead refuses a task whose name can be no queue's", async (bus) => {
  await using connection = await bus.connect();
  assert.throws(
    () => connection.lead(bus.topic, "the sweep"),
    InvalidValueError,
  );
});

const queueTypes = ["classic", "quorum"] as const;

onVirtualHost(
  "a leader that gets no new token no longer leads, and one leads afterwards",
  async ({ url }) => {
    await using stack = new AsyncDisposableStack();
    const elections = await Promise.all(queueTypes.map(async (queueType) => {
      const connect = async () =>
        stack.use(
          await createConnection(url, { queueType, heartbeat: 60 }),
        );
      const candidates = [await connect(), await connect()].map((connection) =>
        stack.use(connection.lead(queueType, "sweep"))
      );
      const leaders = () => candidates.filter((each) => each.leading);
      await until("one leads", () => leaders().length === 1);
      return { leaders, term: leaders()[0]?.leading };
    }));
    node.freeze();
    try {
      for (const { leaders, term } of elections) {
        await until("its term ends", () => term?.aborted, 15_000);
        assert.deepEqual(leaders(), []);
      }
    } finally {
      node.thaw();
    }
    for (const { leaders } of elections) {
      await until("one leads", () => leaders().length === 1, 30_000);
    }
  },
);

onVirtualHost(
  "a leader stays, and a lost token is replaced",
  async ({ name, url }) => {
    await Promise.all(queueTypes.map(async (queueType) => {
      const queue = `${queueType}.leader.sweep`;
      await using one = await createConnection(url, { queueType });
      await using first = one.lead(queueType, "sweep");
      const term = await until("it leads", () => first.leading);
      await node.ctl("purge_queue", "-p", name, queue);
      await using two = await createConnection(url, { queueType });
      await using second = two.lead(queueType, "sweep");
      await first[Symbol.asyncDispose]();
      assert.ok(term.aborted);
      await until("the other leads", () => second.leading, 20_000);
      await node.ctl("delete_queue", "-p", name, queue);
      await until("it leads again", () => second.leading, 20_000);
    }));
  },
);
