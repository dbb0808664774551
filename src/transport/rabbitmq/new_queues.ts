/**
 * Queues that this process has created on a cluster. RabbitMQ answers a declaration before all nodes have written down that
 * the queue exists: if they are killed at that moment, the queue is gone, or empty, with messages that were confirmed.
 *
 * @module
 */
import { type Deadline, delay } from "../../async/deadline.ts";
import { TimeoutError } from "../../errors.ts";
import { isSince, versionOf } from "./broker_version.ts";
import { isLasting, type QueueCreations } from "./connection/declarations.ts";
import type { SupervisedConnection } from "./connection/supervised_connection.ts";
import type { RabbitOptions } from "./rabbit_options.ts";
import { isQuorum, type Queue } from "./routes/entities.ts";

/**
 * Milliseconds after which a node has written down that it has a quorum queue. RabbitMQ (Ra) writes that to `names.dets` once
 * that file was idle for 0.5 to 1 s, else after 3 s. Measured: 3.2 s at most.
 */
const QUORUM_WAIT_MS = 4_000;
/**
 * Milliseconds after which all nodes have written down that a classic queue exists. Mnesia, which keeps that until RabbitMQ
 * 4.3, writes its log every 2 s. Measured: 2.2 s at most. Khepri, from 4.3 on, writes before it answers.
 */
const MNESIA_WAIT_MS = 3_000;

/** Creations of one process on a cluster, for which it waits once, however many queues it creates at a time. */
export class NewQueues implements QueueCreations {
  readonly #connection: Pick<SupervisedConnection, "current">;
  /** Names of the queues that may have been created since the last wait began, and are not waited for again. */
  readonly #names = new Set<string>();
  /** Moment of `performance.now()` at which all nodes have written down the queues that were created last. */
  #until = 0;

  /** `connection` is the one that declares the queues. */
  constructor(connection: Pick<SupervisedConnection, "current">) {
    this.#connection = connection;
  }

  needsCheck(queue: Queue): boolean {
    return this.#waitOf(queue) > 0 && performance.now() >= this.#until;
  }

  missing(queue: Queue): void {
    if (performance.now() >= this.#until) this.#names.clear();
    this.#extend(queue);
  }

  unchecked(queue: Queue): void {
    const { name } = queue;
    if (this.#names.has(name) || this.#waitOf(queue) === 0) return;
    this.#names.add(name);
    this.#extend(queue);
  }

  async wait(deadline: Deadline): Promise<void> {
    const until = this.#until;
    const ms = until - performance.now();
    if (ms <= 0) return;
    await delay(ms, deadline);
    if (deadline.at >= until) return;
    throw new TimeoutError(
      "Cannot use new queues in time: a cluster whose nodes are all killed may lose a queue that is younger than " +
        `${QUORUM_WAIT_MS} ms; set a later deadline`,
      { inDoubt: false },
    );
  }

  #extend(queue: Queue): void {
    const until = performance.now() + this.#waitOf(queue);
    this.#until = Math.max(this.#until, until);
  }

  /** Returns the milliseconds for which a new queue is waited for; 0 for one that is not expected to survive. */
  #waitOf(queue: Queue): number {
    if (!queue.durable || !isLasting(queue)) return 0;
    if (isQuorum(queue)) return QUORUM_WAIT_MS;
    const { current } = this.#connection;
    const hasKhepri = current && isSince(versionOf(current), 4, 3);
    return hasKhepri ? 0 : MNESIA_WAIT_MS;
  }
}

/** Returns the record of new queues of a cluster, i.e. if several URLs are given; undefined for a single node. */
export const newQueuesOf = (
  { urls }: RabbitOptions,
  connection: SupervisedConnection,
): NewQueues | undefined =>
  typeof urls !== "function" && urls.length > 1
    ? new NewQueues(connection)
    : undefined;
