/** A link proves itself through its own inbox, and opens its connections anew where it cannot. */
import assert from "node:assert/strict";
import { RabbitTransport } from "../../../../src/transport/rabbitmq/transport.ts";
import { LivenessProbe } from "../../../../src/transport/rabbitmq/liveness/liveness_probe.ts";
import { HealthRecorder } from "../../../../src/transport/rabbitmq/connection/connection_health.ts";
import type { Connection } from "../../../../src/amqp/mod.ts";
import { direct } from "../../../../src/transport/address.ts";
import type { Delivery, Message } from "../../../../src/transport/transport.ts";
import { RejectedError } from "../../../../src/errors.ts";
import { node, onNode } from "../../node.ts";
import { until } from "../../../setup/probe.ts";
import {
  eventsOf,
  message,
  plain,
  type Proxied,
  proxiedBus,
  Reader,
  soon,
  text,
  told,
  withoutPauses,
} from "../../support.ts";

/** A link with probes every second, behind the proxy of a bus, and who reads its inbox. */
async function probing(bus: Proxied) {
  const url = new URL(bus.proxy.url(bus.base));
  const link = new RabbitTransport({ urls: [url], heartbeat: 1 });
  const reader = new Reader();
  await link.startInbox(reader, soon());
  return { link, reader };
}

/** When both sides were last proven; 0 = never. */
const proofs = (
  { publishing, consuming }: ReturnType<RabbitTransport["health"]>,
) =>
  [publishing.lastProof, consuming.lastProof].map((proof) =>
    Number(proof ?? 0)
  );

/** Resolves when both sides have been proven since a moment. */
const proven = (link: RabbitTransport, since: number) =>
  until(
    "both sides are proven",
    () => proofs(link.health()).every((proof) => proof > since),
    20_000,
  );

Deno.test("a link that nobody uses proves itself, and its reader sees nothing of it", async () => {
  await using bus = await proxiedBus();
  const { link, reader } = await probing(bus);
  await using _ = link;
  for (let round = 0; round < 3; round++) await proven(link, Date.now());
  const transport = await link.openSession(soon());
  await transport.publish(direct(link.inbox), message("a reply"), soon());
  assert.deepEqual((await reader.mail.first(1)).map(text), ["a reply"]);
  assert.equal(bus.proxy.connections.accepted, 4); // two of them are the bus's own link
  await plain(bus.base, async (channel) => {
    assert.equal((await channel.checkQueue(link.inbox)).messageCount, 0);
  });
});

Deno.test("a link proves itself at once after a loss", async () => {
  using _ = withoutPauses();
  await using bus = await proxiedBus();
  const url = new URL(bus.proxy.url(bus.base));
  await using link = new RabbitTransport({ urls: [url], heartbeat: 60 });
  await link.startInbox(new Reader(), soon());
  const events = eventsOf(link);
  await proven(link, 0);
  bus.proxy.reset();
  await told(events, "disconnected");
  await proven(link, Date.now()); // long before the next heartbeat
});

Deno.test("connections whose probes vanish are opened anew, until one comes through", async () => {
  using _ = withoutPauses();
  await using bus = await proxiedBus();
  const { link } = await probing(bus);
  await using _link = link;
  await proven(link, 0);
  const events = eventsOf(link);
  await plain(bus.base, async (channel) => {
    // Heartbeats and consumers are as they should be: only what is sent to the inbox goes astray.
    const steal = () => {};
    const options = { priority: 10, noAck: true };
    const thief = await channel.consume(link.inbox, steal, options);
    await told(events, "connected", 2);
    await channel.cancel(thief.consumerTag);
  });
  assert.match(JSON.stringify(events), /no probe was delivered in \d+ ms/);
  await proven(link, Date.now());
  const { publishing, consuming } = link.health();
  assert.ok(consuming.losses >= 2);
  assert.equal(publishing.losses, 0, "what is sent is not cut off");
});

onNode("while the broker blocks, probes rest", async () => {
  await using bus = await proxiedBus(node.url);
  const { link } = await probing(bus);
  await using _ = link;
  await proven(link, 0);
  const events = eventsOf(link);
  await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB");
  try {
    await told(events, "blocked"); // by a probe
    const began = performance.now();
    await until("time for four probes", () => {
      return performance.now() - began > 4_000;
    });
    assert.deepEqual(events.map(({ type }) => type), ["blocked"]);
  } finally {
    await node.ctl("set_vm_memory_high_watermark", "absolute", "400MB");
  }
  await told(events, "unblocked");
  await proven(link, Date.now());
  assert.equal(link.health().publishing.losses, 0);
});

// The prober by itself

const EVERY = 200;

