/** Moves of connections back to their preferred node: they fail nothing, repeat nothing, and leave nothing behind. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  implement,
  Service,
} from "../../../mod.ts";
import { defaultLimits } from "../../../src/wire/json.ts";
import {
  sharedTransport,
  transportKey,
} from "../../../src/connection/transport_registry.ts";
import { busProfile } from "../../../src/connection/bus_profile.ts";
import { isMovable } from "../../../src/transport/rabbitmq/consuming/consumer_spec.ts";
import { ConnectionMoves } from "../../../src/transport/rabbitmq/connection/connection_moves.ts";
import type { OpenedConnection } from "../../../src/transport/rabbitmq/connection/dial.ts";
import { GracefulClose } from "../../../src/transport/rabbitmq/connection/graceful_close.ts";
import { Routes } from "../../../src/transport/rabbitmq/routes/routes.ts";
import { RabbitTransport } from "../../../src/transport/rabbitmq/transport.ts";
import { defaultProfile } from "../../../src/transport/profile.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import type { Delivery } from "../../../src/transport/transport.ts";
import {
  Mailbox,
  message,
  queue,
  removeNames,
  soon,
  text,
  withoutPauses,
} from "../support.ts";

const jobs = contract({
  topic: `moves_${crypto.randomUUID().slice(0, 8)}`,
  version: "1.0",
  procedures: {
    run: { args: z.object({ id: z.string() }), result: z.string() },
    hold: { args: z.object({ id: z.string() }), result: z.string() },
  },
});

/** Two nodes, of which the first is preferred, and a transport that moves back to it soon. */
async function twoNodes() {
  const base = await brokerUrl();
  await using stack = new AsyncDisposableStack();
  stack.use(withoutPauses()); // the order of the nodes is not random
  const home = stack.use(proxyTo(base));
  const other = stack.use(proxyTo(base));
  const urls = [home.url(base), other.url(base)];
  const where = urls.map((url) => new URL(url));
  const profile = busProfile("warren", "classic");
  const open = () =>
    new RabbitTransport({
      ...{ urls: where, profile },
      moveTimes: { pauseMs: [20, 20], settlingMs: 100 },
    });
  const owned = stack.move();
  return {
    ...{ base, home, other, urls, where, profile, open },
    /** The preferred node is lost, until `home.refuse(false)`. */
    async lose() {
      home.refuse(true);
      home.reset();
      const isThere = () => other.connections.open === 2;
      await until("it is at the other node", isThere);
    },
    async moved() {
      await until("it has moved", () => home.connections.open === 2);
      const isLeft = () => other.connections.open === 0;
      await until("the other node is left", isLeft);
    },
    [Symbol.asyncDispose]: () => owned.disposeAsync(),
  };
}

/** Calls `send` again and again, until the function that it returns is called; that resolves when all is sent. */
function sending(send: () => Promise<unknown>[]): () => Promise<void> {
  const sent: Promise<unknown>[] = [];
  let isEnded = false;
  const all = (async () => {
    while (!isEnded) {
      sent.push(...send());
      await new Promise((resolve) => setTimeout(resolve));
    }
    await Promise.all(sent);
  })();
  return () => {
    isEnded = true;
    return all;
  };
}

Deno.test("a process moves back to its preferred node: nothing fails, and nothing runs twice", async () => {
  await using nodes = await twoNodes();
  const { urls, where, profile, open, home } = nodes;
  const options = { queueType: "classic" } as const;
  const key = transportKey(where, options, profile);
  sharedTransport(key, open, { ...defaultLimits, python: false });
  const runs = new Map<string, number>();
  const run = (id: string) => void runs.set(id, (runs.get(id) ?? 0) + 1);
  const held = Promise.withResolvers<void>();
  const manager = implement(jobs, {
    run({ id }) {
      run(id);
      return id;
    },
    async hold({ id }) {
      run(id);
      await held.promise;
      return id;
    },
  });
  const settings = { url: urls, ...options, manager, signals: false };
  await using _service = await Service.start(settings);
  await using connection = await createConnection(urls, options);
  const client = connection.client(jobs);
  assert.equal(home.connections.open, 2);
  await nodes.lose();
  const long = client.call("hold", { id: "long" });
  await until("the long call runs", () => runs.has("long"));
  const sent = ["long"];
  const newId = () => {
    const id = crypto.randomUUID();
    sent.push(id);
    return { id };
  };
  const end = sending(() => [
    client.call("run", newId()),
    client.cast("run", newId()),
    client.fanoutCast("run", newId()),
  ]);

  home.refuse(false);
  await until("it has moved", () => home.connections.open === 2);
  held.resolve();
  assert.equal(await long, "long");
  await nodes.moved();
  await end();
  await until("all have run", () => sent.every((id) => runs.has(id)));
  assert.deepEqual([...runs].filter(([, times]) => times !== 1), []);
  const { publishing, consuming } = connection.health();
  assert.deepEqual([publishing.losses, consuming.losses], [1, 1]);
  assert.equal(consuming.state, "up");
});

