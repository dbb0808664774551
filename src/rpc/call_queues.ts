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

/** Milliseconds for which no reply queue is declared after the broker has refused one. */
const REFUSED_PAUSE_MS = 60_000;

/** Maximum of unacknowledged messages of the reply queue of one call. */
const PREFETCH = 1_000;

/** Returns why a queue cannot be had here: the user lacks a permission, or the broker permits no such queue. */
const refusalOf = (error: unknown): TopologyError | undefined =>
  error instanceof TopologyError &&
    ["forbidden", "unsupported"].includes(`${error.data.reason}`)
    ? error
    : undefined;

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
  /** Last refusal, and the time until which no queue is declared, in milliseconds of `performance.now()`. */
  #refused:
    | { readonly error: TopologyError; readonly until: number }
    | undefined;
  /** First declaration, which shows whether such queues can be had; undefined before. */
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
   * Declares the exchange and the queue with the name of a call, and consumes the queue until disposed. Resolves to the refusal
   * if the user of the connection may not declare them, or the broker permits no such queue; nothing is declared for a
   * minute then.
   */
  async open(
    call: string,
    deadline: Deadline,
  ): Promise<Disposable | TopologyError> {
    const timeoutError = () => new TimeoutError("no reply in time");
    if (this.#trial) {
      await withDeadline(this.#trial, deadline, timeoutError).catch(() => {});
    }
    const refused = this.#refused;
    if (refused && performance.now() < refused.until) return refused.error;
    const opening = this.#consume(call, deadline);
    // Calls that start together wait for the first one, because each declaration that is refused closes a channel.
    this.#trial ??= opening.then(
      () => {},
      () => void (this.#trial = undefined),
    );
    try {
      return await opening;
    } catch (error) {
      const refusal = refusalOf(error);
      if (!refusal) throw error;
      const until = performance.now() + REFUSED_PAUSE_MS;
      this.#refused = { error: refusal, until };
      logger("rpc").warn(
        "Calls go on without a queue for answers of Folsom's servers: {error}",
        { error },
      );
      return refusal;
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
   * Declares the reply queue of a call, until disposed. Resolves to undefined if it cannot be had but the server may reply to
   * the inbox.
   *
   * @throws {TopologyError} the queue cannot be had, and the server can only reply to this queue.
   */
  async prepare(
    call: string,
    deadline: Deadline,
  ): Promise<Disposable | undefined> {
    const opened = await this.#callQueues.open(call, deadline);
    if (!(opened instanceof TopologyError)) return opened;
    if (this.#mode !== "always") return undefined;
    throw unansweredError(call, opened);
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

/** Creates the error for a call to a server of Folsom whose reply queue cannot be had. */
function unansweredError(call: string, { data }: TopologyError): TopologyError {
  const remedy = data.reason === "forbidden"
    ? "the user lacks the permission; grant it"
    : "the broker permits no queue that is neither durable nor exclusive; permit its deprecated feature transient_nonexcl_queues";
  return new TopologyError(
    `Cannot declare exchange and queue ${call}, where servers of Folsom answer: ${remedy}, or use another dialect`,
    { data: { entity: `exchange ${call}`, reason: data.reason } },
  );
}
