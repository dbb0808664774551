/**
 * Reply queues of single calls, for servers that do not know the reply queue of a process (Folsom `rpc/amqp.py`,
 * `msg_reply`).
 *
 * @module
 */
import { TimeoutError, TopologyError } from "../errors.ts";
import { logger } from "../logging.ts";
import { withDeadline } from "../async/deadline.ts";
import type {
  Deadline,
  Delivery,
  Session,
  Transport,
} from "../transport/transport.ts";
import type { Limits } from "../wire/mod.ts";

/** Milliseconds for which no reply queue is declared after the broker has forbidden one. */
const FORBIDDEN_PAUSE_MS = 60_000;

/** Maximum of unacknowledged messages of the reply queue of one call. */
const PREFETCH = 1_000;

/** True if the user of the connection lacks a permission. */
const isForbidden = (error: unknown) =>
  error instanceof TopologyError && error.data.reason === "forbidden";

/**
 * Use of reply queues named after the call, for servers that do not know the reply queue of a process (Folsom):
 * `never`, `always`, or `learn`, which uses them for each request queue until a newer server has replied from it.
 */
export type LegacyPeers = "never" | "learn" | "always";

/** Declares and consumes reply queues of single calls, on a session of their own. */
export class CallQueues {
  readonly #transport: Transport;
  readonly #limits: Limits;
  readonly #onDelivery: (delivery: Delivery) => void;
  /** Time before which no queue is declared, in milliseconds of `performance.now()`. */
  #forbiddenUntil = -Infinity;
  /** First declaration, which shows whether the user has the permission; undefined before. */
  #trial: Promise<void> | undefined;
  #session: Promise<Session> | undefined;

  /** Opens the session with the first queue. */
  constructor(
    transport: Transport,
    limits: Limits,
    onDelivery: (delivery: Delivery) => void,
  ) {
    this.#transport = transport;
    this.#limits = limits;
    this.#onDelivery = onDelivery;
  }

  /**
   * Declares the exchange and the queue with the name of a call, and consumes the queue until disposed. Resolves to undefined
   * if the user of the connection may not declare them; nothing is declared for a minute then.
   */
  async open(
    call: string,
    deadline: Deadline,
  ): Promise<Disposable | undefined> {
    const timeoutError = () => new TimeoutError("no reply in time");
    if (this.#trial) {
      await withDeadline(this.#trial, deadline, timeoutError).catch(() => {});
    }
    if (performance.now() < this.#forbiddenUntil) return undefined;
    const opening = this.#consume(call, deadline);
    // Calls that start together wait for the first one, because each declaration that is forbidden closes a channel.
    this.#trial ??= opening.then(
      () => {},
      () => void (this.#trial = undefined),
    );
    try {
      return await opening;
    } catch (error) {
      if (!isForbidden(error)) throw error;
      this.#forbiddenUntil = performance.now() + FORBIDDEN_PAUSE_MS;
      logger("rpc").warn(
        "Calls go on without a queue for answers of Folsom's servers, which this user may not declare: {error}",
        { error },
      );
      return undefined;
    }
  }

  async #consume(call: string, deadline: Deadline): Promise<Disposable> {
    const opening = this.#session ??= this.#transport.openSession(deadline)
      .catch((error) => {
        this.#session = undefined;
        throw error;
      });
    const session = await opening;
    const consumer = await session.consume(
      { kind: "callQueue", call },
      this.#onDelivery,
      {
        prefetch: PREFETCH,
        limit: { bytes: this.#limits.bytes, allowWhole: false },
      },
      deadline,
    );
    return { [Symbol.dispose]: () => void consumer.cancel() };
  }
}

/** Decides which calls of one client get a reply queue of their own. */
export class LegacyReplyQueues {
  readonly #callQueues: CallQueues;
  readonly #mode: LegacyPeers;
  /** Request queues whose servers reply to the inbox of the process. */
  readonly #newer = new Set<string>();

  /** `callQueues` declares and consumes the queues; `mode` selects the calls that get one. */
  constructor(callQueues: CallQueues, mode: LegacyPeers) {
    this.#callQueues = callQueues;
    this.#mode = mode;
  }

  /** True if the servers of a request queue may reply only to a queue named after the call. */
  needs(queue: string): boolean {
    return this.#mode !== "never" && !this.#newer.has(queue);
  }

  /**
   * Declares the reply queue of a call, until disposed. Resolves to undefined if the user lacks the permission but the
   * server may reply to the inbox.
   *
   * @throws {TopologyError} the user lacks the permission, and the server can only reply to this queue.
   */
  async prepare(
    call: string,
    deadline: Deadline,
  ): Promise<Disposable | undefined> {
    const queue = await this.#callQueues.open(call, deadline);
    if (queue || this.#mode !== "always") return queue;
    throw new TopologyError(
      `Cannot declare exchange and queue ${call}, where servers of Folsom answer: the user lacks the permission; grant it, or use another dialect`,
      { data: { entity: `exchange ${call}`, reason: "forbidden" } },
    );
  }

  /**
   * Learns which servers serve a queue. An old server's reply has no call id; a timeout (`call` undefined) may mean
   * that an old server serves the queue now.
   */
  learn(queue: string, call: string | undefined): void {
    if (this.#mode !== "learn") return;
    if (call === undefined) this.#newer.delete(queue);
    else this.#newer.add(queue);
  }
}
