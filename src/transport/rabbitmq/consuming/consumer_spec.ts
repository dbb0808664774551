/** What should be consumed, as data: from it every new channel is made. @module */
import type { QueueRoute } from "../connection/routes.ts";
import type { ConsumeOptions, Delivery } from "../../transport.ts";
import type { HealthRecorder } from "../connection/connection_health.ts";

/** One consumer that there should be. */
export interface ConsumerSpec {
  /** Whose queue it consumes. */
  route: QueueRoute;
  /** Another queue that will do as well, where this one's node is gone. */
  readonly renew?: (() => QueueRoute) | undefined;
  /** Who takes what comes. */
  readonly receive: (delivery: Delivery) => void;
  /** How. */
  readonly options: ConsumeOptions;
  /** Name at the broker; a new one each time, so that an old channel's cannot be meant. */
  tag?: string | undefined;
  /** Where it is in a stream: the offset of the last message. */
  offset?: number;
  /** When it began to read a stream, in epoch seconds. */
  began?: number;
  /** Nobody wants it any more. */
  abandoned?: boolean;
  /** Its last start: there is one at a time. */
  starting?: Promise<unknown>;
  /** Resolved when it is not restored any more. */
  readonly ended: PromiseWithResolvers<void>;
}

/** The consumers of one channel, each change of which shows in the health of its side. */
export class ConsumerRegistry {
  readonly #recorder: HealthRecorder;
  readonly #all = new Set<ConsumerSpec>();

  /** None yet. */
  constructor(recorder: HealthRecorder) {
    this.#recorder = recorder;
  }

  /** How many. */
  get size(): number {
    return this.#all.size;
  }

  /** All of them now. */
  get all(): readonly ConsumerSpec[] {
    return [...this.#all];
  }

  /** Those that do not consume now. */
  get missing(): readonly ConsumerSpec[] {
    return this.all.filter(({ tag }) => !tag);
  }

  /** The broker said consume-ok. */
  consumes(spec: ConsumerSpec, tag: string): void {
    const known = this.#all.has(spec);
    const already = known && spec.tag !== undefined;
    spec.tag = tag;
    this.#all.add(spec);
    this.#recorder.addConsumers(known ? 0 : 1, already ? 0 : 1);
    this.#recorder.proven();
  }

  /** It consumes no more. An exclusive one is not restored: another may be the only one by then. */
  lost(spec: ConsumerSpec): void {
    const consumed = this.#all.has(spec) && spec.tag !== undefined;
    spec.tag = undefined;
    if (consumed) this.#recorder.addConsumers(0, -1);
    if (spec.options.exclusive) this.forget(spec);
  }

  /** Nobody wants it any more. */
  forget(spec: ConsumerSpec): void {
    spec.abandoned = true;
    if (this.#all.delete(spec)) {
      this.#recorder.addConsumers(-1, spec.tag === undefined ? 0 : -1);
    }
    spec.ended.resolve();
  }
}

/** Whether the queue is a stream, which is read and not emptied. */
const isStream = ({ queue }: QueueRoute): boolean =>
  queue.arguments["x-queue-type"] === "stream";

/** True if the broker counts the deliveries of each message. */
export const countsDeliveries = ({ queue }: QueueRoute): boolean =>
  queue.arguments["x-queue-type"] === "quorum";

/** A reader begins with what comes next; after a loss it goes on where it was, or with what has come since it began. */
function offsetOf(spec: ConsumerSpec): unknown {
  if (spec.offset !== undefined) return spec.offset + 1;
  const { began } = spec;
  spec.began ??= Math.floor(Date.now() / 1_000);
  return began === undefined ? "next" : { "!": "timestamp", value: began };
}

/** A temporary queue keeps the name that it got. */
export function kept(route: QueueRoute, name: string): QueueRoute {
  const { queue } = route;
  return queue.temporary && queue.unique
    ? { ...route, queue: { ...queue, name, unique: undefined } }
    : route;
}

/** Unacknowledged messages of a stream, where no limit was given: a stream must have one. */
const STREAM_PREFETCH = 100;

/** Unacknowledged messages at most; 0 = any number. */
export function prefetchOf(
  { route, options: { prefetch } }: ConsumerSpec,
): number {
  return prefetch || (isStream(route) ? STREAM_PREFETCH : 0);
}

/** Arguments of `basic.consume`. */
export function argumentsOf(spec: ConsumerSpec): Record<string, unknown> {
  return isStream(spec.route) ? { "x-stream-offset": offsetOf(spec) } : {};
}

/**
 * True if another consumer may take its place at any time. RabbitMQ 3.10 loses messages of a queue whose single active
 * consumer leaves; a queue that is taken as it is may have one.
 */
export function isRenewable(
  { route, options: { prefetch, optional, exclusive } }: ConsumerSpec,
): boolean {
  const { passive, arguments: form } = route.queue;
  const single = passive || form["x-single-active-consumer"] !== undefined;
  return prefetch > 0 && !isStream(route) && !optional && !exclusive && !single;
}
