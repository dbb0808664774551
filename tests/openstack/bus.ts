/** A bus of a test's own, under a control exchange of its own, with Warren and the real oslo.messaging on it. */
import {
  type ConnectionContext,
  type ConnectionOptions,
  createConnection,
  type Manager,
  type NovaProfile,
  Service,
  type ServiceOptions,
} from "../../mod.ts";
import { Raw } from "../rpc/support.ts";
import { brokerUrl } from "../setup/broker.ts";
import { OsloPeer, osloPython } from "./oslo.ts";

/** How a bus is set up: Warren's profile, and the same in the words of oslo.messaging. */
export interface Setup {
  readonly profile: NovaProfile;
  readonly options: readonly string[];
}

/** The set-ups that both ends have. */
export const setups: Readonly<Record<string, Setup>> = {
  default: { profile: {}, options: [] },
  durable: {
    profile: { durable: true },
    options: ["amqp_durable_queues=true"],
  },
};

/** One bus, for one test. */
export class CloudBus implements AsyncDisposable {
  readonly url: string;
  /** A name that no other test has, for the exchange and the topic. */
  readonly name = `x${crypto.randomUUID().slice(0, 8)}`;
  readonly profile: NovaProfile;
  readonly #options: readonly string[];
  readonly #stack = new AsyncDisposableStack();
  readonly #queues: string[] = [];

  private constructor(url: string, { profile, options }: Setup) {
    this.url = url;
    this.profile = { ...profile, exchange: this.name };
    this.#options = options;
  }

  static async open(setup: Setup): Promise<CloudBus> {
    return new CloudBus(await brokerUrl(), setup);
  }

  get topic(): string {
    return this.name;
  }

  /** A queue of that name is removed at the end. */
  owns(...queues: string[]): void {
    this.#queues.push(...queues);
  }

  /** A connection of Warren's. */
  async connect(options: ConnectionOptions = {}): Promise<ConnectionContext> {
    const { profile } = this;
    const connection = await createConnection(this.url, {
      profile,
      ...options,
    });
    return this.#stack.use(connection);
  }

  /** A service of Warren's on the host `one`. */
  service(
    manager: Manager,
    options: Partial<ServiceOptions<Manager>> = {},
  ): Promise<Service> {
    const { url, profile } = this;
    const common = { url, profile, host: "one", signals: false, manager };
    return Service.start({ ...common, ...options });
  }

  /** The real library. */
  async oslo(...options: string[]): Promise<OsloPeer> {
    const all = [...this.#options, ...options];
    return this.#stack.use(await OsloPeer.start(this.url, this.name, all));
  }

  /** A raw channel. */
  async raw(): Promise<Raw> {
    return this.#stack.use(await Raw.open(this.url));
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
    await using raw = await Raw.open(this.url);
    const { topic } = this;
    const queues = [topic, `${topic}.one`, `${topic}.two`, ...this.#queues];
    for (const queue of queues) await raw.channel.deleteQueue(queue);
    await raw.channel.deleteExchange(topic);
    await raw.channel.deleteExchange(`${topic}_fanout`);
  }
}

/** Registers a test for each set-up that both ends have. */
export function onEachCloud(
  name: string,
  test: (bus: CloudBus) => Promise<void>,
): void {
  for (const [kind, setup] of Object.entries(setups)) {
    Deno.test({
      name: `oslo.messaging: ${name} (${kind}; needs python3-oslo.messaging)`,
      ignore: osloPython === undefined,
      fn: async () => {
        await using bus = await CloudBus.open(setup);
        await test(bus);
      },
    });
  }
}
