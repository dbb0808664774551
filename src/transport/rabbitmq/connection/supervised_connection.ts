/** Supervised connection of a transport: reconnects, one attempt at a time, unless its login is rejected. @module */
import type {
  AmqpError,
  Channel,
  ChannelOptions,
  Connection,
} from "../../../amqp/mod.ts";
import { backoff } from "../../../async/backoff.ts";
import {
  ConnectionDisposedError,
  ConnectionFailedError,
} from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import { StateChange } from "../../../async/state_change.ts";
import {
  type Access,
  type Login,
  type LoginRejectionLimits,
  LoginRejections,
} from "./login.ts";
import { keepCredentialsValid } from "./credential_renewal.ts";
import type { GracefulClose } from "./graceful_close.ts";
import {
  Dialer,
  type DialSettings,
  displayUrl,
  finalError,
  type OpenedConnection,
  pauseAfterLoss,
} from "./dial.ts";
import {
  HealthRecorder,
  type SupervisionListener,
} from "./connection_health.ts";
import { ConnectionMoves } from "./connection_moves.ts";

/** Milliseconds after which a connection counts as stable, so that the next back-off starts at its minimum. */
const STEADY_MS = 1_000;

/** A connection that is opened again after every loss. */
export class SupervisedConnection {
  /** Health record of this connection: state, losses, last confirmed activity. */
  readonly recorder: HealthRecorder;
  /** Moves back to the preferred node. */
  readonly moves: ConnectionMoves;
  #current: Connection | undefined;
  /** Resolves when the current connection is lost. */
  #loss = Promise.withResolvers<AmqpError>();
  #reason = "not connected yet";
  #failure: Error | undefined;
  readonly #dialer: Dialer;
  readonly #rejections: LoginRejections;
  /** Limits the waits for replies of the broker while something is closed. */
  readonly gracefulClose: GracefulClose;
  readonly #listener: SupervisionListener;
  readonly #stop = new AbortController();
  readonly #change = new StateChange();
  #needed = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;
  #isUnreffed = false;

