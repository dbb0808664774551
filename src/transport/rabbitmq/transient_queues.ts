/**
 * Queues that are neither durable nor exclusive, which RabbitMQ 4 may refuse: it then closes the whole connection. One trial
 * on a connection of its own shows that before the first declaration, so that no other work is disturbed.
 *
 * @module
 */
import type { AmqpError, Connection } from "../../amqp/mod.ts";
import { type Deadline, withDeadline } from "../../async/deadline.ts";
import { TimeoutError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { isSince, versionOf } from "./broker_version.ts";
import { assertQueue } from "./connection/declarations.ts";
import { dial, type DialSettings } from "./connection/dial.ts";
import type { Queue } from "./routes/entities.ts";
import { type Access, loginOf } from "./connection/login.ts";
import type { SupervisedConnection } from "./connection/supervised_connection.ts";
import {
  declareError,
  isTransientDenial,
} from "./connection/topology_errors.ts";

/** First version of RabbitMQ that may refuse such queues. */
const FIRST_MAJOR = 4;
/** Milliseconds for a trial, after which the queue is declared without its result. */
const TRIAL_TIMEOUT_MS = 5_000;

/** Trial on behalf of one connection. */
interface Trial {
  readonly owner: Connection;
  /** Resolves with the refusal of the broker, or with undefined if it has not refused. */
  readonly refusal: Promise<AmqpError | undefined>;
}

/** Finds out if the broker of a connection permits such queues. */
export class TransientQueues {
  readonly #connection: SupervisedConnection;
  readonly #access: Access;
  readonly #settings: DialSettings;
  readonly #stop = new AbortController();
  /** Version of the broker that has permitted such a queue. */
  #permitted: unknown;
  /** Last trial. What it shows holds until the connection is another one. */
  #trial: Trial | undefined;

  /** Opens nothing yet. `connection` is the one that declares the queues; trials log in by `access`. */
  constructor(
    connection: SupervisedConnection,
    access: Access,
    settings: DialSettings,
  ) {
    this.#connection = connection;
    this.#access = access;
    this.#settings = { ...settings, name: `${settings.name} trial` };
  }

  /**
   * Resolves when the queue may be declared; undefined for a queue that needs no trial.
   *
   * @throws {TopologyError} the broker does not permit queues that are neither durable nor exclusive.
   */
  check(queue: Queue, deadline: Deadline): Promise<void> | undefined {
    const { durable, exclusive, passive } = queue;
    if (durable || exclusive || passive) return undefined;
    return this.#check(queue, deadline);
  }

  /** Ends the trial that runs. */
  close(): void {
    this.#stop.abort();
  }

  async #check(queue: Queue, deadline: Deadline): Promise<void> {
    const owner = await this.#connection.waitForConnection(deadline)
      .catch(() => undefined);
    if (!owner || !isSince(versionOf(owner), FIRST_MAJOR, 0)) return;
    const { version } = owner.serverProperties;
    if (this.#permitted === version) return;
    if (this.#trial?.owner !== owner) {
      this.#trial = { owner, refusal: this.#try(queue, version) };
    }
    const text = `Cannot declare queue ${queue.name} in time`;
    const refusal = await withDeadline(
      this.#trial.refusal,
      deadline,
      () => new TimeoutError(text, { inDoubt: false }),
    );
    if (!refusal) return;
    const { replyText = refusal.message, replyCode } = refusal;
    throw declareError(`queue ${queue.name}`, replyText, replyCode);
  }

  /** Makes a trial. Any other failure than a refusal is left to the declaration itself. Never rejects. */
  async #try(queue: Queue, version: unknown): Promise<AmqpError | undefined> {
    const ended = new AbortController();
    const signal = AbortSignal.any([this.#stop.signal, ended.signal]);
    const limit = { at: performance.now() + TRIAL_TIMEOUT_MS, signal };
    try {
      const declaring = this.#declare(queue, signal);
      await withDeadline(declaring, limit, () => new Error("no reply in time"));
      this.#permitted = version;
    } catch (error) {
      if (isTransientDenial(error)) return error;
      logger("bus").debug("A trial declaration has failed: {error}", { error });
    } finally {
      ended.abort();
    }
    return undefined;
  }

  /**
   * Declares a queue beside the one that is wanted, on a connection of its own, which the signal closes; and deletes it. The
   * wanted one might be left behind, although its exchange is refused.
   */
  async #declare(queue: Queue, signal: AbortSignal): Promise<void> {
    const connection = await this.#open(signal);
    signal.addEventListener("abort", () => void connection.close());
    if (signal.aborted) return await connection.close();
    const channel = await connection.openChannel();
    const name = `${queue.name}.trial-${crypto.randomUUID()}`;
    const expiring = { "x-expires": TRIAL_TIMEOUT_MS };
    await assertQueue(channel, { ...queue, name, arguments: expiring });
    await channel.request("queue.delete", { queue: name });
  }

  /** Connects to the first node that can be reached. */
  async #open(signal: AbortSignal): Promise<Connection> {
    const nodes = await this.#access.urls(signal);
    for (let attempt = 0;; attempt++) {
      const login = await loginOf(this.#access, attempt, signal);
      try {
        return await dial(login, this.#settings, () => {}, signal);
      } catch (error) {
        if (signal.aborted || attempt + 1 >= nodes.length) throw error;
      }
    }
  }
}
