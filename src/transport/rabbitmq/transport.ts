/** Transport to RabbitMQ: one connection that publishes, one that consumes, and the sessions with channels on them. @module */
import type { ReceivedMessage } from "../../amqp/mod.ts";
import { ConnectionFailedError } from "../../errors.ts";
import type { Deadline } from "../../async/deadline.ts";
import { flushLog, logger } from "../../logging.ts";
import { instruments } from "../../telemetry/instruments.ts";
import { type Address, type QueueAddress, queueName } from "../address.ts";
import { hasConsumerTimeout, isSince, versionOf } from "./broker_version.ts";
import { defaultProfile } from "../profile.ts";
import { uniqueName } from "../../ids.ts";
import type {
  InboxListener,
  QueueState,
  Session,
  SessionOptions,
  Transport,
  TransportEvent,
} from "../transport.ts";
import type { TransportHealth } from "../transport_health.ts";
import { type Access, LOGIN_REJECTION_LIMITS } from "./connection/login.ts";
import type { DialSettings } from "./connection/dial.ts";
import {
  OutageLog,
  type SupervisionListener,
} from "./connection/connection_health.ts";
import { FoundForms } from "./routes/found_forms.ts";
import { Routes } from "./routes/routes.ts";
import { SupervisedConnection } from "./connection/supervised_connection.ts";
import { Topology } from "./connection/topology.ts";
import { ConsumerChannel } from "./consuming/consumers.ts";
import { messageOf } from "./consuming/rabbit_message.ts";
import { InboxConsumer } from "./inbox_consumer.ts";
import { Liveness } from "./liveness/liveness.ts";
import { OtherNodes } from "./liveness/other_nodes.ts";
import { newQueuesOf } from "./new_queues.ts";
import { MessageSizes } from "./publishing/message_sizes.ts";
import type { PublisherOptions } from "./publishing/publisher.ts";
import { InFlightWindow } from "./publishing/publish_window.ts";
import {
  accessOf,
  dialSettings,
  type RabbitOptions,
} from "./rabbit_options.ts";
import { RabbitSession } from "./session.ts";
import { TransientQueues } from "./transient_queues.ts";
import { TransportEvents } from "./transport_events.ts";

/** Maximum number of queues whose found type `health` returns. */
const MAX_TYPES = 100;
/** Seconds between two liveness probes if heartbeats are off. */
const DEFAULT_PROBE_INTERVAL_S = 10;