  /** Connects when `start` is called. */
  constructor(
    access: Access,
    settings: DialSettings,
    events: SupervisionListener,
    refusals: LoginRejectionLimits,
  ) {
    this.#rejections = new LoginRejections(refusals);
    this.gracefulClose = settings.gracefulClose;
    this.#listener = events;
    this.recorder = new HealthRecorder(() => events.recovered());
    const onBlocked = (reason?: string) => this.#onBlocked(reason);
    const { signal } = this.#stop;
    this.#dialer = new Dialer(access, settings, onBlocked, signal);
    this.moves = new ConnectionMoves(this, this.#dialer, signal);
    this.#needed.resolve();
  }

  /** Starts to connect. */
  start(): void {
    this.#running ??= this.#run();
    this.moves.start();
  }

  /** The open connection, while there is one. */
  get current(): Connection | undefined {
    return this.#current;
  }

  /** Node of the open connection, while there is one. */
  get node(): Login | undefined {
    return this.#current && this.#dialer.login;
  }

  /** Reason why the broker accepts no messages; undefined while it accepts them. */
  get blocked(): string | undefined {
    return this.#current?.blocked;
  }

  /** Reason of the last failed attempt or loss. */
  get reason(): string {
    return this.#reason;
  }

  /** Error with which the connection was given up. */
  get failure(): Error | undefined {
    return this.#failure;
  }

  /** Reason why an operation has to wait, for timeout errors. */
  get waitReason(): string {
    return this.blocked ??
      (this.#current ? "the broker does not answer" : this.#reason);
  }

  /** Resolves at the next change of state: open, closed, blocked, unblocked or failed. */
  stateChange(): Promise<void> {
    return this.#change.next;
  }

  /**
   * Waits for an open connection.
   *
   * @throws {ConnectionFailedError} the connection is not open by the deadline.
   * @throws {ConnectionDisposedError} the connection is closed for good.
   */
  async waitForConnection(deadline: Deadline): Promise<Connection> {
    while (!this.#current) {
      if (this.#failure) throw this.#failure;
      if (this.#stop.signal.aborted) {
        throw new ConnectionDisposedError(
          "Cannot send: the connection is closed",
        );
      }
      await withDeadline(
        this.stateChange(),
        deadline,
        () => new ConnectionFailedError(this.#reason),
      );
    }
    return this.#current;
  }

  /** Opens a channel, and retries until it is open; `signal` ends that, and leaves no channel open. */
  async openChannel(
    options: ChannelOptions,
    signal: AbortSignal,
  ): Promise<Channel> {
    const deadline = { at: Infinity, signal };
    for (let attempt = 0;; attempt++) {
      const connection = await this.waitForConnection(deadline);
      const opening = connection.openChannel(options);
      try {
        const channel = await withDeadline(opening, deadline, () => undefined);
        if (connection === this.#current || !channel.isOpen) return channel;
        void this.closeChannel(channel); // another connection has taken its place
      } catch {
        if (signal.aborted) {
          void opening.then((late) => this.closeChannel(late), () => {});
        }
        await delay(backoff(attempt), deadline);
      }
    }
  }

  /** Closes a channel of this connection, without the reply of the broker if it does not come in time. */
  async closeChannel(channel: Channel): Promise<void> {
    await this.gracefulClose.close(channel);
  }

  /** Stops reconnecting, for good, because of an error. */
  fail(error: Error): void {
    if (this.#failure || this.#stop.signal.aborted) return;
    this.#failure = error;
    this.recorder.setState("failed");
    this.#stop.abort();
    this.#listener.failed(error);
    this.#change.notify();
    if (this.#current) void this.gracefulClose.close(this.#current);
  }

  /** Closes the socket, although no error was reported; the connection is then opened again. */
  drop(reason: string): void {
    this.#current?.destroy(reason);
  }

  /** True if the open connection should be one to the preferred node. */
  get isDisplaced(): boolean {
    return this.#current !== undefined && !this.#dialer.isAtPreferred &&
      !this.#isUnreffed;
  }

  /** Uses another open connection from now on. The current one stays open. */
  replaceBy(opened: OpenedConnection): void {
    this.#use(opened);
    this.#change.notify();
  }

  /** Keeps the process alive while the connection is open, which is the default. */
  ref(): void {
    this.#isUnreffed = false;
    this.#current?.ref();
    this.#needed.resolve();
  }

  /** Lets the process exit while the connection is open; a lost connection is not opened again before `ref`. */
  unref(): void {
    this.#isUnreffed = true;
    this.#current?.unref();
    this.#needed = Promise.withResolvers();
  }

  /** Closes the connection for good. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#needed.resolve();
    this.#change.notify();
    if (this.#current) await this.gracefulClose.close(this.#current);
    await Promise.all([this.#running, this.moves.ended]);
  }

  async #run(): Promise<void> {
    const stop = this.#stop.signal;
    for (let attempt = 0, connected = false; !stop.aborted; attempt++) {
      await this.#needed.promise;
      if (stop.aborted) return;
      let pause = backoff(attempt);
      try {
        const since = performance.now();
        const opened = await this.#dialer.next(attempt);
        this.#rejections.clear();
        const loss = await this.#supervise(opened);
        connected = true;
        if (performance.now() - since > STEADY_MS) {
          attempt = 0;
          pause = pauseAfterLoss(loss, opened.login);
        }
      } catch (error) {
        if (stop.aborted) return;
        this.#failedAttempt(error as Error, connected);
      }
      await delay(pause, { at: Infinity, signal: stop }).catch(() => {});
    }
  }

  #failedAttempt(error: Error, connected: boolean): void {
    this.#reason = error.message;
    this.#listener.unreachable(error.message);
    const failure = finalError(error, connected, this.#rejections);
    if (failure) this.fail(failure);
    this.#change.notify();
  }

  /** Supervises an open connection, and those that take its place, until one is lost; resolves to the reason. */
  async #supervise(opened: OpenedConnection): Promise<AmqpError> {
    const { connection } = opened;
    if (this.#stop.signal.aborted) {
      await this.gracefulClose.close(connection);
      return await connection.closed;
    }
    this.#loss = Promise.withResolvers();
    this.#use(opened);
    if (connection.blocked === undefined) this.recorder.setState("up");
    this.#listener.connected();
    if (connection.blocked !== undefined) this.#onBlocked(connection.blocked);
    this.#change.notify();
    const reason = await this.#loss.promise;
    if (!this.#stop.signal.aborted) {
      this.recorder.recordLoss();
      this.#listener.disconnected(this.#reason);
    }
    this.#change.notify();
    return reason;
  }

  /** Uses an open connection from now on. */
  #use(opened: OpenedConnection): void {
    const { connection, login: { url, credentials } } = opened;
    this.#current = connection;
    this.#dialer.used(opened);
    const { getCredentials } = this.#dialer;
    void keepCredentialsValid(connection, credentials, getCredentials);
    void connection.closed.then((reason) => {
      if (this.#current !== connection) return; // another one has taken its place
      this.#current = undefined;
      this.#reason = `Connection to ${displayUrl(url)} lost: ${reason.message}`;
      this.#loss.resolve(reason);
    });
  }

  /** Handles `connection.blocked` with its reason, and `connection.unblocked` without one. */
  #onBlocked(reason?: string): void {
    if (!this.#current || this.#current.blocked !== reason) return; // it is not open yet, or another one is
    this.recorder.setState(reason === undefined ? "up" : "blocked");
    if (reason === undefined) this.#listener.unblocked();
    else this.#listener.blocked(reason);
    this.#change.notify();
  }
}
