/** A network and a broker that fail: nothing waits for ever, nothing is left behind, all of it comes back. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { RabbitTransport } from "../../src/transport/rabbitmq/transport.ts";
import {
  type Address,
  direct,
  queueName,
} from "../../src/transport/address.ts";
import { withDeadline } from "../../src/async/deadline.ts";
import type { Session } from "../../src/transport/transport.ts";
import {
  BlockedError,
  ConnectionDisposedError,
  ConnectionFailedError,
  NoRouteError,
  RpcError,
} from "../../src/errors.ts";
import { node, onNode } from "./node.ts";
import { until } from "../setup/probe.ts";
import {
  consumer,
  consumersOf,
  eventsOf,
  message,
  plain,
  type Proxied,
  proxiedBus,
  queue,
  rabbitBus,
  Reader,
  soon,
  text,
  told,
  transientQueue,
  withoutPauses,
} from "./support.ts";

/** The lines that rabbitmqctl prints. */
async function list(...args: string[]): Promise<string[]> {
  const out = await node.ctl(...args, "--silent", "--no-table-headers");
  return out.split("\n").filter((line) => line !== "");
}

// All that is declared and consumed comes back

/** Consumers of every kind, and that each is served again after the fault. */
async function restored(
  bus: Proxied,
  fault: () => Promise<void> | void,
  kept = true,
): Promise<void> {
  const reader = new Reader();
  await bus.link.startInbox(reader, soon());
  const topic = queue(bus.name());
  const fanout: Address = { kind: "fanout", topic: bus.name() };
  const passing = transientQueue(bus.name());
  const held = await consumer(bus, topic, 1);
  const all = await consumer(bus, fanout);
  const some = await consumer(bus, passing);
  const transport = await bus.link.openSession(soon());
  const sent = message("held", { persistent: true });
  await transport.publish(topic, sent, soon());
  const [old] = await held.first(1);
  const events = eventsOf(bus.link);
  const { inbox } = bus.link;

  await fault();
  await told(events, "connected");
  assert.equal(events[0]?.type, "disconnected");
  old?.ack(); // of a channel that is no more
  old?.reject(true);

  await served(transport, passing, "direct");
  assert.deepEqual((await some.first(1)).map(text), ["direct"]);
  await served(transport, fanout, "all");
  assert.deepEqual((await all.first(1)).map(text), ["all"]);
  await served(transport, direct(inbox), "inbox");
  assert.deepEqual((await reader.mail.first(1)).map(text), ["inbox"]);
  assert.equal(bus.link.inbox, inbox);
  await served(transport, topic, "next");
  await until("all of the topic has come", () => {
    for (const delivery of held.mail.deliveries.slice(1)) delivery.ack();
    return held.mail.texts.includes("next");
  });
  const again = held.mail.deliveries[1];
  if (kept) assert.deepEqual(held.mail.texts, ["held", "held", "next"]);
  if (kept) assert.equal(again?.redelivered, true);
  for (const key of [topic.key, passing.key, inbox]) {
    assert.equal(await consumersOf(bus, key), 1);
  }
}

/** Sends as soon as a queue takes it: a consumer comes back a moment after its connection. */
async function served(
  transport: Session,
  route: Parameters<Session["publish"]>[0],
  body: string,
): Promise<void> {
  await until(`"${body}" is taken`, async () => {
    try {
      const sent = message(body, { mandatory: true });
      await transport.publish(route, sent, soon());
      return true;
    } catch (error) {
      if (error instanceof NoRouteError) return false;
      throw error;
    }
  });
}

Deno.test("all is restored after a reset of the connections", async () => {
  await using bus = await proxiedBus();
  await restored(bus, () => bus.proxy.reset());
});

