/** A consuming channel and what it should consume: restored after every loss, whoever caused it. @module */
import type { Channel, ConsumeMessage } from "npm:amqplib@^2.3.1";
import {
  ConnectionDisposedError,
  RpcError,
  TimeoutError,
  TopologyError,
} from "../../errors.ts";
import { pause, type Wait, within } from "../../wait.ts";
import { log } from "../../telemetry.ts";
import type { Queue, Route } from "../routes.ts";
import type { ConsumeOptions, Consumer, Delivery } from "../transport.ts";
import { type Open, openChannel, openOn } from "./channel.ts";
import { fromAmqp } from "./properties.ts";
import { backoff, type Side } from "./side.ts";
import { isFatal, type Topology } from "./topology.ts";

/** A route whose queue is consumed. */
export type QueueRoute = Route & { readonly queue: Queue };

/** What should be consumed: data, from which every new channel is made. */
interface Desired {
  route: QueueRoute;
  /** Another queue that will do as well, where this one's node is gone. */
  readonly renew?: (() => QueueRoute) | undefined;
  readonly receive: (delivery: Delivery) => void;
  readonly options: ConsumeOptions;
  /** Name at the broker; a new one each time, so that an old channel's cannot be meant. */
  tag?: string | undefined;
  /** Where it is in a stream: the offset of the last message, and when it began to read, in epoch seconds. */
  offset?: number;
  began?: number;
  /** Nobody wants it any more. */
  abandoned?: boolean;
  /** Resolved when it is not restored any more. */
  readonly ended: PromiseWithResolvers<void>;
}

/** Unacknowledged messages of a stream, where no limit was given: a stream must have one. */
const STREAM_PREFETCH = 100;
/** Milliseconds to remove a queue that nobody needs any more. */
const REMOVAL = 1_000;
/** Milliseconds that one queue may take to be consumed again before the next has its turn. */
const PATIENCE = 3_000;

/** Consumers that share a channel. */
export class Consumers {
  readonly #side: Side;
  readonly #topology: Topology;
  readonly #desired = new Set<Desired>();
  readonly #closing = new AbortController();
  #open: Promise<Open<Channel>> | undefined;
  #restoring: Promise<void> | undefined;

  /** On the connection of a side. */
  constructor(side: Side, topology: Topology) {
    this.#side = side;
    this.#topology = topology;
  }

  /** True if there is nothing that it should consume. */
  get idle(): boolean {
    return this.#desired.size === 0;
  }

