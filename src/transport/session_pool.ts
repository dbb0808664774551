/** Leases on a link: counted, and pooled for those who ask often. The link is closed with its last lease. @module */
import { TimeoutError } from "../errors.ts";
import { type Deadline, withDeadline } from "../async/deadline.ts";
import { clearTimeout, setTimeout } from "node:timers";
import type { Session, Transport } from "./transport.ts";

/** Bounds of a pool. */
export interface PoolOptions {
  /** Transports at most, in use and idle (Nova: `rpc_conn_pool_size`, 30). */
  readonly size?: number;
  /** Milliseconds that an idle one is kept. */
  readonly idle?: number;
}

interface Idle {
  readonly session: Session;
  readonly since: number;
}

/** A link with the leases on it. */
export class SessionPool {
  /** What is leased. */
  readonly transport: Transport;
  readonly #size: number;
  readonly #idleLimit: number;
  readonly #closed: () => void;
  readonly #waiters: PromiseWithResolvers<void>[] = [];
  #idle: Idle[] = [];
  /** Leases in use. */
  #used = 0;
  /** Those of them that came from the pool. */
  #pooled = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closing: Promise<void> | undefined;

  /** `closed` is called when the link begins to close: whoever comes later needs a new one. */
  constructor(
    transport: Transport,
    closed: () => void,
    { size = 30, idle = 60_000 }: PoolOptions = {},
  ) {
    this.transport = transport;
    this.#size = size;
    this.#idleLimit = idle;
    this.#closed = closed;
  }

  /**
   * A transport: the one that was idle for the shortest time, or a new one.
   *
   * @throws {TimeoutError} if all of the pool are in use until the deadline.
   */
  async acquire(pooled: boolean, deadline: Deadline): Promise<Session> {
    this.#used++;
    this.transport.ref();
    try {
      if (pooled) await this.#place(deadline);
      const idle = pooled ? this.#idle.pop() : undefined;
      return idle?.session ?? await this.#open(pooled, deadline);
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  /** Gives one back: to the pool if it came from there and is as new, else it is closed. */
  async release(
    session: Session,
    pooled: boolean,
    reusable: boolean,
  ): Promise<void> {
    if (pooled && reusable && !this.#closing) {
      this.#idle.push({ session: session, since: performance.now() });
    } else await session[Symbol.asyncDispose]();
    if (pooled) this.#free();
    await this.#release();
  }

  /** Closes what is idle (Nova: `cleanup`); the link too, if nobody uses it. */
  async cleanup(): Promise<void> {
    clearTimeout(this.#timer);
    const idle = this.#idle.splice(0);
    await Promise.all(
      idle.map(({ session }) => session[Symbol.asyncDispose]()),
    );
    if (this.#used === 0) await this.#close();
  }

  async #open(pooled: boolean, deadline: Deadline): Promise<Session> {
    try {
      return await this.transport.openSession(deadline);
    } catch (error) {
      if (pooled) this.#free();
      throw error;
    }
  }

  /** A place in the pool, in the order of asking: whoever gives one back hands it to the next. */
  async #place(deadline: Deadline): Promise<void> {
    if (this.#pooled < this.#size) return void this.#pooled++;
    const waiter = Promise.withResolvers<void>();
    this.#waiters.push(waiter);
    const late = () =>
      new TimeoutError(
        `All ${this.#size} connections of the pool are in use`,
        { inDoubt: false },
      );
    try {
      await withDeadline(waiter.promise, deadline, late);
    } catch (error) {
      const at = this.#waiters.indexOf(waiter);
      if (at >= 0) this.#waiters.splice(at, 1);
      else this.#free(); // it was handed over in the same turn
      throw error;
    }
  }

  #free(): void {
    const next = this.#waiters.shift();
    if (next) next.resolve();
    else this.#pooled--;
  }

  async #release(): Promise<void> {
    if (--this.#used === 0) {
      if (this.#idle.length === 0) return await this.#close();
      this.transport.unref();
    }
    this.#expireIdle();
  }

  /** Closes what was idle too long. The timer keeps no process alive. */
  #expireIdle(): void {
    clearTimeout(this.#timer);
    const next = this.#idle[0];
    if (!next) return;
    const ms = next.since + this.#idleLimit - performance.now();
    this.#timer = setTimeout(() => void this.#dropOld(), Math.max(0, ms));
    this.#timer.unref();
  }

  async #dropOld(): Promise<void> {
    const old = performance.now() - this.#idleLimit;
    const dropped = this.#idle.filter(({ since }) => since <= old);
    this.#idle = this.#idle.filter(({ since }) => since > old);
    await Promise.all(
      dropped.map(({ session }) => session[Symbol.asyncDispose]()),
    );
    if (this.#used === 0 && this.#idle.length === 0) await this.#close();
    else this.#expireIdle();
  }

  #close(): Promise<void> {
    clearTimeout(this.#timer);
    this.#closed();
    return this.#closing ??= Promise.resolve(
      this.transport[Symbol.asyncDispose](),
    );
  }
}
