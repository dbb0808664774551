/** What the tests of the transports share: a bus of each kind, messages, and a place where deliveries gather. */
import amqp from "npm:amqplib@2.3.1";
import { MemoryTransport } from "../../src/transport/memory/transport.ts";
import { RabbitTransport } from "../../src/transport/rabbitmq/transport.ts";
import {
  type Address,
  direct,
  type QueueAddress,
} from "../../src/transport/address.ts";
import {
  type BusProfile,
  defaultProfile,
} from "../../src/transport/profile.ts";
import type {
  Deadline,
  Delivery,
  InboxListener,
  Message,
  Transport,
  TransportEvent,
} from "../../src/transport/transport.ts";
import { brokerUrl } from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { proxyTo, type TcpProxy } from "../setup/proxy.ts";

/** A deadline that many milliseconds from now. */
export const soon = (ms = 20_000): Deadline => ({
  at: performance.now() + ms,
});

/** A message with a text as its body. */
export function message(text: string, more: Partial<Message> = {}): Message {
  return {
    body: new TextEncoder().encode(text),
    headers: {},
    messageId: crypto.randomUUID(),
    ...more,
  };
}

/** The body of what came, as text. */
export const text = ({ message: { body } }: { message: Message }) =>
  new TextDecoder().decode(body);

/** Gathers deliveries in the order in which they came. */
export class Mailbox {
  /** All that came. */
  readonly deliveries: Delivery[] = [];
  /** To hand to `consume`. */
  readonly receive = (delivery: Delivery): void =>
    void this.deliveries.push(delivery);

  /** The texts of all that came. */
  get texts(): string[] {
    return this.deliveries.map(text);
  }

  /** The first `count` deliveries, as soon as so many have come. */
  async first(count: number): Promise<Delivery[]> {
    const came = () => this.deliveries.length >= count;
    await until(`${count} deliveries came`, came, 20_000, 2).catch(() => {
      throw new Error(
        `${count} deliveries expected, came: ${JSON.stringify(this.texts)}`,
      );
    });
    return this.deliveries.slice(0, count);
  }
}

const newName = () => `test_${crypto.randomUUID().slice(0, 13)}`;

/** A link of one kind, and names on it that are removed afterwards. */
export interface Bus extends AsyncDisposable {
  /** Under test. */
  readonly link: Transport;
  /** Exchange of the test's own. */
  readonly exchange: string;
  /** A name that no other test uses: of a queue, a topic or an exchange. */
  name(): string;
}

class TestBus implements Bus {
  readonly link: Transport;
  readonly exchange: string;
  readonly #names: string[];
  readonly #clean: (names: readonly string[]) => Promise<void>;

  constructor(
    open: (profile: BusProfile) => Transport,
    clean: (names: readonly string[]) => Promise<void>,
    form: Partial<BusProfile> = {},
  ) {
    const exchange = this.exchange = newName();
    this.#names = [exchange];
    this.link = open({ ...defaultProfile, exchange, ...form });
    this.#clean = clean;
  }

  name(): string {
    const name = newName();
    this.#names.push(name);
    return name;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.link[Symbol.asyncDispose]();
    await this.#clean(this.#names);
  }
}

/** A bus in the process. */
export function memoryBus(form?: Partial<BusProfile>): Promise<Bus> {
  const open = (profile: BusProfile) => new MemoryTransport(profile);
  return Promise.resolve(new TestBus(open, () => Promise.resolve(), form));
}

/** A bus on the broker that the tests run against, or on another. */
export async function rabbitBus(
  url?: string,
  form?: Partial<BusProfile>,
): Promise<Bus> {
  const base = url ?? await brokerUrl();
  return new TestBus(
    (profile) => linkWith(profile, base),
    (names) => removeNames(base, names),
    form,
  );
}

/** A link to some nodes. */
export function rabbitLink(...urls: readonly string[]): RabbitTransport {
  return linkWith(defaultProfile, ...urls);
}

function linkWith(
  profile: BusProfile,
  ...urls: readonly string[]
): RabbitTransport {
  return new RabbitTransport({
    urls: urls.map((url) => new URL(url)),
    name: "warren test",
    heartbeat: 5,
    profile,
  });
}

/** Consumers of a queue; undefined if it does not exist. */
export async function consumersOf(
  { link }: Pick<Bus, "link">,
  name: string,
  deadline = soon(),
): Promise<number | undefined> {
  return (await link.inspect(direct(name), deadline))?.consumers;
}

/** A bus that reaches its broker through a proxy, and the proxy. */
export interface Proxied extends Bus {
  /** In front of the broker. */
  readonly proxy: TcpProxy;
  /** The broker without the proxy. */
  readonly base: string;
}

