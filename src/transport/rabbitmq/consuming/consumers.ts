/** Channel with consumers, which are restored after every loss. @module */
import { setImmediate } from "node:timers";
import type { Channel } from "../../../amqp/mod.ts";
import {
  ConnectionDisposedError,
  RpcError,
  TimeoutError,
} from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import { inParallel } from "../../../async/in_parallel.ts";
import { logger } from "../../../logging.ts";
import type { Consumer } from "../../transport.ts";
import { AckBatcher } from "./deliveries.ts";
import { ConsumerRestoration } from "./consumer_restoration.ts";
import {
  ConsumerRegistry,
  type ConsumerRequest,
  type ConsumerSpec,
  isMovable,
  withDeclaredQueue,
} from "./consumer_spec.ts";
import { type ConsumingChannel, startConsumer } from "./receiver.ts";
import { consumeError } from "../connection/topology_errors.ts";
import { Renewals } from "./consumer_renewal.ts";
import type { Movable } from "../connection/connection_moves.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import { backoff } from "../../../async/backoff.ts";
import type { Topology } from "../connection/topology.ts";

/** Milliseconds for the broker to cancel a consumer. */
const CANCEL_TIMEOUT_MS = 5_000;
/** Milliseconds for the restart of one consumer, before the next consumer is tried: the node of its queue may be down. */
const START_TIMEOUT_MS = 3_000;
/** Consumers that are moved at the same time. */
const MAX_MOVES = 64;

/** Consumers that share a channel. */
export class ConsumerChannel implements Movable {
  readonly #connection: SupervisedConnection;
  readonly #topology: Topology;
  readonly #registry: ConsumerRegistry;
  readonly #closing = new AbortController();
  readonly #renewals = new Renewals((tag) => this.#renew(tag));
  #current: Promise<ConsumingChannel> | undefined;
  /** Channel of `#current` once it is open. */
  #channel: Channel | undefined;
  /** Earlier channels, whose consumers have moved, until their deliveries are settled. */
  readonly #earlier = new Set<ConsumingChannel>();
  readonly #restoration: ConsumerRestoration;

