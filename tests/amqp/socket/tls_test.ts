/** TLS: authorities, names of servers, and certificates of clients. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { connect, type TlsSettings } from "../../../src/amqp/mod.ts";
import { makeCertificates } from "../../setup/certificates.ts";
import { FakeBroker, withCode } from "../fake_broker.ts";

/** Texts of the certificates in a folder that is removed afterwards. */
async function certificates(names?: string) {
  const folder = await Deno.makeTempDir({ prefix: "warren-tls-" });
  const paths = await makeCertificates(folder, names);
  const [ca = "", cert = "", key = ""] = [paths.ca, paths.cert, paths.key].map((
    path,
  ) => Deno.readTextFileSync(path));
  await Deno.remove(folder, { recursive: true });
  return { ca, cert, key };
}

/** Connects to a broker with that certificate; resolves once the handshake of AMQP is done. */
async function tries(
  server: { cert: string; key: string },
  tls?: TlsSettings,
): Promise<void> {
  using broker = new FakeBroker(server);
  const connecting = connect(broker.url, { tls, heartbeat: 0 });
  const accepted = broker.accept().then((peer) => peer.handshake()).catch(
    () => {},
  );
  try {
    (await connecting).destroy("the test ends");
  } finally {
    broker[Symbol.dispose]();
    await accepted;
  }
}

const refused = (error: Error) =>
  withCode("CONNECT_FAILED", "socket")(error) &&
  /certificate/i.test(error.message);

Deno.test("a broker's certificate is trusted through its authority, and through no other", async () => {
  const [mine, other] = [await certificates(), await certificates()];
  await tries(mine, { ca: mine.ca });
  await assert.rejects(tries(mine), refused);
  await assert.rejects(tries(mine, {}), refused);
  await assert.rejects(tries(mine, { ca: other.ca }), refused);
});

Deno.test("the name in the certificate is the host, or the server name", async () => {
  const { ca, cert, key } = await certificates("DNS:broker.test");
  const server = { cert, key };
  await assert.rejects(tries(server, { ca }), refused);
  await tries(server, { ca, servername: "broker.test" });
  await assert.rejects(
    tries(server, { ca, servername: "elsewhere.test" }),
    refused,
  );
});

Deno.test("a client with a certificate checks authority and name as well", async () => {
  const { ca, cert, key } = await certificates("DNS:broker.test");
  const other = await certificates();
  const server = { cert, key };
  await assert.rejects(tries(server, { ca, cert, key }), refused);
  await tries(server, { ca, cert, key, servername: "broker.test" });
  const failed = withCode("CONNECT_FAILED", "socket");
  await assert.rejects(
    tries(server, { ca, cert, key, servername: "elsewhere.test" }),
    failed,
  );
  await assert.rejects(
    tries(server, { ca: other.ca, cert, key, servername: "broker.test" }),
    failed,
  );
  await assert.rejects(
    tries(server, { cert, key, servername: "broker.test" }),
    failed,
  );
});

/** Settings of the three ways in which a socket with TLS is opened. */
async function ways(): Promise<readonly TlsSettings[]> {
  const { ca, cert, key } = await certificates();
  return [{ ca }, { ca, cert, key }, {
    ca,
    cert,
    key,
    servername: "localhost",
  }];
}

Deno.test("a server that is silent in the TLS handshake is CONNECT_TIMEOUT", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `amqps://127.0.0.1:${listener.addr.port}`;
  for (const tls of await ways()) {
    const outcome = connect(url, { tls, connectTimeout: 100 });
    const failed = assert.rejects(outcome, withCode("CONNECT_TIMEOUT"));
    using socket = await listener.accept();
    await failed;
    assert.ok(socket.remoteAddr);
  }
});

Deno.test({
  name: "a server that accepts no socket is CONNECT_TIMEOUT",
  sanitizeOps: false, // `Deno.connectTls` cannot be cancelled
  fn: async () => {
    using full = await fullListener();
    for (const tls of [undefined, ...await ways()]) {
      const url = `${tls ? "amqps" : "amqp"}://127.0.0.1:${full.port}`;
      const connecting = connect(url, { tls, connectTimeout: 100 });
      await assert.rejects(connecting, withCode("CONNECT_TIMEOUT"));
    }
  },
});

/** A listener whose queue of sockets is full, so that the system answers no more of them. */
async function fullListener() {
  const options = { hostname: "127.0.0.1", port: 0, tcpBacklog: 1 };
  const listener = Deno.listen(options);
  const { port } = listener.addr;
  const sockets: Deno.Conn[] = [];
  for (;;) {
    const signal = AbortSignal.timeout(300);
    try {
      sockets.push(await Deno.connect({ hostname: "127.0.0.1", port, signal }));
    } catch {
      break;
    }
  }
  return {
    port,
    [Symbol.dispose]: () => {
      listener.close();
      for (const socket of sockets) socket.close();
    },
  };
}

Deno.test("a server that does not speak TLS is CONNECT_FAILED", async () => {
  using listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const url = `amqps://127.0.0.1:${listener.addr.port}`;
  for (const tls of await ways()) {
    const failed = assert.rejects(
      connect(url, { tls }),
      withCode("CONNECT_FAILED"),
    );
    using socket = await listener.accept();
    await socket.write(Buffer.from("AMQP\x00\x00\x09\x01"));
    await failed;
  }
});
