/** Handshakes with brokers that refuse, break the protocol, are silent, or are none. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type AmqpError, connect } from "../../src/amqp/mod.ts";
import { freePort } from "../setup/probe.ts";
import { brokerUrl } from "../setup/broker.ts";
import {
  FakeBroker,
  frame,
  method,
  type Peer,
  START,
  withCode,
} from "./fake_broker.ts";

/** Plays a handshake to a client, which must fail with an error of that code and then close the socket. */
async function fails(
  code: string,
  play: (peer: Peer) => Promise<void>,
): Promise<AmqpError> {
  using broker = new FakeBroker();
  const outcome = connect(broker.url).then(
    () => assert.fail("The client has connected"),
    (error: AmqpError) => error,
  );
  const peer = await broker.accept();
  await play(peer);
  const error = await outcome;
  withCode(code)(error);
  await peer.closed();
  return error;
}

const TUNE = method(0, "connection.tune", {
  channelMax: 10,
  frameMax: 4_096,
  heartbeat: 10,
});
const CLOSE = method(0, "connection.close", {
  replyCode: 320,
  replyText: "CONNECTION_FORCED - maintenance",
});

/** States of the handshake, each with the step that leads to it. */
const STEPS: readonly (readonly [string, (peer: Peer) => Promise<void>])[] = [
  ["before start", async () => {}],
  ["after start", async (peer) => {
    await peer.write(START);
    await peer.expect("connection.start-ok");
  }],
  ["after tune", async (peer) => {
    await peer.write(TUNE);
    await peer.expect("connection.tune-ok");
    await peer.expect("connection.open");
  }],
];

/** Plays the first `count` steps. */
async function play(peer: Peer, count: number): Promise<void> {
  for (const [, step] of STEPS.slice(0, count)) await step(peer);
}

Deno.test("a close in each state of the handshake is the broker's error", async () => {
  for (let count = 1; count <= STEPS.length; count++) {
    const error = await fails("CONNECTION_FORCED", async (peer) => {
      await play(peer, count);
      await peer.write(CLOSE);
      await peer.expect("connection.close-ok");
    });
    assert.deepEqual([error.replyCode, error.scope], [320, "connection"]);
    assert.match(error.message, /320 CONNECTION_FORCED - maintenance$/);
  }
});

Deno.test("a socket that is closed in each state of the handshake is SOCKET_CLOSED", async () => {
  for (let count = 1; count <= STEPS.length; count++) {
    const error = await fails("SOCKET_CLOSED", async (peer) => {
      await play(peer, count);
      peer[Symbol.dispose]();
    });
    assert.match(error.message, /before the connection was open/);
  }
});

Deno.test("silence in each state of the handshake is CONNECT_TIMEOUT", async () => {
  await Promise.all(STEPS.map(async (_, n) => {
    using broker = new FakeBroker();
    const outcome = connect(broker.url, { connectTimeout: 150 });
    const failed = assert.rejects(outcome, withCode("CONNECT_TIMEOUT"));
    const peer = await broker.accept();
    await play(peer, n + 1);
    await failed;
    await peer.closed();
  }));
});

Deno.test("an attempt that is aborted in each state rejects with the reason of the signal", async () => {
  for (let count = 1; count <= STEPS.length; count++) {
    using broker = new FakeBroker();
    const stop = new AbortController();
    const { signal } = stop;
    const outcome = connect(broker.url, { signal });
    const failed = assert.rejects(outcome, /^Error: given up$/);
    const peer = await broker.accept();
    await play(peer, count);
    stop.abort(new Error("given up"));
    await failed;
    await peer.closed();
  }
  const signal = AbortSignal.abort(new Error("given up"));
  await assert.rejects(connect("amqp://127.0.0.1:1", { signal }), /given up/);
});

Deno.test("a signal that is aborted once the connection is open has no effect", async () => {
  using broker = new FakeBroker();
  const stop = new AbortController();
  const { connection, peer } = await broker.connect({ signal: stop.signal });
  stop.abort();
  await peer.channel(connection);
  assert.ok(connection.isOpen);
  connection.destroy("the test ends");
});

