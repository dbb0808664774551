/** What is consumed for a dispatcher: a queue, and beside a shared one its quarantine. @module */
import { log } from "../telemetry.ts";
import { quarantine, type Queue, type Route } from "../bus/routes.ts";
import type { Wait } from "../bus/transport.ts";
import { checkDispatcher, type Dispatcher } from "./dispatcher.ts";
import { type Lane, laneOf } from "./lane.ts";
import { checkNames, namesOf } from "./option_names.ts";
import type { Server } from "./server.ts";
import type { Subscriptions } from "./subscriptions.ts";

/** Options of `createConsumer`. */
export interface ConsumerOptions {
  /** For the queue of this process that gets every broadcast, in place of the shared one; default false. */
  readonly fanout?: boolean | undefined;
}
const consumerNames = namesOf<ConsumerOptions>({ fanout: true });

/**
 * The row of the routing table that options ask for.
 *
 * @throws {InvalidValueError} an option has a name that there is not.
 */
export function rowOf(options: ConsumerOptions): "fanout" | "topic" {
  checkNames(options, consumerNames);
  return options.fanout ? "fanout" : "topic";
}

/** Who consumes. */
export interface ConsumingParts {
  /** Serves what comes. */
  readonly server: Server;
  /** Has the consumers. */
  readonly subscriptions: Subscriptions;
  /** Whether the bus is OpenStack's: there are no quarantines. */
  readonly openstack: boolean;
}

/**
 * Plans the consumers of a route.
 *
 * @throws {InvalidValueError} `dispatcher` is none.
 * @throws {TopologyError} the queue or exchange exists in another form.
 */
export async function planConsumers(
  parts: ConsumingParts,
  route: Route,
  dispatcher: Dispatcher,
  wait: Wait,
): Promise<void> {
  checkDispatcher(dispatcher);
  const { server, subscriptions, openstack } = parts;
  const shared = route.exchange?.type === "fanout" ? undefined : route.queue;
  const lane = laneOf(dispatcher, shared, server.answered);
  await subscriptions.add(route, server.receiver(lane), wait);
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
  await subscriptions.add(apart, receive, wait, { prefetch: 1, refused });
}