/** A bus behind a proxy. */
export async function proxiedBus(url?: string): Promise<Proxied> {
  const base = url ?? await brokerUrl();
  const proxy = proxyTo(base);
  const bus = new TestBus(
    (profile) => linkWith(profile, proxy.url(base)),
    async (names) => {
      await proxy[Symbol.asyncDispose]();
      await removeNames(base, names);
    },
  );
  return Object.assign(bus, { proxy, base });
}

/** Removes the queues, the exchanges and the fanout exchanges of these names. */
export async function removeNames(
  url: string,
  names: readonly string[],
): Promise<void> {
  await plain(url, async (channel) => {
    for (const name of names) {
      await channel.deleteQueue(name);
      await channel.deleteExchange(name);
      await channel.deleteExchange(`${name}_fanout`);
    }
  });
}

/** Does something on a channel of a connection that knows nothing of Warren. */
export async function plain<T>(
  url: string,
  work: (channel: amqp.ConfirmChannel) => Promise<T>,
): Promise<T> {
  const connection = await amqp.connect(url);
  connection.on("error", () => {});
  try {
    const channel = await connection.createConfirmChannel();
    channel.on("error", () => {});
    return await work(channel);
  } finally {
    await connection.close();
  }
}

/** Features that a broker may lack; a test that needs one runs for the drivers that have it. */
export interface Features {
  /** The broker counts the deliveries of each message in a queue of type quorum. */
  readonly deliveryCount: boolean;
  /** A message goes back to a queue after a delay. */
  readonly delayedRetry: boolean;
  /** A consumer can be the only one of its queue. */
  readonly exclusiveConsumer: boolean;
  /** A queue can deliver all messages to one consumer until that one ends. */
  readonly singleActiveConsumer: boolean;
}

/** A driver under test. */
interface Driver {
  readonly features: Features;
  /** Opens a transport, with changes to the bus profile. */
  open(form?: Partial<BusProfile>): Promise<Bus>;
}

const drivers: Readonly<Record<string, Driver>> = {
  memory: {
    features: {
      deliveryCount: false,
      delayedRetry: true,
      exclusiveConsumer: true,
      singleActiveConsumer: true,
    },
    open: (form) => memoryBus(form),
  },
  rabbitmq: {
    features: {
      deliveryCount: true,
      delayedRetry: true,
      exclusiveConsumer: true,
      singleActiveConsumer: true,
    },
    open: (form) => rabbitBus(undefined, form),
  },
};

/** Registers a test for each driver that has the features which the test needs. */
export function conforms(
  title: string,
  body: (bus: Bus) => Promise<void>,
  { needs = [], form }: {
    readonly needs?: readonly (keyof Features)[];
    readonly form?: Partial<BusProfile>;
  } = {},
): void {
  for (const [name, { features, open }] of Object.entries(drivers)) {
    if (!needs.every((feature) => features[feature])) continue;
    Deno.test(`${name}: ${title}`, async () => {
      await using bus = await open(form);
      await body(bus);
    });
  }
}

/** An address, with the name of its queue. */
export type Named<A extends Address = QueueAddress> = A & {
  readonly key: string;
};

/** A queue of that name. */
export function queue(name: string): Named {
  return { kind: "topic", topic: name, key: name };
}

/** A queue that goes with its last consumer. */
export function transientQueue(name: string): Named<Address> {
  return { kind: "callQueue", call: name, key: name };
}

/** What a link tells, in order. */
export function eventsOf(link: Transport): TransportEvent[] {
  const events: TransportEvent[] = [];
  link.onEvent((event) => void events.push(event));
  return events;
}

/** Resolves when a link has told so many events of a type. */
export async function told(
  events: readonly TransportEvent[],
  type: TransportEvent["type"],
  times = 1,
): Promise<void> {
  await until(
    `the link says "${type}" ${times} times`,
    () => events.filter((event) => event.type === type).length >= times,
    60_000,
    5,
  );
}

/** A mailbox that consumes a route, on a transport of its own. */
export async function consumer(bus: Bus, route: Address, prefetch = 0) {
  const transport = await bus.link.openSession(soon());
  const mail = new Mailbox();
  const handle = await transport.consume(
    route,
    mail.receive,
    { prefetch },
    soon(),
  );
  return {
    transport,
    mail,
    first: (count: number) => mail.first(count),
    cancel: () => handle.cancel(),
    dispose: () => transport[Symbol.asyncDispose](),
  };
}

/** Reads an inbox. */
export class Reader implements InboxListener {
  readonly mail = new Mailbox();
  readonly back: Message[] = [];
  readonly onDelivery = this.mail.receive;
  onReturned(message: Message): void {
    this.back.push(message);
    throw new Error("a reader's own fault"); // hurts nobody
  }
}

/** No pause between two attempts to connect, until disposed: the jitter of the back-off draws nothing but zeros. */
export function withoutPauses(): Disposable {
  const random = Math.random;
  Math.random = () => 0;
  return { [Symbol.dispose]: () => void (Math.random = random) };
}
