/**
 * Routes: the exchange, the routing key and the queue with its arguments that RabbitMQ needs for an address. Names and
 * flags are Warren's, Nova's (`impl_kombu.py`) or oslo.messaging's, depending on the bus profile.
 *
 * @module
 */
import {
  type Address,
  publishKey,
  type QueueAddress,
  queueName,
} from "../../address.ts";
import { isOwnTopic } from "../../../names.ts";
import type { BusProfile } from "../../profile.ts";
import type { Exchange, Queue, QueueRoute, Route } from "./entities.ts";
import { FoundForms } from "./found_forms.ts";
import * as openstack from "./openstack_queues.ts";
import * as own from "./own_queues.ts";

/** The routes of one profile. */
export class Routes {
  readonly #profile: BusProfile;
  readonly #control: Exchange;
  /** Routes by address. Callers reuse their addresses, so that no route has to be built for each message. */
  #routes = new WeakMap<Address, Route>();
  readonly #found: FoundForms;
  /** Version of the found forms for which the routes were built. */
  #version = 0;

  /** `found` has the forms of queues that exist in another form. */
  constructor(profile: BusProfile, found: FoundForms = new FoundForms()) {
    this.#profile = profile;
    this.#found = found;
    const { exchange: name, autoDelete, durable, queueType, nova } = profile;
    this.#control = {
      name,
      type: "topic",
      durable: durable || queueType === "quorum",
      autoDelete,
      ...openstack.passive(nova),
    };
  }

  /** Returns the route of an address. */
  of(address: Address): Route {
    if (address.kind === "direct") return { key: address.queue };
    if (this.#version !== this.#found.version) {
      this.#version = this.#found.version;
      this.#routes = new WeakMap();
    }
    const known = this.#routes.get(address);
    if (known) return known;
    const made = this.#make(address);
    const { queue } = made;
    const route = queue ? { ...made, queue: this.#found.of(queue) } : made;
    this.#routes.set(address, route);
    return route;
  }

  /**
   * Returns the route of the reply queue of a process. Its exchange is for servers that reply to an exchange: Grizzly,
   * Havana, oslo.messaging before 10.
   */
  inbox(name: string): QueueRoute {
    const { nova } = this.#profile;
    if (!nova) {
      return { key: name, queue: own.inboxQueue(name, this.#choice()) };
    }
    const queue = openstack.replyQueue(name, nova);
    return { exchange: replyExchange(name), key: name, queue };
  }

  /** True if inboxes are created as quorum queues. */
  get hasQuorumInbox(): boolean {
    const { nova, queueType } = this.#profile;
    return nova ? nova.transientQuorum : queueType === "quorum";
  }

  #make(address: Exclude<Address, { kind: "direct" }>): Route {
    const name = queueName(address);
    switch (address.kind) {
      case "fanout":
        return this.#fanout(address.topic);
      case "callQueue":
        return this.#callQueue(address.call);
      case "delay":
      case "deadLetter":
      case "quarantine":
      case "paused":
      case "parked":
        return this.#derived(address);
      case "leader":
        return { key: name, queue: own.electionQueue(name, this.#choice()) };
      case "hostLock":
        return { key: name, queue: own.lockQueue(name) };
      default:
        return this.#shared(address);
    }
  }

  #shared(address: QueueAddress): QueueRoute {
    const exclusive = address.kind === "event" && address.exclusive === true;
    const name = queueName(address);
    return {
      exchange: this.#control,
      key: publishKey(address),
      queue: exclusive ? own.exclusiveQueue(name) : this.#sharedQueue(name),
    };
  }

  #sharedQueue(name: string): Queue {
    const { nova, durable, autoDelete, queueType } = this.#profile;
    if (nova) return openstack.sharedQueue(name, { ...this.#profile, nova });
    const queue = own.lastingQueue(name, this.#choice());
    return { ...queue, durable: durable || queueType === "quorum", autoDelete };
  }

  /** Returns a queue of the same type as the queue that it is derived from, reached through the default exchange. */
  #derived(
    address: Extract<Address, { readonly of: QueueAddress }>,
  ): QueueRoute {
    const [key, target] = [queueName(address), queueName(address.of)];
    const choice = this.#choice(target);
    const queue = address.kind === "delay"
      ? own.delayQueue(key, choice, { target, ms: address.ms })
      : own.lastingQueue(key, choice);
    return { key, queue };
  }

  /** Returns the type of new queues, which is that of the target for a queue that is derived from it. */
  #choice(target?: string): own.QueueChoice {
    const { queueType, anyQueueType = false } = this.#profile;
    const type = target === undefined ? undefined : this.#found.typeOf(target);
    return { preferred: type ?? queueType, anyType: anyQueueType };
  }

  #callQueue(call: string): QueueRoute {
    const { callQueue } = this.#profile.nova ? openstack : own;
    return { exchange: replyExchange(call), key: call, queue: callQueue(call) };
  }

  #fanout(topic: string): QueueRoute {
    const { nova } = this.#profile;
    const name = `${topic}_fanout`;
    const routing = { key: "", binding: topic };
    if (nova && !isOwnTopic(topic)) { // all services find each other on every bus
      return { ...routing, ...openstack.fanout(name, nova) };
    }
    const exchange: Exchange = {
      name,
      type: "fanout",
      durable: true,
      autoDelete: false,
    };
    return { ...routing, exchange, queue: own.exclusiveQueue(name) };
  }
}

/** Returns an exchange with one queue, both of the same name, to which older peers reply (Folsom, Grizzly). */
function replyExchange(name: string): Exchange {
  return { name, type: "direct", durable: false, autoDelete: true };
}
