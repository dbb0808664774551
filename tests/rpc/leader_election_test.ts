/** `connection.lead`: one leader at a time, and a successor. */
import assert from "node:assert/strict";
import { InvalidValueError } from "../../mod.ts";
import { until } from "../setup/probe.ts";
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
