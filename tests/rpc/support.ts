/**
 * What every test of the verbs needs: the two transports, each with a topic of the test's own, and no
 * queue left behind on a broker that others use as well.
 */
import { Buffer } from "node:buffer";
import * as amqp from "npm:amqplib@2.3.1";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  type ConnectionOptions,
  type Contract,
  contract,
  createConnection,
  type Handlers,
  implement,
  RpcDispatcher,
} from "../../mod.ts";
import { brokerUrl } from "../setup/broker.ts";

/** One transport, for one test. */
export class Bus implements AsyncDisposable {
  /** Where to connect. */
  readonly url: string;
  /** A topic that no other test has. */
  readonly topic = `t${crypto.randomUUID().slice(0, 8)}`;
  readonly #queues: string[];

  /** On a transport. */
  constructor(url: string) {
    this.url = url;
    const { topic } = this;
    const queues = [topic, `${topic}.one`, `${topic}.two`];
    this.#queues = queues.flatMap(withThoseBeside);
  }

  /** A connection. */
  connect(options?: ConnectionOptions): Promise<ConnectionContext> {
    return createConnection(this.url, options);
  }

  /** A name that no other test has; a queue of that name is removed at the end. */
  name(part: string): string {
    const name = `${this.topic}-${part}`;
    this.#queues.push(...withThoseBeside(name));
    return name;
  }

  /** A queue that is removed at the end. */
  owns(queue: string): void {
    this.#queues.push(queue);
  }

  /** A worker of a contract, on its topic or on one of the hosts `one` and `two`. */
  async serve<C extends Contract>(
    served: C,
    handlers: Handlers<C>,
    { hosts = [], ...options }: ConnectionOptions & {
      hosts?: readonly ("one" | "two")[];
    } = {},
  ): Promise<ConnectionContext> {
    const connection = await this.connect(options);
    const dispatcher = new RpcDispatcher([implement(served, handlers)]);
    const { topic } = served;
    await connection.createConsumer(topic, dispatcher);
    for (const host of hosts) {
      await connection.createConsumer(`${topic}.${host}`, dispatcher);
    }
    await connection.createConsumer(topic, dispatcher, { fanout: true });
    await connection.consume();
    return connection;
  }

  /** A raw channel of the broker; undefined where there is no broker. */
  async raw(): Promise<Raw | undefined> {
    return this.url.startsWith("memory:")
      ? undefined
      : await Raw.open(this.url);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await using raw = await this.raw();
    for (const queue of this.#queues) await raw?.channel.deleteQueue(queue);
    await raw?.channel.deleteExchange(`${this.topic}_fanout`);
  }
}

/** A queue with those that a worker of it makes. */
function withThoseBeside(queue: string): string[] {
  return [queue, `${queue}.dead`, `${queue}.quarantine`];
}

/** A channel of a plain AMQP client, as a stranger would have it. */
export class Raw implements AsyncDisposable {
  /** The channel. */
  readonly channel: amqp.ConfirmChannel;
  readonly #connection: amqp.ChannelModel;

  private constructor(
    connection: amqp.ChannelModel,
    channel: amqp.ConfirmChannel,
  ) {
    this.#connection = connection;
    this.channel = channel;
  }

  /** Connects. */
  static async open(url: string): Promise<Raw> {
    const connection = await amqp.connect(url);
    return new Raw(connection, await connection.createConfirmChannel());
  }

