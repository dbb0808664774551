/** Connection context: client and server on one session of the shared transport (Nova: `ConnectionContext`). @module */
import type { Deadline } from "../transport/transport.ts";
import type { TransportHealth } from "../transport/transport_health.ts";
import { RpcClient } from "../rpc/client/rpc_client.ts";
import type { Client, ClientOptions } from "../rpc/client/client.ts";
import { relayEvents } from "./connection_events.ts";
import { UntypedVerbs } from "./untyped_verbs.ts";
import {
  type ConnectionDependencies,
  createConsumerResources,
  createServer,
  discoveryResources,
  disposed,
  notificationResources,
} from "./dependencies.ts";
import {
  consumerOf,
  type ConsumerOptions,
  type ConsumerResources,
  planConsumers,
  workerOf,
} from "../rpc/server/subscriptions.ts";
import type { Contract } from "../contract/types.ts";
import { createTypedClient } from "../rpc/client/typed_client.ts";
import { discover, type ServicesOptions } from "../rpc/discovery/discover.ts";
import type { Dispatcher } from "../rpc/dispatch/dispatcher.ts";
import { Leadership } from "../rpc/leader_election.ts";
import { checkTask } from "../names.ts";
import type { NotificationResources } from "../rpc/notifications/drivers.ts";
import type { NotificationHandler } from "../rpc/notifications/event_handling.ts";
import {
  type EventListenerOptions,
  type ListenerArgs,
  type ListenerOptions,
  startListener,
} from "../rpc/notifications/listener.ts";
import type { EventHandlers } from "../rpc/notifications/typed_handlers.ts";
import {
  createNotifier,
  type Notifier,
  type NotifierOptions,
} from "../rpc/notifications/typed_notifier.ts";
import type { EventContract } from "../contract/events.ts";
import { notify, type NotifyOptions } from "../rpc/notifications/notifier.ts";
import { limitsOfCast } from "../rpc/client/call_limits.ts";
import { checkInteger } from "../option_checks.ts";
import type { Server } from "../rpc/server/server.ts";
import type { ServerStats } from "../rpc/server_stats.ts";
import type { ServiceStatus } from "../rpc/discovery/service_report.ts";

/** Creates a context. Users call `createConnection`. */
export let createContext: (from: ConnectionDependencies) => ConnectionContext;
/** Returns the resources and settings of a context. */
export let dependenciesOf: (of: ConnectionContext) => ConnectionDependencies;
/** Returns the client of a context. */
export let clientOf: (of: ConnectionContext) => RpcClient;
/** Returns the server of a context. */
export let serverOf: (of: ConnectionContext) => Server;

/**
 * Client and server with a session of their own on the transport of the process. Created by `createConnection`.
 *
 * Disposal stops consuming, waits for handlers, fails the calls that are still pending with `ConnectionDisposedError`,
 * and releases the session. Any later use throws the same error.
 * @category Connections
 */
export class ConnectionContext extends UntypedVerbs implements AsyncDisposable {
  readonly #dependencies: ConnectionDependencies;
  readonly #client: RpcClient;
  readonly #server: Server;
  readonly #consumers: ConsumerResources;
  readonly #events: NotificationResources;
  readonly #eventRelay: Disposable;
  /** Aborts the setup of consumers when the context is drained. */
  readonly #stopping = new AbortController();
  #draining: Promise<void> | undefined;
  /** Fires when the handlers have ended, or `grace` is over. */
  readonly #closing = new AbortController();
  /** True while nothing was consumed on the session, so that it can be reused from a pool. */
  #reusable = true;
  #disposing: Promise<void> | undefined;

  static {
    createContext = (dependencies) => new ConnectionContext(dependencies);
    dependenciesOf = (context) => context.#dependencies;
    clientOf = (context) => context.#client;
    serverOf = (context) => context.#server;
  }

  private constructor(dependencies: ConnectionDependencies) {
    const { resources, messages } = dependencies;
    const client = new RpcClient(resources, messages);
    super(client);
    this.#dependencies = dependencies;
    this.#client = client;
    this.#server = createServer(dependencies, client);
    this.#consumers = createConsumerResources(dependencies, this.#server);
    this.#events = notificationResources(dependencies);
    this.#eventRelay = relayEvents(resources.transport, this);
  }

