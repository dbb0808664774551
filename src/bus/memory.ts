/** A broker inside the process: the rules of RabbitMQ that Warren relies on, without a network. @module */
import {
  ConnectionDisposedError,
  InvalidValueError,
  NoRouteError,
  TopologyError,
} from "../errors.ts";
import type { Wait } from "../deadlines.ts";
import { log } from "../telemetry.ts";
import { MemoryQueue, type Owner } from "./memory_queue.ts";
import { type Exchange, inbox, type Queue, type Route } from "./routes.ts";
import type {
  ConsumeOptions,
  Consumer,
  Delivery,
  InboxReader,
  Link,
  LinkEvent,
  Message,
  Transport,
} from "./transport.ts";

interface BoundExchange {
  readonly settings: Exchange;
  readonly bindings: Set<{ readonly key: string; readonly queue: MemoryQueue }>;
}

const same = (a: object, b: object) => JSON.stringify(a) === JSON.stringify(b);

/** Exchanges and queues of one bus. */
class Broker {
  readonly #exchanges = new Map<string, BoundExchange>();
  readonly #queues = new Map<string, MemoryQueue>();

  exchange(settings: Exchange): BoundExchange {
    const known = this.#exchanges.get(settings.name);
    if (known && !same(known.settings, settings)) {
      throw new TopologyError(
        `Cannot declare exchange ${settings.name}: it exists with other settings`,
        {
          data: { entity: `exchange ${settings.name}`, replyCode: 406 },
        },
      );
    }
    const exchange = known ?? { settings, bindings: new Set() };
    this.#exchanges.set(settings.name, exchange);
    return exchange;
  }

  /** The queue of a route; `owner` is who it goes with if it is exclusive. */
  queue(route: Route, settings: Queue, owner: Owner): MemoryQueue {
    const name = settings.fresh
      ? `${settings.name}_${crypto.randomUUID()}`
      : settings.name;
    const known = this.#queues.get(name);
    if (known && !same(known.settings, settings)) {
      throw new TopologyError(
        `Cannot declare queue ${name}: it exists with other settings`,
        {
          data: { entity: `queue ${name}`, replyCode: 406 },
        },
      );
    }
    const queue = known ??
      new MemoryQueue(name, settings, owner, () => this.#remove(queue));
    this.#queues.set(name, queue);
    if (route.exchange) {
      this.#bind(
        this.exchange(route.exchange),
        route.binding ?? route.key,
        queue,
      );
    }
    return queue;
  }

  /** True if a queue took it. */
  publish(route: Route, message: Message): boolean {
    const targets = route.exchange
      ? this.#matching(this.exchange(route.exchange), route.key)
      : this.#named(route.key);
    for (const queue of targets) queue.push(message, route.key);
    return targets.length > 0;
  }

  find(name: string): MemoryQueue | undefined {
    return this.#queues.get(name);
  }

  /** Queues that go with an owner are gone. */
  leave(owner: Owner): void {
    for (const queue of this.#queues.values()) {
      if (queue.owner === owner && queue.settings.exclusive) queue.remove();
    }
  }

  get queues(): readonly string[] {
    return [...this.#queues.keys()];
  }

  #named(name: string): MemoryQueue[] {
    const queue = this.#queues.get(name);
    return queue ? [queue] : [];
  }

  #matching({ settings, bindings }: BoundExchange, key: string): MemoryQueue[] {
    const bound = [...bindings].filter((binding) =>
      settings.type === "fanout" || binding.key === key
    );
    return [...new Set(bound.map(({ queue }) => queue))];
  }

  #bind(exchange: BoundExchange, key: string, queue: MemoryQueue): void {
    const bound = [...exchange.bindings].some((binding) =>
      binding.key === key && binding.queue === queue
    );
    if (!bound) exchange.bindings.add({ key, queue });
  }

  #remove(queue: MemoryQueue): void {
    this.#queues.delete(queue.name);
    for (const [name, exchange] of this.#exchanges) {
      const before = exchange.bindings.size;
      for (const binding of exchange.bindings) {
        if (binding.queue === queue) exchange.bindings.delete(binding);
      }
      const last = before > 0 && exchange.bindings.size === 0;
      if (last && exchange.settings.autoDelete) this.#exchanges.delete(name);
    }
  }
}

