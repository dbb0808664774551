/** What a connection context consumes: planned first, then started, then cancelled and drained. @module */
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
import { type Addressee, hostOf, named } from "../request/addressee.ts";
import { checkDispatcher, type Dispatcher } from "../dispatch/dispatcher.ts";
import { type ServedQueue, servedQueue } from "../request/served_queue.ts";
import { checkPool, checkTopic } from "../../names.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { checkTarget } from "../client/call_options.ts";
import type { Server } from "./server.ts";
import type { StopListener } from "../notifications/listener.ts";
import type { Limits } from "../../wire/codec.ts";

/** How one is consumed that others can do without. */
export interface OptionalConsumer {
  /** Unacknowledged deliveries at most. */
  readonly prefetch: number;
  /** Called, once at most, where the broker does not let it be made or consumed. */
  readonly refused: (error: TopologyError) => void;
}

/** The consumers of one context. */
export class Subscriptions {
  readonly #session: Session;
  readonly #prefetch: number;
  readonly #limit: number;
  /** What `start` will start. */
  readonly #planned: ((deadline: Deadline) => Promise<void>)[] = [];
  readonly #consumers: Consumer[] = [];
  readonly #listeners: StopListener[] = [];
  #started = false;

  /** On a transport, each with the same prefetch. */
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
   * Makes the queue of an address; consumes it now if they are started, else then. `keep`: what is too large comes all the same,
   * see `BodyLimit`.
   *
   * @throws {TopologyError} the broker refuses it, and it is not `spare`.
   */
  async add(
    address: Address,
    receive: (delivery: Delivery) => void,
    deadline: Deadline,
    keep: boolean,
    spare?: OptionalConsumer,
  ): Promise<void> {
    const { prefetch = this.#prefetch } = spare ?? {};
    const limit = { bytes: this.#limit, keep };
    const start = async (deadline: Deadline) => {
      const consumer = this.#session.consume(
        address,
        receive,
        { prefetch, optional: spare !== undefined, limit },
        deadline,
      );
      await ifPermitted(
        consumer.then((made) => this.#consumers.push(made)),
        spare,
      );
    };
    const made = this.#session.declare(address, deadline).then(() => true);
    if (!await ifPermitted(made, spare)) return;
    if (this.#started) await start(deadline);
    else this.#planned.push(start);
  }

  /** A listener that is already started. */
  addListener(stop: StopListener): void {
    this.#listeners.push(stop);
  }

  /** Starts what is planned; later ones start at once. */
  async start(deadline: Deadline): Promise<void> {
    this.#started = true;
    for (let start; (start = this.#planned[0]); this.#planned.shift()) {
      await start(deadline);
    }
  }

  /** Takes no more messages; resolves when the broker has said so, or at the deadline. */
  async cancel(deadline: number): Promise<void> {
    const all = this.#consumers.map((consumer) => consumer.cancel(deadline));
    await Promise.all(all);
  }

  /** Resolves when no event is in hand, or at the deadline. */
  async stopListeners(deadline: number): Promise<void> {
    await Promise.all(this.#listeners.map((stop) => stop(deadline)));
  }
}

/** What the broker refuses of a spare is told, and undefined. */
async function ifPermitted<T>(
  work: Promise<T>,
  spare: OptionalConsumer | undefined,
): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!spare || !(error instanceof TopologyError)) throw error;
    spare.refused(error);
    return undefined;
  }
}

/** The consumer. */
export interface ConsumingParts {
  /** Serves what comes. */
  readonly server: Server;
  /** Has the consumers. */
  readonly subscriptions: Subscriptions;
  /** Whether the bus is OpenStack's: there are no quarantines. */
  readonly openstack: boolean;
}

/** A route, and the address whose requests come there. */
export interface ConsumedQueue {
  /** The address that is consumed. */
  readonly address: Address;
  /** Whose. */
  readonly addressee: Addressee;
}

/** Options of `createConsumer`. */
export interface ConsumerOptions {
  /** For the queue of this process that gets every broadcast, in place of the shared one; default false. */
  readonly fanout?: boolean | undefined;
  /** The queue of that host: then only what is asked of this topic on this host is served there. */
  readonly host?: string | undefined;
}

const consumerNames = namesOf<ConsumerOptions>({ fanout: true, host: true });

/**
 * The queue of `createConsumer`.
 *
 * @throws {InvalidValueError} a name is wrong, an option has a name that there is not, or a fanout is to have a host.
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
    return { address: { kind, topic }, addressee: named(topic, dispatcher) };
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

/** The queue of `createWorker`. */
export function workerOf(
  topic: string,
  dispatcher: Dispatcher,
  pool: string,
): ConsumedQueue {
  checkTopic(topic);
  checkPool(topic, pool);
  return {
    address: { kind: "pool", topic, pool },
    addressee: named(topic, dispatcher),
  };
}

/**
 * Plans the consumers of an address.
 *
 * @throws {InvalidValueError} `dispatcher` is none.
 * @throws {TopologyError} the queue or exchange exists in another form.
 */
export async function planConsumers(
  parts: ConsumingParts,
  { address, addressee }: ConsumedQueue,
  dispatcher: Dispatcher,
  deadline: Deadline,
): Promise<void> {
  checkDispatcher(dispatcher);
  const { server, subscriptions, openstack } = parts;
  const shared = isShared(address) ? address : undefined;
  const served = servedQueue(dispatcher, addressee, shared, server.replyCache);
  const keep = shared !== undefined && !openstack;
  await subscriptions.add(address, server.receiver(served), deadline, keep);
  if (shared && !openstack) {
    await planQuarantine(parts, served, shared, deadline);
  }
}

/** Every worker gets a copy from a fanout; any other consumed queue is shared. */
function isShared(address: Address): address is QueueAddress {
  return address.kind !== "fanout";
}

/** A worker that may not have a quarantine serves all the same. One at a time: what ends a worker is then known. */
async function planQuarantine(
  { server, subscriptions }: ConsumingParts,
  served: ServedQueue,
  queue: QueueAddress,
  deadline: Deadline,
): Promise<void> {
  const apart: Address = { kind: "quarantine", of: queue };
  const receive = server.receiver({
    ...served,
    quarantine: apart,
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
  served.quarantine = apart;
  const spare = { prefetch: 1, refused };
  await subscriptions.add(apart, receive, deadline, true, spare);
}
