/** A supervised connection: one of the two of a link. Reconnects, one attempt at a time, unless its login is refused for good. @module */
import { backoff } from "../../../async/backoff.ts";
import { logger } from "../../../logging.ts";
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
import { keepRenewed } from "./credential_renewal.ts";
import {
  displayUrl,
  openSocket,
  type Socket,
  type SocketSettings,
} from "./dial.ts";
import { HealthRecorder } from "./connection_health.ts";

/** A connection that lived this long (ms) was a good one: the next pause starts small again. */
const STEADY_MS = 1_000;

/** What a side tells its link. */
export interface SupervisionListener {
  /** Connected, for the first time or again. */
  connected(): void;
  /** Lost. */
  disconnected(reason: string): void;
  /** An attempt to connect came to nothing. */
  unreachable(reason: string): void;
  /** The broker takes nothing from this connection. */
  blocked(reason: string): void;
  /** It does again. */
  unblocked(): void;
  /** It will not come back. */
  failed(error: Error): void;
  /** All is as it should be, consumers included. */
  recovered(): void;
}

/** One connection that is kept up. */
export class SupervisedConnection {
  /** The open connection, while there is one. */
  socket: Socket | undefined;
  /** Why the broker takes nothing now. */
  blocked: string | undefined;
  /** Why the last attempt failed. */
  reason = "not connected yet";
  /** Why it is given up. */
  failure: Error | undefined;
  /** How it has been. */
  readonly recorder: HealthRecorder;
  readonly #access: Access;
  readonly #rejections: LoginRejections;
  readonly #settings: SocketSettings;
  readonly #events: SupervisionListener;
  readonly #stop = new AbortController();
  #next: number;
  #change = Promise.withResolvers<void>();
  #awake = Promise.withResolvers<void>();
  #running: Promise<void> | undefined;

  /** Makes one; `start` connects. */
  constructor(
    access: Access,
    settings: SocketSettings,
    events: SupervisionListener,
    refusals: LoginRejectionLimits,
  ) {
    this.#access = access;
    this.#rejections = new LoginRejections(refusals);
    this.#settings = settings;
    this.#events = events;
    this.recorder = new HealthRecorder(() => events.recovered());
    this.#next = Math.floor(Math.random() * 65_536); // any of the nodes
    this.#awake.resolve();
  }

  /** Begins to connect. */
  start(): void {
    this.#running ??= this.#run();
  }

  /** What a wait that ended too late was waiting for. */
  get why(): string {
    return this.blocked ??
      (this.socket ? "the broker does not answer" : this.reason);
  }

  /** Waits for a change of state: up, down, blocked, unblocked, failed. */
  changed(): Promise<void> {
    return this.#change.promise;
  }

  /**
   * The open connection, as soon as there is one.
   *
   * @throws {ConnectionFailedError} at the deadline.
   */
  async up(deadline: Deadline): Promise<Socket> {
    while (!this.socket) {
      if (this.failure) throw this.failure;
      if (this.#stop.signal.aborted) {
        throw new ConnectionDisposedError(
          "Cannot send: the connection is closed",
        );
      }
      await withDeadline(
        this.changed(),
        deadline,
        () => new ConnectionFailedError(this.reason),
      );
    }
    return this.socket;
  }

  /** Gives up for good. */
  fail(error: Error): void {
    if (this.failure || this.#stop.signal.aborted) return;
    this.failure = error;
    this.recorder.setState("failed");
    this.#stop.abort();
    this.#events.failed(error);
    this.#tell();
    void this.socket?.close();
  }

  /** Ends the connection, though nothing says that it is gone: another follows. */
  drop(reason: string): void {
    this.socket?.drop(reason);
  }

  /** Whether the connection may be idle without keeping the process alive. */
  rest(resting: boolean): void {
    this.socket?.hold(!resting);
    if (resting) this.#awake = Promise.withResolvers();
    else this.#awake.resolve();
  }

  /** Closes it; nothing reconnects any more. */
  async close(): Promise<void> {
    this.#stop.abort();
    this.#awake.resolve();
    this.#tell();
    await this.socket?.close();
    await this.#running;
  }

  #tell(): void {
    const change = this.#change;
    this.#change = Promise.withResolvers();
    change.resolve();
  }

  async #run(): Promise<void> {
    const stop = this.#stop.signal;
    for (let attempt = 0, connected = false; !stop.aborted; attempt++) {
      await this.#awake.promise;
      if (stop.aborted) return;
      try {
        const since = performance.now();
        const login = await loginOf(this.#access, this.#next++, stop);
        const socket = await openSocket(login, this.#settings, stop);
        this.#rejections.clear();
        await this.#live(socket, login);
        connected = true;
        if (performance.now() - since > STEADY_MS) attempt = 0;
      } catch (error) {
        if (stop.aborted) return;
        this.#failedAttempt(error as Error, connected);
      }
      await delay(backoff(attempt), { at: Infinity, signal: stop }).catch(
        () => {},
      );
    }
  }

  #failedAttempt(error: Error, connected: boolean): void {
    this.reason = error.message;
    this.#events.unreachable(error.message);
    const { fatal, refused } = error instanceof ConnectionFailedError
      ? error.data
      : { fatal: error instanceof InvalidValueError };
    if (fatal === true && !connected) this.fail(error);
    else if (refused === true) this.#refused(error);
    this.#tell();
  }

  /** Later it may be a broker that is only starting, or a password that is about to arrive. */
  #refused(error: Error): void {
    if (this.#rejections.none) {
      logger("bus").warn(
        "The broker refuses a login that it took before: {error}",
        {
          error: error.message,
        },
      );
    }
    const often = this.#rejections.add();
    if (often === undefined) return;
    const { data } = error as ConnectionFailedError;
    this.fail(
      new ConnectionFailedError(`${error.message}; ${often}`, { data }),
    );
  }

  /** From open to lost. */
  async #live(socket: Socket, { url, credentials }: Login): Promise<void> {
    if (this.#stop.signal.aborted) return await socket.close();
    socket.model.on("blocked", (reason: string) => {
      this.blocked = reason;
      this.recorder.setState("blocked");
      this.#events.blocked(reason);
      this.#tell();
    });
    socket.model.on("unblocked", () => {
      this.blocked = undefined;
      this.recorder.setState("up");
      this.#events.unblocked();
      this.#tell();
    });
    this.socket = socket;
    this.recorder.setState("up");
    this.#events.connected();
    this.#tell();
    const over = new AbortController();
    this.#keepRenewed(socket, credentials, over.signal);
    const reason = await socket.lost;
    over.abort();
    this.socket = undefined;
    this.blocked = undefined;
    this.reason = `Connection to ${displayUrl(url)} lost: ${reason.message}`;
    if (!this.#stop.signal.aborted) this.#lost();
    this.#tell();
    await socket.close();
  }

  #keepRenewed(
    socket: Socket,
    first: Credentials | undefined,
    over: AbortSignal,
  ): void {
    const { credentials: ask } = this.#access;
    if (!first || !ask) return;
    const signal = AbortSignal.any([this.#stop.signal, over]);
    void keepRenewed({ socket, ask, signal }, first);
  }

  #lost(): void {
    this.recorder.losses++;
    this.recorder.setState("recovering");
    this.#events.disconnected(this.reason);
  }
}