  /** Consumes from now on. */
  async add(
    route: QueueRoute,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    wait: Wait,
    renew?: () => QueueRoute,
  ): Promise<Consumer> {
    const ended = Promise.withResolvers<void>();
    const desired: Desired = { route, renew, receive, options, ended };
    const late = () =>
      new TimeoutError(
        `Cannot consume ${route.queue.name} in time: ${this.#side.why}`,
        { inDoubt: false },
      );
    for (let attempt = 0;; attempt++) {
      try {
        this.#closing.signal.throwIfAborted();
        await within(this.#start(desired, wait.deadline), wait, late);
        return { ended: ended.promise, cancel: () => this.#cancel(desired) };
      } catch (error) {
        const gaveUp = wait.signal?.aborted ? wait.signal.reason : undefined;
        const failure = gaveUp ?? this.#explain(error, route);
        if (failure) {
          desired.abandoned = true;
          throw failure;
        }
        await pause(backoff(attempt), wait);
      }
    }
  }

  /** Closes the channel: what is unacknowledged goes back to its queue. */
  async close(): Promise<void> {
    this.#closing.abort(
      new ConnectionDisposedError(
        "Cannot consume: the connection was disposed",
      ),
    );
    const left = [...this.#desired];
    for (const desired of left) this.#forget(desired);
    await (await this.#open?.catch(() => undefined))?.close();
    await this.#restoring;
    await Promise.all(left.map((desired) => this.#remove(desired)));
  }

  /** What to tell the user; undefined if it is a loss that heals. */
  #explain(error: unknown, route: QueueRoute): Error | undefined {
    if (this.#closing.signal.aborted) return this.#closing.signal.reason;
    if (error instanceof RpcError) return error;
    const { code, message } = error as Error & { code?: number };
    if (!isFatal(code)) return undefined;
    return new TopologyError(`Cannot consume ${route.queue.name}: ${message}`, {
      data: { entity: `queue ${route.queue.name}`, replyCode: code },
    });
  }

  #channel(): Promise<Open<Channel>> {
    return this.#open ??= this.#reopen();
  }

  async #reopen(): Promise<Open<Channel>> {
    try {
      const { signal } = this.#closing;
      const open = await openOn(this.#side, openChannel, signal);
      void open.ended.then(({ reason }) => this.#lost(reason));
      return open;
    } catch (error) {
      this.#open = undefined;
      throw error;
    }
  }

  #lost(reason: string): void {
    this.#open = undefined;
    for (const desired of this.#desired) this.#gone(desired);
    if (this.#closing.signal.aborted || this.#desired.size === 0) return;
    log("bus").warn("Consuming channel lost: {reason}", { reason });
    this.#restore();
  }

  /** It consumes no more. An exclusive one is not restored: another may be the only one by then. */
  #gone(desired: Desired): void {
    desired.tag = undefined;
    if (desired.options.exclusive) this.#forget(desired);
  }

  #forget(desired: Desired): void {
    desired.abandoned = true;
    this.#desired.delete(desired);
    desired.ended.resolve();
  }

  #restore(): void {
    this.#restoring ??= this.#restoreAll().finally(() =>
      this.#restoring = undefined
    );
  }

  /** Brings back all that has no consumer now; goes on until nothing is missing. */
  async #restoreAll(): Promise<void> {
    const { signal } = this.#closing;
    for (let attempt = 0; !signal.aborted && !this.#side.failure; attempt++) {
      const missing = [...this.#desired].filter(({ tag }) => !tag);
      if (missing.length === 0) return;
      // One whose node is gone must not keep the others waiting.
      for (const desired of missing) await this.#restoreOne(desired);
      const wait = { deadline: Infinity, signal };
      await pause(backoff(attempt), wait).catch(() => {});
    }
  }

  async #restoreOne(desired: Desired): Promise<void> {
    try {
      await this.#start(desired, performance.now() + PATIENCE);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      if (error instanceof TopologyError) return this.#side.fail(error);
      const { name: queue } = desired.route.queue;
      log("bus").warn("Cannot consume {queue} yet: {error}", { queue, error });
      const gone = error instanceof RpcError && error.data.replyCode === 404;
      if (gone && desired.renew) desired.route = desired.renew();
    }
  }

  async #start(desired: Desired, deadline: number): Promise<void> {
    const wait = { deadline, signal: this.#closing.signal };
    const queue = await this.#topology.queue(desired.route, wait);
    desired.route = kept(desired.route, queue);
    const late = () => new TimeoutError("no channel", { inDoubt: false });
    const open = await within(this.#channel(), wait, late);
    const { exclusive = false } = desired.options;
    const stream = isStream(desired.route);
    const prefetch = desired.options.prefetch || (stream ? STREAM_PREFETCH : 0);
    const args = stream ? { "x-stream-offset": offsetOf(desired) } : {};
    const tag = crypto.randomUUID();
    const deliver = (message: ConsumeMessage | null) =>
      this.#deliver(open, desired, tag, message);
    // Sent together: the limit is for the consumer that comes next on the channel.
    await Promise.all([
      open.channel.prefetch(prefetch),
      open.channel.consume(queue, deliver, {
        consumerTag: tag,
        exclusive,
        arguments: args,
      }),
    ]);
    if (!open.alive) throw new Error("channel lost");
    desired.tag = tag;
    this.#desired.add(desired);
    if (desired.abandoned) await this.#cancel(desired);
  }

  /** amqplib kills the channel if this throws. Without a message: the broker cancelled the consumer, its queue is gone. */
  #deliver(
    open: Open<Channel>,
    desired: Desired,
    tag: string,
    message: ConsumeMessage | null,
  ): void {
    if (message === null) {
      if (desired.tag === tag) this.#gone(desired);
      if (desired.abandoned) return;
      log("bus").warn("Queue {queue} is gone: declaring it again", {
        queue: desired.route.queue.name,
      });
      return this.#restore();
    }
    const offset = message.properties.headers?.["x-stream-offset"];
    if (typeof offset === "number") desired.offset = offset;
    try {
      desired.receive(delivery(open, message));
    } catch (error) {
      log("bus").error("A receiver threw: {error}", { error });
    }
  }

  /** What the broker would keep for half an hour (oslo.messaging deletes its fanout queue as well). */
  async #remove({ route: { queue } }: Desired): Promise<void> {
    if (!queue.temporary || queue.fresh || !this.#side.socket) return;
    const wait = { deadline: performance.now() + REMOVAL };
    await this.#topology.remove(queue.name, wait);
  }

  async #cancel(desired: Desired): Promise<void> {
    this.#forget(desired);
    const open = await this.#open?.catch(() => undefined);
    if (!open?.alive || desired.tag === undefined) return;
    const cancelled = open.channel.cancel(desired.tag).catch(() => {}); // lost meanwhile: as good as cancelled
    await Promise.race([cancelled, open.ended]);
    await this.#remove(desired);
  }
}

const isStream = ({ queue }: QueueRoute) =>
  queue.arguments["x-queue-type"] === "stream";

/** A reader begins with what comes next; after a loss it goes on where it was, or with what has come since it began. */
function offsetOf(desired: Desired): unknown {
  if (desired.offset !== undefined) return desired.offset + 1;
  const { began } = desired;
  desired.began ??= Math.floor(Date.now() / 1_000);
  return began === undefined ? "next" : { "!": "timestamp", value: began };
}

/** A temporary queue keeps the name that it got. */
function kept(route: QueueRoute, name: string): QueueRoute {
  const { queue } = route;
  return queue.temporary && queue.fresh
    ? { ...route, queue: { ...queue, name, fresh: undefined } }
    : route;
}

/** A delivery on one channel; once that is gone, its acknowledgements mean nothing, and sending one would be an error. */
function delivery(open: Open<Channel>, raw: ConsumeMessage): Delivery {
  let settled = false;
  const settle = (how: () => void) => {
    if (settled) return;
    settled = true;
    if (open.alive) how();
  };
  return {
    message: fromAmqp(raw),
    key: raw.fields.routingKey,
    redelivered: raw.fields.redelivered,
    ack: () => settle(() => open.channel.ack(raw)),
    reject: (requeue) => settle(() => open.channel.reject(raw, requeue)),
  };
}