  /** Sends a message whose table of headers has these bytes, its length before it; amqplib could not write some of them. */
  async table(
    queue: string,
    table: Uint8Array,
    body: string,
    { correlationId = "", replyTo = "" } = {},
  ): Promise<void> {
    const channel = await this.#connection.createChannel();
    const { ch } = channel as unknown as { readonly ch: number };
    const short = (text: string) =>
      Buffer.from([text.length, ...Buffer.from(text)]);
    const long = (value: number) => {
      const bytes = Buffer.alloc(4);
      bytes.writeUInt32BE(value);
      return bytes;
    };
    const frame = (type: number, ...parts: Uint8Array[]) => {
      const payload = Buffer.concat(parts);
      const head = Buffer.from([type, ch >> 8, ch & 255]);
      const end = Buffer.from([0xce]);
      return [head, long(payload.length), payload, end];
    };
    const asked = correlationId && replyTo;
    const flags = (1 << 13) + (asked ? (1 << 10) + (1 << 9) : 0);
    const bytes = Buffer.from(body);
    const properties = asked ? [short(correlationId), short(replyTo)] : [];
    const frames = [
      frame(
        1,
        Buffer.from([0, 60, 0, 40, 0, 0]),
        short(""),
        short(queue),
        Buffer.from([0]),
      ),
      frame(
        2,
        Buffer.from([0, 60, 0, 0, 0, 0, 0, 0]),
        long(bytes.length),
        Buffer.from([flags >> 8, flags & 255]),
        table,
        ...properties,
      ),
      frame(3, bytes),
    ];
    const { stream } = this.#connection.connection as unknown as {
      readonly stream: { write(bytes: Uint8Array): void };
    };
    stream.write(Buffer.concat(frames.flat()));
    await channel.close(); // the broker has it before it answers
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#connection.close();
  }
}

/** No test takes half as long, on any machine. */
const timeout = 60_000;

/** Registers a test for each transport. */
export function onEachBus(
  name: string,
  test: (bus: Bus) => Promise<void>,
): void {
  Deno.test({
    name: `${name} (memory)`,
    timeout,
    fn: async () => {
      await using bus = new Bus(`memory:${crypto.randomUUID()}`);
      await test(bus);
    },
  });
  onRabbit(name, test);
}

/** Registers a test for RabbitMQ alone. */
export function onRabbit(
  name: string,
  test: (bus: Bus) => Promise<void>,
): void {
  Deno.test({
    name: `${name} (rabbitmq)`,
    timeout,
    fn: async () => {
      await using bus = new Bus(await brokerUrl());
      await test(bus);
    },
  });
}

/** Everything that a stream gives. */
export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const list: T[] = [];
  for await (const item of items) list.push(item);
  return list;
}

/** The error that a promise rejects with. */
export async function failureOf(promise: Promise<unknown>): Promise<Error> {
  const outcome = await promise.then(
    (value) => ({ value }),
    (error: unknown) => ({ error }),
  );
  if ("error" in outcome && outcome.error instanceof Error) {
    return outcome.error;
  }
  throw new Error(`No rejection with an error: ${Deno.inspect(outcome)}`);
}

const procedures = {
  add: {
    args: z.object({ a: z.number(), b: z.number() }),
    result: z.number(),
  },
  wait: { args: z.object({ tag: z.string() }).partial() },
  count: { args: z.object({ to: z.number() }), yields: z.number() },
};

/** The contract of {@linkcode sums}. */
export type Sums = Contract<typeof procedures>;

/** Adds numbers, waits, streams: a contract that most tests can use. */
export function sums(topic: string): Sums {
  return contract({ topic, version: "1.0", procedures });
}

/** Handlers for {@linkcode sums}; a test gives those that it looks at. */
export function sumHandlers(own: Partial<Handlers<Sums>> = {}): Handlers<Sums> {
  return {
    add: ({ a, b }) => a + b,
    wait: () => {},
    async *count({ to }) {
      for (let i = 1; i <= to; i++) yield i;
    },
    ...own,
  };
}

/** A handler's work that goes on until its signal fires; tells when it began and when it ended. */
export class Endless {
  readonly #began = Promise.withResolvers<void>();
  readonly #ended = Promise.withResolvers<unknown>();
  /** Resolves when the handler began. */
  readonly began = this.#began.promise;
  /** Resolves to the reason with which the handler was ended. */
  readonly ended = this.#ended.promise;

  /** The work. */
  async run(signal: AbortSignal): Promise<void> {
    this.#began.resolve();
    await aborted(signal);
    this.#ended.resolve(signal.reason);
  }
}

/** Resolves when a signal fires. */
export function aborted(signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) resolve();
    else signal.addEventListener("abort", () => resolve(), { once: true });
  });
}