Deno.test("a move sends and delivers no message twice, and waits for deliveries that are not settled", async () => {
  await using nodes = await twoNodes();
  const { open, home, other, base } = nodes;
  const { key, ...address } = queue(`moves_${crypto.randomUUID()}`);
  await using transport = open();
  await using session = await transport.openSession(soon());
  const mail = new Mailbox();
  const onDelivery = (delivery: Delivery) => {
    mail.receive(delivery);
    if (text(delivery) !== "held") delivery.ack();
  };
  await session.consume(address, onDelivery, { prefetch: 50 }, soon());
  await nodes.lose();
  const sent = ["held"];
  await session.publish(address, message("held"), soon());
  const [held] = await mail.first(1);
  const end = sending(() =>
    Array.from({ length: 20 }, () => {
      const id = crypto.randomUUID();
      sent.push(id);
      return session.publish(address, message(id), soon());
    })
  );
  home.refuse(false);
  await until("it has moved", () => home.connections.open === 2);
  await until("one is left", () => other.connections.open === 1);
  await end();
  await mail.first(sent.length);
  held?.ack();
  await nodes.moved();
  assert.deepEqual(mail.texts.toSorted(), sent.toSorted());
  assert.ok(mail.deliveries.every(({ redelivered }) => !redelivered));
  assert.equal(transport.health().stale, 0);
  await session[Symbol.asyncDispose]();
  await removeNames(base, [key]);
});

Deno.test("consumers that cannot run twice for a moment keep their connection", () => {
  const routes = new Routes(defaultProfile);
  const topic = "math";
  const movable = (
    address: Parameters<Routes["of"]>[0],
    options: { readonly exclusive?: boolean; readonly restore?: boolean } = {},
  ) =>
    isMovable({
      route: routes.of(address) as Parameters<typeof isMovable>[0]["route"],
      options: { prefetch: 1, ...options },
      onDelivery: () => {},
    });
  const leader = { kind: "leader", topic, task: "tidy" } as const;
  const events = { kind: "event", topic, priority: "info" } as const;
  assert.ok(movable({ kind: "topic", topic }));
  assert.ok(movable({ kind: "fanout", topic }));
  assert.ok(movable(leader, { restore: false }));
  assert.ok(movable(events));
  assert.ok(!movable({ ...events, exclusive: true }));
  assert.ok(
    !movable({ kind: "hostLock", topic, host: "a" }, { exclusive: true }),
  );
});

Deno.test("a connection does not move to a node that does not confirm", async () => {
  const events: string[] = [];
  const opened = (name: string) =>
    ({
      connection: {
        close: () => Promise.resolve(void events.push(`${name} is closed`)),
        closed: new Promise(() => {}),
        unref: () => {},
      },
      login: { url: new URL("amqp://home"), nodes: 2, place: 0 },
    }) as unknown as OpenedConnection;
  const connection = {
    current: opened("the current one").connection,
    blocked: undefined,
    isDisplaced: true,
    gracefulClose: new GracefulClose(),
    replaceBy: (_: OpenedConnection) => {
      events.push("moved");
      connection.isDisplaced = false;
    },
  };
  const names = ["cut off", "back"];
  const dialer = {
    preferred: () => Promise.resolve(opened(names.shift() ?? "none")),
    moveTimes: { pauseMs: [1, 1], settlingMs: 1 },
  } as const;
  const stop = new AbortController();
  const moves = new ConnectionMoves(connection, dialer, stop.signal);
  let checks = 0;
  moves.verifyBy(() => Promise.resolve(++checks === 2));
  moves.start();
  await until("it has moved", () => events.length === 3);
  stop.abort();
  await moves.ended;
  assert.deepEqual(events, [
    "cut off is closed",
    "moved",
    "the current one is closed",
  ]);
});
