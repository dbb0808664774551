/**
 * Topology: declares exchanges, queues and bindings on a channel of its own, because the broker closes the channel on
 * which it refuses a request.
 *
 * @module
 */
import type { Channel, Connection } from "../../../amqp/mod.ts";
import { TopologyError } from "../../../errors.ts";
import type { Deadline } from "../../../async/deadline.ts";
import type { Exchange, Queue, QueueRoute, Route } from "./entities.ts";
import {
  assertQueue,
  checkExists,
  checkQueue,
  declareExchange,
  declareQueue,
  exchangeKey,
  queueName,
  removeEmpty,
} from "./declarations.ts";
import type { QueueState } from "../../transport.ts";
import { allOf, RequestChannel } from "./request_channel.ts";
import { isRefusedWith } from "./topology_errors.ts";
import type { SupervisedConnection } from "./supervised_connection.ts";

/** Milliseconds for the broker to delete a queue. */
const REMOVAL_TIMEOUT_MS = 1_000;

/**
 * Declarations and checks on one connection. Declarations are sent before earlier ones are answered. Checks have another
 * channel and are sent one at a time, since many of them are refused, and a refusal closes the channel.
 */
export class Topology {
  readonly #connection: SupervisedConnection;
  /** Exchanges that were declared on this connection, by `exchangeKey`. */
  readonly #declared = new Set<string>();
  /** Declarations of exchanges that the broker has not answered yet. */
  readonly #declaring = new Map<string, Promise<void>>();
  /** Exchange that was looked up last: a shortcut for repeated checks of one exchange. */
  #lastKnown: Exchange | undefined;
  /** Connection to which the declared exchanges belong. */
  #owner: Connection | undefined;
  readonly #declarations: RequestChannel;
  readonly #checks: RequestChannel;

  /** Opens nothing yet. */
  constructor(connection: SupervisedConnection) {
    this.#connection = connection;
    const onOpening = (owner: Connection) => {
      this.#declaring.clear();
      if (this.#owner !== owner) this.forget();
      this.#owner = owner;
    };
    const onMissing = () => this.forget();
    this.#declarations = new RequestChannel(connection, {
      onOpening,
      onMissing,
    });
    this.#checks = new RequestChannel(connection, {
      onMissing,
      isSerial: true,
    });
  }

  /** True if the exchange has been declared on this connection. */
  knows(exchange: Exchange): boolean {
    if (this.#owner !== this.#connection.current) return false;
    if (this.#lastKnown === exchange) return true;
    const known = this.#declared.has(exchangeKey(exchange));
    if (known) this.#lastKnown = exchange;
    return known;
  }

  /** Declares an exchange, once for each connection. */
  async exchange(exchange: Exchange, deadline: Deadline): Promise<void> {
    if (this.knows(exchange)) return;
    await this.#declarations.perform(
      `exchange ${exchange.name}`,
      deadline,
      (channel) => this.#exchange(channel, exchange),
    );
  }

  /** Forgets all declared exchanges, because the broker has answered 404. */
  forget(): void {
    this.#declared.clear();
    this.#declaring.clear();
    this.#lastKnown = undefined;
  }

  /** Declares the queue of a route with its binding, or checks a passive queue; resolves to the name of the queue. */
  async queue(
    route: QueueRoute,
    deadline: Deadline,
  ): Promise<string> {
    const { exchange, queue, key, binding = key } = route;
    return await this.#declarations.perform(
      `queue ${queue.name}`,
      deadline,
      async (channel) => {
        const name = queueName(queue);
        const bound = exchange && !queue.passive;
        await allOf([
          exchange && this.#exchange(channel, exchange),
          declareQueue(channel, { ...queue, name }),
          bound && channel.request("queue.bind", {
            queue: name,
            exchange: exchange.name,
            routingKey: binding,
          }),
        ]);
        return name;
      },
    );
  }

  /** Declares an exchange, unless an earlier request has declared it. */
  #exchange(channel: Channel, exchange: Exchange): Promise<void> {
    if (this.knows(exchange)) return Promise.resolve();
    const key = exchangeKey(exchange);
    const pending = this.#declaring.get(key);
    if (pending) return pending;
    const declaring = declareExchange(channel, exchange).then(() => {
      // An auto-delete exchange may be deleted at any time.
      if (!exchange.autoDelete) this.#declared.add(key);
    }).finally(() => {
      if (this.#declaring.get(key) === declaring) this.#declaring.delete(key);
    });
    this.#declaring.set(key, declaring);
    return declaring;
  }

  /** See `Transport.inspect`. The settings of the queue are checked if the route has them. */
  async inspect(
    { key, queue }: Route,
    deadline: Deadline,
  ): Promise<QueueState | undefined> {
    const name = queue?.name ?? key;
    const entity = `queue ${name}`;
    const counts = async (channel: Channel) => {
      const checked = await checkExists(entity, checkQueue(channel, name));
      // Other settings are answered with 406; a queue of another type must not be removed as if it had these settings.
      const { messageCount, consumerCount } = queue
        ? await assertQueue(channel, queue)
        : checked;
      return { messages: messageCount, consumers: consumerCount };
    };
    try {
      return await this.#checks.perform(entity, deadline, counts);
    } catch (error) {
      const missing = error instanceof TopologyError &&
        error.data.reason === "missing";
      if (missing) return undefined;
      throw error;
    }
  }

  /**
   * See `Session.flush`. RabbitMQ processes the frames of a connection in their order, so that it has processed all
   * earlier acknowledgements when it answers this check. Every virtual host has the exchange, and no permission is
   * needed to check it.
   */
  async flush(deadline: Deadline): Promise<void> {
    const check = { exchange: "amq.direct", passive: true };
    await this.#checks.perform(
      "exchange amq.direct",
      deadline,
      (channel) => channel.request("exchange.declare", check),
    );
  }

  /** Deletes a queue if the connection is open. Never rejects, and waits for at most a second. */
  async remove(queue: string): Promise<void> {
    if (!this.#connection.current) return;
    const removed = this.#checks.perform(
      `queue ${queue}`,
      { at: performance.now() + REMOVAL_TIMEOUT_MS },
      (channel) => channel.request("queue.delete", { queue }),
    );
    await this.#connection.gracefulClose.waitForReply(removed);
  }

  /** See `Session.unbind`. */
  async unbind(
    { exchange, queue, key, binding = key }: Route,
    deadline: Deadline,
  ): Promise<void> {
    if (!exchange || !queue) return;
    const unbinding = {
      queue: queue.name,
      exchange: exchange.name,
      routingKey: binding,
    };
    const work = (channel: Channel) =>
      channel.request("queue.unbind", unbinding);
    await this.#checks.perform(`queue ${queue.name}`, deadline, work);
  }

  /** See `Session.removeEmpty`. The deletion is not retried, since the queue may have messages after a loss. */
  async removeEmpty(queue: Queue, deadline: Deadline): Promise<boolean> {
    const work = async (channel: Channel) => {
      deadline.signal?.throwIfAborted();
      return await removeEmpty(channel, queue);
    };
    try {
      return await this.#checks.perform(`queue ${queue.name}`, deadline, work);
    } catch (error) {
      if (isRefusedWith(error, 406)) return false;
      throw error;
    }
  }
}
