/** Consumers that the broker cancels: with their queue as they start, or for the timeout of RabbitMQ 4.3, which goes on delivering to them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { direct } from "../../../src/transport/address.ts";
import { method } from "../../amqp/fake_broker.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { closeQuietly, until } from "../../setup/probe.ts";
import {
  Mailbox,
  message,
  plain,
  queue,
  rabbitBus,
  rabbitLink,
  removeNames,
  soon,
  text,
} from "../support.ts";

/** Class and method of the frames that matter here. */
const CONSUME_OK = Buffer.from([0, 60, 0, 21]);
const CANCEL = Buffer.from([0, 60, 0, 30]);

/** In front of a broker: holds back the first consume-ok until a cancel has come too, and passes both in one piece. */
class Merging implements AsyncDisposable {
  readonly #held = Promise.withResolvers<void>();
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open: Deno.Conn[] = [];
  readonly #work: Promise<unknown>[] = [];
  #merged = false;
  /** Resolves when a consume-ok is held. */
  readonly held = this.#held.promise;
  readonly url: string;

  constructor(base: URL) {
    this.url = `amqp://${base.username}:${base.password}@127.0.0.1:` +
      `${this.#listener.addr.port}${base.pathname}`;
    this.#work.push(this.#accept(base.hostname, Number(base.port || 5672)));
  }

