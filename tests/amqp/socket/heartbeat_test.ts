/** Heartbeats in both directions, and sockets that are cut or half-open. */
import assert from "node:assert/strict";
import { connect } from "../../../src/amqp/mod.ts";
import { Heartbeat } from "../../../src/amqp/socket/heartbeat.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import { exclusiveQueue, opened } from "../broker.ts";
import {
  delivery,
  FakeBroker,
  HEARTBEAT,
  text,
  withCode,
} from "../fake_broker.ts";

/** A broker that sends no heartbeats. */
async function silentBroker(): Promise<void> {
  using broker = new FakeBroker();
  const { connection, peer } = await broker.connect({ heartbeat: 1 });
  const channel = await peer.channel(connection);
  const asked = assert.rejects(
    channel.request("basic.qos", {}),
    withCode("HEARTBEAT_TIMEOUT", "socket"),
  );
  const start = performance.now();
  const reason = await connection.closed;
  const ms = performance.now() - start;
  withCode("HEARTBEAT_TIMEOUT", "socket")(reason);
  assert.match(reason.message, /nothing for 2 s/);
  assert.ok(ms > 1_400 && ms < 4_000, `${ms} ms`);
  await asked;
  await peer.closed();
  assert.ok(peer.heartbeats >= 1, `${peer.heartbeats} heartbeats`);
}

/** RabbitMQ, which sends heartbeats. */
async function idleBroker(): Promise<void> {
  let received = 0;
  const connection = await connect(await brokerUrl(), {
    heartbeat: 1,
    onReceived: () => void received++,
  });
  const start = received;
  await until("heartbeats of the broker", () => received >= start + 5, 15_000);
  assert.ok(connection.isOpen);
  await connection.close();
}

/** A network that passes nothing any more. */
async function deadNetwork(): Promise<void> {
  const url = await brokerUrl();
  await using proxy = proxyTo(url);
  const connection = await connect(proxy.url(url), { heartbeat: 1 });
  const channel = await connection.openChannel();
  proxy.blackhole(true);
  const asked = assert.rejects(
    channel.request("basic.qos", {}),
    withCode("HEARTBEAT_TIMEOUT"),
  );
  withCode("HEARTBEAT_TIMEOUT", "socket")(await connection.closed);
  await asked;
}

Deno.test("with heartbeats of a second an idle connection stays, and a silent one is lost after two seconds", async () => {
  await Promise.all([silentBroker(), idleBroker(), deadNetwork()]);
});

Deno.test("whatever a broker sends keeps the connection, and whatever a client sends replaces a heartbeat", async () => {
  const sent: number[] = [];
  let silent = 0;
  const heartbeat = new Heartbeat({
    intervalMs: 40,
    send: () => {
      sent.push(performance.now());
      heartbeat.onSent();
    },
    onSilent: () => void silent++,
  });
  const received = setInterval(() => heartbeat.onReceived(), 10);
  await until("five heartbeats are sent", () => sent.length >= 5, 5_000, 5);
  assert.equal(silent, 0);
  let sends = 0;
  const busy = setInterval(() => {
    sends++;
    heartbeat.onSent();
  }, 2);
  const before = sent.length;
  await until("the client was busy", () => sends >= 60, 5_000, 5);
  assert.ok(
    sent.length <= before + 1,
    `${sent.length - before} heartbeats of a busy client`,
  );
  clearInterval(busy);
  clearInterval(received);
  await until("silence is noticed", () => silent > 0, 5_000, 5);
  heartbeat.stop();
});

Deno.test("a socket that is cut between frames or inside one is SOCKET_CLOSED or SOCKET_ERROR", async () => {
  using broker = new FakeBroker();
  for (
    const bytes of [
      HEARTBEAT,
      delivery(1, {}, text("abc")).subarray(0, -3),
      HEARTBEAT.subarray(0, 3),
    ]
  ) {
    const { connection, peer } = await broker.connect();
    const channel = await peer.channel(connection);
    const asked = channel.request("basic.qos", {}).catch((error) => error);
    await peer.expect("basic.qos", 1);
    await peer.write(bytes);
    peer[Symbol.dispose]();
    const reason = await connection.closed;
    assert.match(reason.code, /^SOCKET_(CLOSED|ERROR)$/);
    assert.equal(reason.scope, "socket");
    assert.deepEqual([(await asked).code, (await asked).cause], [
      reason.code,
      reason,
    ]);
    assert.equal(await channel.closed, reason);
    await connection.close();
  }
});

Deno.test("a connection that is reset loses all its channels, and no other connection", async () => {
  const url = await brokerUrl();
  await using proxy = proxyTo(url);
  await using other = await opened();
  const connection = await connect(proxy.url(url));
  const channels = await Promise.all(
    [1, 2, 3].map(() => connection.openChannel()),
  );
  proxy.reset();
  const reason = await connection.closed;
  assert.match(reason.code, /^SOCKET_(CLOSED|ERROR)$/);
  for (const channel of channels) assert.equal(await channel.closed, reason);
  await assert.rejects(connection.openChannel(), withCode(reason.code));
  await exclusiveQueue(other.channel);
});

Deno.test("a connection whose broker does not read is full, and drained when it is closed", async () => {
  const url = await brokerUrl();
  await using proxy = proxyTo(url);
  const connection = await connect(proxy.url(url), { heartbeat: 0 });
  const channel = await connection.openChannel();
  proxy.blackhole(true);
  const body = new Uint8Array(1_000_000);
  for (let n = 0; n < 40; n++) {
    channel.publish({ exchange: "", routingKey: "nowhere" }, { body });
  }
  assert.ok(connection.isFull);
  let drained = false;
  const wait = connection.drained().then(() => drained = true);
  const large = channel.publishLarge({ exchange: "", routingKey: "nowhere" }, {
    body,
  });
  assert.equal(drained, false);
  connection.destroy("the test ends");
  await Promise.all([wait, large]);
  assert.equal((await connection.closed).message, "the test ends");
});

Deno.test("messages that are published as the socket takes them do not pile up", async () => {
  await using it = await opened();
  const queue = await exclusiveQueue(it.channel, { "x-max-length": 1 });
  const body = new Uint8Array(400_000);
  let full = 0;
  for (let n = 0; n < 30; n++) {
    it.channel.publish({ exchange: "", routingKey: queue }, { body });
    if (!it.connection.isFull) continue;
    full++;
    await it.connection.drained();
    assert.equal(it.connection.isFull, false);
  }
  assert.ok(full > 0);
  await exclusiveQueue(it.channel);
});

Deno.test("a connection that is lost in the turn in which it is opened leaves no timer", async () => {
  const url = await brokerUrl();
  const { connect: connectSocket } = Deno;
  Deno.connect = (async (options: Deno.ConnectOptions) => {
    const socket = await connectSocket(options);
    const read = socket.read.bind(socket);
    let isOpen = false;
    socket.read = async (into) => {
      if (isOpen) throw new Error("reset");
      const length = await read(into);
      // `connection.open-ok` is method 41 of class 10, in a frame of channel 0.
      const bytes = into.subarray(0, length ?? 0).join();
      isOpen = bytes.includes("1,0,0,0,0,0,5,0,10,0,41,");
      return length;
    };
    return socket;
  }) as typeof connectSocket;
  try {
    const connection = await connect(url, { heartbeat: 1 });
    const { code } = await connection.closed;
    assert.equal(code, "SOCKET_ERROR");
  } finally {
    Deno.connect = connectSocket;
  }
});
