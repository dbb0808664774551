/**
 * Topology: declares exchanges, queues and bindings on channels of its own, because the broker closes the channel on which
 * it refuses a request.
 *
 * @module
 */
import type { Channel, Connection } from "../../../amqp/mod.ts";
import type { Deadline } from "../../../async/deadline.ts";
import type { Exchange, Queue, QueueRoute } from "../routes/entities.ts";
import type { FoundForms } from "../routes/found_forms.ts";
import {
  bindingKey,
  checkExists,
  checkQueue,
  declareExchange,
  declareQueue,
  exchangeKey,
  isLasting,
  isStable,
  type TopologyOptions,
} from "./declarations.ts";
import { declareAsFound, isOfMissing } from "../routes/adoption.ts";
import { uniqueName } from "../../../ids.ts";
import { allOf, RequestChannels } from "./request_channel.ts";
import { QueueChecks } from "./queue_checks.ts";
import type { SupervisedConnection } from "./supervised_connection.ts";

/** Milliseconds for a binding that is declared again after its consumer was restored. */
const REBINDING_TIMEOUT_MS = 10_000;
/** Maximum number of channels for consumers that are restored at the same time. */
const MAX_RESTORATION_CHANNELS = 64;

/** Consumer of a queue. */
export interface QueueConsumer {
  /** True if the consumer has run before, so that its queue probably exists. */
  readonly hasRun?: boolean;
  /** Set if another queue can take the place of one whose node is down. */
  readonly replaceRoute?: unknown;
}

/** Declaration of an exchange that waits for its reply. */
interface ExchangeDeclaration {
  readonly channel: Channel;
  readonly reply: Promise<void>;
}

/** Declarations on one connection, which are sent before earlier ones are answered. */
export class Topology {
  readonly #connection: SupervisedConnection;
  readonly #found: FoundForms;
  /** Exchanges that were declared on this connection, by `exchangeKey`. */
  readonly #declared = new Set<string>();
  /** Declarations of exchanges that the broker has not answered yet. */
  readonly #declaring = new Map<string, ExchangeDeclaration>();
  /** Bindings whose queue was declared on this connection by `declare`, and not consumed since then, by `bindingKey`. */
  readonly #unconsumed = new Set<string>();
  /** Names of the queues that were declared on this connection under a new name, by their consumers. */
  #newNames = new WeakMap<object, string>();
  /** Exchange that was looked up last: a shortcut for repeated checks of one exchange. */
  #lastKnown: Exchange | undefined;
  /** Connection to which the declared exchanges and queues belong. */
  #owner: Connection | undefined;
  readonly #declarations: RequestChannels;
  /** Declarations and look-ups for consumers that are restored. */
  readonly #restorations: RequestChannels;
  /** Checks of queues, one at a time. */
  readonly checks: QueueChecks;
  /** Bindings that are declared again, one after another. */
  #rebinding: Promise<unknown> = Promise.resolve();
  readonly #transientQueues: TopologyOptions["transientQueues"];
  /** Queues that were created on a cluster. */
  readonly newQueues: TopologyOptions["newQueues"];

