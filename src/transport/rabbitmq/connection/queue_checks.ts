/** Checks and removals of queues. @module */
import type { Channel } from "../../../amqp/mod.ts";
import type { Deadline } from "../../../async/deadline.ts";
import type { QueueState } from "../../transport.ts";
import type { Queue, Route } from "../routes/entities.ts";
import type { FoundForms } from "../routes/found_forms.ts";
import { declareAsFound, isOfMissing } from "../routes/adoption.ts";
import { inspectQueue, removeEmpty } from "./declarations.ts";
import { RequestChannels } from "./request_channel.ts";
import type { SupervisedConnection } from "./supervised_connection.ts";
import { isRefusedWith } from "./topology_errors.ts";

/** Milliseconds for the broker to delete a queue. */
const REMOVAL_TIMEOUT_MS = 1_000;

/**
 * Checks and removals of queues on one connection. They are sent one at a time on a channel of their own, since many of
 * them are refused, and a refusal closes the channel.
 */
export class QueueChecks {
  readonly #connection: SupervisedConnection;
  readonly #found: FoundForms;
  readonly #channels: RequestChannels;

  /** `found` gets the forms of queues that exist in another form. `onMissing` is called at each 404. */
  constructor(
    connection: SupervisedConnection,
    found: FoundForms,
    onMissing: () => void,
  ) {
    this.#connection = connection;
    this.#found = found;
    this.#channels = new RequestChannels(connection, {
      onMissing,
      isSerial: true,
    });
  }

  /** Performs requests for a queue once, also if they fail in a way that may heal. */
  once<T>(
    queue: string,
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
  ): Promise<T> {
    return this.#channels.perform(`queue ${queue}`, deadline, work);
  }

  /** See `Transport.inspect`. The settings of the queue are checked if the route has them. */
  async inspect(
    { key, queue }: Route,
    deadline: Deadline,
  ): Promise<QueueState | undefined> {
    const name = queue?.name ?? key;
    const entity = `queue ${name}`;
    const inspect = (form?: Queue) =>
      this.#channels.perform(
        entity,
        deadline,
        (channel) => inspectQueue(channel, name, form),
      );
    try {
      return queue
        ? await declareAsFound(queue, this.#found, inspect)
        : await inspect();
    } catch (error) {
      if (isOfMissing(error)) return undefined;
      throw error;
    }
  }

  /**
   * See `Session.flush`. RabbitMQ processes the frames of a connection in their order, so that it has processed all
   * earlier acknowledgements when it answers this request, which changes nothing on a channel without consumers. From
   * RabbitMQ 4.3 on, a check of an exchange or a queue needs a right on it; this request needs none.
   */
  async flush(deadline: Deadline): Promise<void> {
    await this.#channels.perform(
      "a prefetch",
      deadline,
      (channel) => channel.request("basic.qos", { prefetchCount: 0 }),
    );
  }

  /** Deletes a queue if the connection is open. Never rejects, and waits for at most a second. */
  async remove(queue: string): Promise<void> {
    if (!this.#connection.current) return;
    const removed = this.#channels.perform(
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
    await this.#channels.perform(`queue ${queue.name}`, deadline, work);
  }

  /** See `Session.removeEmpty`. The deletion is not retried, since the queue may have messages after a loss. */
  async removeEmpty(queue: Queue, deadline: Deadline): Promise<boolean> {
    const work = async (channel: Channel) => {
      deadline.signal?.throwIfAborted();
      return await removeEmpty(channel, queue);
    };
    try {
      return await this.#channels.perform(
        `queue ${queue.name}`,
        deadline,
        work,
      );
    } catch (error) {
      if (isRefusedWith(error, 406)) return false;
      throw error;
    }
  }
}
