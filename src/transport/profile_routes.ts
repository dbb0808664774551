/** The table of rows for one profile: whose bus it is decides names and flags. @module */
import {
  type Exchange,
  type Queue,
  queueFor,
  replyExchange,
  type Route,
  type Routes,
  transientQueue,
} from "./routes.ts";

/** What a profile decides. */
export interface Profile {
  /** Name of the control exchange. */
  readonly exchange: string;
  /** Whether the control exchange and the shared queues outlive the broker. */
  readonly durable: boolean;
  /** Whether they go when nobody uses them any more. */
  readonly autoDelete: boolean;
  /** `x-queue-type` of shared queues. */
  readonly queueType: "classic" | "quorum";
  /** OpenStack's forms of what belongs to one process; undefined = Warren's. */
  readonly nova?: NovaForms | undefined;
}

/** Arguments by their names, `x-…`; `null` leaves one out that would be there. */
export type ArgumentValues = Readonly<
  Record<string, string | number | boolean | null>
>;

/** Arguments of the kinds of queues, each in place of or beside those that the queue has anyway. */
export interface QueueArguments {
  /** Of topics, hosts, pools and events, e.g. `{ "x-delivery-limit": 20 }` of quorum queues. */
  readonly shared?: ArgumentValues | undefined;
  /** Of fanouts: the queue of each process, or the stream of a topic, e.g. `{ "x-max-age": "600s" }`. */
  readonly fanout?: ArgumentValues | undefined;
  /** Of the queue for the answers of a process. */
  readonly reply?: ArgumentValues | undefined;
}

/** How oslo.messaging keeps what belongs to one process. */
export interface NovaForms {
  /** Reply and fanout queues are durable quorum queues (`rabbit_transient_quorum_queue`). */
  readonly transientQuorum: boolean;
  /** What processes share is taken as it is, and never made. */
  readonly passive?: boolean;
  /** All processes read fanouts from one stream for each topic (`rabbit_stream_fanout`). */
  readonly streamFanout: boolean;
  /** Arguments of queues in place of those of oslo.messaging. */
  readonly arguments?: QueueArguments | undefined;
  /** In place of random characters in the names of such queues (`use_queue_manager`: `<hostname>:<process>`). */
  readonly member?: string | undefined;
}

/** Milliseconds after which oslo.messaging's queues of one process expire (`rabbit_transient_queues_ttl`). */
const NOVA_TTL = 1_800_000;
/** The same, for a stream. */
const NOVA_AGE = "1800s";

const QUORUM = { "x-queue-type": "quorum" } as const;

/** How topics of Warren's own begin: they are the same on every bus, so that all its services find each other. */
const OWN = "warren.";

/** The table for one profile. */
export function routes(profile: Profile): Routes {
  const { exchange: name, durable, autoDelete, queueType, nova } = profile;
  const lasting = durable || queueType === "quorum";
  const control: Exchange = {
    name,
    type: "topic",
    durable: lasting,
    autoDelete,
    ...asItIs(nova),
  };
  const row = (key: string, queue = key): Route => ({
    exchange: control,
    key,
    queue: {
      name: queue,
      durable: lasting,
      exclusive: false,
      autoDelete,
      arguments: withArguments(
        queueType === "quorum" ? QUORUM : {},
        nova?.arguments?.shared,
      ),
      ...asItIs(nova),
    },
  });
  return {
    topic: (topic) => row(topic),
    host: (topic, host) => row(queueFor(topic, host)),
    pool: (topic, pool) => row(topic, pool),
    notify: (topic, priority) => row(`${topic}.${priority}`),
    fanout: (topic) =>
      nova && !topic.startsWith(OWN) ? novaFanout(topic, nova) : fanout(topic),
    inbox: (inbox) => nova ? novaInbox(inbox, nova) : transientQueue(inbox),
  };
}

function asItIs(nova: NovaForms | undefined): { readonly passive?: true } {
  return nova?.passive ? { passive: true } : {};
}

function fanoutExchange(
  topic: string,
  durable: boolean,
  autoDelete: boolean,
): Exchange {
  return { name: `${topic}_fanout`, type: "fanout", durable, autoDelete };
}

function fanout(topic: string): Route {
  const queue: Queue = {
    name: `${topic}_fanout`,
    durable: false,
    exclusive: true,
    autoDelete: true,
    arguments: {},
    fresh: true,
  };
  const exchange = fanoutExchange(topic, true, false);
  return { exchange, key: "", binding: topic, queue };
}

/** A queue of one process that expires (oslo.messaging: `declare_fanout_consumer`, `declare_direct_consumer`). */
function expiring(
  { transientQuorum }: NovaForms,
  name: string,
  more: ArgumentValues | undefined,
): Queue {
  const expires = { "x-expires": NOVA_TTL };
  const usual = transientQuorum ? { ...expires, ...QUORUM } : expires;
  return {
    name,
    durable: transientQuorum,
    exclusive: false,
    autoDelete: false,
    arguments: withArguments(usual, more),
    temporary: true,
  };
}

function novaFanout(topic: string, nova: NovaForms): Route {
  const { transientQuorum, streamFanout, member } = nova;
  const more = nova.arguments?.fanout;
  const usual = { "x-queue-type": "stream", "x-max-age": NOVA_AGE };
  const name = `${topic}_fanout`;
  const exchange = fanoutExchange(topic, transientQuorum || streamFanout, true);
  const stream: Queue = {
    name,
    durable: true,
    exclusive: false,
    autoDelete: false,
    arguments: withArguments(usual, more),
    ...asItIs(nova),
  };
  const own: Queue = { ...expiring(nova, name, more), fresh: member ?? true };
  const row = { key: "", binding: topic };
  // The exchange of the processes' own queues comes and goes with them.
  return streamFanout
    ? { ...row, exchange: { ...exchange, ...asItIs(nova) }, queue: stream }
    : { ...row, exchange, queue: own };
}

/** Its exchange is for servers that answer to one: Grizzly, Havana, oslo.messaging before 10. */
function novaInbox(name: string, nova: NovaForms): Route {
  const queue = expiring(nova, name, nova.arguments?.reply);
  return { exchange: replyExchange(name), key: name, queue };
}

function withArguments(
  usual: Queue["arguments"],
  more: ArgumentValues = {},
): Queue["arguments"] {
  const all = Object.entries({ ...usual, ...more });
  return Object.fromEntries(
    all.filter((entry): entry is [string, string | number | boolean] =>
      entry[1] !== null
    ),
  );
}
