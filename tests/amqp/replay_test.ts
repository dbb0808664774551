/** A conversation with a real broker, recorded and replayed in other pieces: the client must see the same. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { createHash } from "node:crypto";
import fc from "npm:fast-check@^4.10.2";
import {
  AmqpError,
  connect,
  type ReceivedMessage,
} from "../../src/amqp/mod.ts";
import { targetOf } from "../../src/amqp/connect_options.ts";
import { Connection } from "../../src/amqp/connection.ts";
import type { Socket } from "../../src/amqp/socket/socket.ts";
import { brokerUrl } from "../setup/broker.ts";
import { closeQuietly } from "../setup/probe.ts";
import { Mailbox } from "./broker.ts";
import { reported } from "./fake_broker.ts";

/** Bytes of both sides in the order in which they were sent. */
type Conversation = {
  readonly from: "client" | "broker";
  readonly bytes: Buffer;
}[];

const listen = () => Deno.listen({ hostname: "127.0.0.1", port: 0 });
const portOf = (listener: Deno.Listener) =>
  (listener.addr as Deno.NetAddr).port;

/** Reads until the end, and hands on each piece. */
async function pump(
  from: Deno.Conn,
  onPiece: (bytes: Buffer) => Promise<unknown>,
): Promise<void> {
  const buffer = new Uint8Array(64 * 1024);
  try {
    for (;;) {
      const read = await from.read(buffer);
      if (read === null) return;
      await onPiece(Buffer.from(buffer.subarray(0, read)));
    }
  } catch {
    // The other side has closed the socket.
  }
}

async function writeAll(to: Deno.Conn, bytes: Uint8Array): Promise<void> {
  for (let rest = bytes; rest.length > 0;) {
    rest = rest.subarray(await to.write(rest));
  }
}

/** Runs a client through a proxy that records what both sides send. */
async function record(
  url: string,
  client: (port: number) => Promise<void>,
): Promise<Conversation> {
  using listener = listen();
  const conversation: Conversation = [];
  const running = client(portOf(listener));
  using near = await listener.accept();
  const { hostname, port } = new URL(url);
  using far = await Deno.connect({ hostname, port: Number(port || 5672) });
  const up = pump(near, (bytes) => {
    conversation.push({ from: "client", bytes });
    return writeAll(far, bytes);
  });
  const down = pump(far, (bytes) => {
    conversation.push({ from: "broker", bytes });
    return writeAll(near, bytes);
  });
  await running;
  closeQuietly(near);
  closeQuietly(far);
  await Promise.all([up, down]);
  return conversation;
}

/** A change of one byte that the broker sends. */
interface Change {
  readonly at: number;
  readonly byte: number;
  readonly isRemoved: boolean;
}

/** The conversation with other bytes of the broker. */
function withChanges(
  conversation: Conversation,
  changes: readonly Change[],
): Conversation {
  let before = 0;
  return conversation.map(({ from, bytes }) => {
    if (from === "client") return { from, bytes };
    let changed = Buffer.from(bytes);
    for (const { at, byte, isRemoved } of changes) {
      const index = at - before;
      if (index < 0 || index >= changed.length) continue;
      if (isRemoved) {
        changed = Buffer.concat([
          changed.subarray(0, index),
          changed.subarray(index + 1),
        ]);
      } else changed[index] = byte;
    }
    before += bytes.length;
    return { from, bytes: changed };
  });
}

/** A socket that plays the broker's side in pieces of given sizes, each once the client has sent what it had sent before. */
class ReplaySocket implements Socket {
  readonly #pieces: { readonly after: number; readonly bytes: Buffer }[] = [];
  #written = 0;
  #wake: (() => void) | undefined;
  #closed = false;
  /** Number of reads that were answered. */
  reads = 0;

  readonly #patienceMs: number | undefined;

  /** With `patienceMs` the broker closes the socket if the client does not send in that time what it had sent. */
  constructor(
    conversation: Conversation,
    sizes: readonly number[],
    patienceMs?: number,
  ) {
    this.#patienceMs = patienceMs;
    let after = 0, n = 0;
    for (const { from, bytes } of conversation) {
      if (from === "client") after += bytes.length;
      for (let at = 0; from === "broker" && at < bytes.length; n++) {
        const end = at + (sizes[n % sizes.length] ?? 1);
        this.#pieces.push({ after, bytes: bytes.subarray(at, end) });
        at = end;
      }
    }
  }

  async read(into: Uint8Array): Promise<number | null> {
    const piece = this.#pieces[this.reads];
    while (piece && this.#written < piece.after && !this.#closed) {
      if (!await this.#woken()) return null;
    }
    if (!piece || this.#closed) return null;
    this.reads++;
    into.set(piece.bytes);
    return piece.bytes.length;
  }

  write(bytes: Uint8Array): Promise<number> {
    this.#written += bytes.length;
    this.#wake?.();
    return Promise.resolve(bytes.length);
  }

  close(): void {
    this.#closed = true;
    this.#wake?.();
  }

  ref(): void {}
  unref(): void {}

  /** Waits for bytes of the client; resolves to false if none come. */
  #woken(): Promise<boolean> {
    return new Promise((resolve) => {
      const ms = this.#patienceMs;
      const timer = ms && setTimeout(() => resolve(false), ms);
      this.#wake = () => {
        clearTimeout(timer);
        resolve(true);
      };
    });
  }
}

