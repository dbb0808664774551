/**
 * Watch for a node that is cut off from its cluster. RabbitMQ 4.3 lets such a node keep its clients, although their messages
 * are neither confirmed nor delivered. If a probe is overdue, another one is published over another node: if that one is
 * confirmed, the queue works, and the connections that still prove nothing are opened on other nodes. A probe that no node
 * confirms is no reason to move.
 *
 * @module
 */
import type { Connection } from "../../../amqp/mod.ts";
import { type Deadline, delay } from "../../../async/deadline.ts";
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../../async/timer_wheel.ts";
import type { Message } from "../../transport.ts";
import type {
  LivenessProbe,
  ProbedConnection,
  ProbeRound,
} from "./liveness_probe.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import type { InFlightWindow } from "../publishing/publish_window.ts";

/** Collaborators of a watch. */
export interface NodeWatchOptions {
  /** Probes of the process. */
  readonly probe: Pick<
    LivenessProbe,
    "probe" | "stalled" | "newProbe" | "leave"
  >;
  /** The connection that publishes, with its node. */
  readonly publishing: ProbedConnection & Pick<SupervisedConnection, "node">;
  /** The connection that consumes. */
  readonly consuming: ProbedConnection;
  /**
   * True if the broker of a connection lets a node in a minority keep its clients. RabbitMQ before 4.3 closes their connections
   * (`pause_minority`); until it does, a new channel may be blocked by a queue that has no new leader.
   */
  readonly isNeeded: (connection: Connection) => boolean;
  /** Window of the messages of the process. */
  readonly window: Pick<InFlightWindow, "messages" | "admitted">;
  /** Publishes a probe over another node; resolves with true if it was confirmed. Never rejects. */
  readonly publishOverOther: (
    message: Message,
    deadline: Deadline,
  ) => Promise<boolean>;
}

/** Milliseconds between two looks, and without a sign of life after which a process that is at work sends a probe. */
const LOOK_MS = 1_000;
/** Least milliseconds after which a probe is overdue. */
const OVERDUE_MS = 2_000;
/** Milliseconds over which the clients of a node spread their trials. */
const SPREAD_MS = 2_000;
/** Milliseconds until a trial is given up: one that begins before the queue has a new leader may be blocked for longer. */
const TRIAL_TIMEOUT_MS = 2_000;
/** Shortest and longest pause between two trials of a round, in milliseconds. */
const MIN_PAUSE_MS = 500;
const MAX_PAUSE_MS = 60_000;
/** Milliseconds for the own probe, from the moment at which another node has confirmed one. */
const GRACE_MS = 500;

/** Watches the connections of one process while it is started. */
export class NodeWatch {
  readonly #options: NodeWatchOptions;
  #timer: Timer | undefined;
  #active: AbortController | undefined;
  /** Messages that were admitted when the broker last delivered anything. */
  #admitted = 0;
  #round: ProbeRound | undefined;
  /** Trials of the round. */
  #trials = 0;
  /** Time of the next trial, in milliseconds of `performance.now()`; `Infinity` during a trial. */
  #nextTrial = 0;

  /** Does nothing before `start`. */
  constructor(options: NodeWatchOptions) {
    this.#options = options;
  }

  /** Starts the watch, if it has not been started. */
  start(): void {
    if (this.#active) return;
    this.#active = new AbortController();
    this.#arm();
  }

  /** Stops the watch, and the trial that runs. */
  stop(): void {
    this.#active?.abort();
    this.#active = undefined;
    if (this.#timer) clearDeadline(this.#timer);
  }

  #arm(): void {
    const due = performance.now() + LOOK_MS;
    this.#timer = setDeadline(due, () => {
      this.#arm();
      if (this.#isNeeded()) this.#look(performance.now());
    });
  }

  #isNeeded(): boolean {
    const { publishing: { node, current }, isNeeded } = this.#options;
    const { nodes = 0 } = node ?? {};
    return nodes > 1 && current !== undefined && isNeeded(current);
  }

  #look(now: number): void {
    const { probe } = this.#options;
    const round = probe.stalled;
    if (round !== this.#round) {
      this.#round = round;
      this.#trials = 0;
      const { sentAt } = round ?? { sentAt: now };
      this.#nextTrial = sentAt + OVERDUE_MS + Math.random() * SPREAD_MS;
    }
    if (!round) {
      if (this.#isSilent(now)) probe.probe();
    } else if (now >= this.#nextTrial && this.#active) {
      void this.#try(round, this.#active.signal);
    }
  }

  /** True if the process has sent something, and the broker gives no sign of life. */
  #isSilent(now: number): boolean {
    const { publishing, consuming, window } = this.#options;
    const { lastProof: confirmed = -Infinity } = publishing.recorder;
    const { lastProof: delivered = -Infinity } = consuming.recorder;
    const since = now - LOOK_MS;
    if (window.messages > 0 && confirmed < since) return true;
    if (delivered < since) return window.admitted !== this.#admitted;
    this.#admitted = window.admitted;
    return false;
  }

  async #try(round: ProbeRound, signal: AbortSignal): Promise<void> {
    const { probe, publishOverOther } = this.#options;
    this.#nextTrial = Infinity;
    const end = { at: performance.now() + TRIAL_TIMEOUT_MS, signal };
    const confirmed = await publishOverOther(probe.newProbe(), end);
    if (confirmed) {
      await delay(GRACE_MS, { at: Infinity, signal }).catch(() => {});
    }
    if (signal.aborted || this.#round !== round) return;
    if (confirmed && probe.stalled === round) return probe.leave(round);
    const pause = Math.min(MAX_PAUSE_MS, MIN_PAUSE_MS * 2 ** this.#trials++);
    this.#nextTrial = performance.now() + pause * (0.5 + Math.random() / 2);
  }
}
