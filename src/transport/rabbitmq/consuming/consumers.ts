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
} from "./consumer_spec.ts";
import type { QueueRoute } from "../connection/routes.ts";
import { type Consuming, giveBack, receiver } from "./receiver.ts";
import { notConsumed } from "../connection/topology_errors.ts";
import { Renewals } from "./consumer_renewal.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
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
  readonly #connection: SupervisedConnection;
  readonly #topology: Topology;
  readonly #registry: ConsumerRegistry;
  readonly #closing = new AbortController();
  readonly #renewals = new Renewals((tag) => this.#renew(tag));
  #consuming: Promise<Consuming> | undefined;
  #restoring: Promise<void> | undefined;

  /** On the connection of a side. */
  constructor(connection: SupervisedConnection, topology: Topology) {
    this.#connection = connection;
    this.#topology = topology;
    this.#registry = new ConsumerRegistry(connection.recorder);
  }

  /** True if there is nothing that it should consume. */
  get idle(): boolean {
    return this.#registry.size === 0;
  }

  /** Consumes from now on. */
  async add(
    route: QueueRoute,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
    renew?: () => QueueRoute,
  ): Promise<Consumer> {
    const ended = Promise.withResolvers<void>();
    const spec: ConsumerSpec = { route, renew, receive, options, ended };
    const late = () =>
      new TimeoutError(
        `Cannot consume ${route.queue.name} in time: ${this.#connection.why}`,
        { inDoubt: false },
      );
    for (let attempt = 0;; attempt++) {
      try {
        this.#closing.signal.throwIfAborted();
        await withDeadline(this.#start(spec, deadline.at), deadline, late);
        return {
          ended: ended.promise,
          cancel: (deadline) => this.#cancel(spec, deadline),
        };
      } catch (error) {
        const gaveUp = deadline.signal?.aborted
          ? deadline.signal.reason
          : undefined;
        const failure = gaveUp ?? this.#explain(error, route);
        if (failure) {
          spec.abandoned = true;
          throw failure;
        }
        await delay(backoff(attempt), deadline);
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
    const left = this.#registry.all;
    for (const spec of left) this.#registry.forget(spec);
    const consuming = await this.#consuming?.catch(() => undefined);
    consuming?.acks.flush();
    await consuming?.open.close();
    await this.#restoring;
    await Promise.all(left.map((spec) => this.#remove(spec)));
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
      const open = await openChannelOn(this.#connection, openChannel, signal);
      void open.ended.then(({ reason }) => this.#lost(reason));
      return { open, acks: new AckBatcher(open, this.#connection.recorder) };
    } catch (error) {
      this.#consuming = undefined;
      throw error;
    }
  }

  #lost(reason: string): void {
    this.#consuming = undefined;
    for (const spec of this.#registry.all) this.#registry.lost(spec);
    if (this.#closing.signal.aborted || this.idle) return;
    const { socket } = this.#connection;
    setImmediate(() => { // a loss of the whole connection is told by that
      const level = this.#connection.socket === socket ? "warn" : "debug";
      logger("bus")[level]("Consuming channel lost: {reason}", { reason });
    });
    this.#restore();
  }

  #restore(): void {
    const { signal } = this.#closing;
    this.#restoring ??= this.#restoreAll().finally(() => {
      this.#restoring = undefined;
      const given = signal.aborted || this.#connection.failure;
      // One may have been lost since the last look.
      if (!given && this.#registry.missing.length > 0) this.#restore();
    });
  }

  /** Brings back all that has no consumer now; goes on until nothing is missing. */
  async #restoreAll(): Promise<void> {
    const { signal } = this.#closing;
    for (
      let attempt = 0;
      !signal.aborted && !this.#connection.failure;
      attempt++
    ) {
      const { missing } = this.#registry;
      if (missing.length === 0) return;
      for (const spec of missing) await this.#restoreOne(spec);
      const wait = { at: Infinity, signal };
      await delay(backoff(attempt), wait).catch(() => {});
    }
  }

  async #restoreOne(spec: ConsumerSpec): Promise<void> {
    try {
      await this.#started(spec, () => spec.tag === undefined);
    } catch (error) {
      if (this.#closing.signal.aborted) return;
      // A queue that is taken as it is may be made again by those to whom it belongs.
      const away = error instanceof RpcError &&
        (error.data.replyCode === 404 || error.data.reason === "missing");
      if (error instanceof TopologyError && !away) {
        return this.#refused(spec, error);
      }
      const { name: queue } = spec.route.queue;
      logger("bus")[this.#connection.socket ? "warn" : "debug"](
        "Cannot consume {queue} yet: {error}",
        { queue, error },
        queue,
      );
      if (away && spec.renew) spec.route = spec.renew();
    }
  }

  #refused(spec: ConsumerSpec, error: TopologyError): void {
    if (!spec.options.optional) return this.#connection.fail(error);
    logger("bus").warn("{error}: it is done without", { error });
    this.#registry.forget(spec);
  }

  async #start(spec: ConsumerSpec, deadline: number): Promise<void> {
    const wait = { at: deadline, signal: this.#closing.signal };
    const queue = await this.#topology.queue(spec.route, wait);
    spec.route = kept(spec.route, queue);
    const consuming = await withDeadline(this.#channel(), wait, late);
    const { open } = consuming;
    const { exclusive = false, limit } = spec.options;
    const prefetch = prefetchOf(spec);
    const args = argumentsOf(spec);
    const tag = crypto.randomUUID();
    let gone = false;
    const cancelled = () => {
      gone = true;
      open.reader.consumers.delete(tag);
      this.#gone(spec, tag);
    };
    const { recorder } = this.#connection;
    const parts = {
      consuming,
      tag,
      recorder: recorder,
      renewals: this.#renewals,
    };
    const receive = receiver(parts, spec);
    open.reader.consumers.set(tag, { receive, limit });
    // Sent together: the limit is for the consumer that comes next on the channel.
    const options = { consumerTag: tag, exclusive, arguments: args };
    const begun = Promise.all([
      open.channel.prefetch(prefetch),
      open.channel.consume(queue, cancelled, options),
    ]);
    await withDeadline(begun, { at: Infinity, signal: wait.signal }, late);
    if (!open.alive) throw new Error("channel lost");
    if (gone) throw new Error("queue lost"); // cancelled together with consume-ok
    this.#registry.consumes(spec, tag);
    if (spec.abandoned) await this.#cancel(spec);
  }

  /** The broker cancelled the consumer: its queue is gone. */
  #gone(spec: ConsumerSpec, tag: string): void {
    if (spec.tag === tag) this.#registry.lost(spec);
    if (spec.abandoned) return;
    const queue = spec.route.queue.name;
    const text = "Queue {queue} is gone: declaring it again";
    logger("bus").warn(text, { queue }, queue);
    this.#restore();
  }

  /** What the broker would keep for half an hour (oslo.messaging deletes its fanout queue as well). */
  async #remove({ route: { queue } }: ConsumerSpec): Promise<void> {
    const { socket } = this.#connection;
    if (!queue.temporary || queue.unique || !socket) return;
    const wait = { at: performance.now() + REMOVAL };
    await socket.goodbyes.answered(this.#topology.remove(queue.name, wait));
  }

  async #cancel(spec: ConsumerSpec, deadline = Infinity): Promise<void> {
    this.#registry.forget(spec);
    const latest = performance.now() + CANCELLATION;
    const wait = { at: Math.min(deadline, latest) };
    const consuming = this.#consuming?.catch(() => undefined);
    const { open, acks } = consuming &&
        await withDeadline(consuming, wait, late).catch(() => undefined) || {};
    const { socket } = this.#connection;
    if (!open?.alive || !acks || !socket || spec.tag === undefined) return;
    const { tag } = spec;
    const { consumers } = open.reader;
    const gone = () => void consumers.delete(tag);
    const cancelled = open.channel.cancel(tag).then(gone, () => {});
    const ms = wait.at - performance.now();
    const over = Promise.race([cancelled, open.ended]); // lost meanwhile: as good as cancelled
    // What comes before a late answer is for others.
    if (!await socket.goodbyes.answered(over, ms)) {
      consumers.set(tag, { receive: giveBack(acks, cancelled) });
    }
    await this.#remove(spec);
  }

  /** Puts a new consumer in the place of one whose deliveries wait; false where that goes on as it is. Never rejects. */
  async #renew(tag: string): Promise<boolean> {
    const spec = this.#registry.all.find((each) => each.tag === tag);
    const consuming = this.#consuming;
    if (!spec || !consuming) return true; // it is another one already
    try {
      const { open } = await consuming;
      const isSame = () => spec.tag === tag && open.alive;
      if (!await this.#started(spec, isSame)) return true;
      await Promise.race([open.channel.cancel(tag), open.ended]);
      open.reader.consumers.delete(tag);
      return true;
    } catch (error) {
      logger("bus").debug("A consumer was not renewed: {error}", { error });
      return false;
    }
  }

  /** Starts it when its last start is over, if it is to be started still; true if it was. */
  async #started(
    spec: ConsumerSpec,
    needed: () => boolean,
  ): Promise<boolean> {
    const before = spec.starting;
    const starting = (async () => {
      await before?.catch(() => {});
      if (!needed() || spec.abandoned) return false;
      await this.#start(spec, performance.now() + PATIENCE);
      return true;
    })();
    spec.starting = starting;
    return await starting;
  }
}

const late = () => new TimeoutError("no channel", { inDoubt: false });