const digest = (bytes: Uint8Array) =>
  createHash("sha1").update(bytes).digest("hex");

function seen(message: ReceivedMessage | undefined): unknown {
  if (!message) return undefined;
  const {
    deliveryTag,
    routingKey,
    headers,
    messageId,
    body,
    bodySize,
    encodedProperties,
    unreadable,
  } = message;
  return {
    deliveryTag,
    routingKey,
    headers,
    messageId,
    bodySize,
    unreadable,
    body: digest(body),
    properties: digest(encodedProperties),
  };
}

/** Uses most methods; returns what it has seen. Requests wait for each other, so that all runs send the same. */
async function use(connection: Connection, queue: string): Promise<unknown[]> {
  const log: unknown[] = [];
  const channel = await connection.openChannel({
    confirms: true,
    onReturned: ({ replyText, message }) =>
      void log.push(replyText, seen(message)),
  });
  log.push(await channel.request("queue.declare", { queue, exclusive: true }));
  log.push(await channel.get(queue));
  const publish = (body: Uint8Array, routingKey = queue) =>
    new Promise((resolve) =>
      channel.publish(
        { exchange: "", routingKey, mandatory: true },
        {
          body,
          messageId: `${body.length}`,
          headers: { size: body.length, list: [1, "é"] },
        },
        resolve,
      )
    );
  for (const size of [0, 1, 3_000, 140_000]) {
    log.push(await publish(Buffer.alloc(size, "x")));
  }
  log.push(await publish(Buffer.from("back"), "nowhere"));
  log.push(seen(await channel.get(queue)));
  const mail = new Mailbox();
  const arrived = Promise.withResolvers<void>();
  const onMessage = (message: ReceivedMessage) => {
    mail.onMessage(message);
    if (mail.messages.length === 3) arrived.resolve();
  };
  const { onCancelled } = mail;
  const options = { consumerTag: "tag" };
  log.push(await channel.consume(queue, { onMessage, onCancelled }, options));
  await Promise.race([arrived.promise, channel.closed]);
  log.push(mail.messages.map(seen));
  log.push(await channel.request("queue.delete", { queue }));
  const missing = { queue: `${queue}-missing`, passive: true };
  log.push(
    await channel.request("queue.declare", missing).catch(({ message }) =>
      message
    ),
  );
  log.push((await channel.closed).code, mail.cancelled);
  await connection.close();
  log.push((await connection.closed).code);
  return log;
}

Deno.test("a recorded conversation in any pieces is seen as it was", async (t) => {
  const url = await brokerUrl();
  const queue = `replay_${crypto.randomUUID().slice(0, 8)}`;
  const options = { heartbeat: 0 };
  const target = targetOf(url, options);
  let recorded: readonly unknown[] = [];
  const conversation = await record(url, async (port) => {
    const { login } = target;
    assert.notEqual(login, "external");
    const near = `amqp://127.0.0.1:${port}${new URL(url).pathname}`;
    recorded = await use(await connect(near, { ...options, login }), queue);
  });
  assert.ok(recorded.length > 15);
  const check = async (sizes: readonly number[]) => {
    const socket = new ReplaySocket(conversation, sizes);
    const connection = new Connection(socket, options);
    await connection.open(target);
    assert.deepEqual(await use(connection, queue), recorded);
    return socket.reads;
  };

  await t.step("as it was", async () => void await check([16 * 1024]));

  await t.step("one byte at a time", async () => {
    const reads = await check([1]);
    assert.ok(reads > 140_000, `${reads} bytes`);
  });

  await t.step("in pieces of any sizes", async () => {
    const sizes = fc.array(
      fc.oneof(
        fc.integer({ min: 1, max: 20 }),
        fc.integer({ min: 1, max: 16_384 }),
      ),
      { minLength: 1, maxLength: 30 },
    );
    await fc.assert(
      fc.asyncProperty(sizes, async (sizes) => void await check(sizes)),
      {
        numRuns: 40,
        endOnFailure: true,
      },
    );
  });

  await t.step(
    "with wrong bytes it ends, with errors of the client's own",
    async () => {
      using errors = reported();
      const count = conversation.reduce(
        (sum, { from, bytes }) => sum + (from === "broker" ? bytes.length : 0),
        0,
      );
      const change = fc.record({
        at: fc.oneof(fc.nat(3_000), fc.nat(count - 1)),
        byte: fc.oneof(fc.constantFrom(0, 1, 8, 0x7f, 0xff, 0xce), fc.nat(255)),
        isRemoved: fc.boolean(),
      });
      const run = async (changes: readonly Change[]) => {
        const changed = withChanges(conversation, changes);
        const socket = new ReplaySocket(changed, [16 * 1024], 20);
        const connection = new Connection(socket, options);
        try {
          await connection.open(target);
          await use(connection, queue);
        } catch (error) {
          assert.ok(error instanceof AmqpError, `${(error as Error).stack}`);
        }
        await connection.close(20);
        assert.equal((await connection.closed).name, "AmqpError");
      };
      const changes = fc.array(change, { minLength: 1, maxLength: 3 });
      const property = fc.asyncProperty(changes, run);
      await fc.assert(property, { numRuns: 150, endOnFailure: true });
      assert.deepEqual(errors.messages, []);
    },
  );
});
