/** A trace that goes through a service of the real oslo.messaging, which knows nothing of traces. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import { contract, implement, RpcDispatcher } from "../../mod.ts";
import { until } from "../setup/probe.ts";
import { assertChild, SpanRecorder } from "../telemetry/span_recorder.ts";
import { onEachCloud } from "./bus.ts";

onEachCloud(
  "a trace goes through a peer that forwards its context",
  async (bus) => {
    using recorder = new SpanRecorder();
    const topic = `${bus.topic}-inner`;
    bus.owns(topic);
    const peer = await bus.oslo();
    await peer.perform({ do: "serve", topic: bus.topic, host: "one" });
    const inner = contract({
      topic,
      version: "1.0",
      procedures: { value: { result: z.number() } },
    });
    const worker = await bus.connect();
    const dispatcher = new RpcDispatcher([
      implement(inner, { value: () => 7 }),
    ]);
    await worker.createConsumer(topic, dispatcher);
    await worker.consume();
    const relay = async (dialect: "grizzly" | "oslo") => {
      recorder.clear();
      const caller = await bus.connect({ dialect });
      const args = { topic, method: "value" };
      const context = { user_id: "u1" };
      const target = { topic: bus.topic };
      assert.equal(await caller.call(target, "relay", args, { context }), 7);
      await until(
        "it is served",
        () => recorder.of(`${topic}/value`, "SERVER").length === 1,
      );
      const [sent] = recorder.of(`${bus.topic}/relay`, "CLIENT");
      const [served] = recorder.of(`${topic}/value`, "SERVER");
      return { sent, served };
    };
    const oslo = await relay("oslo");
    assertChild(oslo.served, oslo.sent);
    // In Grizzly's dialect nothing is added to the context: its peers would log each value that they do not know.
    const grizzly = await relay("grizzly");
    assert.equal(grizzly.served?.parentSpanContext, undefined);
  },
);
