/** Health of one connection, and the log of outages. @module */
import { logger } from "../../../logging.ts";
import type { Access } from "./login.ts";
import type {
  ConnectionState,
  ConsumingHealth,
} from "../../transport_health.ts";

/** Converts a time of `performance.now()` to a date. */
const dateOf = (moment: number) =>
  new Date(Date.now() - (performance.now() - moment));

/** Records health as plain numbers, which is cheap enough for every message; dates are computed when health is read. */
export class HealthRecorder {
  #losses = 0;
  #stale = 0;
  #lastProof: number | undefined;
  readonly #onRecovered: () => void;
  readonly #consumers = { wanted: 0, consuming: 0 };
  #socket: ConnectionState = "recovering";
  #state: ConnectionState = "recovering";
  #since: number = performance.now();

  /** `onRecovered` is called whenever the connection is open and all its consumers run. */
  constructor(recovered: () => void) {
    this.#onRecovered = recovered;
  }

  /** Time at which the broker last proved that it works, in milliseconds of `performance.now()`. */
  get lastProof(): number | undefined {
    return this.#lastProof;
  }

  /** Number of deliveries that were settled after their channel was closed. */
  get stale(): number {
    return this.#stale;
  }

  /** Sets the state of the connection without regard to its consumers. */
  setState(state: ConnectionState): void {
    this.#socket = state;
    this.#update();
  }

  /** Changes the numbers of consumers that should run and that run. */
  addConsumers(wanted: number, consuming: number): void {
    this.#consumers.wanted += wanted;
    this.#consumers.consuming += consuming;
    this.#update();
  }

  /** Records that the broker has done what was requested. */
  recordProof(): void {
    this.#lastProof = performance.now();
  }

  /** Records that the connection was lost. */
  recordLoss(): void {
    this.#losses++;
    this.setState("recovering");
  }

  /** Records deliveries that were settled after their channel was closed. */
  recordStale(deliveries: number): void {
    this.#stale += deliveries;
  }

  /** Health with dates and numbers. */
  get health(): ConsumingHealth {
    return {
      state: this.#state,
      since: dateOf(this.#since),
      lastProof: this.#lastProof === undefined
        ? undefined
        : dateOf(this.#lastProof),
      losses: this.#losses,
      consumers: { ...this.#consumers },
    };
  }

  #update(): void {
    const { wanted, consuming } = this.#consumers;
    const complete = this.#socket !== "up" || consuming === wanted;
    const state = complete ? this.#socket : "recovering";
    if (state === this.#state) return;
    this.#state = state;
    this.#since = performance.now();
    if (state === "up") this.#onRecovered();
  }
}

/** Listener of a supervised connection, implemented by its transport. */
export interface SupervisionListener {
  /** Called when the connection is open, for the first time or again. */
  connected(): void;
  /** Called when the connection was lost. */
  disconnected(reason: string): void;
  /** Called when an attempt to connect has failed. */
  unreachable(reason: string): void;
  /** Called when the broker accepts no more messages on this connection. */
  blocked(reason: string): void;
  /** Called when the broker accepts messages again. */
  unblocked(): void;
  /** Called when the connection is given up for good. */
  failed(error: Error): void;
  /** Called when the connection is open and all its consumers run. */
  recovered(): void;
}

/** Milliseconds of an outage whose end is a line for readers that see warnings only. */
const LONG_OUTAGE_MS = 5_000;

/** Logs outages of the broker: one line at the beginning, and one at the end of a long one. */
export class OutageLog {
  /** Start of the outage, in milliseconds of `performance.now()`; undefined while the broker is connected. */
  #since: number | undefined;
  /** Attempts in which two connections may fail while both have nodes left to try. */
  readonly #spareAttempts: number;
  #failedAttempts = 0;

  /** `urls` are those of the nodes; a function counts as one. */
  constructor(urls: readonly URL[] | Access["urls"]) {
    const nodes = typeof urls === "function" ? 1 : urls.length;
    this.#spareAttempts = 2 * (nodes - 1);
  }

  /** Logs a lost connection: the first of an outage as a warning, later ones at level debug. */
  lost(reason: string): void {
    const first = this.#since === undefined;
    this.#since ??= performance.now();
    logger("bus")[first ? "warn" : "debug"]("{reason}", { reason }, reason);
  }

  /** Logs a failed attempt. It is no outage while other nodes remain to be tried. */
  unreachable(reason: string): void {
    if (++this.#failedAttempts > this.#spareAttempts) return this.lost(reason);
    logger("bus").debug("{reason}", { reason });
  }

  /** Logs that all connections are open; the end of an outage as a warning if it was long, else at level debug. */
  ended(): void {
    const bus = logger("bus");
    this.#failedAttempts = 0;
    if (this.#since === undefined) return bus.info("Connected to the broker");
    const ms = performance.now() - this.#since;
    const level = ms < LONG_OUTAGE_MS ? "debug" : "warn";
    const seconds = Math.round(ms / 100) / 10;
    this.#since = undefined;
    bus[level]("Connected to the broker again, after {seconds} s", { seconds });
  }
}
