/** What one connection of a link has lived through: the source of its health. @module */
import type { ConnectionState, ConsumingHealth } from "../../transport.ts";

/** A moment of `performance.now()` on the wall's clock. */
const dateOf = (moment: number) =>
  new Date(Date.now() - (performance.now() - moment));

/** Numbers and moments, cheap enough for every message; put into words only when somebody asks. */
export class HealthRecorder {
  /** How often the connection was lost. */
  losses = 0;
  /** Deliveries that were settled too late. */
  stale = 0;
  /** Time of the last proof, in milliseconds of `performance.now()`. */
  lastProof: number | undefined;
  readonly #recovered: () => void;
  readonly #consumers = { wanted: 0, consuming: 0 };
  #socket: ConnectionState = "recovering";
  #state: ConnectionState = "recovering";
  #since: number = performance.now();

  /** `recovered` is called whenever the side is up with all its consumers. */
  constructor(recovered: () => void) {
    this.#recovered = recovered;
  }

  /** How the connection is by itself. */
  setState(state: ConnectionState): void {
    this.#socket = state;
    this.#update();
  }

  /** More or fewer consumers are wanted, or consume. */
  addConsumers(wanted: number, consuming: number): void {
    this.#consumers.wanted += wanted;
    this.#consumers.consuming += consuming;
    this.#update();
  }

  /** The broker did what it was asked. */
  proven(): void {
    this.lastProof = performance.now();
  }

  /** All of it, in words. */
  get health(): ConsumingHealth {
    return {
      state: this.#state,
      since: dateOf(this.#since),
      lastProof: this.lastProof === undefined
        ? undefined
        : dateOf(this.lastProof),
      losses: this.losses,
      consumers: { ...this.#consumers },
    };
  }

  #update(): void {
    const { wanted, consuming } = this.#consumers;
    const whole = this.#socket !== "up" || consuming === wanted;
    const state = whole ? this.#socket : "recovering";
    if (state === this.#state) return;
    this.#state = state;
    this.#since = performance.now();
    if (state === "up") this.#recovered();
  }
}
