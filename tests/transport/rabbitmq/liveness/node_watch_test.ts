/** A process leaves a node that proves nothing only if another node does what this one does not. */
import assert from "node:assert/strict";
import { NodeWatch } from "../../../../src/transport/rabbitmq/liveness/node_watch.ts";
import type { ProbeRound } from "../../../../src/transport/rabbitmq/liveness/liveness_probe.ts";
import { HealthRecorder } from "../../../../src/transport/rabbitmq/connection/connection_health.ts";
import { RabbitTransport } from "../../../../src/transport/rabbitmq/transport.ts";
import { connect, type Connection } from "../../../../src/amqp/mod.ts";
import {
  isSince,
  versionOf,
} from "../../../../src/transport/rabbitmq/broker_version.ts";
import { direct } from "../../../../src/transport/address.ts";
import { brokerUrl } from "../../../setup/broker.ts";
import { until } from "../../../setup/probe.ts";
import { proxyTo } from "../../../setup/proxy.ts";
import {
  eventsOf,
  message,
  Reader,
  soon,
  withoutPauses,
} from "../../support.ts";

/** True on the versions that let a node in a minority keep its clients. */
async function isWatched(): Promise<boolean> {
  await using connection = await connect(await brokerUrl());
  return isSince(versionOf(connection), 4, 3);
}

Deno.test({
  name:
    "a process at work leaves a node that answers nothing, long before a heartbeat is missed, and what it sent arrives (from RabbitMQ 4.3 on)",
  ignore: !await isWatched(),
  fn: leavesNode,
});

async function leavesNode(): Promise<void> {
  using _ = withoutPauses(); // both connections begin at the first node
  const base = await brokerUrl();
  await using first = proxyTo(base);
  await using second = proxyTo(base);
  const urls = [first, second].map((node) => new URL(node.url(base)));
  await using link = new RabbitTransport({ urls, heartbeat: 60 });
  const reader = new Reader();
  await link.startInbox(reader, soon());
  const events = eventsOf(link);
  const session = await link.openSession(soon());
  assert.equal(second.connections.accepted, 0);
  first.blackhole(true);
  await session.publish(direct(link.inbox), message("asked"), {
    at: performance.now() + 30_000,
  });
  first.reset(); // the broker may have delivered it to the consumer on the node that was left
  await reader.mail.first(1);
  assert.match(JSON.stringify(events), /and another node confirms them/);
  const { publishing, consuming } = link.health();
  assert.deepEqual([publishing.losses, consuming.losses], [1, 1]);
  await until("the trial is closed", () => second.connections.open === 2);
}

/** A watch of a process with a message in flight and a probe that does not arrive, on so many nodes. */
function watched(nodes: number, confirms: boolean, isNeeded = true) {
  const side = {
    current: {} as Connection,
    blocked: undefined,
    recorder: new HealthRecorder(() => {}),
    drop: () => {},
    node: { url: new URL("amqp://one"), nodes, place: 0 },
  };
  const round: ProbeRound = {
    ...{ first: 1, sentAt: performance.now(), confirmed: false },
    ...{ publishing: side.current, consuming: side.current },
  };
  const [trials, left]: [number[], ProbeRound[]] = [[], []];
  const watch = new NodeWatch({
    ...{ publishing: side, consuming: side },
    window: { messages: 1, admitted: 1 },
    isNeeded: () => isNeeded,
    probe: {
      ...{ probe: () => {}, stalled: round },
      newProbe: () => message("probe"),
      leave: (of) => void left.push(of),
    },
    publishOverOther: () => {
      trials.push(performance.now());
      return Promise.resolve(confirms);
    },
  });
  watch.start();
  return { trials, left, [Symbol.dispose]: () => watch.stop() };
}

Deno.test("NodeWatch stays where no other node confirms a probe, asks again later, and asks nobody where there is one node, or an older broker", async () => {
  using _ = withoutPauses();
  using alone = watched(1, true);
  using old = watched(3, true, false);
  using lost = watched(3, false);
  using saved = watched(3, true);
  await until("it has asked again", () => lost.trials.length === 2, 20_000);
  const [first = 0, second = 0] = lost.trials;
  assert.ok(second > first);
  assert.equal(lost.left.length, 0);
  assert.deepEqual([alone.trials.length, old.trials.length], [0, 0]);
  assert.ok(saved.left.length > 0);
});