onNode("all is restored after the broker closed the connections", async () => {
  await using bus = await proxiedBus(node.url);
  await restored(
    bus,
    async () => void await node.ctl("close_all_connections", "a test"),
  );
  const logs = await until("the log of it", () => {
    const files = [...Deno.readDirSync(`${node.folder}/log`)];
    const text = files.map(({ name }) =>
      Deno.readTextFileSync(`${node.folder}/log/${name}`)
    ).join();
    return text.includes("a test") && text;
  });
  assert.doesNotMatch(logs, /unknown delivery tag|unexpected_frame/);
});

Deno.test("what is sent to the inbox while it is away arrives when it is back", async () => {
  using _ = withoutPauses();
  await using bus = await proxiedBus();
  const reader = new Reader();
  await bus.link.startInbox(reader, soon());
  const events = eventsOf(bus.link);
  bus.proxy.refuse(true);
  bus.proxy.reset();
  await told(events, "disconnected");
  await plain(bus.base, async (channel) => {
    const { inbox } = bus.link;
    await until(
      "the broker has noticed",
      async () => (await channel.checkQueue(inbox)).consumerCount === 0,
    );
    channel.sendToQueue(inbox, Buffer.from("meanwhile"));
    await channel.waitForConfirms();
  });
  bus.proxy.refuse(false);
  assert.deepEqual((await reader.mail.first(1)).map(text), ["meanwhile"]);
});

Deno.test("publishes and consumers live through resets at any moment", async () => {
  using _ = withoutPauses();
  await using bus = await proxiedBus();
  const route = queue(bus.name());
  const { transport, mail } = await consumer(bus, route, 10);
  const acks = setInterval(() => {
    for (const delivery of mail.deliveries.slice(-50)) delivery.ack();
  }, 1);
  const outcomes: string[] = [];
  for (let round = 0; round < 25; round++) {
    const sends = Array.from(
      { length: 20 },
      (_, at) =>
        transport.publish(direct(route.key), message(`${round}.${at}`), soon())
          .then(() => "taken", (error) => error.code ?? `${error.stack}`),
    );
    if (round % 2) await sends[0];
    bus.proxy.reset();
    outcomes.push(...await Promise.all(sends));
  }
  assert.deepEqual([...new Set(outcomes)], ["taken"]);
  await until(
    "each has come at least once",
    () => new Set(mail.texts).size === 500,
    30_000,
  );
  clearInterval(acks);
});

Deno.test("a cancelled consumer does not come back", async () => {
  using _ = withoutPauses();
  await using bus = await proxiedBus();
  const [gone, kept] = [queue(bus.name()), queue(bus.name())];
  const { cancel, mail } = await consumer(bus, gone);
  const { first, transport } = await consumer(bus, kept);
  await cancel();
  const events = eventsOf(bus.link);
  bus.proxy.reset();
  await told(events, "connected");
  await transport.publish(direct(gone.key), message("x"), soon());
  await transport.publish(direct(kept.key), message("x"), soon());
  await first(1);
  assert.equal(await consumersOf(bus, gone.key), 0);
  assert.deepEqual(mail.texts, []);
});

onNode(
  "after 20 resets there is one connection a side, and none after disposal",
  async () => {
    using _ = withoutPauses();
    const before = await list("list_queues", "name");
    {
      await using bus = await proxiedBus(node.url);
      await bus.link.startInbox(new Reader(), soon());
      const fanout: Address = { kind: "fanout", topic: bus.name() };
      await consumer(bus, fanout);
      const events = eventsOf(bus.link);
      for (let round = 1; round <= 20; round++) {
        bus.proxy.reset();
        await told(events, "connected", round);
      }
      assert.equal(bus.proxy.connections.open, 2);
      await until(
        "the broker has forgotten the others",
        async () => (await list("list_connections", "pid")).length === 2,
      );
      const beats = await list("list_connections", "timeout");
      assert.deepEqual(beats, ["5", "5"]);
      const transport = await bus.link.openSession(soon());
      await transport.publish(fanout, message("x"), soon());
      await served(transport, direct(bus.link.inbox), "x");
      const queues = await list("list_queues", "name");
      assert.equal(queues.filter((name) => name === bus.link.inbox).length, 1);
      assert.equal(
        queues.filter((name) => name.startsWith(queueName(fanout)))
          .length,
        1,
      );
    }
    for (const what of ["list_connections", "list_channels"]) {
      await until(
        `${what} lists none`,
        async () => (await list(what, "pid")).length === 0,
      );
    }
    assert.deepEqual((await list("list_queues", "name")).sort(), before.sort());
  },
);

