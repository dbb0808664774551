/** A RabbitMQ node of these tests: certificates of clients, alarms, and closings that an operator asks for. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { connect, type ConnectOptions } from "../../src/amqp/mod.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../setup/broker.ts";
import {
  makeCertificates,
  makeClientCertificate,
} from "../setup/certificates.ts";
import { until } from "../setup/probe.ts";
import { exclusiveQueue, Mailbox, newName } from "./broker.ts";
import { withCode } from "./fake_broker.ts";

let node: PrivateBroker;
let user: { readonly cert: string; readonly key: string };

Deno.test.beforeAll(async () => {
  if (!rabbitmqServer) return;
  node = await privateBroker({
    tls: true,
    plugins: ["rabbitmq_auth_mechanism_ssl"],
    config: "ssl_options.verify = verify_peer\n" +
      "ssl_options.fail_if_no_peer_cert = true\n" +
      "auth_mechanisms.1 = PLAIN\nauth_mechanisms.2 = EXTERNAL\n" +
      "ssl_cert_login_from = common_name\n",
  });
  user = await makeClientCertificate(node.folder, "guest");
});
Deno.test.afterAll(() => node?.[Symbol.asyncDispose]());

function onNode(name: string, fn: () => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn });
}

/** Sends messages, one of them large, through a connection to the node. */
async function works(options: ConnectOptions): Promise<void> {
  await using connection = await connect(node.tlsUrl ?? "", options);
  const channel = await connection.openChannel();
  const queue = await exclusiveQueue(channel);
  const mail = new Mailbox();
  await channel.consume(queue, mail, { noAck: true });
  const body = Buffer.alloc(3_000_000, "large ");
  const to = { exchange: "", routingKey: queue };
  channel.publish(to, { body: Buffer.from("small") });
  await channel.publishLarge(to, { body });
  const [small, large] = await mail.first(2);
  assert.equal(`${small?.body}`, "small");
  assert.ok(body.equals(large!.body));
  connection.unref();
  connection.ref();
}

onNode(
  "RabbitMQ accepts a client's certificate, with the host as the server name and with another one",
  async () => {
    const { ca } = node;
    await works({ tls: { ca, ...user } });
    await works({ tls: { ca, ...user, servername: "localhost" } });
  },
);

onNode("RabbitMQ takes the user from the certificate (EXTERNAL)", async () => {
  const { ca } = node;
  await works({ login: "external", tls: { ca, ...user } });
  await works({
    login: "external",
    tls: { ca, ...user, servername: "localhost" },
  });
  const nobody = await makeClientCertificate(node.folder, "nobody");
  await assert.rejects(
    connect(node.tlsUrl ?? "", { login: "external", tls: { ca, ...nobody } }),
    withCode("ACCESS_REFUSED", "connection"),
  );
  await assert.rejects(
    connect(node.url, { login: "external" }),
    withCode("ACCESS_REFUSED", "connection"),
  );
});

onNode(
  "RabbitMQ refuses a client without a certificate, and one of another authority",
  async () => {
    const { ca } = node;
    const folder = await Deno.makeTempDir({ prefix: "warren-tls-" });
    await makeCertificates(folder);
    const stranger = await makeClientCertificate(folder, "guest");
    await Deno.remove(folder, { recursive: true });
    const named = { ca, ...stranger, servername: "localhost" };
    // The refusal may come at the end of the TLS handshake, or later.
    const many = new Array<typeof named>(20).fill(named);
    for (const tls of [{ ca }, { ca, ...stranger }, ...many]) {
      await assert.rejects(
        connect(node.tlsUrl ?? "", { tls }),
        (error: Error & { code: string }) => {
          assert.equal(error.name, "AmqpError");
          assert.match(
            error.code,
            /^(CONNECT_FAILED|SOCKET_ERROR|SOCKET_CLOSED)$/,
          );
          return true;
        },
      );
    }
  },
);

onNode(
  "a broker that is short of memory blocks publishers, and says when it accepts messages again",
  async () => {
    const seen: string[] = [];
    await using connection = await connect(node.url, {
      onBlocked: (reason) => void seen.push(reason),
      onUnblocked: () => void seen.push("unblocked"),
    });
    const channel = await connection.openChannel({ confirms: true });
    const queue = await exclusiveQueue(channel);
    const confirmations: string[] = [];
    const to = { exchange: "", routingKey: queue };
    const body = new Uint8Array(10);
    assert.equal(connection.blocked, undefined);
    await node.ctl("set_vm_memory_high_watermark", "absolute", "1MB");
    channel.publish(
      to,
      { body },
      (confirmation) => void confirmations.push(confirmation),
    );
    await until("it is blocked", () => connection.blocked);
    assert.equal(connection.blocked, "low on memory");
    await node.ctl("set_vm_memory_high_watermark", "absolute", "800MB");
    await until("the message is confirmed", () => confirmations.length > 0);
    assert.deepEqual([seen, confirmations], [["low on memory", "unblocked"], [
      "ack",
    ]]);
    assert.equal(connection.blocked, undefined);
  },
);

onNode(
  "a connection that an operator closes has the broker's code and text",
  async () => {
    const name = newName();
    const connection = await connect(node.url, {
      clientProperties: { connection_name: name },
    });
    const channel = await connection.openChannel();
    const listed = await node.ctl(
      "list_connections",
      "pid",
      "client_properties",
    );
    const line = listed.split("\n").find((line) => line.includes(name));
    const [pid = ""] = line?.split("\t") ?? [];
    const closing = node.ctl("close_connection", pid, "maintenance");
    const reason = await connection.closed;
    withCode("CONNECTION_FORCED", "connection")(reason);
    assert.equal(reason.replyCode, 320);
    assert.match(reason.message, /320 CONNECTION_FORCED - maintenance/);
    assert.equal(await channel.closed, reason);
    await closing;
  },
);

onNode(
  "a broker that is stopped closes its connections with its code, and accepts no others",
  async () => {
    const connection = await connect(node.url);
    const stopping = node.stop();
    withCode("CONNECTION_FORCED", "connection")(await connection.closed);
    await stopping;
    await assert.rejects(
      connect(node.url),
      withCode("CONNECT_FAILED", "socket"),
    );
  },
);
