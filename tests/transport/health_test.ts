/** What a link tells of its health, and that it is true. */
import assert from "node:assert/strict";
import { direct } from "../../src/transport/address.ts";
import { ConnectionFailedError } from "../../src/errors.ts";
import type { TransportHealth } from "../../src/transport/transport_health.ts";
import { brokerUrl } from "../setup/broker.ts";
import { logged } from "../setup/logged.ts";
import { until } from "../setup/probe.ts";
import { node, onNode } from "./node.ts";
import {
  conforms,
  consumer,
  eventsOf,
  message,
  plain,
  proxiedBus,
  queue,
  rabbitBus,
  rabbitLink,
  soon,
  told,
} from "./support.ts";

const states = ({ publishing, consuming }: TransportHealth) => [
  publishing.state,
  consuming.state,
];

conforms("health() is up, and counts those who consume", async (bus) => {
  const { cancel } = await consumer(bus, queue(bus.name()));
  const before = bus.link.health();
  assert.deepEqual(states(before), ["up", "up"]);
  assert.deepEqual(before.consuming.consumers, { wanted: 1, consuming: 1 });
  const other = await consumer(bus, queue(bus.name()));
  const both = { wanted: 2, consuming: 2 };
  assert.deepEqual(bus.link.health().consuming.consumers, both);
  await other.dispose();
  assert.deepEqual(bus.link.health().consuming.consumers, {
    wanted: 1,
    consuming: 1,
  });
  await cancel();
  const { consuming, publishing, stale } = bus.link.health();
  assert.deepEqual(consuming.consumers, { wanted: 0, consuming: 0 });
  assert.deepEqual([publishing.losses, consuming.losses, stale], [0, 0, 0]);
});

conforms("health() says when each side was last proven", async (bus) => {
  const route = queue(bus.name());
  const { transport, first } = await consumer(bus, route);
  const began = Date.now();
  await transport.publish(direct(route.key), message("x"), soon());
  await first(1);
  for (const side of ["publishing", "consuming"] as const) {
    const { lastProof, since } = bus.link.health()[side];
    const at = Number(lastProof);
    assert.ok(at >= began - 5 && at <= Date.now() + 5, `${side}: ${lastProof}`);
    assert.ok(Number(since) <= Date.now() + 5, `${side}: ${since}`);
  }
});

Deno.test("nothing is proven of a side that was not used, and since() stays", async () => {
  await using bus = await rabbitBus();
  await bus.link.openSession(soon());
  const { publishing, consuming } = bus.link.health();
  assert.equal(publishing.lastProof, undefined);
  assert.equal(consuming.lastProof, undefined);
  await until("time passes", () => Date.now() - Number(publishing.since) > 30);
  const again = bus.link.health().publishing.since;
  assert.ok(Math.abs(Number(again) - Number(publishing.since)) < 10);
});

Deno.test("a loss shows until all consumers are back, and is counted", async () => {
  await using bus = await proxiedBus();
  const route = queue(bus.name());
  const { transport, first } = await consumer(bus, route);
  await transport.publish(direct(route.key), message("x"), soon());
  const [old] = await first(1);
  const events = eventsOf(bus.link);
  const broken = Date.now();
  bus.proxy.refuse(true);
  bus.proxy.reset();
  await told(events, "disconnected");
  await until(
    "both are lost",
    () => `${states(bus.link.health())}` === "recovering,recovering",
  );
  assert.deepEqual(bus.link.health().consuming.consumers, {
    wanted: 1,
    consuming: 0,
  });
  old?.ack();
  assert.equal(bus.link.health().stale, 1);
  bus.proxy.refuse(false);
  await until(
    "both are up",
    () => `${states(bus.link.health())}` === "up,up",
  );
  const { publishing, consuming, stale } = bus.link.health();
  assert.deepEqual(consuming.consumers, { wanted: 1, consuming: 1 });
  assert.deepEqual([publishing.losses, consuming.losses, stale], [1, 1, 1]);
  assert.ok(Number(consuming.since) >= broken - 5);
  assert.ok(Number(consuming.lastProof) >= broken - 5, "consume-ok is a proof");
  assert.equal((await first(2))[1]?.redelivered, true);
});

