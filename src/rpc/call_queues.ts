/** Reply queues of single calls, for servers that do not know the reply queue of a process (Folsom). @module */
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