Deno.test("a method out of order is UNEXPECTED_FRAME", async () => {
  const wrong: readonly (readonly [number, Buffer])[] = [
    [0, TUNE],
    [0, method(0, "connection.open-ok")],
    [1, START],
    [1, method(0, "connection.secure", { challenge: "?" })],
    [1, method(0, "connection.open-ok")],
    [2, TUNE],
    [2, START],
    [2, method(0, "channel.open-ok")],
    [0, method(0, "connection.close-ok")],
    [1, method(0, "connection.update-secret-ok")],
    [0, Buffer.concat(new Array(10_000).fill(START))],
  ];
  for (const [count, bytes] of wrong) {
    const error = await fails("UNEXPECTED_FRAME", async (peer) => {
      await play(peer, count + 1);
      await peer.write(bytes);
    });
    assert.match(error.message, /has sent .* instead of /);
  }
});

/** Bytes that no broker of AMQP 0-9-1 sends in a handshake. */
const NOT_AMQP: Readonly<Record<string, Uint8Array>> = {
  "an HTTP answer": Buffer.from("HTTP/1.1 400 Bad Request\r\n\r\n"),
  "10 MB of zeros": Buffer.alloc(10_000_000),
  "a heartbeat with a wrong end": Buffer.from("0800000000000000", "hex"),
  "a method of 2 GB": Buffer.from("0100007fffffff", "hex"),
  "an unknown method": frame(1, 0, Buffer.from([0, 10, 0, 99])),
  "a method without its class": frame(1, 0, Buffer.from([0, 10])),
  "a table that is too long": frame(
    1,
    0,
    Buffer.from("000a000a0009ffffffff", "hex"),
  ),
  "a method of channel 1": method(1, "channel.open-ok"),
  "a header of channel 0": frame(2, 0, Buffer.alloc(14)),
  "a body of channel 0": frame(3, 0, Buffer.alloc(14)),
  "a body of channel 7": frame(3, 7, Buffer.alloc(14)),
};

for (const [what, bytes] of Object.entries(NOT_AMQP)) {
  Deno.test(`in a handshake, ${what} is NOT_AMQP`, async () => {
    const { message } = await fails("NOT_AMQP", (peer) => peer.write(bytes));
    assert.match(message, /does not speak AMQP; check the port/);
  });
}

Deno.test("the header of another version of the protocol is NOT_AMQP, in any pieces", async () => {
  const header = Buffer.from("AMQP\x00\x01\x00\x00", "latin1");
  const { message } = await fails("NOT_AMQP", (peer) => peer.write(header));
  assert.match(message, /speaks another version: AMQP 0-1-0-0/);
  await fails("NOT_AMQP", async (peer) => {
    for (const byte of header) await peer.write(new Uint8Array([byte]));
  });
  const text = Buffer.from("AMQP0091");
  await fails("NOT_AMQP", (peer) => peer.write(text));
});

Deno.test("a broker without the mechanism of the login is ACCESS_REFUSED, and gets no login", async () => {
  const error = await fails("ACCESS_REFUSED", async (peer) => {
    await peer.write(method(0, "connection.start", {
      mechanisms: "EXTERNAL AMQPLAIN",
      locales: "en_US",
    }));
    await peer.closed();
    assert.deepEqual(peer.sent, []);
  });
  assert.match(error.message, /does not offer the mechanism PLAIN/);
});

Deno.test("client and broker agree on the lower of their limits", async () => {
  using broker = new FakeBroker();
  const agreed = async (
    client: readonly [number, number, number] | undefined,
    [channelMax, frameMax, heartbeat]: readonly [number, number, number],
  ) => {
    const [channels, frame, beat] = client ?? [];
    const connecting = connect(broker.url, {
      channelMax: channels,
      frameMax: frame,
      heartbeat: beat,
    });
    const peer = await broker.accept();
    await peer.write(START);
    await peer.expect("connection.start-ok");
    const tune = { channelMax, frameMax, heartbeat };
    await peer.write(method(0, "connection.tune", tune));
    const ok = await peer.expect("connection.tune-ok");
    await peer.write(method(0, "connection.open-ok"));
    (await connecting).destroy("the test ends");
    return [ok.channelMax, ok.frameMax, ok.heartbeat];
  };
  const none = undefined;
  assert.deepEqual(await agreed(none, [0, 0, 0]), [2_047, 131_072, 60]);
  assert.deepEqual(await agreed(none, [9, 8_192, 5]), [9, 8_192, 5]);
  assert.deepEqual(await agreed([8, 4_096, 7], [9, 8_192, 5]), [8, 4_096, 7]);
  assert.deepEqual(await agreed([0, 0, 0], [9, 8_192, 5]), [9, 8_192, 0]);
  assert.deepEqual(await agreed([0, 0, 0], [0, 0, 0]), [65_535, 0, 0]);
});

