/** Events between Warren and the real oslo.messaging. */
import assert from "node:assert/strict";
import type { ContextValues, Notification } from "../../mod.ts";
import { until } from "../setup/probe.ts";
import { onEachCloud } from "./bus.ts";

const context = {
  user_id: "u1",
  request_id: "req-9",
  auth_token: "secret",
  quota_class: "q",
};
const passes = { user_id: "u1", request_id: "req-9" };

onEachCloud("Warren hears its events, in both formats", async (bus) => {
  const topic = `${bus.topic}-n`;
  const connection = await bus.connect();
  const peer = await bus.oslo();
  const priorities = ["info", "warn", "error"];
  bus.owns(
    ...["audit", "debug", "critical", "sample", ...priorities].map((each) =>
      `${topic}.${each}`
    ),
  );
  const notify = (driver: string, priority: string) =>
    peer.perform({
      do: "notify",
      driver,
      priority,
      topic,
      publisher: "lab.host1",
      type: `lab.${priority}`,
      payload: { id: 1, name: "é" },
      context,
    });
  // Before there is a listener: nothing is lost.
  await notify("messagingv2", "info");
  await notify("messaging", "warn");
  const heard: [Notification, ContextValues][] = [];
  await connection.createListener(
    (event, { values }) => void heard.push([event, values]),
    { topic },
  );
  await notify("messagingv2", "error");
  await until("all came", () => heard.length === 3);
  for (const [event, values] of heard) {
    const { eventType, priority, publisherId, payload, timestamp } = event;
    assert.equal(eventType, `lab.${priority.toLowerCase()}`);
    assert.deepEqual([publisherId, payload], ["lab.host1", {
      id: 1,
      name: "é",
    }]);
    assert.match(timestamp, /^\d{4}-\d\d-\d\d \d\d:\d\d:\d\d\.\d{6}$/);
    assert.match(event.messageId, /^[0-9a-f-]{36}$/);
    assert.deepEqual(values, passes);
  }
  const types = heard.map(([{ priority }]) => priority).sort();
  assert.deepEqual(types, ["ERROR", "INFO", "WARN"]);
});

onEachCloud(
  "it hears Warren's events, in both formats, filtered",
  async (bus) => {
    const topics = [`${bus.topic}-n`];
    const priorities = [
      "info",
      "warn",
      "error",
      "audit",
      "debug",
      "critical",
      "sample",
    ];
    bus.owns(...priorities.map((each) => `${topics[0]}.${each}`));
    const peer = await bus.oslo();
    const formats = ["1.0", "2.0"] as const;
    for (const format of formats) {
      const connection = await bus.connect({
        notifications: { format, topics, priority: "warn" },
        publisherId: "compute.gb07",
      });
      const options = { context };
      await connection.notify(`lab.${format}`, { text: "é😀" }, options);
      const error = { context, priority: "error" } as const;
      await connection.notify(`lab.${format}`, null, error);
    }
    await peer.perform({ do: "listen", topic: topics[0], requeue: 1 });
    const events = () => peer.events.filter(({ event }) => event === "event");
    // One was put back, and came again.
    await until("all came", () => events().length === 5);
    const distinct = new Map(events().map((each) => [each.message_id, each]));
    const said = [...distinct.values()].map(({ priority, type, payload }) =>
      JSON.stringify([type, priority, payload])
    ).sort();
    assert.deepEqual(
      said,
      formats.flatMap((format) => [
        JSON.stringify([`lab.${format}`, "error", null]),
        JSON.stringify([`lab.${format}`, "warn", { text: "é😀" }]),
      ]),
    );
    for (const each of events()) {
      const { client_timeout: _, ...context } = each.context as object & {
        client_timeout: null; // put there by oslo.messaging itself
      };
      assert.deepEqual([each.publisher, context], ["compute.gb07", passes]);
    }
  },
);
