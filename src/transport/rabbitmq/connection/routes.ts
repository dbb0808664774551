/**
 * Routes: the exchange, the routing key and the queue with its arguments that RabbitMQ needs for an address. Names and
 * flags are Nova's (`impl_kombu.py`) or oslo.messaging's, depending on the bus profile.
 *
 * @module
 */
import {
  type Address,
  publishKey,
  type QueueAddress,
  queueName,
} from "../../address.ts";
import type {
  ArgumentValues,
  BusProfile,
  NovaVariants,
} from "../../profile.ts";
import type { Exchange, Queue, QueueRoute, Route } from "./entities.ts";

/** Milliseconds without a consumer after which the broker deletes a reply queue, or the queue of an election. */
const TRANSIENT_EXPIRES_MS = 60_000;
/** Milliseconds after which oslo.messaging's queues of one process expire (`rabbit_transient_queues_ttl`). */
const NOVA_EXPIRES_MS = 1_800_000;
/** The same limit for the age of messages in a stream. */
const NOVA_MAX_AGE = "1800s";

const QUORUM = { "x-queue-type": "quorum" } as const;

/** Prefix of Warren's own topics. They have the same form on every bus, so that all services find each other. */
const OWN_TOPICS = "warren.";

/** The routes of one profile. */
export class Routes {
  readonly #profile: BusProfile;
  readonly #control: Exchange;
  /** Routes by address. Callers reuse their addresses, so that no route has to be built for each message. */
  readonly #routes = new WeakMap<Address, Route>();

  constructor(profile: BusProfile) {
    this.#profile = profile;
    const { exchange: name, autoDelete, nova } = profile;
    const durable = isLasting(profile);
    this.#control = {
      name,
      type: "topic",
      durable,
      autoDelete,
      ...passive(nova),
    };
  }

  /** Returns the route of an address. */
  of(address: Address): Route {
    if (address.kind === "direct") return { key: address.queue };
    const known = this.#routes.get(address);
    if (known) return known;
    const route = this.#make(address);
    this.#routes.set(address, route);
    return route;
  }

  /**
   * Returns the route of the reply queue of a process. Its exchange is for servers that reply to an exchange: Grizzly,
   * Havana, oslo.messaging before 10.
   */
  inbox(name: string): QueueRoute {
    const { nova } = this.#profile;
    if (!nova) return transientQueue(name);
    const queue = expiringQueue(nova, name, nova.arguments?.reply);
    return { exchange: replyExchange(name), key: name, queue };
  }

  #make(address: Exclude<Address, { kind: "direct" }>): Route {
    switch (address.kind) {
      case "fanout":
        return this.#fanout(address.topic);
      case "callQueue":
        return callQueue(address.call);
      case "delay":
      case "deadLetter":
      case "quarantine":
        return this.#derived(address);
      case "leader":
        return electionQueue(queueName(address), this.#profile.queueType);
      case "hostLock":
        return transientQueue(queueName(address), true);
      default:
        return this.#shared(address);
    }
  }

  #shared(address: QueueAddress): QueueRoute {
    const exclusive = address.kind === "event" && address.exclusive === true;
    return {
      exchange: this.#control,
      key: publishKey(address),
      queue: exclusive
        ? exclusiveQueue(queueName(address))
        : this.#sharedQueue(queueName(address)),
    };
  }

  #sharedQueue(name: string): Queue {
    const { autoDelete, queueType, nova } = this.#profile;
    const type = queueType === "quorum" ? QUORUM : {};
    return {
      name,
      durable: isLasting(this.#profile),
      exclusive: false,
      autoDelete,
      arguments: withArguments(type, nova?.arguments?.shared),
      ...passive(nova),
    };
  }

  /** Returns a queue of the same type as the queue that it is derived from, reached through the default exchange. */
  #derived(
    address: Extract<Address, { readonly of: QueueAddress }>,
  ): QueueRoute {
    const { queue: { name: target, arguments: form } } = this.#shared(
      address.of,
    );
    const type = form["x-queue-type"];
    const name = queueName(address);
    const usual: Queue["arguments"] = type === undefined
      ? {}
      : { "x-queue-type": type };
    const queue: Queue = {
      name,
      durable: true,
      exclusive: false,
      autoDelete: false,
      arguments: address.kind === "delay"
        ? { ...usual, ...delayArguments(target, address.ms) }
        : usual,
    };
    return { key: name, queue };
  }

  #fanout(topic: string): QueueRoute {
    const { nova } = this.#profile;
    return nova && !topic.startsWith(OWN_TOPICS)
      ? novaFanout(topic, nova)
      : warrenFanout(topic);
  }
}