  /** Opens nothing yet. `found` gets the forms of queues that exist in another form. */
  constructor(
    connection: SupervisedConnection,
    found: FoundForms,
    { maxChannels, transientQueues, newQueues }: TopologyOptions = {},
  ) {
    this.#connection = connection;
    this.#found = found;
    this.#transientQueues = transientQueues;
    this.newQueues = newQueues;
    const onConnection = (owner: Connection) => {
      if (owner === this.#owner) return;
      this.forget();
      this.#newNames = new WeakMap();
      this.#owner = owner;
    };
    const onMissing = () => this.forget();
    this.#declarations = new RequestChannels(connection, {
      onConnection,
      onMissing,
      maxChannels,
    });
    this.#restorations = new RequestChannels(connection, {
      onConnection,
      onMissing,
      maxChannels: MAX_RESTORATION_CHANNELS,
      isSeparate: true,
    });
    this.checks = new QueueChecks(connection, found, onMissing);
  }

  /** True if the exchange has been declared on this connection. */
  knows(exchange: Exchange): boolean {
    if (this.#owner !== this.#connection.current) return false;
    if (this.#lastKnown === exchange) return true;
    const known = this.#declared.has(exchangeKey(exchange));
    if (known) this.#lastKnown = exchange;
    return known;
  }

  /** Declares an exchange, once for each connection. */
  async exchange(exchange: Exchange, deadline: Deadline): Promise<void> {
    if (this.knows(exchange)) return;
    await this.#declarations.perform(
      `exchange ${exchange.name}`,
      deadline,
      (channel) => this.#exchange(channel, exchange).reply,
    );
  }

  /** Forgets all declared exchanges and queues, because the connection is another one, or the broker has answered 404. */
  forget(): void {
    this.#declared.clear();
    this.#declaring.clear();
    this.#unconsumed.clear();
    this.#lastKnown = undefined;
  }

  /** Declares the queue of a route with its binding, or checks a passive queue, before it is consumed or published to. */
  async declare(route: QueueRoute, deadline: Deadline): Promise<void> {
    await this.#queue(route, deadline, {});
    if (isLasting(route.queue)) this.#unconsumed.add(bindingKey(route));
  }

  /**
   * Declares the queue of a route for a consumer; resolves to the queue as it exists. Sends nothing if `declare` has declared
   * the queue on this connection, for the first consumer after that: a later one is started after a loss, for example of the
   * queue. A queue with a new name has that name on this connection until `consumed`, so that no queue
   * is left behind by an attempt that was not answered in time.
   */
  async queue(
    route: QueueRoute,
    deadline: Deadline,
    consumer: QueueConsumer,
  ): Promise<Queue> {
    const isDeclared = this.#owner === this.#connection.current &&
      this.#unconsumed.delete(bindingKey(route));
    if (isDeclared) return this.#found.of(route.queue);
    const existing = consumer.hasRun && isStable(route)
      ? await this.#existing(route, deadline, consumer)
      : undefined;
    return existing ?? await this.#queue(route, deadline, consumer);
  }

  /**
   * Returns the queue of a consumer that is restored, if the queue exists, without a declaration: a cluster with a frozen
   * node answers none that changes anything. The binding is declared again after that, since it may have been removed.
   */
  async #existing(
    route: QueueRoute,
    deadline: Deadline,
    { replaceRoute }: QueueConsumer,
  ): Promise<Queue | undefined> {
    const { queue } = route;
    const lookUp = (channel: Channel) =>
      checkExists(`queue ${queue.name}`, checkQueue(channel, queue.name));
    try {
      await (replaceRoute
        ? this.checks.once(queue.name, deadline, lookUp)
        : this.#restorations.perform(`queue ${queue.name}`, deadline, lookUp));
    } catch (error) {
      if (isOfMissing(error)) return undefined;
      throw error;
    }
    if (route.exchange) this.#rebind(route);
    return this.#found.of(queue);
  }

  #rebind(route: QueueRoute): void {
    const { current } = this.#connection;
    const rebind = async () => {
      if (this.#connection.current !== current) return;
      const deadline = { at: performance.now() + REBINDING_TIMEOUT_MS };
      await this.#queue(route, deadline, {});
    };
    this.#rebinding = this.#rebinding.then(rebind).catch(() => {}); // the next loss tries again
  }

  /** Notes that a consumer runs: its next queue with a new name has another one, since the broker may delete this one any time. */
  consumed(consumer: object): void {
    this.#newNames.delete(consumer);
  }

  /** Deletes the queue that was declared under a new name for a consumer which does not run. Never rejects. */
  async discard(consumer: object): Promise<void> {
    const name = this.#newNames.get(consumer);
    this.#newNames.delete(consumer);
    const isOnConnection = this.#owner === this.#connection.current;
    if (name !== undefined && isOnConnection) await this.checks.remove(name);
  }

  async #queue(
    route: QueueRoute,
    deadline: Deadline,
    consumer: QueueConsumer,
  ): Promise<Queue> {
    const { exchange } = route;
    await this.#transientQueues?.check(route.queue, deadline);
    const work = async (channel: Channel, queue: Queue) => {
      const named = { ...queue, name: this.#nameFor(consumer, queue) };
      const declaration = exchange && this.#exchange(channel, exchange);
      await allOf([
        declaration?.reply,
        declareQueue(channel, named, this.newQueues),
        declaration && !queue.passive &&
        this.#bind(channel, { ...route, queue: named }, declaration),
      ]);
      return named;
    };
    const entity = `queue ${route.queue.name}`;
    const channels = consumer.hasRun ? this.#restorations : this.#declarations;
    const attempt = (queue: Queue) =>
      channels.perform(entity, deadline, (channel) => work(channel, queue));
    const declare = (queue: Queue) =>
      attempt(queue).catch((error) => {
        const isNew = this.newQueues && !queue.passive && !queue.isFound;
        if (!isNew || !isOfMissing(error)) throw error;
        return attempt(queue); // it is known as a new queue now, and is not checked again
      });
    return await declareAsFound(route.queue, this.#found, declare);
  }

  #nameFor(consumer: object, { name, unique }: Queue): string {
    if (!unique) return name;
    const newName = this.#newNames.get(consumer) ?? uniqueName(name, unique);
    this.#newNames.set(consumer, newName);
    return newName;
  }

  /** Binds a queue that has been declared on the channel, after the declaration of its exchange. */
  async #bind(
    channel: Channel,
    { exchange, queue, key, binding = key }: QueueRoute,
    declaration: ExchangeDeclaration,
  ): Promise<void> {
    // The broker processes the requests of one channel in their order.
    if (declaration.channel !== channel) await declaration.reply;
    await channel.request("queue.bind", {
      queue: queue.name,
      exchange: exchange?.name ?? "",
      routingKey: binding,
    });
  }

  /** Declares an exchange, unless an earlier request has declared it. */
  #exchange(channel: Channel, exchange: Exchange): ExchangeDeclaration {
    if (this.knows(exchange)) return { channel, reply: Promise.resolve() };
    const key = exchangeKey(exchange);
    const earlier = this.#declaring.get(key);
    if (earlier?.channel.isOpen) return earlier;
    const reply = declareExchange(channel, exchange).then(() => {
      // An auto-delete exchange may be deleted at any time.
      if (!exchange.autoDelete) this.#declared.add(key);
    }).finally(() => {
      if (this.#declaring.get(key) === declaration) this.#declaring.delete(key);
    });
    const declaration = { channel, reply };
    this.#declaring.set(key, declaration);
    return declaration;
  }
}
