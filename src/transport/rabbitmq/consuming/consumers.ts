/** A consuming channel and what it should consume: restored after every loss, whoever caused it. @module */
import { setImmediate } from "node:timers";
import {
  ConnectionDisposedError,
  RpcError,
  TimeoutError,
  TopologyError,
} from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import { logger } from "../../../logging.ts";
import type { ConsumeOptions, Consumer, Delivery } from "../../transport.ts";
import { AckBatcher } from "./deliveries.ts";
import { openChannel } from "../amqplib/channel.ts";
import { openChannelOn } from "../connection/open_channel.ts";
import {
  argumentsOf,
  ConsumerRegistry,
  type ConsumerSpec,
  kept,
  prefetchOf,
  type QueueRoute,
} from "./consumer_spec.ts";
import { type Consuming, giveBack, receiver } from "./receiver.ts";
import { notConsumed } from "../connection/topology_errors.ts";
import { Renewals } from "./consumer_renewal.ts";
import { type SupervisedConnection } from "../connection/supervised_connection.ts";
import { backoff } from "../../../async/backoff.ts";
import type { Topology } from "../connection/topology.ts";

/** Milliseconds to remove a queue that nobody needs any more. */
const REMOVAL = 1_000;
/** Milliseconds that the broker may take to cancel a consumer. */
const CANCELLATION = 5_000;
/** Milliseconds that one queue may take to be consumed again before the next has its turn: its node may be gone. */
const PATIENCE = 3_000;

/** Consumers that share a channel. */
export class ConsumerChannel {
  readonly #side: SupervisedConnection;
  readonly #topology: Topology;
  readonly #wanted: ConsumerRegistry;
  readonly #closing = new AbortController();
  readonly #renewals = new Renewals((tag) => this.#renew(tag));
  #consuming: Promise<Consuming> | undefined;
  #restoring: Promise<void> | undefined;

  /** On the connection of a side. */
  constructor(side: SupervisedConnection, topology: Topology) {
    this.#side = side;
    this.#topology = topology;
    this.#wanted = new ConsumerRegistry(side.vitals);
  }

  /** True if there is nothing that it should consume. */
  get idle(): boolean {
    return this.#wanted.size === 0;
  }