// Nothing waits longer than it may

/** Everything that waits, each with a deadline of its own. */
const uses = (bus: Proxied, transport: Session, ms: number) => [
  () => bus.link.openSession(soon(ms)),
  () => transport.publish(direct(bus.name()), message("x"), soon(ms)),
  () => transport.publish(queue(bus.name()), message("x"), soon(ms)),
  () => transport.send(queue(bus.name()), message("x"), soon(ms)),
  () => transport.declare(queue(bus.name()), soon(ms)),
  () =>
    transport.consume(
      queue(bus.name()),
      () => {},
      { prefetch: 1 },
      soon(ms),
    ),
  () =>
    transport.consume(queue(bus.name()), () => {}, {
      prefetch: 0,
      exclusive: true,
    }, soon(ms)),
  () => bus.link.startInbox(new Reader(), soon(ms)),
  () => consumersOf(bus, "x", soon(ms)),
];

/** The codes of errors, "ok", or what is no error of ours. */
async function codes(work: readonly Promise<unknown>[]): Promise<string[]> {
  const outcomes = await Promise.allSettled(work);
  return outcomes.map((outcome) => {
    if (outcome.status === "fulfilled") return `${outcome.value}`;
    const { reason } = outcome;
    return reason instanceof RpcError ? reason.code : `${reason?.stack}`;
  });
}

Deno.test("nothing waits longer than its deadline while the broker is away", async () => {
  await using bus = await proxiedBus();
  const transport = await bus.link.openSession(soon());
  const route = queue(bus.name());
  await transport.declare(route, soon());
  await transport.publish(direct(route.key), message("to warm up"), soon());
  const events = eventsOf(bus.link);
  bus.proxy.refuse(true);
  bus.proxy.reset();
  await told(events, "disconnected");
  const outcomes = await codes(uses(bus, transport, 200).map((use) => use()));
  assert.deepEqual(outcomes, [
    "CONNECTION",
    ...["CONNECTION", "CONNECTION", "CONNECTION"],
    ...["TIMEOUT", "TIMEOUT", "TIMEOUT"],
    ...["CONNECTION", "CONNECTION"],
  ]);

  const waiting = transport.publish(direct(route.key), message("kept"), soon());
  await assert.rejects(consumersOf(bus, route.key), RpcError);
  bus.proxy.refuse(false);
  await waiting;
  await told(events, "connected");
  assert.equal(await consumersOf(bus, route.key), 0);
});

Deno.test("disposal ends what waits while the broker is away", async () => {
  await using bus = await proxiedBus();
  const [one, two] = [
    await bus.link.openSession(soon()),
    await bus.link.openSession(soon()),
  ];
  await one.publish(direct("nowhere"), message("to warm up"), soon());
  const events = eventsOf(bus.link);
  bus.proxy.refuse(true);
  bus.proxy.reset();
  await told(events, "disconnected");
  const never = { at: Infinity };
  const waits = (transport: Session) => [
    transport.publish(direct("nowhere"), message("x"), never),
    transport.publish(queue("t"), message("x"), never),
    transport.send(queue("t"), message("x"), never),
    transport.consume(queue("never"), () => {}, { prefetch: 0 }, never),
  ];
  const first = codes(waits(one));
  await one[Symbol.asyncDispose]();
  assert.deepEqual(new Set(await first), new Set(["DISPOSED"]));
  const second = codes([
    ...waits(two),
    two.declare(queue("never"), never),
    bus.link.openSession(never),
    bus.link.startInbox(new Reader(), never),
  ]);
  await bus.link[Symbol.asyncDispose]();
  assert.deepEqual(new Set(await second), new Set(["DISPOSED"]));
});

