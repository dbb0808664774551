/** The connection context: client and server over one leased transport (Nova: `ConnectionContext`). @module */
import { ConnectionDisposedError } from "../errors.ts";
import type { Deadline } from "../transport/transport.ts";
import type { TransportHealth } from "../transport/transport_health.ts";
import { RpcClient, untypedStream } from "../rpc/client/rpc_client.ts";
import type { Client, ClientOptions } from "../rpc/client/client.ts";
import { ConnectionEvents, relayEvents } from "./connection_events.ts";
import {
  type ConnectionDependencies,
  createServer,
  createSubscriptions,
  notificationResources,
} from "./dependencies.ts";
import {
  type ConsumedQueue,
  consumerOf,
  type ConsumerOptions,
  planConsumers,
  type Subscriptions,
  workerOf,
} from "../rpc/server/subscriptions.ts";
import type { Contract } from "../contract/types.ts";
import { createTypedClient } from "../rpc/client/typed_client.ts";
import { discover, type ServicesOptions } from "../rpc/discovery/discover.ts";
import type { Dispatcher } from "../rpc/dispatch/dispatcher.ts";
import { Leadership } from "../rpc/leader_election.ts";
import { checkTask } from "../names.ts";
import type { NotificationHandler } from "../rpc/notifications/event_handling.ts";
import {
  type ListenerOptions,
  startListener,
} from "../rpc/notifications/listener.ts";
import { notify, type NotifyOptions } from "../rpc/notifications/notifier.ts";
import {
  addressed,
  type CallOptions,
  type CastOptions,
  limitsOfCast,
  type SendOptions,
  type Target,
} from "../rpc/client/call_options.ts";
import { checkInteger } from "../option_checks.ts";
import type { Server } from "../rpc/server/server.ts";
import type { ServerStats } from "../rpc/server_stats.ts";
import type { ServiceStatus } from "../rpc/discovery/service_report.ts";

/**
 * Any keyword arguments.
 * @category Calling
 */
export type AnyArgs = Readonly<Record<string, unknown>>;

const disposed = () =>
  new ConnectionDisposedError("Cannot use the connection: it was disposed");

/** Creates a context; users call `createConnection`. */
export let createContext: (
  dependencies: ConnectionDependencies,
) => ConnectionContext;

/**
 * Client and server over channels of their own on the process's link to the broker. Made by `createConnection`.
 *
 * Disposal stops consuming, lets handlers finish, fails the calls that still wait with `ConnectionDisposedError`, and
 * gives the channels back. Any use after it throws the same error.
 * @category Connections
 */
