/**
 * Liveness probe: proves that the broker publishes, routes and delivers, by messages to the inbox. A connection that
 * proves nothing is closed and opened again.
 *
 * @module
 */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../../async/timer_wheel.ts";
import type { Connection } from "../../../amqp/mod.ts";
import { RejectedError } from "../../../errors.ts";
import { logger } from "../../../logging.ts";
import type { Delivery, Message } from "../../transport.ts";
import type { Publisher } from "../publishing/publisher.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";

/** Members of a connection that a probe uses. */
export type ProbedConnection = Pick<
  SupervisedConnection,
  "current" | "blocked" | "recorder" | "drop"
>;

/** Collaborators of a liveness probe. */
export interface LivenessProbeOptions {
  /** The connection that publishes. */
  readonly publishing: ProbedConnection;
  /** The connection that consumes. */
  readonly consuming: ProbedConnection;
  /** Publisher with confirms. */
  readonly publisher: Pick<Publisher, "publish">;
  /** Returns the current name of the inbox. */
  readonly inbox: () => string;
  /** Milliseconds between two probes. */
  readonly intervalMs: number;
}

/** Probes in flight since the last one that was delivered. */
export interface ProbeRound {
  /** Number of the first probe of the round. */
  readonly first: number;
  /** Time at which the first probe was sent, in milliseconds of `performance.now()`. */
  readonly sentAt: number;
  /** Connections on which the probes were sent. */
  readonly publishing: Connection;
  readonly consuming: Connection;
  /** True if the broker has confirmed a probe: if none is delivered, the consuming connection is at fault. */
  confirmed: boolean;
}

/**
 * Intervals without a delivered probe after which a connection is closed. The number doubles after each such loss, up to
 * the maximum.
 */
const MIN_TIMEOUT_INTERVALS = 2;
const MAX_TIMEOUT_INTERVALS = 32;
/** Delay of a timer, in intervals, above which the event loop was blocked, so that the broker is not at fault. */
const MAX_TIMER_DELAY_INTERVALS = 0.25;

/** Sends probes while it is started, and recognises them when they are delivered. */
export class LivenessProbe {
  readonly #options: LivenessProbeOptions;
  readonly #token = `probe.${crypto.randomUUID()}`;
  #lastNumber = 0;
  #round: ProbeRound | undefined;
  /** Time at which another message was last delivered to the inbox. */
  #lastReceived = -Infinity;
  #timer: Timer | undefined;
  #active: AbortController | undefined;
  #forbidden = false;
  #timeoutIntervals = MIN_TIMEOUT_INTERVALS;

  /** Sends nothing before `start`. */
  constructor(options: LivenessProbeOptions) {
    this.#options = options;
  }

