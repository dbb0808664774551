/** Liveness of the connections of a process: probes to its inbox, and the watch for a node that is cut off. @module */
import type { Connection } from "../../../amqp/mod.ts";
import { withDeadline } from "../../../async/deadline.ts";
import type { Delivery } from "../../transport.ts";
import type { SupervisedConnection } from "../connection/supervised_connection.ts";
import { InFlightWindow } from "../publishing/publish_window.ts";
import { Publisher, type PublisherOptions } from "../publishing/publisher.ts";
import { LivenessProbe } from "./liveness_probe.ts";
import { NodeWatch, type NodeWatchOptions } from "./node_watch.ts";
import { type OtherNodes, publishOn } from "./other_nodes.ts";

/** Milliseconds for the preferred node of a connection to confirm a probe. */
const VERIFICATION_TIMEOUT_MS = 2_000;

/** Collaborators of the liveness of a process. */
export interface LivenessOptions {
  /** Publishing of messages, with the window of the messages of the process. */
  readonly publishing: PublisherOptions;
  /** The connection that consumes. */
  readonly consuming: SupervisedConnection;
  /** Returns the current name of the inbox. */
  readonly inbox: () => string;
  /** Milliseconds between two probes. */
  readonly intervalMs: number;
  /** The other nodes of the cluster. */
  readonly others: OtherNodes;
  /** See `NodeWatchOptions`. */
  readonly isWatchNeeded: NodeWatchOptions["isNeeded"];
}

/** Probes the broker while it is started, and reconnects where nothing comes back. */
export class Liveness {
  readonly #publisher: Publisher;
  readonly #probe: LivenessProbe;
  readonly #watch: NodeWatch;
  #isStarted = false;

  /** Sends nothing before `start`. */
  constructor(options: LivenessOptions) {
    const { consuming, inbox, intervalMs, others } = options;
    const { connection: publishing, window } = options.publishing;
    // Probes have a window of their own: they must not wait behind the messages whose delivery they prove.
    const probeWindow = new InFlightWindow();
    const publisher = new Publisher({
      ...options.publishing,
      window: probeWindow,
    });
    const connections = { publishing, consuming };
    const probe = new LivenessProbe({
      ...connections,
      ...{ publisher, inbox, intervalMs },
    });
    for (const { moves } of [publishing, consuming]) {
      moves.verifyBy((connection) => this.#verify(connection, inbox()));
    }
    this.#publisher = publisher;
    this.#probe = probe;
    this.#watch = new NodeWatch({
      ...connections,
      ...{ probe, window, isNeeded: options.isWatchNeeded },
      publishOverOther: (message, deadline) => {
        const used = [publishing, consuming].map(({ node }) => node?.url.host);
        return others.publish(inbox(), message, used, deadline);
      },
    });
  }

  /** Starts to send probes, if it has not been started. */
  start(): void {
    this.#isStarted = true;
    this.#probe.start();
    this.#watch.start();
  }

  /** Stops all timers, and forgets all probes in flight. */
  stop(): void {
    this.#isStarted = false;
    this.#probe.stop();
    this.#watch.stop();
  }

  /** Forgets the probes in flight, because a blocked connection proves nothing. */
  suspend(): void {
    this.#probe.suspend();
  }

  /** Sends a probe now, if both connections are open and not blocked. */
  probe(): void {
    this.#probe.probe();
  }

  /** Handles a probe that was delivered to the inbox; returns false for any other message. */
  handle(delivery: Delivery): boolean {
    return this.#probe.handle(delivery);
  }

  /** Returns true if a node to which a connection is open confirms a probe: one that is cut off from its cluster does not. */
  async #verify(connection: Connection, inbox: string): Promise<boolean> {
    if (!this.#isStarted) return true; // nobody reads the inbox
    const publishing = publishOn(connection, inbox, this.#probe.newProbe());
    const deadline = { at: performance.now() + VERIFICATION_TIMEOUT_MS };
    return await withDeadline(publishing, deadline, () => undefined)
      .catch(() => false);
  }

  /** Closes the channels of the probes. */
  async close(): Promise<void> {
    await this.#publisher.close();
  }
}