  /** Opens nothing yet. */
  constructor(connection: SupervisedConnection, topology: Topology) {
    this.#connection = connection;
    this.#topology = topology;
    this.#registry = new ConsumerRegistry(connection.recorder);
    this.#restoration = new ConsumerRestoration(
      connection,
      this.#registry,
      this.#closing.signal,
      (spec) => this.#startIf(spec, () => spec.tag === undefined),
    );
  }

  /** True if the channel has no consumers. */
  get idle(): boolean {
    return this.#registry.size === 0;
  }

  get isMovable(): boolean {
    return !this.#restoration.isRunning &&
      this.#registry.all.every((spec) => isMovable(spec));
  }

  /** See `Movable.move`: each consumer starts on another channel before it is cancelled on the earlier one. */
  async move(): Promise<void> {
    const earlier = await this.#current?.catch(() => undefined);
    if (!earlier || this.#closing.signal.aborted) return;
    this.#current = this.#channel = undefined;
    this.#earlier.add(earlier);
    const moveOne = (spec: ConsumerSpec) => this.#moveOne(spec, earlier);
    await inParallel(this.#registry.all, MAX_MOVES, moveOne);
    if (this.#registry.missing.length > 0) this.#restoration.start();
    await earlier.acks.settled();
    await this.#connection.closeChannel(earlier.channel);
    this.#earlier.delete(earlier);
  }

  /** Moves a consumer; never rejects. One that does not start on the other channel is restored like one that was lost. */
  async #moveOne(
    spec: ConsumerSpec,
    { channel }: ConsumingChannel,
  ): Promise<void> {
    const { tag, options: { restore = true } } = spec;
    if (tag === undefined) return;
    const isSame = () => spec.tag === tag;
    const started = restore &&
      await this.#startIf(spec, isSame).catch(() => false);
    await channel.cancel(tag).catch(() => {}); // a lost channel has no consumers either
    if (!started && isSame()) this.#registry.stopped(spec);
  }

  /**
   * Starts a consumer, and retries losses that heal.
   *
   * @throws {TopologyError} the broker refuses the consumer.
   * @throws {TimeoutError} the consumer did not start by the deadline.
   */
  async add(request: ConsumerRequest, deadline: Deadline): Promise<Consumer> {
    const ended = Promise.withResolvers<void>();
    const spec: ConsumerSpec = { ...request, ended };
    const { queue } = request.route;
    const timeoutError = () =>
      new TimeoutError(
        `Cannot consume ${queue.name} in time: ${this.#connection.waitReason}`,
        { inDoubt: false },
      );
    for (let attempt = 0;; attempt++) {
      try {
        this.#closing.signal.throwIfAborted();
        const starting = this.#start(spec, deadline.at - 10); // its error says more
        await withDeadline(starting, deadline, timeoutError);
        return {
          ended: ended.promise,
          cancel: (deadline) => this.#cancel(spec, deadline),
        };
      } catch (error) {
        const { signal } = deadline;
        const failure = signal?.aborted
          ? signal.reason
          : this.#fatalError(error, queue.name);
        if (failure) {
          spec.cancelled = true;
          void this.#topology.discard(spec); // it may have been declared too late
          throw failure;
        }
        await delay(backoff(attempt), deadline);
      }
    }
  }

  /** Sends all acknowledgements that wait for others. */
  async flushAcks(): Promise<void> {
    const consuming = await this.#current?.catch(() => undefined);
    for (const each of [consuming, ...this.#earlier]) each?.acks.flush();
  }

  /** Closes the channel; the broker requeues unacknowledged messages. */
  async close(): Promise<void> {
    this.#closing.abort(
      new ConnectionDisposedError(
        "Cannot consume: the connection was disposed",
      ),
    );
    this.#renewals[Symbol.dispose]();
    const specs = this.#registry.all;
    for (const spec of specs) this.#registry.remove(spec);
    this.#connection.moves.delete(this);
    await this.flushAcks();
    const consuming = await this.#current?.catch(() => undefined);
    await Promise.all(
      [consuming, ...this.#earlier].map((each) =>
        each && this.#connection.closeChannel(each.channel)
      ),
    );
    await this.#restoration.ended;
    await Promise.all(specs.map((spec) => this.#removeQueue(spec)));
  }

  /** Returns the error for the caller of `add`; undefined for a loss that may heal. */
  #fatalError(error: unknown, queue: string): Error | undefined {
    if (this.#closing.signal.aborted) return this.#closing.signal.reason;
    return error instanceof RpcError ? error : consumeError(queue, error);
  }

  #getOrOpen(): Promise<ConsumingChannel> {
    return this.#current ??= this.#reopen();
  }

  async #reopen(): Promise<ConsumingChannel> {
    try {
      const { signal } = this.#closing;
      const connection = this.#connection;
      const channel = await connection.openChannel({}, signal);
      this.#channel = channel;
      connection.moves.add(this);
      void channel.closed.then(({ message }) => {
        if (this.#channel === channel) this.#onChannelLost(message);
      });
      return { channel, acks: new AckBatcher(channel, connection.recorder) };
    } catch (error) {
      this.#current = undefined;
      throw error;
    }
  }

  #onChannelLost(reason: string): void {
    this.#current = undefined;
    for (const spec of this.#registry.all) this.#registry.stopped(spec);
    if (this.#closing.signal.aborted || this.idle) return;
    const { current } = this.#connection;
    setImmediate(() => { // a lost connection is logged by its supervisor
      const level = this.#connection.current === current ? "warn" : "debug";
      logger("bus")[level]("Consuming channel lost: {reason}", { reason });
    });
    this.#restoration.start();
  }

  async #start(spec: ConsumerSpec, deadline: number): Promise<void> {
    const { signal } = this.#closing;
    const limit = { at: deadline, signal };
    // The channel opens while the queue is declared. Nothing waits for a channel while there is no connection.
    if (this.#connection.current) this.#getOrOpen().catch(() => {});
    const queue = await this.#topology.queue(spec.route, limit, spec);
    spec.route = withDeclaredQueue(spec.route, queue);
    const opening = this.#getOrOpen(); // the connection may be another one now
    const consuming = await withDeadline(opening, limit, channelTimeout);
    const tag = crypto.randomUUID();
    const { recorder } = this.#connection;
    const options = { consuming, recorder, renewals: this.#renewals, tag };
    const onCancelled = () => this.#onCancelled(spec, tag);
    const starting = startConsumer(spec, queue.name, options, onCancelled);
    starting.catch(() => this.#topology.discard(spec));
    await withDeadline(starting, { at: Infinity, signal }, channelTimeout);
    this.#registry.started(spec, tag);
    spec.channel = consuming.channel;
    this.#topology.consumed(spec);
    if (spec.cancelled) await this.#cancel(spec);
  }

  /**
   * Handles a cancellation by the broker: the queue was deleted, or a message was late, i.e. not acknowledged within
   * `consumer_timeout` (RabbitMQ 4.3). The broker has requeued late messages, and ignores their acknowledgements; all others
   * are settled as usual. If one of these is late as well, the broker closes the channel, as other versions do at once.
   */
  #onCancelled(spec: ConsumerSpec, tag: string): void {
    if (spec.tag === tag) this.#registry.stopped(spec);
    if (spec.cancelled) return;
    const queue = spec.route.queue.name;
    const text = "The broker cancelled the consumer of {queue}: restarting it";
    logger("bus").warn(text, { queue }, queue);
    this.#restoration.start();
  }

  /** Deletes a queue of oslo.messaging, which the broker would otherwise delete only after half an hour. */
  async #removeQueue({ route: { queue } }: ConsumerSpec): Promise<void> {
    if (queue.temporary && !queue.unique) {
      await this.#topology.checks.remove(queue.name);
    }
  }

  async #cancel(spec: ConsumerSpec, deadline = Infinity): Promise<void> {
    this.#registry.remove(spec);
    const at = Math.min(deadline, performance.now() + CANCEL_TIMEOUT_MS);
    const { tag, channel } = spec;
    if (tag === undefined) return await this.#topology.discard(spec);
    if (!channel?.isOpen) return;
    const cancelled = channel.cancel(tag).catch(() => {}); // a lost channel has no consumers either
    const { gracefulClose } = this.#connection;
    const ms = at - performance.now();
    // Without a reply, the broker may still send messages: they are requeued for other consumers.
    const replied = await gracefulClose.waitForReply(cancelled, ms);
    if (!replied) spec.receiver?.requeueAll(cancelled);
    await this.#removeQueue(spec);
  }

  /** Replaces a consumer by a new one; resolves to false if that failed. Never rejects. */
  async #renew(tag: string): Promise<boolean> {
    const spec = this.#registry.all.find((each) => each.tag === tag);
    const consuming = this.#current;
    if (!spec || !consuming) return true; // the consumer has been replaced already
    try {
      const { channel } = await consuming;
      const isSame = () => spec.tag === tag && channel.isOpen;
      if (!await this.#startIf(spec, isSame)) return true;
      await channel.cancel(tag);
      return true;
    } catch (error) {
      logger("bus").debug("A consumer was not renewed: {error}", { error });
      return false;
    }
  }

  /** Starts a consumer after its previous start, if it is still needed; resolves to true if it was started. */
  async #startIf(
    spec: ConsumerSpec,
    needed: () => boolean,
  ): Promise<boolean> {
    const previous = spec.starting;
    const starting = (async () => {
      await previous?.catch(() => {});
      if (!needed() || spec.cancelled) return false;
      await this.#start(spec, performance.now() + START_TIMEOUT_MS);
      return true;
    })();
    spec.starting = starting;
    return await starting;
  }
}

const channelTimeout = () => new TimeoutError("no channel", { inDoubt: false });
