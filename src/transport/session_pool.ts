/**
 * Session pool: counts the sessions that are in use, reuses idle ones, and closes the transport with the last session.
 *
 * @module
 */
import { TimeoutError } from "../errors.ts";
import { type Deadline, withDeadline } from "../async/deadline.ts";
import { clearTimeout, setTimeout } from "node:timers";
import type { Session, SessionOptions, Transport } from "./transport.ts";

/** Limits of a pool. */
export interface PoolOptions {
  /** Maximum number of pooled sessions, in use and idle; default 30 (Nova: `rpc_conn_pool_size`). */
  readonly size?: number;
  /** Milliseconds after which an idle session is closed; default 60 000. */
  readonly idle?: number;
}

interface IdleSession {
  readonly session: Session;
  readonly since: number;
}

/** A transport with its sessions. */
export class SessionPool {
  /** The transport on which sessions are opened. */
  readonly transport: Transport;
  readonly #size: number;
  readonly #idleLimit: number;
  readonly #onClose: () => void;
  readonly #waiters: PromiseWithResolvers<void>[] = [];
  #idle: IdleSession[] = [];
  /** Sessions in use. */
  #used = 0;
  /** Pooled sessions in use. */
  #pooled = 0;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closing: Promise<void> | undefined;

  /** `onClose` is called when the transport begins to close; later callers need a new transport. */
  constructor(
    transport: Transport,
    onClose: () => void,
    { size = 30, idle = 60_000 }: PoolOptions = {},
  ) {
    this.transport = transport;
    this.#size = size;
    this.#idleLimit = idle;
    this.#onClose = onClose;
  }

  /**
   * Returns the session that was idle for the shortest time, or opens one.
   *
   * @throws {TimeoutError} all sessions of the pool are in use until the deadline.
   */
  async acquire(
    pooled: boolean,
    deadline: Deadline,
    options?: SessionOptions,
  ): Promise<Session> {
    this.#used++;
    this.transport.ref();
    try {
      if (pooled) await this.#acquireSlot(deadline);
      const idle = pooled ? this.#idle.pop() : undefined;
      return idle?.session ?? await this.#open(pooled, deadline, options);
    } catch (error) {
      await this.#release();
      throw error;
    }
  }

  /** Returns a session to the pool if it is pooled and reusable; closes it otherwise. */
  async release(
    session: Session,
    pooled: boolean,
    reusable: boolean,
  ): Promise<void> {
    if (pooled && reusable && !this.#closing) {
      this.#idle.push({ session: session, since: performance.now() });
    } else await session[Symbol.asyncDispose]();
    if (pooled) this.#releaseSlot();
    await this.#release();
  }

  /** Closes idle sessions (Nova: `cleanup`), and the transport if no session is in use. */
  async cleanup(): Promise<void> {
    clearTimeout(this.#timer);
    const idle = this.#idle.splice(0);
    await Promise.all(
      idle.map(({ session }) => session[Symbol.asyncDispose]()),
    );
    if (this.#used === 0) await this.#close();
  }

  async #open(
    pooled: boolean,
    deadline: Deadline,
    options: SessionOptions | undefined,
  ): Promise<Session> {
    try {
      return await this.transport.openSession(deadline, options);
    } catch (error) {
      if (pooled) this.#releaseSlot();
      throw error;
    }
  }

  /** Waits for a slot of the pool; slots are granted in the order of the calls. */
  async #acquireSlot(deadline: Deadline): Promise<void> {
    if (this.#pooled < this.#size) return void this.#pooled++;
    const waiter = Promise.withResolvers<void>();
    this.#waiters.push(waiter);
    const timeoutError = () =>
      new TimeoutError(
        `All ${this.#size} connections of the pool are in use`,
        { inDoubt: false },
      );
    try {
      await withDeadline(waiter.promise, deadline, timeoutError);
    } catch (error) {
      const at = this.#waiters.indexOf(waiter);
      if (at >= 0) this.#waiters.splice(at, 1);
      else this.#releaseSlot(); // the slot was granted in the same turn of the event loop
      throw error;
    }
  }

  #releaseSlot(): void {
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

  /** Closes sessions that were idle for too long. The timer does not keep the process alive. */
  #expireIdle(): void {
    clearTimeout(this.#timer);
    const next = this.#idle[0];
    if (!next) return;
    const ms = next.since + this.#idleLimit - performance.now();
    this.#timer = setTimeout(() => void this.#closeExpired(), Math.max(0, ms));
    this.#timer.unref();
  }

  async #closeExpired(): Promise<void> {
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
    this.#onClose();
    return this.#closing ??= Promise.resolve(
      this.transport[Symbol.asyncDispose](),
    );
  }
}
