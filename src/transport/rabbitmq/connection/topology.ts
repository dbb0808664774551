/**
 * Topology: declares exchanges, queues and bindings on a channel of its own, because the broker closes the channel on
 * which it refuses a request.
 *
 * @module
 */
import type { Channel } from "npm:amqplib@2.3.1";
import { TimeoutError, TopologyError } from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import type { Exchange, Queue, QueueRoute, Route } from "./entities.ts";
import {
  assertExchange,
  assertQueue,
  checkExists,
  declareQueue,
  exchangeKey,
  removeEmpty,
} from "./declarations.ts";
import type { QueueState } from "../../transport.ts";
import { type OpenChannel, openChannel } from "../amqplib/channel.ts";
import { declareError, isFatal, isRefusedWith } from "./topology_errors.ts";
import type { SupervisedConnection } from "./supervised_connection.ts";
import { backoff } from "../../../async/backoff.ts";

/** Milliseconds for the broker to delete a queue. */
const REMOVAL_TIMEOUT_MS = 1_000;

/** Reason of a failed attempt. */
interface FailedAttempt {
  readonly code?: number | undefined;
  readonly reason: string;
}

function declareTimeout(
  entity: string,
  last: FailedAttempt | undefined,
  waitReason: string,
): Error {
  const text = `Cannot declare ${entity} in time: ${
    last?.reason ?? waitReason
  }`;
  const data = last?.code === undefined ? {} : { replyCode: last.code };
  return new TimeoutError(text, { inDoubt: false, data });
}

/** Declarations on one connection, one at a time. */
export class Topology {
  readonly #connection: SupervisedConnection;
  /** Exchanges that were declared on this connection, by `exchangeKey`. */
  #declared = new Set<string>();
  /** Exchange that was looked up last: a shortcut for repeated checks of one exchange. */
  #lastKnown: Exchange | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #channel: OpenChannel<Channel> | undefined;
  #socket: unknown;

  /** Opens nothing yet. */
  constructor(connection: SupervisedConnection) {
    this.#connection = connection;
  }

  /** True if the exchange has been declared on this connection. */
  knows(exchange: Exchange): boolean {
    if (this.#socket !== this.#connection.socket) return false;
    if (this.#lastKnown === exchange) return true;
    const known = this.#declared.has(exchangeKey(exchange));
    if (known) this.#lastKnown = exchange;
    return known;
  }

  /** Declares an exchange, once for each connection. */
  async exchange(exchange: Exchange, deadline: Deadline): Promise<void> {
    if (this.knows(exchange)) return;
    await this.#serialize(
      `exchange ${exchange.name}`,
      deadline,
      (channel) => this.#exchange(channel, exchange),
    );
  }

  /** Forgets all declared exchanges, because the broker has answered 404. */
  forget(): void {
    this.#declared.clear();
    this.#lastKnown = undefined;
  }

  /** Declares the queue of a route with its binding, or checks a passive queue; resolves to the name of the queue. */
  async queue(
    route: QueueRoute,
    deadline: Deadline,
  ): Promise<string> {
    const { exchange, queue } = route;
    return await this.#serialize(
      `queue ${queue.name}`,
      deadline,
      async (channel) => {
        if (exchange) await this.#exchange(channel, exchange);
        const name = await declareQueue(channel, queue);
        if (exchange && !queue.passive) {
          await channel.bindQueue(
            name,
            exchange.name,
            route.binding ?? route.key,
          );
        }
        return name;
      },
    );
  }