Deno.test("a network that swallows everything: deadlines hold, disposal ends, heartbeats notice", async () => {
  await using bus = await proxiedBus();
  const route = queue(bus.name());
  const { transport, dispose } = await consumer(bus, route);
  for (const address of [queue("t"), direct(route.key)]) {
    await transport.publish(address, message("to warm up"), soon());
  }
  bus.proxy.blackhole(true);
  const open = await bus.link.openSession(soon()); // nothing is asked of the broker for it
  const outcomes = await codes([
    transport.publish(direct(route.key), message("x"), soon(200)),
    transport.publish(queue("t"), message("x"), soon(200)),
    transport.declare(queue(bus.name()), soon(200)),
    open.publish(direct(route.key), message("x"), soon(200)),
    open.consume(route, () => {}, { prefetch: 0 }, soon(200)),
    consumersOf(bus, route.key, soon(200)),
  ]);
  assert.deepEqual(outcomes, [
    ...["UNCONFIRMED", "UNCONFIRMED", "TIMEOUT"],
    ...["TIMEOUT", "TIMEOUT", "TIMEOUT"],
  ]);
  const never = { at: Infinity };
  const doubtful = transport.publish(direct(route.key), message("x"), never);
  const waiting = codes([
    open.publish(direct(route.key), message("x"), never),
    open.consume(route, () => {}, { prefetch: 0 }, never),
  ]);
  const inDoubt = assert.rejects(doubtful, (error) => {
    assert.ok(error instanceof ConnectionDisposedError);
    assert.equal(error.inDoubt, true);
    return true;
  });
  await dispose();
  await inDoubt;
  await open[Symbol.asyncDispose]();
  assert.deepEqual(await waiting, ["DISPOSED", "DISPOSED"]);
});

Deno.test("a link that cannot say goodbye is gone all the same, long before a heartbeat", async () => {
  await using bus = await proxiedBus();
  const url = new URL(bus.proxy.url(bus.base));
  await using link = new RabbitTransport({ urls: [url], heartbeat: 600 });
  const transport = await link.openSession(soon());
  await link.startInbox(new Reader(), soon());
  await transport.consume(queue(bus.name()), () => {}, { prefetch: 0 }, soon());
  await transport.publish(direct("nowhere"), message("to warm up"), soon());
  bus.proxy.blackhole(true);
  const disposal = link[Symbol.asyncDispose]();
  await withDeadline(
    disposal,
    soon(),
    () => new Error("it waits for the broker"),
  );
  await assert.rejects(link.openSession(soon()), ConnectionDisposedError);
});

Deno.test("a link that is still connecting is gone at once", async () => {
  await using bus = await proxiedBus();
  bus.proxy.blackhole(true);
  for (const state of ["before", "during the handshake"]) {
    const link = new RabbitTransport({
      urls: [new URL(bus.proxy.url(bus.base))],
    });
    const opening = assert.rejects(
      link.openSession(soon()),
      ConnectionDisposedError,
    );
    const { accepted } = bus.proxy.connections;
    if (state !== "before") {
      await until(
        "it connects",
        () => bus.proxy.connections.accepted >= accepted + 2,
      );
    }
    const disposal = link[Symbol.asyncDispose]();
    await withDeadline(
      disposal,
      soon(5_000),
      () => new Error(`it hangs: ${state}`),
    );
    await opening;
  }
});

Deno.test("heartbeats notice a connection that is silent", async () => {
  using _ = withoutPauses();
  await using bus = await proxiedBus();
  const url = new URL(bus.proxy.url(bus.base));
  await using link = new RabbitTransport({ urls: [url], heartbeat: 1 });
  const transport = await link.openSession(soon());
  const events = eventsOf(link);
  bus.proxy.blackhole(true);
  await told(events, "disconnected");
  const waiting = transport.publish(direct("nowhere"), message("x"), soon());
  bus.proxy.blackhole(false);
  await waiting;
  await told(events, "connected");
  assert.match(JSON.stringify(events), /sent nothing for 2 s/);
});