  /** Starts to send probes, if it has not been started. */
  start(): void {
    if (this.#active || this.#forbidden) return;
    this.#active = new AbortController();
    this.#arm();
    this.probe();
  }

  /** Stops the timer and forgets all probes in flight. */
  stop(): void {
    this.#active?.abort();
    this.#active = undefined;
    this.#round = undefined;
    if (this.#timer) clearDeadline(this.#timer);
  }

  /** Forgets the probes in flight, because a blocked connection proves nothing. */
  suspend(): void {
    this.#round = undefined;
  }

  /** Sends a probe now, if both connections are open and not blocked. */
  probe(): void {
    const { publishing, consuming } = this.#options;
    if (!this.#active) return;
    if (!publishing.current || !consuming.current || publishing.blocked) {
      return this.suspend();
    }
    this.#lastNumber++;
    if (!this.#round) {
      this.#round = {
        first: this.#lastNumber,
        sentAt: performance.now(),
        publishing: publishing.current,
        consuming: consuming.current,
        confirmed: false,
      };
      this.#arm();
    }
    void this.#send(this.#lastNumber, this.#active.signal);
  }

  /** Round in which no probe was delivered so far, if that is evidence of a fault. */
  get stalled(): ProbeRound | undefined {
    return this.#isExcused() ? undefined : this.#round;
  }

  /** Returns one more probe of the round, which another connection may publish. */
  newProbe(): Message {
    return this.#message(++this.#lastNumber);
  }

  /** Closes the connections that prove nothing, although another node has confirmed and routed a probe of the round. */
  leave({ sentAt, confirmed }: ProbeRound): void {
    const ms = Math.round(performance.now() - sentAt);
    const reason =
      `the node seems to be cut off: no probe was delivered in ${ms} ms, and another node confirms them`;
    this.suspend();
    const { publishing, consuming } = this.#options;
    const { lastProof = -Infinity } = consuming.recorder;
    if (!confirmed) publishing.drop(reason);
    if (lastProof < sentAt) consuming.drop(reason);
  }

  /** Handles a probe that was delivered to the inbox; returns false for any other message. */
  handle(delivery: Delivery): boolean {
    const { correlationId, messageId } = delivery.message;
    if (correlationId !== this.#token) {
      this.#lastReceived = performance.now();
      return false;
    }
    delivery.ack();
    // A probe from before a loss proves nothing about the connection that publishes now.
    if (this.#round && Number(messageId) >= this.#round.first) this.#onProbe();
    return true;
  }

  #onProbe(): void {
    this.#round = undefined;
    this.#timeoutIntervals = MIN_TIMEOUT_INTERVALS;
    this.#options.publishing.recorder.recordProof();
    this.#options.consuming.recorder.recordProof();
  }

  /** Milliseconds without a delivered probe after which a connection is closed. */
  get #timeoutMs(): number {
    return this.#timeoutIntervals * this.#options.intervalMs;
  }

  #arm(): void {
    if (this.#timer) clearDeadline(this.#timer);
    const due = performance.now() + this.#options.intervalMs;
    this.#timer = setDeadline(due, () => this.#tick(due));
  }

  #tick(due: number): void {
    const now = performance.now();
    this.#arm();
    if (
      now - due > this.#options.intervalMs * MAX_TIMER_DELAY_INTERVALS ||
      this.#isExcused()
    ) this.suspend();
    const { sentAt = now } = this.#round ?? {};
    const expired = now - sentAt >= this.#timeoutMs;
    if (expired && this.#round) this.#reconnect(this.#round);
    else this.probe();
  }

  /**
   * True if the round is not evidence of a fault: a connection has been replaced, or the probe waits behind messages
   * that are being confirmed or delivered.
   */
  #isExcused(): boolean {
    if (!this.#round) return false;
    const { sentAt, publishing, consuming, confirmed } = this.#round;
    const { publishing: sending, consuming: receiving } = this.#options;
    if (publishing !== sending.current || consuming !== receiving.current) {
      return true;
    }
    const { lastProof = -Infinity } = sending.recorder;
    return confirmed ? this.#lastReceived > sentAt : lastProof > sentAt;
  }

  /** Closes the connection at fault, and not the other one, which has messages in flight. */
  #reconnect({ sentAt, confirmed }: ProbeRound): void {
    const ms = Math.round(performance.now() - sentAt);
    const reason = `no probe was delivered in ${ms} ms`;
    this.suspend();
    this.#timeoutIntervals = Math.min(
      2 * this.#timeoutIntervals,
      MAX_TIMEOUT_INTERVALS,
    );
    const { publishing, consuming } = this.#options;
    (confirmed ? consuming : publishing).drop(reason);
  }

  async #send(number: number, signal: AbortSignal): Promise<void> {
    const { publisher, inbox } = this.#options;
    const deadline = { at: performance.now() + this.#timeoutMs, signal };
    try {
      await publisher.publish(
        { key: inbox() },
        this.#message(number),
        deadline,
      );
      if (this.#round && number >= this.#round.first) {
        this.#round.confirmed = true;
      }
    } catch (error) {
      if (signal.aborted) return;
      logger("bus").debug("A probe was not confirmed: {error}", { error });
      if (isForbidden(error)) this.#forbid();
    }
  }

  #message(number: number): Message {
    return {
      body: new Uint8Array(),
      headers: {},
      messageId: String(number),
      correlationId: this.#token,
      expiration: this.#timeoutMs,
      mandatory: true,
    };
  }

  /** Stops for good: a user that may only consume cannot send probes. */
  #forbid(): void {
    logger("bus").warn(
      "The user may not publish to the inbox: no probes are sent",
    );
    this.#forbidden = true;
    this.stop();
  }
}

const isForbidden = (error: unknown) =>
  error instanceof RejectedError && error.data.replyCode === 403;