export class ConnectionContext extends ConnectionEvents
  implements AsyncDisposable {
  readonly #dependencies: ConnectionDependencies;
  readonly #client: RpcClient;
  readonly #server: Server;
  readonly #watching: Disposable;
  readonly #subscriptions: Subscriptions;
  /** Ends the setup of consumers when the context is drained. */
  readonly #ending = new AbortController();
  #draining: Promise<void> | undefined;
  /** Fires when disposal has waited for the handlers. */
  readonly #closing = new AbortController();
  /** Whether the transport is as new, and may go back to a pool. */
  #reusable = true;
  #disposing: Promise<void> | undefined;

  static {
    createContext = (dependencies) => new ConnectionContext(dependencies);
  }

  private constructor(dependencies: ConnectionDependencies) {
    super();
    this.#dependencies = dependencies;
    const { resources, messages } = dependencies;
    this.#client = new RpcClient(resources, messages);
    this.#server = createServer(dependencies, this.#client);
    this.#subscriptions = createSubscriptions(dependencies);
    this.#watching = relayEvents(resources.transport, this);
  }

  /** The typed verbs of a contract; `defaults` hold for all its calls. */
  client<C extends Contract>(contract: C, defaults?: ClientOptions): Client<C> {
    this.#check();
    return createTypedClient(this.#client, contract, defaults);
  }

  /** One answer, untyped: the last result where the procedure streams (Nova: `call`). See {@linkcode Client}. */
  async call(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CallOptions = {},
  ): Promise<unknown> {
    this.#check();
    const request = addressed({ target, method, args, options }, "call");
    return (await this.#client.call(request)).value;
  }

  /** No answer, untyped. See {@linkcode Client}. */
  async cast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CastOptions = {},
  ): Promise<void> {
    this.#check();
    const request = addressed({ target, method, args, options }, "cast");
    await this.#client.cast(request);
  }

  /** No answer, to every worker, untyped. See {@linkcode Client}. */
  async fanoutCast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: SendOptions = {},
  ): Promise<void> {
    this.#check();
    const request = addressed({ target, method, args, options }, "send");
    await this.#client.fanoutCast(request);
  }

  /** A stream, untyped; a procedure that does not stream yields its one result. See {@linkcode Client}. */
  multicall(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CallOptions = {},
  ): AsyncGenerator<unknown, void, undefined> {
    this.#check();
    const request = addressed({ target, method, args, options }, "call");
    return this.#client.multicall(request, untypedStream);
  }

  /** Sends an event to whoever listens, now or later: it waits in the queue of its priority. */
  async notify(
    eventType: string,
    payload: unknown,
    options: NotifyOptions = {},
  ): Promise<void> {
    this.#check();
    const resources = notificationResources(this.#dependencies);
    await notify(resources, { eventType, payload, options });
  }

  /** The other end of `notify`; events are acknowledged after the handler. */
  async createListener(
    handler: NotificationHandler,
    options: ListenerOptions = {},
  ): Promise<void> {
    this.#check();
    const deadline = this.#setUp();
    const resources = notificationResources(this.#dependencies);
    const stop = await startListener(resources, handler, options, deadline);
    this.#subscriptions.addListener(stop);
  }

  /**
   * Makes the queue of a topic (`compute`), of one host (`host: "gb07"`, or joined: `compute.gb07`), or of this process for a
   * fanout. Requests wait there until `consume`.
   *
   * @throws {TopologyError} if the queue or exchange exists in another form.
   * @category Nova's low-level steps
   */
  async createConsumer(
    topic: string,
    dispatcher: Dispatcher,
    options: ConsumerOptions = {},
  ): Promise<void> {
    const consumed = consumerOf(topic, dispatcher, options);
    await this.#createConsumers(consumed, dispatcher);
  }

  /**
   * Joins a pool of workers: each pool gets every message of the topic, one member of it handles each. As in Nova, the
   * pool's name is its queue's: choose one that is no topic.
   * @category Nova's low-level steps
   */
  async createWorker(
    topic: string,
    dispatcher: Dispatcher,
    pool: string,
  ): Promise<void> {
    const consumed = workerOf(topic, dispatcher, pool);
    await this.#createConsumers(consumed, dispatcher);
  }

  /**
   * Starts all consumers; later ones start at once.
   * @category Nova's low-level steps
   */
  async consume(): Promise<void> {
    this.#check();
    const deadline = this.#setUp();
    const { inbox } = this.#dependencies.resources;
    await inbox.ready(deadline); // callers must be able to cancel
    await this.#subscriptions.start(deadline);
  }

  /**
   * The services of the fleet, as they answer; then those of a store that did not; with `watch`, also what changes from
   * then on. Every service answers, also while all its handlers are busy.
   *
   * @throws {InvalidValueError} an option is wrong.
   * @throws {ConnectionDisposedError} the connection is disposed while services are watched.
   */
  services(
    options: ServicesOptions = {},
  ): AsyncGenerator<ServiceStatus, void, undefined> {
    this.#check();
    this.#reusable = false;
    const [client, closing] = [this.#client, this.#closing.signal];
    const { session } = this.#dependencies.resources;
    const { limits } = this.#dependencies.messages;
    return discover({ client, session, limits, closing }, options);
  }

  /**
   * Stands for the leadership of a topic's workers in one task, until disposed. At most one of those who are connected
   * leads at a time, but a leader that is cut off learns of it later than its successor: a hint, not a lock.
   */
  lead(topic: string, task: string): Leadership {
    this.#check(this.#draining !== undefined);
    checkTask(topic, task);
    this.#reusable = false;
    return new Leadership(this.#dependencies.resources.session, topic, task);
  }

  /** How the process's link to the broker is, shared by all its connections; memory is always up. */
  health(): TransportHealth {
    return this.#dependencies.resources.transport.health();
  }

  /** What the server half has done so far. */
  get stats(): ServerStats {
    return this.#server.stats;
  }

  /** Handlers at once, over all consumers. */
  get concurrency(): number {
    return this.#server.concurrency;
  }

  /** 1 to 65535; holds from now on. A consumer keeps the `prefetch` with which it began. */
  set concurrency(handlers: number) {
    this.#server.concurrency = checkInteger("concurrency", handlers, 1, 65_535);
  }

  /**
   * Takes no more messages; resolves when all that is in hand is done, or after `grace` milliseconds. The verbs go on,
   * nothing new can be consumed. Disposal begins with it. Safe to call twice.
   */
  drain(grace: number = this.#dependencies.server.grace): Promise<void> {
    return this.#draining ??= this.#drain(grace);
  }

  /** Ends it; see the class. Safe at any time, and twice. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposing ??= this.#dispose();
  }

  async #createConsumers(
    consumed: ConsumedQueue,
    dispatcher: Dispatcher,
  ): Promise<void> {
    const { openstack } = this.#dependencies.notifications;
    const [server, subscriptions] = [this.#server, this.#subscriptions];
    const consuming = { server, subscriptions, openstack };
    await planConsumers(consuming, consumed, dispatcher, this.#setUp());
  }

  /** Bounds of making a consumer, after which the transport is no longer as new. */
  #setUp(): Deadline {
    this.#check(this.#draining !== undefined);
    this.#reusable = false;
    return limitsOfCast({ signal: this.#ending.signal }).deadline;
  }

  /** Handlers finish first, since they may call others on this connection. */
  async #dispose(): Promise<void> {
    try {
      await this.drain();
    } finally {
      this.#closing.abort(disposed());
      await this.#client.dispose();
      this.#watching[Symbol.dispose]();
      await this.#dependencies.resources.release(this.#reusable);
    }
  }

  async #drain(grace: number): Promise<void> {
    this.#ending.abort(disposed());
    const deadline = performance.now() + grace;
    const listeners = this.#subscriptions.stopListeners(deadline);
    await this.#subscriptions.cancel(deadline);
    await Promise.all([this.#server.drain(deadline, grace > 0), listeners]);
  }

  /** Handlers that still finish may call, cast and notify. */
  #check(closed = this.#closing.signal.aborted): void {
    if (closed) throw disposed();
  }
}
