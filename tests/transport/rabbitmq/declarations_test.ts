/** Many declarations and consumers at once: the channels that they use, and what is declared how often. */
import assert from "node:assert/strict";
import {
  brokerUrl,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { direct } from "../../../src/transport/address.ts";
import { until } from "../../setup/probe.ts";
import {
  type Bus,
  consumer,
  consumersOf,
  eventsOf,
  Mailbox,
  message,
  type Named,
  plain,
  proxiedBus,
  queue,
  rabbitBus,
  soon,
  text,
  told,
  withoutPauses,
} from "../support.ts";

/** Declarations of queues that a connection has sent, the channels that it used for them, and its `channel.close`. */
interface SentMethods {
  readonly port: number;
  readonly channels: Set<number>;
  readonly queues: string[];
  closed: number;
}

/** Records the methods of all connections that are opened until disposed. */
function watchMethods(): { readonly connections: SentMethods[] } & Disposable {
  const { connect } = Deno;
  const connections: SentMethods[] = [];
  Deno.connect = (async (options: Deno.ConnectOptions) => {
    const socket = await connect(options);
    const { port } = options;
    const sent = { port, channels: new Set<number>(), queues: [], closed: 0 };
    connections.push(sent);
    let rest = new Uint8Array();
    const { write } = socket;
    socket.write = async (bytes) => {
      const copy = bytes.slice();
      const written = await write.call(socket, bytes);
      rest = framesOf(
        new Uint8Array([...rest, ...copy.slice(0, written)]),
        sent,
      );
      return written;
    };
    return socket;
  }) as typeof connect;
  return {
    connections,
    [Symbol.dispose]: () => void (Deno.connect = connect),
  };
}

/** Records the whole frames at the beginning of `bytes`; returns the others. */
function framesOf(bytes: Uint8Array<ArrayBuffer>, sent: SentMethods) {
  const isHeader = new TextDecoder().decode(bytes.subarray(0, 4)) === "AMQP";
  let at = isHeader ? 8 : 0;
  for (;;) {
    const view = new DataView(bytes.buffer, bytes.byteOffset + at);
    const size = view.byteLength < 7 ? Infinity : view.getUint32(3);
    if (view.byteLength < size + 8) return bytes.slice(at);
    const id = view.getUint8(0) === 1 ? view.getUint32(7) : 0;
    if (id === (20 << 16 | 40)) sent.closed++;
    if (id === (50 << 16 | 10)) {
      const start = at + 14;
      const length = view.getUint8(13);
      const name = bytes.subarray(start, start + length);
      const isPassive = view.getUint8(14 + length) & 1;
      if (!isPassive) sent.queues.push(new TextDecoder().decode(name));
      sent.channels.add(view.getUint16(1));
    }
    at += size + 8;
  }
}

const named = (bus: Bus, length: number) =>
  Array.from({ length }, () => queue(bus.name()));

/** Fails unless a message to each address arrives in the mailbox. */
async function assertServed(
  bus: Bus,
  addresses: readonly Named[],
  mail: Mailbox,
): Promise<void> {
  const session = await bus.link.openSession(soon());
  await Promise.all(addresses.map((address) => {
    const sent = message(address.key, { mandatory: true });
    return session.publish(address, sent, soon());
  }));
  const came = (await mail.first(addresses.length)).map(text);
  assert.deepEqual(came.sort(), addresses.map(({ key }) => key).sort());
}

Deno.test("a few declarations use one channel, many use several, and only one stays open", async () => {
  using methods = watchMethods();
  await using bus = await rabbitBus();
  const session = await bus.link.openSession(soon());
  const sentOf = (name?: string) =>
    methods.connections.find(({ queues }) => queues.includes(name ?? "")) ??
      assert.fail(`nothing has declared ${name}`);
  const few = named(bus, 10);
  await Promise.all(few.map((address) => session.declare(address, soon())));
  const sent = sentOf(few[0]?.key);
  assert.equal(sent.channels.size, 1);
  const many = named(bus, 300);
  await Promise.all(many.map((address) => session.declare(address, soon())));
  const { size } = sent.channels;
  assert.ok(size > 4 && size <= 16, `${size} channels`);
  await until("the others are closed", () => sent.closed === size - 1);
  for (const address of [few[3], many[0], many[150], many[299]]) {
    const sent = message("x", { mandatory: true });
    await session.publish(address ?? assert.fail(), sent, soon());
  }
});

Deno.test("each queue is declared once for each connection, whether it is planned or restored", async () => {
  using _ = withoutPauses();
  using methods = watchMethods();
  await using bus = await proxiedBus();
  const session = await bus.link.openSession(soon());
  const addresses = named(bus, 100);
  await Promise.all(addresses.map((each) => session.declare(each, soon())));
  const mail = new Mailbox();
  await Promise.all(
    addresses.map((each) =>
      session.consume(each, mail.receive, { prefetch: 1 }, soon())
    ),
  );
  const expected = addresses.map(({ key }) => key).sort();
  const declared = () =>
    methods.connections.filter(({ port }) => port === bus.proxy.port)
      .map(({ queues }) =>
        queues.filter((name) => expected.includes(name)).sort()
      ).filter(({ length }) => length > 0);
  assert.deepEqual(declared(), [expected]);
  bus.proxy.reset();
  const { health } = bus.link;
  const running = () => health.call(bus.link).consuming.consumers.consuming;
  await until("the loss is noticed", () => running() < 100, 20_000, 1);
  await until("all consumers run again", () => running() === 100, 20_000, 2);
  await until("the connections are back", () => {
    const { publishing, consuming } = bus.link.health();
    return publishing.state === "up" && consuming.state === "up";
  });
  await until(
    "all bindings are made again",
    () => declared()[1]?.length === 100,
    20_000,
  );
  assert.deepEqual(declared(), [expected, expected]);
  await assertServed(bus, addresses, mail);
});

Deno.test("a queue that is deleted between its declaration and its consumer is declared again", async () => {
  await using bus = await rabbitBus();
  const session = await bus.link.openSession(soon());
  const addresses = named(bus, 5);
  for (const address of addresses) await session.declare(address, soon());
  const deleted = addresses[2]?.key ?? assert.fail();
  await plain(await brokerUrl(), (channel) => channel.deleteQueue(deleted));
  const mail = new Mailbox();
  await Promise.all(
    addresses.map((each) =>
      session.consume(each, mail.receive, { prefetch: 1 }, soon())
    ),
  );
  for (const { key } of addresses) {
    await until("it runs", async () => await consumersOf(bus, key) === 1);
  }
  await assertServed(bus, addresses, mail);
});

for (
  const [limit, config, limits] of [
    ["of the broker", "channel_max = 6", "{}"],
    ["of the user", "", '{"max-channels": 6}'],
  ] as const
) {
  Deno.test({
    name:
      `300 declarations and consumers keep within a channel limit ${limit} (needs rabbitmq-server)`,
    ignore: rabbitmqServer === undefined,
    fn: async () => {
      await using node = await privateBroker({ config });
      await node.ctl("set_user_limits", "guest", limits);
      await using bus = await rabbitBus(node.url);
      const session = await bus.link.openSession(soon());
      const addresses = named(bus, 300);
      const mail = new Mailbox();
      await Promise.all(addresses.map(async (address) => {
        await session.declare(address, soon());
        await session.consume(address, mail.receive, { prefetch: 1 }, soon());
      }));
      await assertServed(bus, addresses, mail);
    },
  });
}

Deno.test("a consumer that is restored finds its queue without a declaration, and its binding is made again afterwards", async () => {
  await using bus = await proxiedBus();
  const address = queue(bus.name());
  const { first } = await consumer(bus, address);
  const events = eventsOf(bus.link);
  bus.proxy.refuse(true);
  bus.proxy.reset();
  await told(events, "disconnected");
  await plain(await brokerUrl(), async (channel) => {
    await channel.unbindQueue(address.key, bus.exchange, address.key);
  });
  bus.proxy.refuse(false);
  await told(events, "connected");
  const other = await bus.link.openSession(soon());
  await other.publish(direct(address.key), message("by its name"), soon());
  await first(1);
  await until("it is bound again", async () => {
    const bound = message("by its address", { mandatory: true });
    return await other.publish(address, bound, soon()).then(
      () => true,
      () => false,
    );
  });
  assert.deepEqual((await first(2)).map(text), [
    "by its name",
    "by its address",
  ]);
});

Deno.test("a queue that was deleted while its consumer was away is declared again", async () => {
  await using bus = await proxiedBus();
  const address = queue(bus.name());
  const { first } = await consumer(bus, address);
  const events = eventsOf(bus.link);
  bus.proxy.refuse(true);
  bus.proxy.reset();
  await told(events, "disconnected");
  await plain(
    await brokerUrl(),
    (channel) => channel.deleteQueue(address.key),
  );
  bus.proxy.refuse(false);
  await told(events, "connected");
  const other = await bus.link.openSession(soon());
  await until("it takes a message", async () => {
    const bound = message("by its address", { mandatory: true });
    return await other.publish(address, bound, soon()).then(
      () => true,
      () => false,
    );
  });
  await first(1);
});