Deno.test("options that AMQP cannot express throw a TypeError", async () => {
  using broker = new FakeBroker();
  for (
    const options of [
      { heartbeat: 0.5 },
      { heartbeat: -1 },
      { heartbeat: 65_536 },
      { channelMax: 65_536 },
    ]
  ) {
    const outcome = assert.rejects(connect(broker.url, options), TypeError);
    const peer = await broker.accept();
    await peer.write(START);
    await peer.expect("connection.start-ok");
    await peer.write(method(0, "connection.tune"));
    await outcome;
    await peer.closed();
  }
});

Deno.test("the login, the virtual host and the properties of the client reach the broker", async () => {
  using broker = new FakeBroker();
  const url = broker.url.replace("//", "//us%40er:p%3Aw@") + "/v%2Fh";
  const connecting = connect(url, {
    clientProperties: { connection_name: "it", product: "mine" },
  });
  const peer = await broker.accept();
  await peer.write(START);
  const start = await peer.expect("connection.start-ok");
  assert.deepEqual([start.mechanism, start.response, start.locale], [
    "PLAIN",
    "\0us@er\0p:w",
    "en_US",
  ]);
  const { connection_name, product, platform, capabilities } =
    start.clientProperties;
  assert.deepEqual([connection_name, product, platform], [
    "it",
    "mine",
    "Deno",
  ]);
  assert.deepEqual(
    Object.values(capabilities as Record<string, boolean>),
    new Array(6).fill(true),
  );
  await peer.write(TUNE);
  await peer.expect("connection.tune-ok");
  const { virtualHost } = await peer.expect("connection.open");
  assert.equal(virtualHost, "v/h");
  await peer.write(method(0, "connection.open-ok"));
  const connection = await connecting;
  assert.deepEqual(connection.serverProperties, { product: "fake" });
  connection.destroy("the test ends");
});

Deno.test("a port on which nothing listens is CONNECT_FAILED", async () => {
  const outcome = connect(`amqp://127.0.0.1:${freePort()}`);
  await assert.rejects(outcome, withCode("CONNECT_FAILED", "socket"));
});

Deno.test("RabbitMQ refuses a login with its own code and text", async () => {
  const login = { username: "nobody", password: "s3cret" };
  const connecting = connect(await brokerUrl(), { login });
  await assert.rejects(connecting, (error: AmqpError) => {
    withCode("ACCESS_REFUSED", "connection")(error);
    assert.equal(error.replyCode, 403);
    assert.match(error.message, /403 ACCESS_REFUSED - Login was refused/);
    assert.doesNotMatch(`${error.stack}`, /s3cret/);
    return true;
  });
});

Deno.test("RabbitMQ refuses a virtual host with its own code and text", async () => {
  const { username, password, host } = new URL(await brokerUrl());
  const url = `amqp://${username}:${password}@${host}/nowhere`;
  await assert.rejects(connect(url), (error: AmqpError) => {
    withCode("NOT_ALLOWED", "connection")(error);
    assert.deepEqual([error.replyCode, error.method], [530, "connection.open"]);
    assert.match(error.message, /vhost nowhere not found/);
    return true;
  });
});

Deno.test("a URL that is none of AMQP throws a TypeError without its password", async () => {
  for (
    const url of ["http://a:s3cret@b", "amqp://a:s3cret%2@b", "a:s3cret", "::"]
  ) {
    await assert.rejects(connect(url), (error: Error) => {
      assert.ok(error instanceof TypeError, `${error}`);
      assert.doesNotMatch(error.message, /s3cret/);
      return true;
    });
  }
});