/**
 * Returns the arguments of a delay queue, which moves a message to its target after the delay (RabbitMQ: dead-letter
 * exchange).
 */
function delayArguments(target: string, ms: number): Queue["arguments"] {
  return {
    "x-message-ttl": ms,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": target,
  };
}

/** True if the broker keeps a queue over a restart. Quorum queues are always durable. */
function isLasting({ durable, queueType }: BusProfile): boolean {
  return durable || queueType === "quorum";
}

function passive(nova: NovaVariants | undefined): { readonly passive?: true } {
  return nova?.passive ? { passive: true } : {};
}

/**
 * Returns a durable queue that the broker deletes after a minute without a consumer. It is not exclusive, so that it
 * keeps its name and its messages when the connection is lost.
 */
export function transientQueue(name: string, autoDelete = false): QueueRoute {
  const queue: Queue = {
    name,
    durable: true,
    exclusive: false,
    autoDelete,
    arguments: { "x-expires": TRANSIENT_EXPIRES_MS },
  };
  return { key: name, queue };
}

function exclusiveQueue(name: string): Queue {
  return {
    name,
    durable: false,
    exclusive: true,
    autoDelete: true,
    arguments: {},
    unique: true,
  };
}

/** Returns an exchange with one queue, both of the same name, to which older peers reply (Folsom, Grizzly). */
function replyExchange(name: string): Exchange {
  return { name, type: "direct", durable: false, autoDelete: true };
}

/**
 * Returns the reply queue of one call. It is not exclusive, as in Folsom: after a loss that the broker has not noticed
 * yet, an exclusive queue could not be declared again.
 */
function callQueue(call: string): QueueRoute {
  const queue: Queue = {
    name: call,
    durable: false,
    exclusive: false,
    autoDelete: true,
    arguments: {},
  };
  return { exchange: replyExchange(call), key: call, queue };
}

function fanoutExchange(
  topic: string,
  durable: boolean,
  autoDelete: boolean,
): Exchange {
  return { name: `${topic}_fanout`, type: "fanout", durable, autoDelete };
}

function warrenFanout(topic: string): QueueRoute {
  const exchange = fanoutExchange(topic, true, false);
  const queue = exclusiveQueue(exchange.name);
  return { exchange, key: "", binding: topic, queue };
}

/** Returns a queue of one process that expires (oslo.messaging: `declare_fanout_consumer`, `declare_direct_consumer`). */
function expiringQueue(
  { transientQuorum }: NovaVariants,
  name: string,
  extra: ArgumentValues | undefined,
): Queue {
  const expires = { "x-expires": NOVA_EXPIRES_MS };
  const usual = transientQuorum ? { ...expires, ...QUORUM } : expires;
  return {
    name,
    durable: transientQuorum,
    exclusive: false,
    autoDelete: false,
    arguments: withArguments(usual, extra),
    temporary: true,
  };
}

/** Returns a queue that holds one message, and delivers it to one of its consumers until that one is lost. */
function electionQueue(
  name: string,
  type: BusProfile["queueType"],
): QueueRoute {
  const { queue } = transientQueue(name);
  const form = {
    ...(type === "quorum" ? QUORUM : {}),
    ...queue.arguments,
    "x-single-active-consumer": true,
    "x-max-length": 1,
  };
  return { key: name, queue: { ...queue, arguments: form } };
}

function novaFanout(topic: string, nova: NovaVariants): QueueRoute {
  const { transientQuorum, streamFanout, member } = nova;
  const extra = nova.arguments?.fanout;
  const exchange = fanoutExchange(topic, transientQuorum || streamFanout, true);
  const binding = { key: "", binding: topic };
  if (streamFanout) {
    const stream = streamQueue(exchange.name, nova);
    const shared = { ...exchange, ...passive(nova) };
    return { ...binding, exchange: shared, queue: stream };
  }
  // The exchange of the processes' own queues is created and deleted with them, so it is never passive.
  const queue = expiringQueue(nova, exchange.name, extra);
  return { ...binding, exchange, queue: { ...queue, unique: member ?? true } };
}

function streamQueue(name: string, nova: NovaVariants): Queue {
  const usual = { "x-queue-type": "stream", "x-max-age": NOVA_MAX_AGE };
  return {
    name,
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: withArguments(usual, nova.arguments?.fanout),
    ...passive(nova),
  };
}

function withArguments(
  usual: Queue["arguments"],
  extra: ArgumentValues = {},
): Queue["arguments"] {
  const all = Object.entries({ ...usual, ...extra });
  return Object.fromEntries(
    all.filter((entry): entry is [string, string | number | boolean] =>
      entry[1] !== null
    ),
  );
}