  /** Consumes from now on. */
  async add(
    route: QueueRoute,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    wait: Deadline,
    renew?: () => QueueRoute,
  ): Promise<Consumer> {
    const ended = Promise.withResolvers<void>();
    const desired: ConsumerSpec = { route, renew, receive, options, ended };
    const late = () =>
      new TimeoutError(
        `Cannot consume ${route.queue.name} in time: ${this.#side.why}`,
        { inDoubt: false },
      );
    for (let attempt = 0;; attempt++) {
      try {
        this.#closing.signal.throwIfAborted();
        await withDeadline(this.#start(desired, wait.at), wait, late);
        return {
          ended: ended.promise,
          cancel: (deadline) => this.#cancel(desired, deadline),
        };
      } catch (error) {
        const gaveUp = wait.signal?.aborted ? wait.signal.reason : undefined;
        const failure = gaveUp ?? this.#explain(error, route);
        if (failure) {
          desired.abandoned = true;
          throw failure;
        }
        await delay(backoff(attempt), wait);
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
    this.#renewals[Symbol.dispose]();
    const left = this.#wanted.all;
    for (const desired of left) this.#wanted.forget(desired);
    const consuming = await this.#consuming?.catch(() => undefined);
    consuming?.acks.flush();
    await consuming?.open.close();
    await this.#restoring;
    await Promise.all(left.map((desired) => this.#remove(desired)));
  }

  /** What to tell the user; undefined if it is a loss that heals. */
  #explain(error: unknown, { queue }: QueueRoute): Error | undefined {
    if (this.#closing.signal.aborted) return this.#closing.signal.reason;
    return error instanceof RpcError ? error : notConsumed(queue.name, error);
  }

  #channel(): Promise<Consuming> {
    return this.#consuming ??= this.#reopen();
  }

  async #reopen(): Promise<Consuming> {
    try {
      const { signal } = this.#closing;
      const open = await openChannelOn(this.#side, openChannel, signal);
      void open.ended.then(({ reason }) => this.#lost(reason));
      return { open, acks: new AckBatcher(open, this.#side.vitals) };
    } catch (error) {
      this.#consuming = undefined;
      throw error;
    }
  }

  #lost(reason: string): void {
    this.#consuming = undefined;
    for (const desired of this.#wanted.all) this.#wanted.lost(desired);
    if (this.#closing.signal.aborted || this.idle) return;
    const { socket } = this.#side;
    setImmediate(() => { // a loss of the whole connection is told by that
      const level = this.#side.socket === socket ? "warn" : "debug";
      logger("bus")[level]("Consuming channel lost: {reason}", { reason });
    });
    this.#restore();
  }

  #restore(): void {
    const { signal } = this.#closing;
    this.#restoring ??= this.#restoreAll().finally(() => {
      this.#restoring = undefined;
      const given = signal.aborted || this.#side.failure;
      // One may have been lost since the last look.
      if (!given && this.#wanted.missing.length > 0) this.#restore();
    });
  }

  /** Brings back all that has no consumer now; goes on until nothing is missing. */
  async #restoreAll(): Promise<void> {
    const { signal } = this.#closing;
    for (let attempt = 0; !signal.aborted && !this.#side.failure; attempt++) {
      const { missing } = this.#wanted;
      if (missing.length === 0) return;
      for (const desired of missing) await this.#restoreOne(desired);
      const wait = { at: Infinity, signal };
      await delay(backoff(attempt), wait).catch(() => {});
    }
  }

  async #restoreOne(desired: ConsumerSpec): Promise<void> {
    try {
      await this.#started(desired, () => desired.tag === undefined);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      // A queue that is taken as it is may be made again by those to whom it belongs.
      const away = error instanceof RpcError && error.data.replyCode === 404;
      if (error instanceof TopologyError && !away) {
        return this.#refused(desired, error);
      }
      const { name: queue } = desired.route.queue;
      logger("bus")[this.#side.socket ? "warn" : "debug"](
        "Cannot consume {queue} yet: {error}",
        { queue, error },
        queue,
      );
      if (away && desired.renew) desired.route = desired.renew();
    }
  }

  #refused(desired: ConsumerSpec, error: TopologyError): void {
    if (!desired.options.optional) return this.#side.fail(error);
    logger("bus").warn("{error}: it is done without", { error });
    this.#wanted.forget(desired);
  }

  async #start(desired: ConsumerSpec, deadline: number): Promise<void> {
    const wait = { at: deadline, signal: this.#closing.signal };
    const queue = await this.#topology.queue(desired.route, wait);
    desired.route = kept(desired.route, queue);
    const consuming = await withDeadline(this.#channel(), wait, late);
    const { open } = consuming;
    const { exclusive = false, limit } = desired.options;
    const prefetch = prefetchOf(desired);
    const args = argumentsOf(desired);
    const tag = crypto.randomUUID();
    let gone = false;
    const cancelled = () => {
      gone = true;
      open.arrivals.consumers.delete(tag);
      this.#gone(desired, tag);
    };
    const { vitals } = this.#side;
    const parts = { consuming, tag, vitals, renewals: this.#renewals };
    const receive = receiver(parts, desired);
    open.arrivals.consumers.set(tag, { receive, limit });
    // Sent together: the limit is for the consumer that comes next on the channel.
    const options = { consumerTag: tag, exclusive, arguments: args };
    const begun = Promise.all([
      open.channel.prefetch(prefetch),
      open.channel.consume(queue, cancelled, options),
    ]);
    await withDeadline(begun, { at: Infinity, signal: wait.signal }, late);
    if (!open.alive) throw new Error("channel lost");
    if (gone) throw new Error("queue lost"); // cancelled together with consume-ok
    this.#wanted.consumes(desired, tag);
    if (desired.abandoned) await this.#cancel(desired);
  }

  /** The broker cancelled the consumer: its queue is gone. */
  #gone(desired: ConsumerSpec, tag: string): void {
    if (desired.tag === tag) this.#wanted.lost(desired);
    if (desired.abandoned) return;
    const queue = desired.route.queue.name;
    const text = "Queue {queue} is gone: declaring it again";
    logger("bus").warn(text, { queue }, queue);
    this.#restore();
  }

  /** What the broker would keep for half an hour (oslo.messaging deletes its fanout queue as well). */
  async #remove({ route: { queue } }: ConsumerSpec): Promise<void> {
    const { socket } = this.#side;
    if (!queue.temporary || queue.fresh || !socket) return;
    const wait = { at: performance.now() + REMOVAL };
    await socket.goodbyes.answered(this.#topology.remove(queue.name, wait));
  }

  async #cancel(desired: ConsumerSpec, deadline = Infinity): Promise<void> {
    this.#wanted.forget(desired);
    const latest = performance.now() + CANCELLATION;
    const wait = { at: Math.min(deadline, latest) };
    const consuming = this.#consuming?.catch(() => undefined);
    const { open, acks } = consuming &&
        await withDeadline(consuming, wait, late).catch(() => undefined) || {};
    const { socket } = this.#side;
    if (!open?.alive || !acks || !socket || desired.tag === undefined) return;
    const { tag } = desired;
    const { consumers } = open.arrivals;
    const gone = () => void consumers.delete(tag);
    const cancelled = open.channel.cancel(tag).then(gone, () => {});
    const ms = wait.at - performance.now();
    const over = Promise.race([cancelled, open.ended]); // lost meanwhile: as good as cancelled
    // What comes before a late answer is for others.
    if (!await socket.goodbyes.answered(over, ms)) {
      consumers.set(tag, { receive: giveBack(acks, cancelled) });
    }
    await this.#remove(desired);
  }

  /** Puts a new consumer in the place of one whose deliveries wait; false where that goes on as it is. Never rejects. */
  async #renew(tag: string): Promise<boolean> {
    const desired = this.#wanted.all.find((each) => each.tag === tag);
    const consuming = this.#consuming;
    if (!desired || !consuming) return true; // it is another one already
    try {
      const { open } = await consuming;
      const isSame = () => desired.tag === tag && open.alive;
      if (!await this.#started(desired, isSame)) return true;
      await Promise.race([open.channel.cancel(tag), open.ended]);
      open.arrivals.consumers.delete(tag);
      return true;
    } catch (error) {
      logger("bus").debug("A consumer was not renewed: {error}", { error });
      return false;
    }
  }

  /** Starts it when its last start is over, if it is to be started still; true if it was. */
  async #started(
    desired: ConsumerSpec,
    needed: () => boolean,
  ): Promise<boolean> {
    const before = desired.starting;
    const starting = (async () => {
      await before?.catch(() => {});
      if (!needed() || desired.abandoned) return false;
      await this.#start(desired, performance.now() + PATIENCE);
      return true;
    })();
    desired.starting = starting;
    return await starting;
  }
}

const late = () => new TimeoutError("no channel", { inDoubt: false });
