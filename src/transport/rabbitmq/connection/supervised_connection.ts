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
  InvalidValueError,
} from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import type { Credentials } from "../../transport.ts";
import {
  type Access,
  type Login,
  loginOf,
  type LoginRejectionLimits,
  LoginRejections,
} from "./login.ts";
import { keepCredentialsValid } from "./credential_renewal.ts";
import type { GracefulClose } from "./graceful_close.ts";
import {
  dial,
  type DialSettings,
  displayUrl,
  pauseAfterLoss,
  settingsOf,
} from "./dial.ts";
import {
  HealthRecorder,
  type SupervisionListener,
} from "./connection_health.ts";

/** Milliseconds after which a connection counts as stable, so that the next back-off starts at its minimum. */
const STEADY_MS = 1_000;

/** A connection that is opened again after every loss. */
export class SupervisedConnection {
  /** Health record of this connection: state, losses, last confirmed activity. */
  readonly recorder: HealthRecorder;
  #current: Connection | undefined;
  #login: Login | undefined;
  #reason = "not connected yet";
  #failure: Error | undefined;
  readonly #access: Access;
  readonly #rejections: LoginRejections;
  /** Limits the waits for replies of the broker while something is closed. */
  readonly gracefulClose: GracefulClose;
  readonly #settings: DialSettings;
  readonly #listener: SupervisionListener;
  readonly #stop = new AbortController();
  /** Number of the next attempt: the nodes are used in turn. */
  #nextUrl = 0;
  #change = Promise.withResolvers<void>();
  #needed = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  /** Connects when `start` is called. */
  constructor(
    access: Access,
    settings: DialSettings,
    events: SupervisionListener,
    refusals: LoginRejectionLimits,
  ) {
    this.#access = access;
    this.#rejections = new LoginRejections(refusals);
    this.#settings = settings;
    this.gracefulClose = settings.gracefulClose;
    this.#listener = events;
    this.recorder = new HealthRecorder(() => events.recovered());
    this.#needed.resolve();
  }

  /** Starts to connect. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** The open connection, while there is one. */
  get current(): Connection | undefined {
    return this.#current;
  }

  /** Node of the open connection, while there is one. */
  get node(): Login | undefined {
    return this.#current && this.#login;
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
    return this.#change.promise;
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
        return await withDeadline(opening, deadline, () => undefined);
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
    this.#notifyWaiters();
    if (this.#current) void this.gracefulClose.close(this.#current);
  }

  /** Closes the socket, although no error was reported; the connection is then opened again. */
  drop(reason: string): void {
    this.#current?.destroy(reason);
  }

  /** Keeps the process alive while the connection is open, which is the default. */
  ref(): void {
    this.#current?.ref();
    this.#needed.resolve();
  }

  /** Lets the process exit while the connection is open; a lost connection is not opened again before `ref`. */
  unref(): void {
    this.#current?.unref();
    this.#needed = Promise.withResolvers();
  }

  /** Closes the connection for good. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#needed.resolve();
    this.#notifyWaiters();
    if (this.#current) await this.gracefulClose.close(this.#current);
    await this.#running;
  }

  #notifyWaiters(): void {
    const change = this.#change;
    this.#change = Promise.withResolvers();
    change.resolve();
  }

  async #run(): Promise<void> {
    const stop = this.#stop.signal;
    for (let attempt = 0, connected = false; !stop.aborted; attempt++) {
      await this.#needed.promise;
      if (stop.aborted) return;
      let pause = backoff(attempt);
      try {
        const since = performance.now();
        const login = await loginOf(this.#access, this.#nextUrl++, stop);
        const onBlocked = (reason?: string) => this.#onBlocked(reason);
        const settings = settingsOf(this.#settings, login, attempt);
        const connection = await dial(login, settings, onBlocked, stop);
        this.#rejections.clear();
        const loss = await this.#supervise(connection, login);
        connected = true;
        if (performance.now() - since > STEADY_MS) {
          attempt = 0;
          pause = pauseAfterLoss(loss, login);
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
    const { fatal, refused } = error instanceof ConnectionFailedError
      ? error.data
      : { fatal: error instanceof InvalidValueError };
    const failure = fatal === true && !connected
      ? error
      : refused === true
      ? this.#rejections.record(error)
      : undefined;
    if (failure) this.fail(failure);
    this.#notifyWaiters();
  }

  /** Supervises an open connection until it is lost; resolves to the reason. */
  async #supervise(
    connection: Connection,
    login: Login,
  ): Promise<AmqpError> {
    if (this.#stop.signal.aborted) {
      await this.gracefulClose.close(connection);
      return await connection.closed;
    }
    const { url, credentials } = login;
    [this.#login, this.#current] = [login, connection];
    if (connection.blocked === undefined) this.recorder.setState("up");
    this.#listener.connected();
    if (connection.blocked !== undefined) this.#onBlocked(connection.blocked);
    this.#notifyWaiters();
    const lost = new AbortController();
    this.#renewCredentials(connection, credentials, lost.signal);
    const reason = await connection.closed;
    lost.abort();
    this.#current = undefined;
    this.#reason = `Connection to ${displayUrl(url)} lost: ${reason.message}`;
    if (!this.#stop.signal.aborted) this.#recordLoss();
    this.#notifyWaiters();
    return reason;
  }

  /** Handles `connection.blocked` with its reason, and `connection.unblocked` without one. */
  #onBlocked(reason?: string): void {
    if (!this.#current) return; // the connection is not open yet
    this.recorder.setState(reason === undefined ? "up" : "blocked");
    if (reason === undefined) this.#listener.unblocked();
    else this.#listener.blocked(reason);
    this.#notifyWaiters();
  }

  #renewCredentials(
    connection: Connection,
    first: Credentials | undefined,
    lost: AbortSignal,
  ): void {
    const { credentials: getCredentials } = this.#access;
    if (!first || !getCredentials) return;
    const signal = AbortSignal.any([this.#stop.signal, lost]);
    void keepCredentialsValid({ connection, getCredentials, signal }, first);
  }

  #recordLoss(): void {
    this.recorder.recordLoss();
    this.#listener.disconnected(this.#reason);
  }
}