Deno.test("a queue that is deleted under load shows, and is consumed again at once", async () => {
  await using bus = await rabbitBus();
  const route = queue(bus.name());
  const { transport, mail } = await consumer(bus, route);
  const stop = new AbortController();
  const load = (async () => {
    for (let at = 0; !stop.signal.aborted; at++) {
      await transport.publish(direct(route.key), message(`${at}`), soon());
    }
  })();
  await mail.first(50);
  const changes: string[] = [];
  const look = () => {
    const { state, consumers } = bus.link.health().consuming;
    const now = `${state} ${consumers.consuming}/${consumers.wanted}`;
    if (changes.at(-1) !== now) changes.push(now);
    return changes.length >= 3;
  };
  look();
  await plain(await brokerUrl(), async (channel) => {
    const deleted = performance.now();
    const shown = until("it is lost and found", look, 10_000, 0);
    await channel.deleteQueue(route.key);
    await shown;
    const ms = performance.now() - deleted;
    assert.ok(ms < 2_000, `consumed again after ${ms} ms`);
  });
  assert.deepEqual(changes, ["up 1/1", "recovering 0/1", "up 1/1"]);
  const before = mail.texts.length;
  await mail.first(before + 50);
  stop.abort();
  await load;
  assert.equal(bus.link.health().consuming.losses, 0);
});

Deno.test("a link that is given up shows as failed", async () => {
  const url = new URL(await brokerUrl());
  url.password = "wrong";
  await using link = rabbitLink(String(url));
  await assert.rejects(link.openSession(soon()), ConnectionFailedError);
  const failed = () => `${states(link.health())}` === "failed,failed";
  await until("both sides are given up", failed);
  assert.equal(link.health().consuming.losses, 0);
});

onNode("an alarm shows as blocked, and consuming goes on", async () => {
  await using bus = await rabbitBus(node.url);
  const { transport } = await consumer(bus, queue(bus.name()));
  const events = eventsOf(bus.link);
  await transport.publish(direct("nowhere"), message("x"), soon());
  await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB");
  try {
    const doubtful = transport.publish(direct("no"), message("x"), soon());
    await told(events, "blocked");
    assert.deepEqual(states(bus.link.health()), ["blocked", "up"]);
    await node.ctl("set_vm_memory_high_watermark", "absolute", "400MB");
    await doubtful;
    await told(events, "unblocked");
    assert.deepEqual(states(bus.link.health()), ["up", "up"]);
  } finally {
    await node.ctl("set_vm_memory_high_watermark", "absolute", "400MB");
  }
});

Deno.test("a broker that is away for a moment is one line of the log, however often it is tried", async () => {
  await using log = await logged();
  await using bus = await proxiedBus();
  await consumer(bus, queue(bus.name()));
  const events = eventsOf(bus.link);
  bus.proxy.refuse(true);
  bus.proxy.reset();
  await told(events, "disconnected");
  const { accepted } = bus.proxy.connections;
  await until(
    "it was tried again and again",
    () => bus.proxy.connections.accepted >= accepted + 8,
  );
  bus.proxy.refuse(false);
  await until(
    "both are up",
    () => `${states(bus.link.health())}` === "up,up",
  );
  const said = log.records.filter(({ level }) => level !== "debug")
    .map(({ rawMessage, properties: { reason } }) => reason ?? rawMessage);
  assert.equal(said.length, 2, `${said}`);
  assert.equal(said[0], "Connected to the broker");
  assert.match(`${said[1]}`, /^Connection to amqp:.* lost: /);
  assert.ok(log.lines.some((line) => /\[DBG\].*Cannot connect/.test(line)));
  assert.ok(log.lines.some((line) => /\[DBG\].* again, after/.test(line)));
});

Deno.test("a node that is away is no line of the log for a process that reaches another one at its start", async () => {
  await using log = await logged();
  const base = await brokerUrl();
  const nowhere = "amqp://127.0.0.1:1";
  // Each of the two connections starts at a node by chance.
  await using link = rabbitLink(nowhere, nowhere, nowhere, base);
  await link.openSession(soon());
  const lines = log.lines.filter((line) => !line.includes("[DBG]"));
  assert.equal(lines.length, 1, `${lines}`);
  assert.match(`${lines}`, /Connected to the broker\n?$/);
});