/** Transport of a process to one RabbitMQ broker or cluster. */
export class RabbitTransport implements Transport {
  readonly #routes: Routes;
  readonly #found = new FoundForms();
  readonly #publishing: SupervisedConnection;
  readonly #consuming: SupervisedConnection;
  readonly #sizes: MessageSizes;
  readonly #publishingTopology: Topology;
  readonly #consumingTopology: Topology;
  readonly #transientQueues: TransientQueues;
  readonly #events = new TransportEvents();
  readonly #sessions = new Set<RabbitSession>();
  readonly #window = new InFlightWindow();
  readonly #observing = instruments.unconfirmed.observe(() => [
    [[], this.#window.messages],
  ]);
  readonly #inbox: InboxConsumer;
  readonly #liveness: Liveness;
  readonly #outageLog: OutageLog;
  /** True while `unref` is in effect, and after disposal. */
  #unreffed = false;
  /** True while the inbox is consumed. */
  #inboxStarted = false;
  /** Number of the two connections that are open. */
  #openConnections = 0;

  /** Starts to connect at once. */
  constructor(options: RabbitOptions) {
    const { heartbeat = 10, profile = defaultProfile } = options;
    const access = accessOf(options);
    this.#outageLog = new OutageLog(options.urls);
    const settings = dialSettings(options, heartbeat);
    const connect = this.#connector(options, access, settings);
    const found = this.#found;
    this.#routes = new Routes(profile, found);
    this.#publishing = connect("publishing");
    this.#consuming = connect("consuming");
    this.#sizes = new MessageSizes(this.#publishing);
    // Publishers declare few exchanges, each for many messages that wait for it.
    this.#publishingTopology = new Topology(this.#publishing, found, {
      maxChannels: 1,
    });
    const transientQueues = new TransientQueues(
      this.#consuming,
      access,
      settings,
    );
    this.#transientQueues = transientQueues;
    this.#consumingTopology = new Topology(this.#consuming, found, {
      transientQueues,
      newQueues: newQueuesOf(options, this.#consuming),
    });
    this.#inbox = this.#createInbox(profile.nova?.member ?? true);
    this.#liveness = new Liveness({
      publishing: this.#publisherOptions(),
      consuming: this.#consuming,
      inbox: () => this.inbox,
      others: new OtherNodes(access, settings),
      isWatchNeeded: (connection) => isSince(versionOf(connection), 4, 3),
      intervalMs: (heartbeat || DEFAULT_PROBE_INTERVAL_S) * 1_000,
    });
    this.#publishing.start();
    this.#consuming.start();
  }

  /** Creates the consumer of the inbox, whose names have `unique` in them or random characters. */
  #createInbox(unique: true | string): InboxConsumer {
    return new InboxConsumer({
      connection: this.#consuming,
      topology: this.#consumingTopology,
      newRoute: () => this.#routes.inbox(uniqueName("reply", unique)),
      intercept: (delivery) => this.#liveness.handle(delivery),
      onStarted: () => {
        this.#inboxStarted = true;
        if (!this.#unreffed) this.#liveness.start();
      },
    });
  }

  get inbox(): string {
    return this.#inbox.name;
  }

  /** Returns a function that creates the connection of a role. */
  #connector(
    options: RabbitOptions,
    access: Access,
    settings: DialSettings,
  ): (role: string) => SupervisedConnection {
    return (role) =>
      new SupervisedConnection(
        access,
        { ...settings, name: `${settings.name} ${role}` },
        this.#connectionListener(role),
        options.loginRejectionLimits ?? LOGIN_REJECTION_LIMITS,
      );
  }

  #publisherOptions(): PublisherOptions {
    return {
      connection: this.#publishing,
      topology: this.#publishingTopology,
      sizes: this.#sizes,
      window: this.#window,
      onReturned: (message) => this.#onReturned(message),
    };
  }

  #onReturned(message: ReceivedMessage): void {
    try {
      this.#inbox.onReturned(messageOf(message));
    } catch (error) {
      logger("bus").error("A listener of returned messages threw: {error}", {
        error,
      });
    }
  }

  async openSession(
    deadline: Deadline,
    { connected = true }: SessionOptions = {},
  ): Promise<Session> {
    deadline.signal?.throwIfAborted();
    if (connected) {
      await this.#publishing.waitForConnection(deadline);
      await this.#consuming.waitForConnection(deadline);
    }
    const topology = this.#consumingTopology;
    const session = new RabbitSession(this.#publisherOptions(), {
      ...{ connection: this.#consuming, routes: this.#routes, topology },
      openConsumers: () => new ConsumerChannel(this.#consuming, topology),
      onClose: () => this.#sessions.delete(session),
    });
    this.#sessions.add(session);
    return session;
  }

  async startInbox(listener: InboxListener, deadline: Deadline): Promise<void> {
    deadline.signal?.throwIfAborted();
    await this.#inbox.start(listener, deadline);
  }

  async inspect(
    address: Address,
    deadline: Deadline,
  ): Promise<QueueState | undefined> {
    if (!this.#consuming.current) {
      throw new ConnectionFailedError(
        `Cannot inspect ${queueName(address)}: ${this.#consuming.waitReason}`,
      );
    }
    const route = this.#routes.of(address);
    return await this.#consumingTopology.checks.inspect(route, deadline);
  }

  limitsDeliveryTime(address: QueueAddress): boolean {
    const { queue } = this.#routes.of(address);
    const { current } = this.#consuming;
    return !current || !queue || hasConsumerTimeout(versionOf(current), queue);
  }

  onEvent(listener: (event: TransportEvent) => void): Disposable {
    return this.#events.listen(listener);
  }

  health(): TransportHealth {
    const { consumers: _, ...publishing } = this.#publishing.recorder.health;
    const { health: consuming, stale } = this.#consuming.recorder;
    const foundTypes = this.#found.types(MAX_TYPES);
    const hasFound = Object.keys(foundTypes).length > 0;
    return {
      ...{ publishing, consuming, stale },
      ...(hasFound && { foundTypes }),
    };
  }

  ref(): void {
    this.#publishing.ref();
    this.#consuming.ref();
    this.#unreffed = false;
    if (this.#inboxStarted) this.#liveness.start();
  }

  unref(): void {
    this.#publishing.unref();
    this.#consuming.unref();
    this.#unreffed = true;
    this.#liveness.stop();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#liveness.stop();
    this.#observing[Symbol.dispose]();
    this.#transientQueues.close();
    this.#unreffed = true;
    await Promise.all([
      this.#liveness.close(),
      this.#inbox.close(),
      ...[...this.#sessions].map((session) => session[Symbol.asyncDispose]()),
    ]);
    await this.#inbox.removeQueue();
    await Promise.all([this.#publishing.close(), this.#consuming.close()]);
    flushLog();
  }

  /** Listens to one connection. The transport is connected while both are open, and disconnected once the first is lost. */
  #connectionListener(role: string): SupervisionListener {
    return {
      connected: () => {
        logger("bus").debug("Connected ({role})", { role });
        if (++this.#openConnections < 2) return;
        this.#outageLog.ended();
        this.#events.notify({ type: "connected" });
      },
      disconnected: (reason) => {
        instruments.connectionLosses.record(1, [role]);
        this.#outageLog.lost(reason);
        if (this.#openConnections-- === 2) {
          this.#events.notify({ type: "disconnected", reason });
        }
      },
      unreachable: (reason) => this.#outageLog.unreachable(reason),
      blocked: (reason) => {
        this.#liveness.suspend();
        logger("bus").warn("The broker accepts no messages: {reason}", {
          reason,
        });
        this.#events.notify({ type: "blocked", reason });
      },
      unblocked: () => this.#events.notify({ type: "unblocked" }),
      failed: (error) => {
        logger("bus").error("Gave up the connection to the broker: {error}", {
          error: error.message,
        });
        this.#inboxStarted = false;
        this.#liveness.stop();
        this.#events.notify({ type: "failed", reason: error.message, error });
      },
      recovered: () => this.#liveness.probe(),
    };
  }
}
