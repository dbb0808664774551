/** Consumers of a connection context: planned first, then started, finally cancelled and drained. @module */
import { inParallel } from "../../async/in_parallel.ts";
import { InvalidValueError, TopologyError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import {
  type Address,
  type QueueAddress,
  queueName,
  topicAddress,
} from "../../transport/address.ts";
import type {
  Consumer,
  Deadline,
  Delivery,
  Session,
} from "../../transport/transport.ts";
import {
  type Addressee,
  addresseeOfName,
  hostOf,
} from "../request/addressee.ts";
import { checkDispatcher, type Dispatcher } from "../dispatch/dispatcher.ts";
import { type ServedQueue, servedQueue } from "../request/served_queue.ts";
import { checkPool, checkTopic } from "../../names.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { checkTarget } from "../client/call_options.ts";
import type { Server } from "./server.ts";
import type { StopListener } from "../notifications/listener.ts";
import type { Limits } from "../../wire/mod.ts";

/** Consumers that start at the same time. */
const MAX_STARTS = 256;

/** Options of a consumer without which the worker can serve as well. */
export interface OptionalConsumer {
  /** Limit of unacknowledged deliveries. */
  readonly prefetch: number;
  /** Called at most once, if the broker forbids the queue or its consumer. */
  readonly refused: (error: TopologyError) => void;
}

/** Options of `Subscriptions.add`. */
export interface AddedConsumer {
  /** True if messages above the size limit are delivered as well, see `BodyLimit`. */
  readonly keep: boolean;
  /** Options for a consumer without which the worker can serve as well; undefined for all others. */
  readonly optional?: OptionalConsumer;
}

/** Consumers of one connection context. */
export class Subscriptions {
  readonly #session: Session;
  readonly #prefetch: number;
  readonly #limit: number;
  /** Consumers that `start` will start. */
  readonly #planned: ((deadline: Deadline) => Promise<void>)[] = [];
  readonly #consumers: Consumer[] = [];
  readonly #listeners: StopListener[] = [];
  #started = false;

  /** Consumers of a session, with the same prefetch and message limit. */
  constructor(
    { session, prefetch, limits }: {
      readonly session: Session;
      readonly prefetch: number;
      readonly limits: Limits;
    },
  ) {
    this.#limit = limits.bytes;
    this.#session = session;
    this.#prefetch = prefetch;
  }

  /**
   * Declares the queue of an address, and consumes it after `start`.
   *
   * @throws {TopologyError} the broker refuses the queue, and the consumer is not optional.
   */
  async add(
    address: Address,
    receive: (delivery: Delivery) => void,
    deadline: Deadline,
    { keep, optional }: AddedConsumer,
  ): Promise<void> {
    const { prefetch = this.#prefetch } = optional ?? {};
    const limit = { bytes: this.#limit, allowWhole: keep };
    const start = async (deadline: Deadline) => {
      const consumer = this.#session.consume(
        address,
        receive,
        { prefetch, optional: optional !== undefined, limit },
        deadline,
      );
      await ifPermitted(
        consumer.then((started) => this.#consumers.push(started)),
        optional,
      );
    };
    const declared = this.#session.declare(address, deadline).then(() => true);
    if (!await ifPermitted(declared, optional)) return;
    if (!this.#started) return void this.#planned.push(start);
    await start(deadline);
    await this.#session.waitForNewQueues(deadline);
  }

  /** Adds a listener that has already started. */
  addListener(stop: StopListener): void {
    this.#listeners.push(stop);
  }

  /**
   * Starts the planned consumers; later ones start at once. Those that fail stay planned. Each gets a deadline of its own,
   * since a broker needs minutes for thousands of them.
   */
  async start(newDeadline: () => Deadline): Promise<void> {
    this.#started = true;
    const planned = this.#planned.splice(0);
    await inParallel(planned, MAX_STARTS, async (start) => {
      try {
        await start(newDeadline());
      } catch (error) {
        this.#planned.push(start);
        throw error;
      }
    });
    await this.#session.waitForNewQueues(newDeadline());
  }

  /** Cancels all consumers; resolves when the broker has confirmed it, or at the deadline. */
  async cancel(deadline: number): Promise<void> {
    const all = this.#consumers.map((consumer) => consumer.cancel(deadline));
    await Promise.all(all);
  }

  /** Stops the listeners; resolves when no event is active, or at the deadline. */
  async stopListeners(deadline: number): Promise<void> {
    await Promise.all(this.#listeners.map((stop) => stop(deadline)));
  }
}

/** Reports to an optional consumer that the broker forbids it, and resolves to undefined. */
async function ifPermitted<T>(
  work: Promise<T>,
  optional: OptionalConsumer | undefined,
): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!optional || !(error instanceof TopologyError)) throw error;
    optional.refused(error);
    return undefined;
  }
}

/** Collaborators of `planConsumers`. */
export interface ConsumerResources {
  /** Serves the requests. */
  readonly server: Server;
  /** Consumers of the context. */
  readonly subscriptions: Subscriptions;
  /** True on OpenStack's bus, where there are no quarantine queues. */
  readonly openstack: boolean;
}

/** Queue that is consumed, with the addressee of its requests. */
export interface ConsumedQueue {
  /** Address of the queue. */
  readonly address: Address;
  /** Topic and host of the requests. */
  readonly addressee: Addressee;
}

/**
 * Options of `createConsumer`.
 * @category Nova's low-level steps
 */
export interface ConsumerOptions {
  /**
   * True to consume the fanout queue of this process, which gets every fanout of the topic, instead of the shared
   * queue. Default false.
   */
  readonly fanout?: boolean | undefined;
  /**
   * Host whose queue is consumed; only requests to this topic on this host are served from it. Default: the queue of
   * the topic.
   */
  readonly host?: string | undefined;
}

const consumerNames = namesOf<ConsumerOptions>({ fanout: true, host: true });

/**
 * Returns the queue that `createConsumer` consumes.
 *
 * @throws {InvalidValueError} a name is invalid, an option is unknown, or both a fanout and a host are given.
 */
export function consumerOf(
  topic: string,
  dispatcher: Dispatcher,
  options: ConsumerOptions,
): ConsumedQueue {
  checkNames(options, consumerNames);
  const { fanout = false, host } = options;
  checkTopic(topic);
  if (host === undefined) {
    const kind = fanout ? "fanout" as const : "topic" as const;
    return {
      address: { kind, topic },
      addressee: addresseeOfName(topic, dispatcher),
    };
  }
  checkTarget({ topic, host });
  if (!fanout) {
    const address = topicAddress(topic, host);
    return { address, addressee: hostOf(topic, host) };
  }
  throw new InvalidValueError(
    `Invalid option host ${host}: a fanout goes to all hosts; give one of them`,
    { data: { path: "host" } },
  );
}

/** Returns the queue that `createWorker` consumes. */
export function workerOf(
  topic: string,
  dispatcher: Dispatcher,
  pool: string,
): ConsumedQueue {
  checkTopic(topic);
  checkPool(topic, pool);
  return {
    address: { kind: "pool", topic, pool },
    addressee: addresseeOfName(topic, dispatcher),
  };
}

/**
 * Plans the consumer of a queue, and of its quarantine queue.
 *
 * @throws {InvalidValueError} `dispatcher` has no method `dispatch`.
 * @throws {TopologyError} the queue or exchange exists with other properties.
 */
export async function planConsumers(
  resources: ConsumerResources,
  { address, addressee }: ConsumedQueue,
  dispatcher: Dispatcher,
  deadline: Deadline,
): Promise<void> {
  checkDispatcher(dispatcher);
  const { server, subscriptions, openstack } = resources;
  const shared = isShared(address) ? address : undefined;
  const served = servedQueue(dispatcher, addressee, shared, server.replyCache);
  const keep = shared !== undefined && !openstack;
  const receive = server.receiver(served);
  await subscriptions.add(address, receive, deadline, { keep });
  // The quarantine queue gets the type of its queue, which is known now.
  if (keep) await planQuarantine(resources, served, shared, deadline);
}

/** True for a queue that several workers share; of a fanout, every worker gets a copy in its own queue. */
function isShared(address: Address): address is QueueAddress {
  return address.kind !== "fanout";
}

/**
 * Plans the consumer of a quarantine queue. It has only one request at a time, so that the request that ends a worker
 * is known. A worker whose user lacks the permission serves without the queue.
 */
async function planQuarantine(
  { server, subscriptions }: ConsumerResources,
  served: ServedQueue,
  queue: QueueAddress,
  deadline: Deadline,
): Promise<void> {
  const quarantine: Address = { kind: "quarantine", of: queue };
  const receive = server.receiver({
    ...served,
    quarantine,
    quarantined: true,
  });
  const refused = (error: Error) => {
    served.quarantine = undefined;
    logger("rpc").warn(
      "What workers did not finish is not kept apart from {queue}: {error}",
      { queue: queueName(queue), error },
      queueName(queue),
    );
  };
  served.quarantine = quarantine;
  const optional = { prefetch: 1, refused };
  await subscriptions.add(quarantine, receive, deadline, {
    keep: true,
    optional,
  });
}
