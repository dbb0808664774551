/** Bus profile: whose exchange names and queue flags a driver declares, Warren's or OpenStack's. @module */
import { TopologyError } from "../errors.ts";

/** Settings of exchanges and queues that all peers of a bus must share. */
export interface BusProfile {
  /** Name of the control exchange. */
  readonly exchange: string;
  /** True if the control exchange and the shared queues survive a restart of the broker. */
  readonly durable: boolean;
  /** True if the control exchange and the shared queues are deleted with their last binding or consumer. */
  readonly autoDelete: boolean;
  /** Type of new shared queues. */
  readonly queueType: "classic" | "quorum";
  /** True if an existing queue of another type is used without a warning; default false. */
  readonly anyQueueType?: boolean;
  /** Variants of oslo.messaging for the queues of one process; undefined = Warren's own. */
  readonly nova?: NovaVariants | undefined;
}

/**
 * Arguments of a queue by their names (`x-…`); `null` removes an argument that the driver would set.
 * @category Connections
 */
export type ArgumentValues = Readonly<
  Record<string, string | number | boolean | null>
>;

/**
 * Arguments for each kind of queue, merged over the arguments that the driver sets.
 * @category Connections
 */
export interface QueueArguments {
  /** Arguments of topic, host, pool and event queues, e.g. `{ "x-delivery-limit": 20 }` for quorum queues. */
  readonly shared?: ArgumentValues | undefined;
  /** Arguments of fanout queues: of each process's queue, or of a topic's stream, e.g. `{ "x-max-age": "600s" }`. */
  readonly fanout?: ArgumentValues | undefined;
  /** Arguments of the reply queue of a process. */
  readonly reply?: ArgumentValues | undefined;
}

/** Variants of oslo.messaging for the queues of one process. */
export interface NovaVariants {
  /** True if reply and fanout queues are durable quorum queues (`rabbit_transient_quorum_queue`). */
  readonly transientQuorum: boolean;
  /** True if shared exchanges and queues must exist already: they are checked and never created. Default false. */
  readonly passive?: boolean;
  /** True if all processes read the fanouts of a topic from one stream (`rabbit_stream_fanout`). */
  readonly streamFanout: boolean;
  /** Arguments of queues, which override those of oslo.messaging. */
  readonly arguments?: QueueArguments | undefined;
  /** Part of the names of such queues that replaces random characters (`use_queue_manager`: `<hostname>:<process>`). */
  readonly member?: string | undefined;
}

/** Warren's own bus with classic queues. */
export const defaultProfile: BusProfile = {
  exchange: "warren",
  durable: true,
  autoDelete: false,
  queueType: "classic",
};

/**
 * Creates the error for an entity that a passive profile expects and that does not exist; `entity` is its kind and name.
 */
export function missingEntityError(entity: string): TopologyError {
  return new TopologyError(
    `Cannot use ${entity}: it does not exist, and the profile declares nothing; create it first, or give the profile declare: "active"`,
    { data: { entity, reason: "missing" } },
  );
}
