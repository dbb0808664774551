/** Broker inside the process: queues, and the bindings by which messages reach them. @module */
import { uniqueName } from "../../ids.ts";
import {
  type Address,
  publishKey,
  type QueueAddress,
  queueName,
} from "../address.ts";
import { type BusProfile, missingEntityError } from "../profile.ts";
import type { Message, QueueState } from "../transport.ts";
import type { Bus } from "./bus.ts";
import { MemoryQueue, type Owner } from "./queue.ts";
import { checkForm, type QueueSettings } from "./queue_settings.ts";

/** Address of a queue that has a binding: messages reach it by a routing key, not by the name of the queue. */
type BoundAddress = QueueAddress | Extract<Address, { kind: "fanout" }>;

const isBound = (address: Address): address is BoundAddress =>
  address.kind === "fanout" || isShared(address);

const isShared = ({ kind }: Address): boolean =>
  kind === "topic" || kind === "host" || kind === "pool" || kind === "event";

/** True if each consumer of the address has a queue of its own. */
const isUnique = (address: Address): boolean =>
  address.kind === "fanout" ||
  address.kind === "event" && address.exclusive === true;

/** Returns the routing key that deliveries show; empty for a fanout, as with AMQP. */
const deliveryKey = (address: Address): string =>
  address.kind === "fanout" ? "" : publishKey(address);

/** Access to a bus for the transports of one profile. */
export class Broker {
  readonly #profile: BusProfile;
  readonly #bus: Bus;

  constructor(profile: BusProfile, bus: Bus) {
    this.#profile = profile;
    this.#bus = bus;
  }

  /**
   * Returns the queue of an address, and creates it if it does not exist; a queue of one consumer is removed with its
   * `owner`.
   *
   * @throws {TopologyError} the profile is passive and the queue does not exist, or the queue has another form.
   */
  queue(address: Address, owner: Owner, bind = true): MemoryQueue {
    const name = isUnique(address)
      ? uniqueName(queueName(address), true)
      : queueName(address);
    this.#declareExchange(address);
    const known = this.#bus.queues.get(name);
    if (this.#profile.nova?.passive && isShared(address)) {
      if (known) return known;
      throw missingEntityError(`queue ${name}`);
    }
    const settings = this.#settingsOf(address);
    if (known) checkForm(name, known.settings.form, settings.form);
    const queue = known ?? this.createQueue(name, owner, settings);
    if (bind && isBound(address)) this.#bind(this.#bindingKey(address), queue);
    return queue;
  }

  /** Creates a queue. */
  createQueue(
    name: string,
    owner: Owner,
    settings: QueueSettings,
  ): MemoryQueue {
    const queue = new MemoryQueue(name, settings, owner, {
      removed: () => this.#remove(queue),
      deadLetter: (key, message) =>
        this.#bus.queues.get(key)?.push(message, key),
    });
    this.#bus.queues.set(name, queue);
    return queue;
  }

  /** Publishes a message; returns true if it reached a queue. */
  publish(address: Address, message: Message): boolean {
    const key = deliveryKey(address);
    this.#declareExchange(address);
    if (!isBound(address)) {
      const queue = this.#bus.queues.get(key);
      queue?.push(message, key);
      return queue !== undefined;
    }
    const queues = this.#bus.bindings.get(this.#bindingKey(address)) ?? [];
    let routed = false;
    for (const queue of [...queues]) {
      queue.push(message, key);
      routed = true;
    }
    return routed;
  }

  /** Returns a queue that exists. */
  find(address: Address): MemoryQueue | undefined {
    return this.#bus.queues.get(queueName(address));
  }

  /** Returns the numbers of messages and consumers of a queue; undefined if the queue does not exist. */
  inspect(address: Address): QueueState | undefined {
    const queue = this.find(address);
    return queue && { messages: queue.messages, consumers: queue.consumers };
  }

  unbind(address: QueueAddress): void {
    const queue = this.#bus.queues.get(queueName(address));
    if (queue) this.#bus.bindings.get(this.#bindingKey(address))?.delete(queue);
  }

  /** Removes a queue; returns false, and removes nothing, if the queue has a message or a consumer. */
  removeEmpty(address: Address): boolean {
    const queue = this.#bus.queues.get(queueName(address));
    const used = queue && queue.messages + queue.consumers > 0;
    if (!used) queue?.remove();
    return !used;
  }

  /** Removes the queues that a session owns. */
  removeOwned(owner: Owner): void {
    for (const queue of this.#bus.queues.values()) {
      if (queue.owner === owner && queue.settings.owned) queue.remove();
    }
  }

  /**
   * Binding key. Each control exchange has its own keys. Names have no spaces, so the key of a fanout never equals that of a
   * topic.
   */
  #bindingKey(address: BoundAddress): string {
    return address.kind === "fanout"
      ? `fanout ${address.topic}`
      : `${this.#profile.exchange} ${publishKey(address)}`;
  }

  /** Creates the control exchange of an address. A passive profile requires that the exchange exists. */
  #declareExchange(address: Address): void {
    if (!isShared(address)) return;
    const { exchange, nova } = this.#profile;
    const { exchanges } = this.#bus;
    if (!nova?.passive) exchanges.add(exchange);
    else if (!exchanges.has(exchange)) {
      throw missingEntityError(`exchange ${exchange}`);
    }
  }

  #settingsOf(address: Address): QueueSettings {
    if (isUnique(address)) return { owned: true, transient: true };
    const { autoDelete, durable, queueType, nova } = this.#profile;
    // As on RabbitMQ, only OpenStack's queues must have the chosen type.
    const type = nova && { type: queueType };
    switch (address.kind) {
      case "delay": {
        const deadLetterTo = queueName(address.of);
        return { ttl: address.ms, deadLetterTo };
      }
      case "callQueue":
      case "hostLock":
        return { transient: true };
      case "leader":
        return { transient: true, singleActive: true, maxLength: 1 };
      case "deadLetter":
      case "quarantine":
      case "paused":
      case "parked":
      case "direct":
        return {};
      default: {
        const lasting = durable || queueType === "quorum";
        const form = { ...type, durable: lasting, autoDelete };
        return { transient: autoDelete, form };
      }
    }
  }

  #bind(key: string, queue: MemoryQueue): void {
    const bound = this.#bus.bindings.get(key);
    if (bound) bound.add(queue);
    else this.#bus.bindings.set(key, new Set([queue]));
  }

  #remove(queue: MemoryQueue): void {
    this.#bus.queues.delete(queue.name);
    for (const [key, bound] of this.#bus.bindings) {
      if (bound.delete(queue) && bound.size === 0) {
        this.#bus.bindings.delete(key);
      }
    }
  }
}
