/** A queue that is deleted in the very moment in which its consumer is granted. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { direct } from "../../../src/transport/address.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { closeQuietly, until } from "../../setup/probe.ts";
import {
  Mailbox,
  message,
  plain,
  queue,
  rabbitLink,
  removeNames,
  soon,
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
