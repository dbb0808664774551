/** Bus profile: whose names and flags a driver declares, Warren's or OpenStack's. @module */
import { TopologyError } from "../errors.ts";

/** The settings of a bus that all its peers must share. */
export interface BusProfile {
  /** Name of the control exchange. */
  readonly exchange: string;
  /** Whether the control exchange and the shared queues outlive the broker. */
  readonly durable: boolean;
  /** Whether they go when nobody uses them any more. */
  readonly autoDelete: boolean;
  /** Type of shared queues. */
  readonly queueType: "classic" | "quorum";
  /** OpenStack's variants of the queues of one process; undefined = Warren's. */
  readonly nova?: NovaVariants | undefined;
}

/**
 * Arguments of a queue by their names (`x-…`); `null` leaves out one that would be there.
 * @category Connections
 */
export type ArgumentValues = Readonly<
  Record<string, string | number | boolean | null>
>;

/**
 * Arguments for each kind of queue, in place of or beside those that the queue has anyway.
 * @category Connections
 */
export interface QueueArguments {
  /** Of topics, hosts, pools and events, e.g. `{ "x-delivery-limit": 20 }` of quorum queues. */
  readonly shared?: ArgumentValues | undefined;
  /** Of fanouts: the queue of each process, or the stream of a topic, e.g. `{ "x-max-age": "600s" }`. */
  readonly fanout?: ArgumentValues | undefined;
  /** Of the reply queue of a process. */
  readonly reply?: ArgumentValues | undefined;
}

/** oslo.messaging's variants of the queues of one process. */
export interface NovaVariants {
  /** Reply and fanout queues are durable quorum queues (`rabbit_transient_quorum_queue`). */
  readonly transientQuorum: boolean;
  /** Shared exchanges and queues must exist already: they are checked and never created. */
  readonly passive?: boolean;
  /** All processes read fanouts from one stream for each topic (`rabbit_stream_fanout`). */
  readonly streamFanout: boolean;
  /** Arguments of queues in place of those of oslo.messaging. */
  readonly arguments?: QueueArguments | undefined;
  /** Part of the names of such queues in place of random characters (`use_queue_manager`: `<hostname>:<process>`). */
  readonly member?: string | undefined;
}

/** Warren's own bus with classic queues. */
export const defaultProfile: BusProfile = {
  exchange: "warren",
  durable: true,
  autoDelete: false,
  queueType: "classic",
};

/** Error for an entity that a passive profile expects, and that does not exist; `entity` is its kind and its name. */
export function missingEntity(entity: string): TopologyError {
  return new TopologyError(
    `Cannot take ${entity} as it is: it does not exist; let whoever makes the queues of this bus make it, or give the profile declare: "active"`,
    { data: { entity, reason: "missing" } },
  );
}
