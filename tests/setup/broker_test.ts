/** The tools of the other tests: private nodes, the proxy, and that neither leaves anything behind. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import amqp from "npm:amqplib@2.3.1";
import { privateBroker, rabbitmqServer } from "./broker.ts";
import { isAlive } from "./guard.ts";
import { answersAmqp, until } from "./probe.ts";
import { proxyTo } from "./proxy.ts";

const ignore = !rabbitmqServer;

Deno.test({
  name: "privateBroker() survives kill and start with its data",
  ignore,
}, async (t) => {
  const broker = await privateBroker({ tls: true });
  const first = broker.pid;

  await t.step("answers, and so does rabbitmqctl", async () => {
    await put(broker.url, "kept");
    assert.match(
      await broker.ctl("list_queues", "name", "messages"),
      /^kept\t1$/m,
    );
  });

  await t.step("speaks TLS under its own authority", async () => {
    const link = await amqp.connect(broker.tlsUrl ?? "", {
      ca: [broker.ca ?? ""],
    });
    await link.close();
    await assert.rejects(
      amqp.connect(broker.tlsUrl ?? ""),
      /certificate|UnknownIssuer/i,
    );
  });

  await t.step("stop() and start() are a clean restart", async () => {
    await broker.stop();
    assert.throws(() => broker.pid, /is down/);
    await broker.start();
    assert.notEqual(broker.pid, first);
  });

  // After the restart, since RabbitMQ may lose a queue that was declared just before a SIGKILL.
  await t.step("kill() and start() keep a durable queue", async () => {
    const second = broker.pid;
    await broker.kill();
    assert.equal(isAlive(second), false);
    assert.equal(await answersAmqp("127.0.0.1", broker.port), false);
    await broker.start();
    assert.equal(await take(broker.url, "kept"), "hello");
  });

  await t.step("disposal leaves no process and no folder", async () => {
    await broker[Symbol.asyncDispose]();
    await assert.rejects(Deno.stat(broker.folder), Deno.errors.NotFound);
    await until(
      "no process mentions the folder",
      async () => (await processes(broker.folder)).length === 0,
    );
  });
});

Deno.test({
  name: "privateBroker() is gone with a test process that dies",
  ignore,
}, async () => {
  const module = new URL("broker.ts", import.meta.url).href;
  const code = `import { privateBroker } from "${module}";
    const broker = await privateBroker();
    console.log(broker.pid, broker.folder);
    Deno.kill(Deno.pid, "SIGKILL");`;
  const { stdout } = await new Deno.Command(Deno.execPath(), {
    args: ["eval", code],
  }).output();
  const [pid = "", folder = ""] = new TextDecoder().decode(stdout).trim().split(
    " ",
  );
  assert.ok(
    folder.includes("warren-broker-"),
    "the process told its broker's folder",
  );
  await until("the node is gone", () => !isAlive(Number(pid)));
  await until(
    "no process mentions the folder",
    async () => (await processes(folder)).length === 0,
  );
  await until(
    "the folder is gone",
    () => Deno.stat(folder).then(() => false, () => true),
  );
});

Deno.test("TcpProxy passes, holds, refuses and drops connections", async () => {
  const echo = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  const serving = (async () => {
    for await (const peer of echo) {
      peer.readable.pipeTo(peer.writable).catch(() => {});
    }
  })();
  {
    const base = `amqp://u:p@127.0.0.1:${echo.addr.port}/v?heartbeat=1`;
    await using proxy = proxyTo(base);
    assert.equal(
      proxy.url(base),
      `amqp://u:p@127.0.0.1:${proxy.port}/v?heartbeat=1`,
    );
    using one = await Deno.connect({ hostname: "127.0.0.1", port: proxy.port });
    assert.equal(await say(one, "a"), "a");

    proxy.blackhole(true);
    let back: string | null | undefined;
    const held = say(one, "b").then((text) => back = text);
    using two = await Deno.connect({ hostname: "127.0.0.1", port: proxy.port });
    await until(
      "the second connection is accepted",
      () => proxy.connections.accepted === 2,
    );
    assert.equal(back, undefined);
    proxy.blackhole(false);
    assert.equal(await held, "b");

    proxy.reset();
    assert.equal(await say(two, "c"), null);
    await until("all are dropped", () => proxy.connections.open === 0);
    proxy.refuse(true);
    using three = await Deno.connect({
      hostname: "127.0.0.1",
      port: proxy.port,
    });
    assert.equal(await say(three, "d"), null);
    assert.deepEqual(proxy.connections, { accepted: 3, open: 0 });
  }
  echo.close();
  await serving;
});

async function put(url: string, queue: string): Promise<void> {
  const link = await amqp.connect(url);
  const channel = await link.createConfirmChannel();
  await channel.assertQueue(queue, { durable: true });
  channel.sendToQueue(queue, Buffer.from("hello"), {
    persistent: true,
  });
  await channel.waitForConfirms();
  await link.close();
}

async function take(url: string, queue: string): Promise<string | undefined> {
  const link = await amqp.connect(url);
  const channel = await link.createChannel();
  const message = await channel.get(queue, { noAck: true });
  await link.close();
  return message ? new TextDecoder().decode(message.content) : undefined;
}

/** Sends text and returns what comes back; null when the connection is gone. */
async function say(peer: Deno.Conn, text: string): Promise<string | null> {
  try {
    await peer.write(new TextEncoder().encode(text));
    const buffer = new Uint8Array(16);
    const read = await peer.read(buffer);
    return read === null
      ? null
      : new TextDecoder().decode(buffer.subarray(0, read));
  } catch {
    return null;
  }
}

/** The command lines that name a folder, as Linux shows them in /proc. */
async function processes(folder: string): Promise<string[]> {
  const found: string[] = [];
  if (Deno.build.os !== "linux") return found;
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const line = await Deno.readTextFile(`/proc/${name}/cmdline`).catch(() =>
      ""
    );
    if (line.includes(folder)) found.push(line);
  }
  return found;
}