// Alarms

onNode(
  "under an alarm publishes end as blocked, and consumers go on",
  async () => {
    await using bus = await rabbitBus(node.url);
    const route = queue(bus.name());
    const { transport, first } = await consumer(bus, route, 1);
    const texts = ["1", "2", "3"];
    for (const each of texts) {
      await transport.publish(direct(route.key), message(each), soon());
    }
    await first(1);
    const events = eventsOf(bus.link);
    await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB");
    try {
      const blocked = (inDoubt: boolean) => (error: unknown) => {
        assert.ok(error instanceof BlockedError, `${error}`);
        assert.equal(error.inDoubt, inDoubt);
        return true;
      };
      const publish = (wait = soon(300)) =>
        transport.publish(direct(route.key), message("late"), wait);
      const doubtful = assert.rejects(publish(soon(2_000)), blocked(true));
      doubtful.catch(() => {}); // looked at below
      await told(events, "blocked");
      await assert.rejects(publish(), blocked(false));
      const posted = transport.send(direct(route.key), message("x"), soon(300));
      await assert.rejects(posted, blocked(false));
      await doubtful;

      for (let at = 0; at < 3; at++) (await first(at + 1))[at]?.ack();
      assert.deepEqual((await first(3)).map(text), texts);
      const more = await consumer(bus, queue(bus.name()));
      await more.dispose();
      const other = await bus.link.openSession(soon());
      const waits = other.publish(direct(route.key), message("x"), {
        at: Infinity,
      });
      const ended = assert.rejects(waits, ConnectionDisposedError);
      await other[Symbol.asyncDispose]();
      await ended;

      const patient = publish(soon());
      await node.ctl("set_vm_memory_high_watermark", "absolute", "400MB");
      await patient;
      await told(events, "unblocked");
      await publish();
    } finally {
      await node.ctl("set_vm_memory_high_watermark", "absolute", "400MB");
    }
  },
);

onNode("a link can be disposed under an alarm", async () => {
  await using bus = await rabbitBus(node.url);
  const { transport } = await consumer(bus, queue(bus.name()));
  await transport.publish(direct("nowhere"), message("to warm up"), soon());
  await bus.link.startInbox(new Reader(), soon());
  const events = eventsOf(bus.link);
  await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB");
  try {
    const waiting = transport.publish(direct("nowhere"), message("x"), {
      at: Infinity,
    });
    const ended = assert.rejects(waiting, ConnectionDisposedError);
    await told(events, "blocked");
    await bus.link[Symbol.asyncDispose]();
    await ended;
  } finally {
    await node.ctl("set_vm_memory_high_watermark", "absolute", "400MB");
  }
});

// TLS

onNode("amqps works with the authority that signed the node", async () => {
  const tls = { ca: node.ca };
  await using link = new RabbitTransport({
    urls: [new URL(node.tlsUrl ?? "")],
    tls,
  });
  const transport = await link.openSession(soon());
  const sent = message("x", { mandatory: true });
  await assert.rejects(
    transport.publish(direct("nowhere"), sent, soon()),
    NoRouteError,
  );
  assert.equal(await consumersOf({ link }, "nowhere"), undefined);
});

onNode("amqps refuses an unknown authority and a wrong name", async () => {
  for (const tls of [undefined, { ca: node.ca, servername: "other.example" }]) {
    await using link = new RabbitTransport({
      urls: [new URL(node.tlsUrl ?? "")],
      tls,
    });
    await assert.rejects(link.openSession(soon(1_000)), (error) => {
      assert.ok(error instanceof ConnectionFailedError);
      assert.match(error.message, /certificate|issuer|altname/i);
      assert.doesNotMatch(error.message, /guest/);
      return true;
    });
  }
});

// The last one, since the node starts anew

onNode("all is restored after the broker was killed and started", async () => {
  await using bus = await proxiedBus(node.url);
  const fault = async () => {
    await node.kill();
    await node.start();
  };
  await restored(bus, fault, false);
});
