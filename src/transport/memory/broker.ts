/** A broker inside the process: queues, and the keys by which messages reach them. @module */
import { uniqueName } from "../../ids.ts";
import {
  type Address,
  publishKey,
  type QueueAddress,
  queueName,
} from "../address.ts";
import { type BusProfile, missingEntity } from "../profile.ts";
import type { Message, QueueState } from "../transport.ts";
import { MemoryQueue, type Owner, type QueueSettings } from "./queue.ts";

/** A queue with a binding: messages reach it by a key, not by its name alone. */
type BoundAddress = QueueAddress | Extract<Address, { kind: "fanout" }>;

const isBound = (address: Address): address is BoundAddress =>
  address.kind === "fanout" || isShared(address);

const isShared = ({ kind }: Address): boolean =>
  kind === "topic" || kind === "host" || kind === "pool" || kind === "event";

/** Each consumer of such an address has a queue of its own. */
const isUnique = (address: Address): boolean =>
  address.kind === "fanout" ||
  address.kind === "event" && address.exclusive === true;

/** A name has no space, so no key of a fanout is that of a topic. */
const bindingKey = (address: BoundAddress): string =>
  address.kind === "fanout" ? `fanout ${address.topic}` : publishKey(address);

/** The routing key that a delivery shows: none for a fanout, as with AMQP. */
const deliveryKey = (address: Address): string =>
  address.kind === "fanout" ? "" : publishKey(address);

/** Queues of one bus. */
export class Broker {
  readonly #profile: BusProfile;
  readonly #queues = new Map<string, MemoryQueue>();
  readonly #bindings = new Map<string, Set<MemoryQueue>>();

  constructor(profile: BusProfile) {
    this.#profile = profile;
  }

  /**
   * The queue of an address, which is created if it does not exist; a queue of one consumer goes with its `owner`.
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
      throw missingEntity(`queue ${name}`);
    }
    const queue = known ??
      this.named(name, owner, this.#settingsOf(address));
    if (bind && isBound(address)) this.#bind(bindingKey(address), queue);
    return queue;
  }

  /** Creates a queue of that name. */
  named(name: string, owner: Owner, settings: QueueSettings): MemoryQueue {
    const queue = new MemoryQueue(name, settings, owner, {
      removed: () => this.#remove(queue),
      deadLetter: (key, message) => this.#queues.get(key)?.push(message, key),
    });
    this.#queues.set(name, queue);
    return queue;
  }

  /** True if a queue took the message. */
  publish(address: Address, message: Message): boolean {
    const key = deliveryKey(address);
    if (!isBound(address)) {
      const queue = this.#queues.get(key);
      queue?.push(message, key);
      return queue !== undefined;
    }
    const queues = this.#bindings.get(bindingKey(address)) ?? [];
    let taken = false;
    for (const queue of [...queues]) {
      queue.push(message, key);
      taken = true;
    }
    return taken;
  }

  /** Messages and consumers of a queue; undefined if it does not exist. */
  inspect(address: Address): QueueState | undefined {
    const queue = this.#queues.get(queueName(address));
    return queue && { messages: queue.messages, consumers: queue.consumers };
  }

  unbind(address: QueueAddress): void {
    const queue = this.#queues.get(queueName(address));
    if (queue) this.#bindings.get(bindingKey(address))?.delete(queue);
  }

  /** False if the queue has a message or a consumer. */
  removeEmpty(address: Address): boolean {
    const queue = this.#queues.get(queueName(address));
    const used = queue && queue.messages + queue.consumers > 0;
    if (!used) queue?.remove();
    return !used;
  }

  /** Removes the queues that go with an owner. */
  leave(owner: Owner): void {
    for (const queue of this.#queues.values()) {
      if (queue.owner === owner && queue.settings.owned) queue.remove();
    }
  }

  /** Removes all queues with their messages. */
  clear(): void {
    for (const queue of this.#queues.values()) queue.remove();
  }

  /** Consumers of all queues. */
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
