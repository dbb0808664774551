/**
 * Queues in the forms of Nova (`impl_kombu.py`) and oslo.messaging. They state no more than those do: a peer that states
 * less could not declare the queue on a virtual host whose default queue type is another.
 *
 * @module
 */
import type {
  ArgumentValues,
  BusProfile,
  NovaVariants,
} from "../../profile.ts";
import type { Exchange, Queue } from "./entities.ts";

/** Milliseconds after which queues of one process expire (`rabbit_transient_queues_ttl`). */
const EXPIRES_MS = 1_800_000;
/** The same limit for the age of messages in a stream. */
const MAX_AGE = "1800s";

const QUORUM = { "x-queue-type": "quorum" } as const;

/** Profile of an OpenStack bus. */
export type OpenstackProfile = BusProfile & { readonly nova: NovaVariants };

/** Marks shared queues and exchanges that a passive profile only checks. */
export const passive = (
  nova: NovaVariants | undefined,
): { readonly passive?: true } => nova?.passive ? { passive: true } : {};

/** Returns the queue of a topic, host, pool or event. */
export function sharedQueue(name: string, profile: OpenstackProfile): Queue {
  const { autoDelete, durable, queueType, nova } = profile;
  const isQuorum = queueType === "quorum";
  return {
    name,
    durable: durable || isQuorum,
    exclusive: false,
    autoDelete,
    arguments: withArguments(isQuorum ? QUORUM : {}, nova.arguments?.shared),
    ...passive(nova),
  };
}

/** Returns the reply queue of a process, which expires (`declare_direct_consumer`). */
export const replyQueue = (name: string, nova: NovaVariants): Queue =>
  expiringQueue(nova, name, nova.arguments?.reply);

/** Returns the reply queue of one call (Folsom: `DirectConsumer`). */
export const callQueue = (name: string): Queue => ({
  name,
  durable: false,
  exclusive: false,
  autoDelete: true,
  arguments: {},
});

/** Returns the exchange of a fanout, and the queue of one process or the stream of all (`declare_fanout_consumer`). */
export function fanout(
  name: string,
  nova: NovaVariants,
): { readonly exchange: Exchange; readonly queue: Queue } {
  const { transientQuorum, streamFanout, member } = nova;
  const durable = transientQuorum || streamFanout;
  const exchange = { name, type: "fanout", durable, autoDelete: true } as const;
  if (streamFanout) {
    const queue = streamQueue(name, nova);
    return { exchange: { ...exchange, ...passive(nova) }, queue };
  }
  // The exchange of the processes' own queues is created and deleted with them, so it is never passive.
  const queue = expiringQueue(nova, name, nova.arguments?.fanout);
  return { exchange, queue: { ...queue, unique: member ?? true } };
}

function expiringQueue(
  { transientQuorum }: NovaVariants,
  name: string,
  extra: ArgumentValues | undefined,
): Queue {
  const expires = { "x-expires": EXPIRES_MS };
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

function streamQueue(name: string, nova: NovaVariants): Queue {
  const usual = { "x-queue-type": "stream", "x-max-age": MAX_AGE };
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
