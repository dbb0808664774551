/** The link to RabbitMQ: one connection to publish, one to consume, and the transports that lease channels on them. @module */
import { ConnectionFailedError } from "../../errors.ts";
import { type Deadline, withDeadline } from "../../async/deadline.ts";
import { flushLog, logger } from "../../logging.ts";
import { type Address, queueName } from "../address.ts";
import { type BusProfile, defaultProfile } from "../profile.ts";
import { uniqueName } from "../../ids.ts";
import type {
  ConsumeOptions,
  Delivery,
  InboxListener,
  Message,
  QueueState,
  Session,
  TlsOptions,
  Transport,
  TransportEvent,
  TransportHealth,
} from "../transport.ts";
import {
  type Access,
  LOGIN_REJECTION_LIMITS,
  type LoginRejectionLimits,
} from "./connection/login.ts";
import { ConsumerChannel } from "./consuming/consumers.ts";
import { type QueueRoute, Routes } from "./connection/routes.ts";
import { Goodbyes } from "./amqplib/graceful_close.ts";
import { OutageLog } from "./connection/outage_log.ts";
import { LivenessProbe } from "./liveness_probe.ts";
import { Publisher, type PublisherParts } from "./publishing/publisher.ts";
import {
  SupervisedConnection,
  type SupervisionListener,
} from "./connection/supervised_connection.ts";
import { Topology } from "./connection/topology.ts";
import { RabbitSession } from "./session.ts";
import { InFlightWindow } from "./publishing/publish_window.ts";

/** How to reach RabbitMQ. */
export interface RabbitOptions {
  /** The nodes, any of which will do; a function is asked for them at each attempt. */
  readonly urls: readonly URL[] | Access["urls"];
  /** Asked at each attempt; default: the login of the URLs. */
  readonly credentials?: Access["credentials"];
  /** How long a login may be refused that was accepted before; default {@linkcode LOGIN_REJECTION_LIMITS}. */
  readonly refusals?: LoginRejectionLimits | undefined;
  /** Seconds between heartbeats; default 10. */
  readonly heartbeat?: number | undefined;
  /** For `amqps:`. */
  readonly tls?: TlsOptions | undefined;
  /** Name of the program, shown by the broker. */
  readonly name?: string | undefined;
  /** Names and flags of exchanges and queues; default: Warren's. */
  readonly profile?: BusProfile | undefined;
}

/** Seconds between two probes where there are no heartbeats. */
const PROBES = 10;
/** Unread messages of the inbox at most. */
const INBOX_PREFETCH = 1_000;

