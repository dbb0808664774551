/** Consumer of the inbox: the reply queue of the process. @module */
import { ConnectionFailedError } from "../../errors.ts";
import { type Deadline, withDeadline } from "../../async/deadline.ts";
import type { Delivery, InboxListener, Message } from "../transport.ts";
import { ConsumerChannel } from "./consuming/consumers.ts";
import type { QueueRoute } from "./routes/entities.ts";
import type { SupervisedConnection } from "./connection/supervised_connection.ts";
import type { Topology } from "./connection/topology.ts";

/** Maximum number of unacknowledged messages of the inbox. */
const INBOX_PREFETCH = 1_000;

/** Collaborators of an inbox consumer. */
export interface InboxOptions {
  /** Connection that consumes. */
  readonly connection: SupervisedConnection;
  /** Declarations on that connection. */
  readonly topology: Topology;
  /** Creates a route with a new queue name. */
  readonly newRoute: () => QueueRoute;
  /** Handles a delivery before the listener; true if the listener must not see the delivery. */
  readonly intercept: (delivery: Delivery) => boolean;
  /** Called once the inbox is consumed. */
  readonly onStarted: () => void;
}

/** Consumes the inbox on a channel of its own, from the first `start` on. */
export class InboxConsumer {
  readonly #options: InboxOptions;
  #route: QueueRoute;
  #listener: InboxListener | undefined;
  #starting: Promise<void> | undefined;
  #channel: ConsumerChannel | undefined;

  /** Consumes nothing yet. */
  constructor(options: InboxOptions) {
    this.#options = options;
    this.#route = options.newRoute();
  }

  /** Name of the queue, which is kept across reconnects; it changes only if the node of the queue is down. */
  get name(): string {
    return this.#route.queue.name;
  }

  /**
   * Starts to consume; a second call replaces the listener and waits for the first.
   *
   * @throws {ConnectionFailedError} the inbox is not consumed by the deadline.
   */
  async start(listener: InboxListener, deadline: Deadline): Promise<void> {
    this.#listener = listener;
    this.#starting ??= this.#start(listener).catch((error) => {
      this.#starting = undefined;
      throw error;
    });
    const { connection } = this.#options;
    await withDeadline(
      this.#starting,
      deadline,
      () =>
        new ConnectionFailedError(
          `Cannot consume the inbox in time: ${connection.waitReason}`,
        ),
    );
  }

  /** Passes a returned message to the listener. */
  onReturned(message: Message): void {
    this.#listener?.onReturned(message);
  }

  /** Closes the channel. */
  async close(): Promise<void> {
    await this.#channel?.close();
  }

  /** Deletes the queue if it was consumed. */
  async removeQueue(): Promise<void> {
    if (this.#starting) await this.#options.topology.checks.remove(this.name);
  }

  async #start({ limit: bytes = Infinity }: InboxListener): Promise<void> {
    const { connection, topology, newRoute, intercept, onStarted } =
      this.#options;
    const channel = this.#channel ??= new ConsumerChannel(connection, topology);
    await channel.add({
      route: this.#route,
      replaceRoute: () => this.#route = newRoute(),
      onDelivery: (delivery) => {
        if (!intercept(delivery)) this.#listener?.onDelivery(delivery);
      },
      options: {
        prefetch: INBOX_PREFETCH,
        limit: { bytes, allowWhole: false },
      },
    }, { at: Infinity });
    onStarted();
  }
}