  async #accept(hostname: string, port: number): Promise<void> {
    for await (const client of this.#listener) {
      const server = await Deno.connect({ hostname, port });
      this.#open.push(client, server);
      const up = client.readable.pipeTo(server.writable).catch(() => {});
      this.#work.push(up, this.#down(server, client).catch(() => {}));
    }
  }

  async #down(server: Deno.Conn, client: Deno.Conn): Promise<void> {
    const writer = client.writable.getWriter();
    let kept = Buffer.alloc(0);
    for await (const chunk of server.readable) {
      kept = Buffer.concat([kept, chunk]);
      if (!this.#merged && kept.includes(CONSUME_OK)) {
        this.#held.resolve();
        if (!kept.includes(CANCEL)) continue;
        this.#merged = true;
      }
      await writer.write(kept);
      kept = Buffer.alloc(0);
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#listener.close();
    for (const socket of this.#open) closeQuietly(socket);
    await Promise.all(this.#work);
  }
}

Deno.test("a consumer that is cancelled as soon as it is granted consumes all the same", async () => {
  const base = await brokerUrl();
  const name = `test_${crypto.randomUUID()}`;
  await using proxy = new Merging(new URL(base));
  await using link = rabbitLink(proxy.url);
  const transport = await link.openSession(soon());
  const mail = new Mailbox();
  const consuming = transport.consume(
    queue(name),
    mail.receive,
    { prefetch: 0 },
    soon(),
  );
  await plain(base, async (channel) => {
    await proxy.held;
    await channel.deleteQueue(name);
    const consumer = await consuming;
    await until(
      "it has its consumer",
      async () =>
        (await channel.assertQueue(name, { durable: true })).consumerCount > 0,
    );
    await transport.publish(direct(name), message("x"), soon());
    await mail.first(1);
    await consumer.cancel();
    assert.equal((await channel.checkQueue(name)).consumerCount, 0);
  });
  await removeNames(base, [name]);
});

/** The number and the body of each whole frame at the start of some bytes, and the rest. */
function frames(bytes: Buffer): readonly [readonly Buffer[], Buffer] {
  const found: Buffer[] = [];
  let rest = bytes;
  while (rest.length >= 8 && rest.length >= rest.readUInt32BE(3) + 8) {
    const length = rest.readUInt32BE(3) + 8;
    found.push(rest.subarray(0, length));
    rest = rest.subarray(length);
  }
  return [found, rest];
}

/** In front of a broker: tells a client that its consumer is cancelled, of which the broker knows nothing. */
class Cancelling implements AsyncDisposable {
  readonly #listener = Deno.listen({ hostname: "127.0.0.1", port: 0 });
  readonly #open: Deno.Conn[] = [];
  readonly #work: Promise<unknown>[] = [];
  readonly #consumer = Promise.withResolvers<() => Promise<void>>();
  #held: PromiseWithResolvers<void> | undefined;
  readonly url: string;

  constructor(base: URL) {
    this.url = `amqp://${base.username}:${base.password}@127.0.0.1:` +
      `${this.#listener.addr.port}${base.pathname}`;
    this.#work.push(this.#accept(base.hostname, Number(base.port || 5672)));
  }

  /** Cancels the first consumer; nothing that the client sends reaches the broker before `release`. */
  async cancel(): Promise<void> {
    this.#held = Promise.withResolvers();
    await (await this.#consumer.promise)();
  }

  release(): void {
    this.#held?.resolve();
  }

  async #accept(hostname: string, port: number): Promise<void> {
    for await (const client of this.#listener) {
      const server = await Deno.connect({ hostname, port });
      this.#open.push(client, server);
      this.#work.push(
        this.#up(client, server).catch(() => {}),
        this.#down(server, client).catch(() => {}),
      );
    }
  }

  async #up(client: Deno.Conn, server: Deno.Conn): Promise<void> {
    const writer = server.writable.getWriter();
    for await (const chunk of client.readable) {
      await this.#held?.promise;
      await writer.write(chunk);
    }
  }

  async #down(server: Deno.Conn, client: Deno.Conn): Promise<void> {
    const writer = client.writable.getWriter();
    let kept = Buffer.alloc(0);
    for await (const chunk of server.readable) {
      const [whole, rest] = frames(Buffer.concat([kept, chunk]));
      kept = Buffer.from(rest);
      for (const frame of whole) {
        await writer.write(frame);
        if (!frame.subarray(7, 11).equals(CONSUME_OK)) continue;
        const consumerTag = `${frame.subarray(12, 12 + frame.readUInt8(11))}`;
        const cancel = { consumerTag, noWait: true };
        const bytes = method(frame.readUInt16BE(1), "basic.cancel", cancel);
        this.#consumer.resolve(() => writer.write(bytes));
      }
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.release();
    this.#listener.close();
    for (const socket of this.#open) closeQuietly(socket);
    await Promise.all(this.#work);
  }
}

for (const queueType of ["classic", "quorum"] as const) {
  Deno.test(`a broker that goes on delivering to a consumer that it has cancelled loses no message (${queueType} queue)`, async () => {
    await using log = await logged();
    const base = await brokerUrl();
    await using proxy = new Cancelling(new URL(base));
    await using bus = await rabbitBus(proxy.url, { queueType });
    const route = queue(bus.name());
    using _released = { [Symbol.dispose]: () => proxy.release() };
    const session = await bus.link.openSession(soon());
    const mail = new Mailbox();
    const options = { prefetch: 20 };
    await session.consume(route, mail.receive, options, soon());
    await plain(base, async (channel) => {
      const send = (...texts: readonly string[]) => {
        for (const each of texts) {
          channel.sendToQueue(route.key, Buffer.from(each));
        }
      };
      send("held");
      const [held] = await mail.first(1);
      await proxy.cancel();
      send("a", "b", "c"); // the broker delivers them to the consumer
      for (const delivery of (await mail.first(4)).slice(1)) delivery.ack();
      proxy.release();
      await until(
        "it is consumed again",
        () => log.times(/cancelled the consumer/) === 1,
      );
      send("d", "e");
      for (const delivery of (await mail.first(6)).slice(4)) delivery.ack();
      held?.ack();
      await session.flush(soon());
      assert.deepEqual(mail.texts, ["held", "a", "b", "c", "d", "e"]);
      await session[Symbol.asyncDispose]();
      const { messageCount } = await channel.checkQueue(route.key);
      assert.equal(messageCount, 0, mail.deliveries.map(text).join());
    });
  });
}
