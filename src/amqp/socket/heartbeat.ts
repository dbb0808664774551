/** Heartbeats of one connection, in both directions. @module */

/** Checks in one heartbeat interval. */
const CHECKS = 2;
/** Intervals without any byte from the broker after which the connection is lost (AMQP 0-9-1, section 4.2.7). */
const MAX_SILENT_INTERVALS = 2;

/** Collaborators of a heartbeat. */
export interface HeartbeatOptions {
  /** Milliseconds between two heartbeats. */
  readonly intervalMs: number;
  /** Sends a heartbeat. */
  readonly send: () => void;
  /** Called when the broker has sent nothing for two intervals. */
  readonly onSilent: () => void;
}

/** Sends a heartbeat when nothing else was sent, and notices when the broker sends nothing. */
export class Heartbeat {
  /** True if something was sent, or received, since the last check. */
  #sent = false;
  #received = true;
  readonly #options: HeartbeatOptions;
  readonly #periodMs: number;
  readonly #timer: ReturnType<typeof setInterval>;
  #silentChecks = 0;
  #due: number;

  /** Starts at once. */
  constructor(options: HeartbeatOptions) {
    this.#options = options;
    this.#periodMs = options.intervalMs / CHECKS;
    this.#due = performance.now() + this.#periodMs;
    this.#timer = setInterval(() => this.#check(), this.#periodMs);
  }

  /** Records that something was sent. */
  onSent(): void {
    this.#sent = true;
  }

  /** Records that something was received. */
  onReceived(): void {
    this.#received = true;
  }

  /** Sets if the timer keeps the process alive. */
  setRef(alive: boolean): void {
    if (alive) this.#timer.ref();
    else this.#timer.unref();
  }

  /** Stops the timer. */
  stop(): void {
    clearInterval(this.#timer);
  }

  #check(): void {
    const now = performance.now();
    // After a pause of the process, bytes of the broker may be waiting in the socket.
    const paused = now - this.#due > this.#periodMs;
    this.#due = now + this.#periodMs;
    const silent = !this.#received && !paused;
    this.#silentChecks = silent ? this.#silentChecks + 1 : 0;
    this.#received = false;
    if (this.#silentChecks >= CHECKS * MAX_SILENT_INTERVALS) {
      return this.#options.onSilent();
    }
    if (!this.#sent) this.#options.send();
    this.#sent = false;
  }
}