/** The process's way to one RabbitMQ broker or cluster. */
export class RabbitTransport implements Transport {
  /** Kept across reconnects; another one only where the node of its queue is gone. */
  inbox: string;
  readonly #profile: BusProfile;
  readonly #routes: Routes;
  readonly #publishing: SupervisedConnection;
  readonly #consuming: SupervisedConnection;
  readonly #topology: {
    readonly publishing: Topology;
    readonly consuming: Topology;
  };
  readonly #watchers = new Set<(event: TransportEvent) => void>();
  readonly #sessions = new Set<RabbitSession>();
  readonly #window = new InFlightWindow();
  readonly #goodbyes = new Goodbyes();
  readonly #probes: Publisher;
  readonly #probe: LivenessProbe;
  #reader: InboxListener | undefined;
  #resting = false;
  #listens = false;
  #listening: Promise<unknown> | undefined;
  #inboxConsumers: ConsumerChannel | undefined;
  readonly #outage = new OutageLog();
  #up = 0;

  /** Begins to connect at once. */
  constructor(options: RabbitOptions) {
    const { urls, credentials, heartbeat = 10, tls, name = "warren" } = options;
    this.#profile = options.profile ?? defaultProfile;
    this.#routes = new Routes(this.#profile);
    this.inbox = this.#newInbox();
    const goodbyes = this.#goodbyes;
    const settings = { heartbeat, connectTimeout: 10_000, tls, goodbyes };
    const access: Access = {
      urls: typeof urls === "function" ? urls : () => Promise.resolve(urls),
      credentials,
    };
    const side = (role: string) =>
      new SupervisedConnection(
        access,
        { ...settings, name: `${name} ${role}` },
        this.#events(role),
        options.refusals ?? LOGIN_REJECTION_LIMITS,
      );
    this.#publishing = side("publishing");
    this.#consuming = side("consuming");
    this.#topology = {
      publishing: new Topology(this.#publishing),
      consuming: new Topology(this.#consuming),
    };
    this.#probes = new Publisher(this.#sending(new InFlightWindow()), true);
    this.#probe = new LivenessProbe({
      publishing: this.#publishing,
      consuming: this.#consuming,
      publisher: this.#probes,
      inbox: () => this.inbox,
      every: (heartbeat || PROBES) * 1_000,
    });
    this.#publishing.start();
    this.#consuming.start();
  }

  /** All share a window, but probes, which must not wait behind what they are to prove. */
  #sending(window = this.#window): PublisherParts {
    const [connection, topology] = [
      this.#publishing,
      this.#topology.publishing,
    ];
    return { connection, topology, window, returned: this.#returned };
  }

  async openSession(deadline: Deadline): Promise<Session> {
    deadline.signal?.throwIfAborted();
    await this.#publishing.up(deadline);
    await this.#consuming.up(deadline);
    const topology = this.#topology.consuming;
    const session = new RabbitSession(this.#sending(), {
      routes: this.#routes,
      topology,
      openConsumers: () => new ConsumerChannel(this.#consuming, topology),
      closed: () => this.#sessions.delete(session),
    });
    this.#sessions.add(session);
    return session;
  }

  async startInbox(reader: InboxListener, deadline: Deadline): Promise<void> {
    deadline.signal?.throwIfAborted();
    this.#reader = reader;
    this.#listening ??= this.#startInbox().catch((error) => {
      this.#listening = undefined;
      throw error;
    });
    await withDeadline(
      this.#listening,
      deadline,
      () =>
        new ConnectionFailedError(
          `Cannot consume the inbox in time: ${this.#consuming.why}`,
        ),
    );
  }

  #newInbox(): string {
    return uniqueName("reply", this.#profile.nova?.member ?? true);
  }

  async #startInbox(): Promise<void> {
    const route = (): QueueRoute => this.#routes.inbox(this.inbox);
    const renew = () => {
      this.inbox = this.#newInbox();
      return route();
    };
    const { limit: bytes = Infinity } = this.#reader ?? {};
    const options: ConsumeOptions = {
      prefetch: INBOX_PREFETCH,
      limit: { bytes, keep: false },
    };
    const consumers = this.#inboxConsumers ??= new ConsumerChannel(
      this.#consuming,
      this.#topology.consuming,
    );
    const never = { at: Infinity };
    await consumers.add(route(), this.#receive, options, never, renew);
    this.#listens = true;
    if (!this.#resting) this.#probe.start();
  }

  #receive = (delivery: Delivery): void => {
    if (!this.#probe.takes(delivery)) this.#reader?.onDelivery(delivery);
  };

  async inspect(
    address: Address,
    deadline: Deadline,
  ): Promise<QueueState | undefined> {
    if (!this.#consuming.socket) {
      throw new ConnectionFailedError(
        `Cannot inspect ${queueName(address)}: ${this.#consuming.why}`,
      );
    }
    const route = this.#routes.of(address);
    return await this.#topology.consuming.inspect(route, deadline);
  }

  onEvent(watcher: (event: TransportEvent) => void): Disposable {
    this.#watchers.add(watcher);
    return { [Symbol.dispose]: () => void this.#watchers.delete(watcher) };
  }

  health(): TransportHealth {
    const { consumers: _, ...publishing } = this.#publishing.recorder.health;
    const { health: consuming, stale } = this.#consuming.recorder;
    return { publishing, consuming, stale };
  }

  ref(): void {
    this.#publishing.rest(false);
    this.#consuming.rest(false);
    this.#resting = false;
    if (this.#listens) this.#probe.start();
  }

  unref(): void {
    this.#publishing.rest(true);
    this.#consuming.rest(true);
    this.#resting = true;
    this.#probe.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#probe.stop();
    this.#resting = true;
    await Promise.all([
      this.#probes.close(),
      this.#inboxConsumers?.close(),
      ...[...this.#sessions].map((session) => session[Symbol.asyncDispose]()),
    ]);
    if (this.#listening && this.#consuming.socket) {
      const wait = { at: performance.now() + 1_000 };
      const removed = this.#topology.consuming.remove(this.inbox, wait);
      await this.#goodbyes.answered(removed);
    }
    await Promise.all([this.#publishing.close(), this.#consuming.close()]);
    flushLog();
  }

  #returned = (message: Message): void => this.#reader?.onReturned(message);

  #tell(event: TransportEvent): void {
    for (const watcher of [...this.#watchers]) {
      try {
        watcher(event);
      } catch (error) {
        logger("bus").error("A watcher threw: {error}", { error });
      }
    }
  }

  /** Connected = both connections are up; lost = the first of them is gone. */
  #events(role: string): SupervisionListener {
    return {
      connected: () => {
        logger("bus").debug("Connected ({role})", { role });
        if (++this.#up < 2) return;
        this.#outage.ended();
        this.#tell({ type: "connected" });
      },
      disconnected: (reason) => {
        this.#outage.failed(reason);
        if (this.#up-- === 2) this.#tell({ type: "disconnected", reason });
      },
      unreachable: (reason) => this.#outage.failed(reason),
      blocked: (reason) => {
        this.#probe.suspend();
        logger("bus").warn("The broker takes no messages: {reason}", {
          reason,
        });
        this.#tell({ type: "blocked", reason });
      },
      unblocked: () => this.#tell({ type: "unblocked" }),
      failed: (error) => {
        logger("bus").error("The link to the broker is given up: {error}", {
          error: error.message,
        });
        this.#listens = false;
        this.#probe.stop();
        this.#tell({ type: "failed", reason: error.message, error });
      },
      recovered: () => this.#probe.probe(),
    };
  }
}
