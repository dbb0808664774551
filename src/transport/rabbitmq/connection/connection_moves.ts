/**
 * Moves of a connection back to its preferred node: after losses, the connections of all clients are on few nodes. The new
 * connection is opened first, and the earlier one is closed once all is settled on it, so that a move fails no message and
 * repeats none.
 *
 * @module
 */
import { setImmediate, setTimeout } from "node:timers/promises";
import type { Connection } from "../../../amqp/mod.ts";
import { logger } from "../../../logging.ts";
import type { Dialer, MoveTimes, OpenedConnection } from "./dial.ts";
import type { GracefulClose } from "./graceful_close.ts";

/** Default times. The pauses are random and long, so that the clients of a node move one after another. */
const MOVE_TIMES: MoveTimes = {
  pauseMs: [60_000, 300_000],
  settlingMs: 5_000,
};

/** User of channels, which can change to those of another connection. */
export interface Movable {
  /** False while a move might fail or repeat something. */
  readonly isMovable: boolean;
  /** Uses channels of the current connection from now on; resolves when all is settled on the earlier one. Never rejects. */
  move(): Promise<void>;
}

/** Members of a dialer that moves use. */
export type MoveDialer = Pick<Dialer, "preferred" | "moveTimes">;

/** The connection that moves: members of `SupervisedConnection`. */
export interface MovingConnection {
  readonly current: Connection | undefined;
  readonly blocked: string | undefined;
  readonly isDisplaced: boolean;
  readonly gracefulClose: GracefulClose;
  replaceBy(opened: OpenedConnection): void;
}

/** Moves one connection, at random times. */
export class ConnectionMoves {
  readonly #connection: MovingConnection;
  readonly #dialer: MoveDialer;
  readonly #times: MoveTimes;
  /** Ends the moves. */
  readonly #signal: AbortSignal;
  readonly #movables = new Set<Movable>();
  #verify: ((connection: Connection) => Promise<boolean>) | undefined;
  #running: Promise<void> | undefined;

  /** Moves nothing before `start`, or after the signal has fired. */
  constructor(
    connection: MovingConnection,
    dialer: MoveDialer,
    signal: AbortSignal,
  ) {
    this.#connection = connection;
    this.#dialer = dialer;
    this.#signal = signal;
    this.#times = dialer.moveTimes ?? MOVE_TIMES;
  }

  /** Resolves when the signal has fired, and the earlier connection of a move is closed. */
  get ended(): Promise<void> | undefined {
    return this.#running;
  }

  /** Moves only over connections for which a check resolves with true from now on. */
  verifyBy(check: (connection: Connection) => Promise<boolean>): void {
    this.#verify = check;
  }

  /** Adds a user of channels, if it has not been added. */
  add(movable: Movable): void {
    this.#movables.add(movable);
  }

  /** Removes a user of channels. */
  delete(movable: Movable): void {
    this.#movables.delete(movable);
  }

  /** Starts to move the connection when it is not at its preferred node. */
  start(): void {
    this.#running ??= this.#run();
  }

  async #run(): Promise<void> {
    const signal = this.#signal;
    const [min, max] = this.#times.pauseMs;
    while (!signal.aborted) {
      const pauseMs = min + Math.random() * (max - min);
      await pause(pauseMs, signal);
      if (signal.aborted) return;
      await this.#move().catch((error) =>
        logger("bus").debug("Cannot move to the preferred node: {error}", {
          error,
        })
      );
    }
  }

  /** Moves the connection, if that is needed and possible; throws if the preferred node cannot be reached. */
  async #move(): Promise<void> {
    const connection = this.#connection;
    const { current, isDisplaced, gracefulClose } = connection;
    if (!current || !isDisplaced || !this.#areMovable) return;
    const opened = await this.#dialer.preferred();
    const works = await this.#verify?.(opened.connection) ?? true;
    if (!works || !this.#isPossible(current, opened)) {
      return await gracefulClose.close(opened.connection);
    }
    logger("bus").debug("Moving to the preferred node");
    connection.replaceBy(opened);
    current.unref();
    try {
      await this.#settle(current);
    } finally {
      await gracefulClose.close(current);
    }
  }

  /** True if the move fails and repeats nothing. */
  #isPossible(current: Connection, { connection }: OpenedConnection): boolean {
    const { blocked, isDisplaced, current: latest } = this.#connection;
    return latest === current && isDisplaced && blocked === undefined &&
      connection.blocked === undefined && !this.#signal.aborted &&
      this.#areMovable;
  }

  get #areMovable(): boolean {
    return [...this.#movables].every(({ isMovable }) => isMovable);
  }

  /** Resolves when all is settled on the earlier connection, or it is lost, or the moves end. */
  async #settle(earlier: Connection): Promise<void> {
    const signal = this.#signal;
    await setImmediate(); // a channel that has just been opened is in use now
    const moves = [...this.#movables].map((each) => each.move());
    const settled = Promise.all([
      ...moves,
      pause(this.#times.settlingMs, signal),
    ]);
    const stopped = Promise.withResolvers<void>();
    signal.addEventListener("abort", () => stopped.resolve());
    if (signal.aborted) return;
    await Promise.race([settled, stopped.promise, earlier.closed]);
  }
}

/** Waits without keeping the process alive; ends when the signal fires. */
async function pause(ms: number, signal: AbortSignal): Promise<void> {
  await setTimeout(ms, undefined, { signal, ref: false }).catch(() => {});
}
