/** Consumers that should exist, as data from which they are started again after a loss. @module */
import { type Channel, FieldValue } from "../../../amqp/mod.ts";
import type { Queue, QueueRoute } from "../routes/entities.ts";
import type { ConsumeOptions, Delivery } from "../../transport.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";

/** A request to consume a queue. */
export interface ConsumerRequest {
  /** Route of the queue. */
  route: QueueRoute;
  /** Returns another usable route, if the node of the queue is down. */
  readonly replaceRoute?: (() => QueueRoute) | undefined;
  /** Called with each delivery. */
  readonly onDelivery: (delivery: Delivery) => void;
  /** Prefetch, exclusivity, and whether the consumer is optional. */
  readonly options: ConsumeOptions;
}

/** Receiver of a consumer. */
export interface RequeueingReceiver {
  /** Requeues all later messages of a consumer that is cancelled, once the broker has confirmed that. */
  requeueAll(cancelled: Promise<void>): void;
}

/** A consumer that should exist, and its state. */
export interface ConsumerSpec extends ConsumerRequest {
  /** Consumer tag while the consumer runs. Each start has a new tag, so that messages for an earlier one are not mixed up. */
  tag?: string | undefined;
  /** Channel on which the consumer was started last. */
  channel?: Channel;
  /** True once the consumer has run. */
  hasRun?: boolean;
  /** Number of successive starts to which the broker has not replied. */
  unanswered?: number;
  /** Offset of the last message of a stream. */
  offset?: number;
  /** Time at which the consumer first read a stream, in seconds since 1970. */
  startedAt?: number;
  /** True once the consumer was cancelled; it is not restored after a loss. */
  cancelled?: boolean;
  /** Receiver of the consumer while it runs. */
  receiver?: RequeueingReceiver | undefined;
  /** Latest start of the consumer; starts run one after another. */
  starting?: Promise<unknown>;
  /** Resolved when the consumer is not restored any more. */
  readonly ended: PromiseWithResolvers<void>;
}

/** Consumers of one channel. Each change is reported to the health of the connection. */
export class ConsumerRegistry {
  readonly #recorder: HealthRecorder;
  readonly #all = new Set<ConsumerSpec>();

  /** Creates an empty registry. */
  constructor(recorder: HealthRecorder) {
    this.#recorder = recorder;
  }

  /** Number of consumers. */
  get size(): number {
    return this.#all.size;
  }

  /** A copy of all consumers. */
  get all(): readonly ConsumerSpec[] {
    return [...this.#all];
  }

  /** Consumers that do not run. */
  get missing(): readonly ConsumerSpec[] {
    return this.all.filter(({ tag }) => !tag);
  }

  /** The same in groups that are started one after another: those that the broker did not answer, and the optional ones, come last. */
  get missingInOrder(): readonly (readonly ConsumerSpec[])[] {
    const placeOf = ({ options, unanswered = 0 }: ConsumerSpec) =>
      options.optional ? 2 : unanswered > 0 ? 1 : 0;
    const { missing } = this;
    return [0, 1, 2].map((place) =>
      missing.filter((spec) => placeOf(spec) === place)
    );
  }

  /** Records that a consumer has started (`basic.consume-ok`). An optional one is wanted only while it runs. */
  started(spec: ConsumerSpec, tag: string): void {
    const known = this.#all.has(spec);
    const already = known && spec.tag !== undefined;
    spec.tag = tag;
    spec.hasRun = true;
    this.#all.add(spec);
    const isCounted = spec.options.optional ? already : known;
    this.#recorder.addConsumers(isCounted ? 0 : 1, already ? 0 : 1);
    this.#recorder.recordProof();
  }

  /**
   * Records that a consumer has stopped. An exclusive one is removed, since another process may be the exclusive
   * consumer by then, as is one that must not be restored.
   */
  stopped(spec: ConsumerSpec): void {
    const consumed = this.#all.has(spec) && spec.tag !== undefined;
    spec.tag = undefined;
    const { exclusive, optional, restore = !exclusive } = spec.options;
    if (consumed) this.#recorder.addConsumers(optional ? -1 : 0, -1);
    if (!restore) this.remove(spec);
  }

  /** Removes a consumer, so that it is not restored. */
  remove(spec: ConsumerSpec): void {
    spec.cancelled = true;
    const stops = spec.tag === undefined ? 0 : -1;
    if (this.#all.delete(spec)) {
      this.#recorder.addConsumers(spec.options.optional ? stops : -1, stops);
    }
    spec.ended.resolve();
  }
}

/** True if the queue is a stream, from which messages are read and not removed. */
const isStream = ({ queue }: QueueRoute): boolean =>
  queue.arguments["x-queue-type"] === "stream";

/** True if the broker counts the deliveries of each message, which it does for quorum queues. */
export const countsDeliveries = ({ queue }: QueueRoute): boolean =>
  queue.arguments["x-queue-type"] === "quorum";

/**
 * Returns the offset at which to read a stream: the next message at first; after a loss the message after the last one,
 * or the messages since the first start.
 */
function offsetOf(spec: ConsumerSpec): unknown {
  if (spec.offset !== undefined) return spec.offset + 1;
  const { startedAt } = spec;
  spec.startedAt ??= Math.floor(Date.now() / 1_000);
  return startedAt === undefined
    ? "next"
    : new FieldValue("timestamp", startedAt);
}

/** Returns the route with the queue as it exists. A temporary queue keeps its declared name when it is restored. */
export function withDeclaredQueue(
  route: QueueRoute,
  { name, arguments: args }: Queue,
): QueueRoute {
  const { queue } = route;
  const declared = { ...queue, arguments: args };
  return queue.temporary && queue.unique
    ? { ...route, queue: { ...declared, name, unique: undefined } }
    : { ...route, queue: declared };
}

/** Prefetch of a stream for which no prefetch was given: RabbitMQ requires one. */
const DEFAULT_STREAM_PREFETCH = 100;

/** Returns the prefetch; 0 = no limit. */
export function prefetchOf(
  { route, options: { prefetch } }: ConsumerSpec,
): number {
  return prefetch || (isStream(route) ? DEFAULT_STREAM_PREFETCH : 0);
}

/** Returns the arguments of `basic.consume`. */
export function argumentsOf(spec: ConsumerSpec): Record<string, unknown> {
  return isStream(spec.route) ? { "x-stream-offset": offsetOf(spec) } : {};
}

/**
 * True if the consumer may be replaced by a new one at any time. RabbitMQ 3.10 loses messages of a queue when its single
 * active consumer is cancelled; a passive queue may have such a consumer.
 */
export function isRenewable(
  { route, options: { prefetch, optional, exclusive } }: ConsumerRequest,
): boolean {
  const { passive, arguments: form } = route.queue;
  const single = passive || form["x-single-active-consumer"] !== undefined;
  return prefetch > 0 && !isStream(route) && !optional && !exclusive && !single;
}

/**
 * True if the consumer may move to another connection: it runs on both for a moment. A worker recognises a fanout that comes
 * twice, and a candidate of an election (`restore: false`) stands again; but the broker refuses a second exclusive consumer,
 * and listeners of events and readers of streams would get some messages twice.
 */
export function isMovable({ route, options }: ConsumerRequest): boolean {
  const { queue, exchange } = route;
  const { exclusive, restore } = options;
  const isOfListener = queue.unique && exchange?.type !== "fanout";
  return !exclusive &&
    (restore === false ||
      !isOfListener && !queue.passive && !isStream(route));
}
