/** What is consumed for a dispatcher: a queue, and beside a shared one its quarantine. @module */
import { InvalidValueError } from "../../errors.ts";
import { log } from "../../logging.ts";
import {
  quarantine,
  type Queue,
  type Route,
  type Routes,
} from "../../transport/routes.ts";
import type { Wait } from "../../transport/transport.ts";
import { type Addressee, hostOf, named } from "../request/addressee.ts";
import { checkDispatcher, type Dispatcher } from "../dispatch/dispatcher.ts";
import { type Lane, laneOf } from "../request/served_queue.ts";
import { checkPool, checkTopic } from "../../names.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { checkTarget } from "../client/call_options.ts";
import type { Server } from "./server.ts";
import type { Subscriptions } from "./subscriptions.ts";

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
export interface Consumed {
  /** The route that is consumed. */
  readonly route: Route;
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
  routes: Routes,
  topic: string,
  dispatcher: Dispatcher,
  options: ConsumerOptions,
): Consumed {
  checkNames(options, consumerNames);
  const { fanout = false, host } = options;
  checkTopic(topic);
  if (host === undefined) {
    const route = fanout ? routes.fanout(topic) : routes.topic(topic);
    return { route, addressee: named(topic, dispatcher) };
  }
  checkTarget({ topic, host });
  if (!fanout) {
    return { route: routes.host(topic, host), addressee: hostOf(topic, host) };
  }
  throw new InvalidValueError(
    `Invalid option host ${host}: a fanout goes to all hosts; give one of them`,
    { data: { path: "host" } },
  );
}

/** The queue of `createWorker`. */
export function workerOf(
  routes: Routes,
  topic: string,
  dispatcher: Dispatcher,
  pool: string,
): Consumed {
  checkTopic(topic);
  checkPool(topic, pool);
  return {
    route: routes.pool(topic, pool),
    addressee: named(topic, dispatcher),
  };
}

/**
 * Plans the consumers of a route.
 *
 * @throws {InvalidValueError} `dispatcher` is none.
 * @throws {TopologyError} the queue or exchange exists in another form.
 */
export async function planConsumers(
  parts: ConsumingParts,
  { route, addressee }: Consumed,
  dispatcher: Dispatcher,
  wait: Wait,
): Promise<void> {
  checkDispatcher(dispatcher);
  const { server, subscriptions, openstack } = parts;
  const shared = route.exchange?.type === "fanout" ? undefined : route.queue;
  const lane = laneOf(dispatcher, addressee, shared, server.answered);
  const keep = shared !== undefined && !openstack;
  await subscriptions.add(route, server.receiver(lane), wait, keep);
  if (shared && !openstack) await planQuarantine(parts, lane, shared, wait);
}

/** A worker that may not have a quarantine serves all the same. One at a time: what ends a worker is then known. */
async function planQuarantine(
  { server, subscriptions }: ConsumingParts,
  lane: Lane,
  queue: Queue,
  wait: Wait,
): Promise<void> {
  const apart = quarantine(queue);
  const receive = server.receiver({
    ...lane,
    quarantine: apart,
    quarantined: true,
  });
  const refused = (error: Error) => {
    lane.quarantine = undefined;
    log("rpc").warn(
      "What workers did not finish is not kept apart from {queue}: {error}",
      { queue: queue.name, error },
      queue.name,
    );
  };
  lane.quarantine = apart;
  const spare = { prefetch: 1, refused };
  await subscriptions.add(apart, receive, wait, true, spare);
}
