/** Proves a link by messages to its own inbox: published, routed, consumed. The connection that proves nothing is opened anew. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { RejectedError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import type { Delivery } from "../transport.ts";
import type { Publisher } from "./publishing/publisher.ts";
import type { SupervisedConnection } from "./connection/supervised_connection.ts";
import type { Socket } from "./connection/dial.ts";

/** What is asked of a side. */
export type Probed = Pick<
  SupervisedConnection,
  "socket" | "blocked" | "recorder" | "drop"
>;

/** What a prober works with. */
export interface LivenessProbeOptions {
  /** The connection that sends. */
  readonly publishing: Probed;
  /** The connection that receives. */
  readonly consuming: Probed;
  /** Sends, with confirms. */
  readonly publisher: Pick<Publisher, "publish">;
  /** Name of the inbox now. */
  readonly inbox: () => string;
  /** Milliseconds between two probes. */
  readonly every: number;
}

/** Probes of which none has come yet. */
interface Round {
  /** Number of the first. */
  readonly first: number;
  /** When it was sent, in milliseconds of `performance.now()`. */
  readonly since: number;
  /** On which connections. */
  readonly publishing: Socket;
  readonly consuming: Socket;
  /** The broker has one of them: if none comes, it is the other connection's fault. */
  taken: boolean;
}

/** So many intervals without proof are too many; after each loss twice as many, up to the most. */
const PROBE_TIMEOUT_MS = 2;
const MOST = 32;
/** A timer that is late by this part of its interval tells that the event loop stood still, not the broker. */
const LATE = 0.25;

/** Sends probes while it is awake, and knows those that come. */
export class LivenessProbe {
  readonly #parts: LivenessProbeOptions;
  readonly #token = `probe.${crypto.randomUUID()}`;
  #sent = 0;
  #round: Round | undefined;
  /** When something else last came to the inbox. */
  #heard = -Infinity;
  #timer: Timer | undefined;
  #awake: AbortController | undefined;
  #forbidden = false;
  #patience = PROBE_TIMEOUT_MS;

  /** Rests until `start`. */
  constructor(parts: LivenessProbeOptions) {
    this.#parts = parts;
  }

  /** Probes from now on; goes on if it does already. */
  start(): void {
    if (this.#awake || this.#forbidden) return;
    this.#awake = new AbortController();
    this.#arm();
    this.probe();
  }

  /** Rests: no timer is left, and nothing under way. */
  stop(): void {
    this.#awake?.abort();
    this.#awake = undefined;
    this.#round = undefined;
    if (this.#timer) clearDeadline(this.#timer);
  }

  /** The broker takes nothing: what was sent proves nothing either way. */
  suspend(): void {
    this.#round = undefined;
  }

  /** Sends a probe now, if the link can be expected to carry one. */
  probe(): void {
    const { publishing, consuming } = this.#parts;
    if (!this.#awake) return;
    if (!publishing.socket || !consuming.socket || publishing.blocked) {
      return this.suspend();
    }
    this.#sent++;
    if (!this.#round) {
      this.#round = {
        first: this.#sent,
        since: performance.now(),
        publishing: publishing.socket,
        consuming: consuming.socket,
        taken: false,
      };
      this.#arm();
    }
    void this.#send(this.#sent, this.#awake.signal);
  }

  /** True if a message of the inbox is a probe: it is nobody else's business. */
  takes(delivery: Delivery): boolean {
    const { correlationId, messageId } = delivery.message;
    if (correlationId !== this.#token) {
      this.#heard = performance.now();
      return false;
    }
    delivery.ack();
    // One from before a loss says nothing of the connection that sends now.
    if (this.#round && Number(messageId) >= this.#round.first) this.#proven();
    return true;
  }

  #proven(): void {
    this.#round = undefined;
    this.#patience = PROBE_TIMEOUT_MS;
    this.#parts.publishing.recorder.proven();
    this.#parts.consuming.recorder.proven();
  }

  #arm(): void {
    if (this.#timer) clearDeadline(this.#timer);
    const due = performance.now() + this.#parts.every;
    this.#timer = setDeadline(due, () => this.#tick(due));
  }

  #tick(due: number): void {
    const now = performance.now();
    this.#arm();
    if (now - due > this.#parts.every * LATE || this.#excused()) this.suspend();
    const { since = now } = this.#round ?? {};
    const late = now - since >= this.#patience * this.#parts.every;
    if (late && this.#round) this.#drop(this.#round);
    else this.probe();
  }

  /** Another connection by now; or a probe that only waits its turn, behind what is confirmed or behind what comes. */
  #excused(): boolean {
    if (!this.#round) return false;
    const { since, publishing, consuming, taken } = this.#round;
    const { publishing: sends, consuming: receives } = this.#parts;
    if (publishing !== sends.socket || consuming !== receives.socket) {
      return true;
    }
    const { lastProof = -Infinity } = sends.recorder;
    return taken ? this.#heard > since : lastProof > since;
  }

  /** The connection at fault alone: the other one has work in hand. */
  #drop({ since, taken }: Round): void {
    const ms = Math.round(performance.now() - since);
    const reason = `no probe came through in ${ms} ms`;
    this.suspend();
    this.#patience = Math.min(2 * this.#patience, MOST);
    const { publishing, consuming } = this.#parts;
    (taken ? consuming : publishing).drop(reason);
  }

  async #send(number: number, signal: AbortSignal): Promise<void> {
    const { publisher, inbox, every } = this.#parts;
    const expiration = this.#patience * every;
    const message = {
      body: new Uint8Array(),
      headers: {},
      messageId: String(number),
      correlationId: this.#token,
      expiration,
      mandatory: true,
    };
    const wait = { at: performance.now() + expiration, signal };
    try {
      await publisher.publish({ key: inbox() }, message, wait);
      if (this.#round && number >= this.#round.first) this.#round.taken = true;
    } catch (error) {
      if (signal.aborted) return;
      logger("bus").debug("A probe was not taken: {error}", { error });
      if (isForbidden(error)) this.#forbid();
    }
  }

  /** Who may only consume cannot prove more. */
  #forbid(): void {
    logger("bus").warn(
      "The user may not write to its inbox: no probes are sent",
    );
    this.#forbidden = true;
    this.stop();
  }
}

const isForbidden = (error: unknown) =>
  error instanceof RejectedError && error.data.replyCode === 403;
