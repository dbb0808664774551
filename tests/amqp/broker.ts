/** Connections of the client to the broker that the tests run against, or to another. */
import {
  type Channel,
  type ChannelOptions,
  connect,
  type Connection,
  type ConnectOptions,
  type ReceivedMessage,
} from "../../src/amqp/mod.ts";
import { brokerUrl } from "../setup/broker.ts";
import { until } from "../setup/probe.ts";

/** A connection and one channel. */
export interface Opened extends AsyncDisposable {
  readonly connection: Connection;
  readonly channel: Channel;
}

/** Bytes of the smallest frame that every RabbitMQ accepts as the largest: 4096 until 3.13, 8192 since 4.0. */
export const MIN_FRAME = 8_192;

/** Opens a connection to the broker of the tests, and a channel. */
export async function opened(
  channelOptions: ChannelOptions = {},
  options: ConnectOptions = {},
): Promise<Opened> {
  const connection = await connect(await brokerUrl(), options);
  const channel = await connection.openChannel(channelOptions);
  return {
    connection,
    channel,
    [Symbol.asyncDispose]: () => connection.close(),
  };
}

/** A queue of this connection alone, which goes with it; returns its name. */
export async function exclusiveQueue(
  channel: Channel,
  args: Readonly<Record<string, unknown>> = {},
): Promise<string> {
  const { queue } = await channel.request("queue.declare", {
    exclusive: true,
    arguments: args,
  });
  return queue;
}

/** A name that no other test uses. */
export const newName = (): string => `test_${crypto.randomUUID().slice(0, 13)}`;

/** Gathers messages. */
export class Mailbox {
  /** All messages that have arrived. */
  readonly messages: ReceivedMessage[] = [];
  /** Number of times that the broker has cancelled the consumer. */
  cancelled = 0;
  readonly onMessage = (message: ReceivedMessage): void =>
    void this.messages.push(message);
  readonly onCancelled = (): void => void this.cancelled++;

  /** The bodies as texts. */
  get texts(): string[] {
    return this.messages.map(({ body }) => new TextDecoder().decode(body));
  }

  /** Resolves with the first `count` messages. */
  async first(count: number): Promise<ReceivedMessage[]> {
    const enough = () => this.messages.length >= count;
    await until(`${count} messages arrive`, enough, 20_000, 1);
    return this.messages.slice(0, count);
  }
}

/** Publishes a text to a queue. */
export function put(channel: Channel, queue: string, value: string): void {
  const body = new TextEncoder().encode(value);
  channel.publish({ exchange: "", routingKey: queue }, { body });
}

/** Runs a program of Deno in a process of its own; resolves with its exit code. */
export async function run(program: string): Promise<number> {
  const command = new Deno.Command(Deno.execPath(), {
    args: ["eval", "--no-check", program],
    stdin: "null",
    stdout: "inherit",
    stderr: "inherit",
  });
  return (await command.output()).code;
}