  /** Declares an exchange, unless an earlier request in the queue of requests has declared it. */
  async #exchange(channel: Channel, exchange: Exchange): Promise<void> {
    if (this.knows(exchange)) return;
    await assertExchange(channel, exchange);
    // An auto-delete exchange may be deleted at any time.
    if (!exchange.autoDelete) this.#declared.add(exchangeKey(exchange));
  }

  /** See `Transport.inspect`. The settings of the queue are checked if the route has them. */
  async inspect(
    { key, queue }: Route,
    deadline: Deadline,
  ): Promise<QueueState | undefined> {
    const name = queue?.name ?? key;
    const entity = `queue ${name}`;
    const counts = async (channel: Channel) => {
      const checked = channel.checkQueue(name);
      await checkExists(entity, checked);
      // Other settings are answered with 406; a queue of another type must not be removed as if it had these settings.
      const { messageCount, consumerCount } =
        await (queue ? assertQueue(channel, queue) : checked);
      return { messages: messageCount, consumers: consumerCount };
    };
    try {
      return await this.#serialize(entity, deadline, counts, false);
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
    await this.#serialize(
      "exchange amq.direct",
      deadline,
      (channel) => channel.checkExchange("amq.direct"),
      false,
    );
  }

  /** Deletes a queue if the connection is open. Never rejects, and waits for at most a second. */
  async remove(queue: string): Promise<void> {
    const { socket } = this.#connection;
    if (!socket) return;
    const removed = this.#serialize(
      `queue ${queue}`,
      { at: performance.now() + REMOVAL_TIMEOUT_MS },
      (channel) => channel.deleteQueue(queue),
      false,
    );
    await socket.gracefulClose.waitForReply(removed);
  }

  /** See `Session.unbind`. */
  async unbind(
    { exchange, queue, key, binding = key }: Route,
    deadline: Deadline,
  ): Promise<void> {
    if (!exchange || !queue) return;
    const [from, to] = [exchange.name, queue.name];
    const work = (channel: Channel) => channel.unbindQueue(to, from, binding);
    await this.#serialize(`queue ${to}`, deadline, work, false);
  }

  /** See `Session.removeEmpty`. The deletion is not retried, since the queue may have messages after a loss. */
  async removeEmpty(queue: Queue, deadline: Deadline): Promise<boolean> {
    const work = (channel: Channel) => {
      deadline.signal?.throwIfAborted();
      return removeEmpty(channel, queue);
    };
    try {
      return await this.#serialize(
        `queue ${queue.name}`,
        deadline,
        work,
        false,
      );
    } catch (error) {
      if (isRefusedWith(error, 406)) return false;
      throw error;
    }
  }

  /**
   * Runs one request at a time, so that the error which closes the channel belongs to that request. With `retry`,
   * failures that may heal are retried until the deadline.
   */
  async #serialize<T>(
    entity: string,
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
    retry = true,
  ): Promise<T> {
    let last: FailedAttempt | undefined;
    const timeoutError = () =>
      declareTimeout(entity, last, this.#connection.waitReason);
    for (let attempt = 0;; attempt++) {
      const turn = this.#tail.then(() => this.#turn(deadline, work));
      this.#tail = turn.catch(() => {});
      const result = await withDeadline(turn, deadline, timeoutError);
      if ("value" in result) return result.value;
      if (isFatal(result.code)) {
        throw declareError(entity, result.reason, result.code);
      }
      if (result.code === 404) this.forget(); // an exchange was deleted, or the node of a queue is down
      if (!last || result.code !== undefined) last = result;
      if (!retry || performance.now() >= deadline.at) throw timeoutError();
      await delay(backoff(attempt), deadline);
    }
  }

  async #turn<T>(
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
  ): Promise<{ value: T } | FailedAttempt> {
    if (performance.now() >= deadline.at) return { reason: "timed out" };
    const socket = await this.#connection.waitForSocket(deadline);
    if (socket !== this.#socket) this.forget();
    this.#socket = socket;
    return await this.#try(socket, deadline, work);
  }

  async #try<T>(
    socket: Parameters<typeof openChannel>[0],
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
  ): Promise<{ value: T } | FailedAttempt> {
    const timeoutError = () => new TimeoutError("no reply in time");
    try {
      const channel = this.#channel?.alive
        ? this.#channel
        : await withDeadline(openChannel(socket), deadline, timeoutError);
      this.#channel = channel;
      return {
        value: await withDeadline(
          work(channel.channel),
          deadline,
          timeoutError,
        ),
      };
    } catch (error) {
      void this.#channel?.close(); // the channel is closed, or has a pending request that was given up
      this.#channel = undefined;
      if (error instanceof TopologyError) throw error;
      const { code, message } = error as Error & { code?: number | string };
      return {
        code: typeof code === "number" ? code : undefined,
        reason: message,
      };
    }
  }
}
