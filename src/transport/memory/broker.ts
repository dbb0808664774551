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
import { MemoryQueue, type Owner, type QueueSettings } from "./queue.ts";

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

/** Returns the binding key. Names have no spaces, so the key of a fanout never equals that of a topic. */
const bindingKey = (address: BoundAddress): string =>
  address.kind === "fanout" ? `fanout ${address.topic}` : publishKey(address);

/** Returns the routing key that deliveries show; empty for a fanout, as with AMQP. */
const deliveryKey = (address: Address): string =>
  address.kind === "fanout" ? "" : publishKey(address);

/** Queues and bindings of one bus. */
export class Broker {
  readonly #profile: BusProfile;
  readonly #queues = new Map<string, MemoryQueue>();
  readonly #bindings = new Map<string, Set<MemoryQueue>>();

  constructor(profile: BusProfile) {
    this.#profile = profile;
  }

  /**
   * Returns the queue of an address, and creates it if it does not exist; a queue of one consumer is removed with its
   * `owner`.
   *
   * @throws {TopologyError} the profile is passive, and the queue does not exist.
   */
  queue(address: Address, owner: Owner, bind = true): MemoryQueue {
    const name = isUnique(address)
      ? uniqueName(queueName(address), true)
      : queueName(address);
    const known = this.#queues.get(name);
    if (this.#profile.nova?.passive && isShared(address)) {
      if (known) return known;
      throw missingEntityError(`queue ${name}`);
    }
    const queue = known ??
      this.createQueue(name, owner, this.#settingsOf(address));
    if (bind && isBound(address)) this.#bind(bindingKey(address), queue);
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
      deadLetter: (key, message) => this.#queues.get(key)?.push(message, key),
    });
    this.#queues.set(name, queue);
    return queue;
  }

  /** Publishes a message; returns true if it reached a queue. */
  publish(address: Address, message: Message): boolean {
    const key = deliveryKey(address);
    if (!isBound(address)) {
      const queue = this.#queues.get(key);
      queue?.push(message, key);
      return queue !== undefined;
    }
    const queues = this.#bindings.get(bindingKey(address)) ?? [];
    let routed = false;
    for (const queue of [...queues]) {
      queue.push(message, key);
      routed = true;
    }
    return routed;
  }

  /** Returns the numbers of messages and consumers of a queue; undefined if the queue does not exist. */
  inspect(address: Address): QueueState | undefined {
    const queue = this.#queues.get(queueName(address));
    return queue && { messages: queue.messages, consumers: queue.consumers };
  }

  unbind(address: QueueAddress): void {
    const queue = this.#queues.get(queueName(address));
    if (queue) this.#bindings.get(bindingKey(address))?.delete(queue);
  }

  /** Removes a queue; returns false, and removes nothing, if the queue has a message or a consumer. */
  removeEmpty(address: Address): boolean {
    const queue = this.#queues.get(queueName(address));
    const used = queue && queue.messages + queue.consumers > 0;
    if (!used) queue?.remove();
    return !used;
  }

  /** Removes the queues that a session owns. */
  removeOwned(owner: Owner): void {
    for (const queue of this.#queues.values()) {
      if (queue.owner === owner && queue.settings.owned) queue.remove();
    }
  }

  /** Removes all queues with their messages. */
  clear(): void {
    for (const queue of this.#queues.values()) queue.remove();
  }

  /** Number of consumers of all queues. */
  get consumers(): number {
    return [...this.#queues.values()].reduce(
      (sum, { consumers }) => sum + consumers,
      0,
    );
  }

  /** Names of all queues. */
  get queues(): readonly string[] {
    return [...this.#queues.keys()];
  }

  #settingsOf(address: Address): QueueSettings {
    if (isUnique(address)) return { owned: true, transient: true };
    switch (address.kind) {
      case "delay":
        return { ttl: address.ms, deadLetterTo: queueName(address.of) };
      case "callQueue":
      case "hostLock":
        return { transient: true };
      default:
        return { transient: isShared(address) && this.#profile.autoDelete };
    }
  }

  #bind(key: string, queue: MemoryQueue): void {
    const bound = this.#bindings.get(key);
    if (bound) bound.add(queue);
    else this.#bindings.set(key, new Set([queue]));
  }

  #remove(queue: MemoryQueue): void {
    this.#queues.delete(queue.name);
    for (const [key, bound] of this.#bindings) {
      if (bound.delete(queue) && bound.size === 0) this.#bindings.delete(key);
    }
  }
}