/** A prober between sides that do nothing: what it sends, what it drops, and a way to let a probe come. */
function alone(publish = (_: Message) => Promise.resolve()) {
  const side = (role: string) => ({
    current: {} as Connection | undefined,
    blocked: undefined as string | undefined,
    recorder: new HealthRecorder(() => {}),
    drop: (reason: string) => void dropped.push(`${role}: ${reason}`),
  });
  const [sent, dropped]: [Message[], string[]] = [[], []];
  const [publishing, consuming] = [side("publishing"), side("consuming")];
  const publisher = {
    publish: (_: unknown, message: Message) => {
      sent.push(message);
      return publish(message);
    },
  };
  const inbox = () => "inbox";
  const parts = { publishing, consuming, publisher, inbox, intervalMs: EVERY };
  const prober = new LivenessProbe(parts);
  const come = (message?: Message) => {
    const delivery = { message, ack: () => {} } as unknown as Delivery;
    return message !== undefined && prober.handle(delivery);
  };
  const stops = { [Symbol.dispose]: () => prober.stop() };
  return { prober, publishing, consuming, sent, dropped, come, stops };
}

for (
  const [side, publish] of [
    ["consuming", () => Promise.resolve()],
    ["publishing", () => new Promise<void>(() => {})],
  ] as const
) {
  Deno.test(`Prober drops the ${side} connection after two intervals without a probe, then after four`, async () => {
    const { prober, sent, dropped, stops } = alone(publish);
    using _ = stops;
    const began = performance.now();
    prober.start();
    await until("it gives up", () => dropped.length === 1);
    const first = performance.now();
    assert.ok(first - began >= 2 * EVERY);
    assert.ok(sent.length >= 2);
    await until("it gives up again", () => dropped.length === 2);
    assert.ok(performance.now() - first >= 4 * EVERY);
    for (const each of dropped) assert.ok(each.startsWith(`${side}: no probe`));
  });
}

Deno.test("Prober drops nothing while something is confirmed, or comes to the inbox behind which a probe waits", async () => {
  for (const taken of [true, false]) {
    const publish = () =>
      taken ? Promise.resolve() : new Promise<void>(() => {});
    const { prober, publishing, sent, dropped, come, stops } = alone(publish);
    using _ = stops;
    prober.start();
    await until(
      "many rounds pass",
      () => {
        if (taken) come(message("a reply"));
        else publishing.recorder.recordProof();
        return sent.length >= 6;
      },
      10_000,
      5,
    );
    assert.deepEqual(dropped, []);
  }
});

Deno.test("Prober does not take its own event loop's standstill for the broker's", async () => {
  const { prober, sent, dropped, come, stops } = alone();
  using _ = stops;
  prober.start();
  const standstill = performance.now() + 5 * EVERY;
  while (performance.now() < standstill);
  await until("it tries again", () => sent.length === 2);
  assert.deepEqual(dropped, []);
  assert.equal(come(sent[1]), true);
});

Deno.test("Prober asks nothing of what is blocked or away, and begins again on new connections", async () => {
  const { prober, publishing, consuming, sent, dropped, stops } = alone();
  using _ = stops;
  prober.start();
  publishing.blocked = "memory";
  prober.suspend();
  const began = performance.now();
  const passed = (intervals: number) => () =>
    performance.now() - began > intervals * EVERY;
  await until("time passes", passed(4));
  consuming.current = undefined;
  publishing.blocked = undefined;
  await until("time passes", passed(8));
  assert.deepEqual([sent.length, dropped.length], [1, 0]);
  consuming.current = {} as Connection;
  await until("it probes", () => sent.length === 2);
  consuming.current = {} as Connection; // lost and found between two looks
  await until("it probes again", () => sent.length === 4);
  assert.deepEqual(dropped, []);
});

Deno.test("Prober takes confirms and deliveries for proof while a probe waits its turn", async () => {
  const { prober, publishing, sent, dropped, come, stops } = alone();
  using _ = stops;
  prober.start();
  await until(
    "many rounds pass",
    () => {
      publishing.recorder.recordProof();
      assert.equal(come(message("a reply")), false);
      return sent.length >= 6;
    },
    10_000,
    5,
  );
  assert.deepEqual(dropped, []);
  await until("nothing more comes", () => dropped.length > 0);
});

Deno.test("Prober takes no probe from before a loss for a proof", () => {
  const { prober, consuming, sent, come, stops } = alone();
  using _ = stops;
  prober.start();
  prober.suspend();
  consuming.current = {} as Connection;
  prober.probe();
  assert.equal(come(sent[0]), true);
  assert.equal(consuming.recorder.lastProof, undefined);
  assert.equal(come(sent[1]), true);
  assert.notEqual(consuming.recorder.lastProof, undefined);
});

Deno.test("Prober gives up where the user may not write to the inbox", async () => {
  const data = { replyCode: 403 };
  const refuse = () => Promise.reject(new RejectedError("refused", { data }));
  const { prober, sent, dropped, stops } = alone(refuse);
  using _ = stops;
  prober.start();
  await until("it was refused", () => sent.length === 1);
  await Promise.resolve();
  prober.start();
  prober.probe();
  assert.deepEqual([sent.length, dropped.length], [1, 0]);
});
