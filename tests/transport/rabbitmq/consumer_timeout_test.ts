/**
 * Deliveries that are not acknowledged within `consumer_timeout`. RabbitMQ before 4.3 closes the channel of the consumer;
 * 4.3 cancels the consumer of a quorum queue, or closes the channel if it is configured so.
 */
import assert from "node:assert/strict";
import { direct } from "../../../src/transport/address.ts";
import type { Delivery } from "../../../src/transport/transport.ts";
import { connect } from "../../../src/amqp/mod.ts";
import { node, onNode } from "../node.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { message, queue, rabbitBus, soon, text } from "../support.ts";

const TIMEOUT_MS = 1_000;

function setEnv(name: string, value: number | string): Promise<string> {
  return node.ctl("eval", `application:set_env(rabbit, ${name}, ${value}).`);
}

/** The node looks at its timeouts often; a channel does since it was opened. */
async function beImpatient(): Promise<void> {
  await setEnv("channel_tick_interval", 200);
  await setEnv("quorum_tick_interval", 200);
  await setEnv("consumer_timeout", TIMEOUT_MS);
}

/** Version of the node: its first two numbers. */
async function version(): Promise<readonly [number, number]> {
  await using connection = await connect(node.url);
  const [major = 0, minor = 0] = `${connection.serverProperties.version}`
    .split(".").map(Number);
  return [major, minor];
}

for (const response of ["notify_consumer", "close_channel"] as const) {
  onNode(
    `what is not acknowledged in time comes again, and nothing else is lost, whether the channel is closed or the consumer cancelled (${response}, from RabbitMQ 4.3.7 on)`,
    async () => {
      await using log = await logged();
      await beImpatient();
      await setEnv("consumer_timeout_response", response);
      await using bus = await rabbitBus(node.url, { queueType: "quorum" });
      const route = queue(bus.name());
      const session = await bus.link.openSession(soon());
      const held: Delivery[] = [];
      const handled: string[] = [];
      const receive = (delivery: Delivery) => {
        const what = text(delivery);
        if (what === "held" && held.length === 0) held.push(delivery);
        else {
          handled.push(what);
          delivery.ack();
        }
      };
      await session.consume(route, receive, { prefetch: 10 }, soon());
      const send = (what: string) =>
        session.publish(direct(route.key), message(what), soon());
      await send("held");
      await until("it is held", () => held.length === 1);
      let sent = 0;
      while (!handled.includes("held")) await send(`${sent++}`);
      held[0]?.ack(); // too late: the broker would deliver to the consumer again
      for (let n = 0; n < 20; n++) await send(`${sent++}`);
      await until(
        "all are handled",
        () => new Set(handled).size === sent + 1,
        30_000,
      );
      const [major, minor] = await version();
      const cancels = major > 4 || (major === 4 && minor >= 3);
      const lines = log.times(/cancelled the consumer|channel lost/);
      assert.ok(lines >= 1, log.lines.join(""));
      if (!cancels) assert.equal(log.times(/cancelled the consumer/), 0);
      await session[Symbol.asyncDispose]();
      const state = await bus.link.inspect(direct(route.key), soon());
      assert.equal(state?.messages, 0);
    },
  );
}