/** A bus of one process. */
export class MemoryLink implements Link {
  readonly inbox = `reply_${crypto.randomUUID().replaceAll("-", "")}`;
  readonly #broker = new Broker();
  readonly #transports = new Set<MemoryTransport>();
  #reader: InboxReader | undefined;
  #listening: MemoryTransport | undefined;

  open(_wait: Wait): Promise<Transport> {
    return Promise.resolve(this.#lease());
  }

  async listen(reader: InboxReader, wait: Wait): Promise<void> {
    this.#reader = reader;
    if (this.#listening) return;
    this.#listening = this.#lease();
    await this.#listening.consume(
      inbox(this.inbox),
      (delivery) => this.#reader?.receive(delivery),
      { prefetch: 0 },
      wait,
    );
  }

  consumers(queue: string, _wait: Wait): Promise<number | undefined> {
    return Promise.resolve(this.#broker.find(queue)?.consumers);
  }

  watch(_watcher: (event: LinkEvent) => void): Disposable {
    return { [Symbol.dispose]: () => {} }; // a bus in the process is never lost
  }

  rest(_resting: boolean): void {}

  /** Names of all queues, for tests. */
  get queues(): readonly string[] {
    return this.#broker.queues;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#transports].map((transport) =>
        transport[Symbol.asyncDispose]()
      ),
    );
    this.#broker.find(this.inbox)?.remove();
  }

  #lease(): MemoryTransport {
    const transport = new MemoryTransport(
      this.#broker,
      (message) => this.#reader?.returned(message),
      () => this.#transports.delete(transport),
    );
    this.#transports.add(transport);
    return transport;
  }
}

/** One context's part of a bus. */
class MemoryTransport implements Transport, Owner {
  readonly #broker: Broker;
  readonly #returned: (message: Message) => void;
  readonly #closed: () => void;
  readonly #cancels = new Set<() => void>();
  #disposed = false;

  constructor(
    broker: Broker,
    returned: (message: Message) => void,
    closed: () => void,
  ) {
    this.#broker = broker;
    this.#returned = returned;
    this.#closed = closed;
  }

  // The methods are async so that what goes wrong is a rejection, as it is with a network.
  async declare(route: Route, wait: Wait): Promise<void> {
    await this.#ready(wait);
    if (route.exchange) this.#broker.exchange(route.exchange);
    if (route.queue && !route.queue.fresh) {
      this.#broker.queue(route, route.queue, this);
    }
  }

  async publish(route: Route, message: Message, wait: Wait): Promise<void> {
    await this.#ready(wait);
    const taken = this.#broker.publish(route, message);
    if (taken || !message.mandatory) return;
    throw new NoRouteError(
      `No queue takes a message for "${route.key}": nobody has served it yet`,
      {
        data: { key: route.key },
      },
    );
  }

  async post(route: Route, message: Message, wait: Wait): Promise<void> {
    await this.#ready(wait);
    const taken = this.#broker.publish(route, message);
    if (!taken && message.mandatory) {
      queueMicrotask(() => this.#returned(message));
    }
  }

  async consume(
    route: Route,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    wait: Wait,
  ): Promise<Consumer> {
    await this.#ready(wait);
    if (!route.queue) {
      throw new InvalidValueError(
        `Cannot consume the route ${route.key}: it has no queue`,
      );
    }
    const queue = this.#broker.queue(route, route.queue, this);
    const guarded = (delivery: Delivery) => {
      try {
        receive(delivery);
      } catch (error) {
        log("bus").error("A receiver threw: {error}", { error });
      }
    };
    const handle = queue.consume(this, guarded, options);
    const close = () => handle.close();
    this.#cancels.add(close);
    return { cancel: () => Promise.resolve(handle.cancel()) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    for (const close of this.#cancels) close();
    this.#cancels.clear();
    this.#broker.leave(this);
    this.#closed();
    return Promise.resolve();
  }

  #ready({ signal }: Wait): Promise<void> {
    signal?.throwIfAborted();
    if (this.#disposed) {
      throw new ConnectionDisposedError(
        "Cannot use the connection: it was disposed",
      );
    }
    return Promise.resolve();
  }
}