  /** Creates the typed client of a contract; `defaults` are options of all its calls. */
  client<C extends Contract>(contract: C, defaults?: ClientOptions): Client<C> {
    this.#check();
    return createTypedClient(this.#client, contract, defaults);
  }

  /** Sends an event, which waits in the queue of its priority for listeners. */
  async notify(
    eventType: string,
    payload: unknown,
    options: NotifyOptions = {},
  ): Promise<void> {
    this.#check();
    await notify(this.#events, { eventType, payload, options });
  }

  /** Creates the sender of the events of a contract; `defaults` are options of all its events. */
  notifier<E extends EventContract>(
    events: E,
    defaults?: NotifierOptions,
  ): Notifier<E> {
    this.#check();
    return createNotifier(this.#events, this.#client, events, defaults);
  }

  /**
   * Consumes the events of a contract, each with the handler of its type; the others are acknowledged and dropped. An event
   * whose payload does not fit its schema becomes a dead letter at once; with the profile `nova` it is dropped.
   *
   * @throws {InvalidValueError} the contract, a handler or an option is invalid.
   */
  createListener<E extends EventContract>(
    events: E,
    handlers: EventHandlers<E>,
    options?: EventListenerOptions,
  ): Promise<void>;
  /** Consumes events; each event is acknowledged after the handler has returned. */
  createListener(
    handler: NotificationHandler,
    options?: ListenerOptions,
  ): Promise<void>;
  // With wider types, the compiler would tell users that their wrong call fits here.
  async createListener(...args: never[]): Promise<void> {
    const listened = args as unknown as ListenerArgs;
    const deadline = this.#setUp();
    const stop = await startListener(this.#events, listened, deadline);
    this.#consumers.subscriptions.addListener(stop);
  }

  /**
   * Declares the queue of a topic (`compute`), of one host (`host: "gb07"`, or joined: `compute.gb07`), or of this process for a
   * fanout. Requests wait there until `consume`.
   *
   * @throws {TopologyError} the queue or exchange exists with other properties.
   */
  async createConsumer(
    topic: string,
    dispatcher: Dispatcher,
    options: ConsumerOptions = {},
  ): Promise<void> {
    const consumed = consumerOf(topic, dispatcher, options);
    await planConsumers(this.#consumers, consumed, dispatcher, this.#setUp());
  }

  /**
   * Declares the queue of a pool of workers: each pool gets every message of the topic, and one worker of the pool
   * handles it. As in Nova, the name of the pool is also the name of its queue, so it must not be the name of a topic.
   */
  async createWorker(
    topic: string,
    dispatcher: Dispatcher,
    pool: string,
  ): Promise<void> {
    const consumed = workerOf(topic, dispatcher, pool);
    await planConsumers(this.#consumers, consumed, dispatcher, this.#setUp());
  }

  /** Starts the inbox, for control commands of callers, and all consumers. Consumers that are created later start at once. */
  async consume(): Promise<void> {
    this.#check();
    await this.#dependencies.resources.inbox.ready(this.#setUp());
    await this.#consumers.subscriptions.start(() => this.#setUp());
  }

  /**
   * Yields all services as they reply, then the services of a store that did not reply; with `watch`, also later
   * changes. Services reply even while all their handlers are busy.
   *
   * @throws {InvalidValueError} an option is invalid.
   * @throws {ConnectionDisposedError} the connection is disposed while services are watched.
   */
  services(
    options: ServicesOptions = {},
  ): AsyncGenerator<ServiceStatus, void, undefined> {
    this.#check();
    this.#reusable = false;
    const { signal } = this.#closing;
    return discover(
      discoveryResources(this.#dependencies, this.#client, signal),
      options,
    );
  }

  /**
   * Enters the election of a leader among a topic's workers for one task, until disposed. At most one connected worker
   * leads. This is no lock: a leader that lost its connection may notice that later than its successor.
   */
  lead(topic: string, task: string): Leadership {
    this.#check(this.#draining !== undefined);
    checkTask(topic, task);
    this.#reusable = false;
    return new Leadership(this.#dependencies.resources.session, topic, task);
  }

  /** Health of the shared transport to this broker; the memory transport is always `up`. */
  health(): TransportHealth {
    return this.#dependencies.resources.transport.health();
  }

  /** Counters of the server side. */
  get stats(): ServerStats {
    return this.#server.stats;
  }

  /** Maximum number of handlers that run at once, over all consumers. */
  get concurrency(): number {
    return this.#server.concurrency;
  }

  /** Sets the maximum, 1 to 65535, from now on. Consumers keep the `prefetch` with which they started. */
  set concurrency(handlers: number) {
    this.#server.concurrency = checkInteger("concurrency", handlers, 1, 65_535);
  }

  /**
   * Stops consuming; resolves when all active requests have ended, or after `grace` milliseconds. Calls and casts
   * remain possible. Disposal starts with a drain. May be called repeatedly.
   */
  drain(grace: number = this.#dependencies.server.grace): Promise<void> {
    return this.#draining ??= this.#drain(grace);
  }

  /** Disposes of the context; see the class. May be called at any time, and repeatedly. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposing ??= this.#dispose();
  }

  /** Returns the deadline for the setup of a consumer. The session cannot be reused from a pool after it. */
  #setUp(): Deadline {
    this.#check(this.#draining !== undefined);
    this.#reusable = false;
    return limitsOfCast({ signal: this.#stopping.signal }).deadline;
  }

  /** Waits for handlers first, because they may make calls on this connection. */
  async #dispose(): Promise<void> {
    try {
      await this.drain();
    } finally {
      this.#closing.abort(disposed());
      await this.#client.dispose();
      this.#eventRelay[Symbol.dispose]();
      await this.#dependencies.resources.release(this.#reusable);
    }
  }

  async #drain(grace: number): Promise<void> {
    this.#stopping.abort(disposed());
    const deadline = performance.now() + grace;
    const listeners = this.#consumers.subscriptions.stopListeners(deadline);
    await this.#consumers.subscriptions.cancel(deadline);
    await Promise.all([this.#server.drain(deadline, grace > 0), listeners]);
  }

  /** Throws if the context is closed. During a drain, handlers may still call, cast and notify. */
  #check(closed = this.#closing.signal.aborted): void {
    if (closed) throw disposed();
  }
}
