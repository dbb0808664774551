/** A service: managers that serve their topics on one host, from start to drained stop (Nova: `service.py`). @module */
import {
  ConnectionDisposedError,
  ConnectionFailedError,
  InvalidValueError,
} from "../errors.ts";
import { log } from "../telemetry.ts";
import { queueFor } from "../bus/routes.ts";
import type { ConnectionContext } from "../rpc/connection.ts";
import type { Handlers } from "../rpc/contract.ts";
import type { Dispatcher } from "../rpc/dispatcher.ts";
import { checkName } from "../rpc/names.ts";
import type { ServerStats } from "../rpc/server.ts";
import { createConnection } from "./connect.ts";
import type { BrokerUrl, ConnectionOptions } from "./connection_options.ts";
import { type Manager, periodicTasksOf } from "./manager.ts";
import { PeriodicTasks } from "./periodic.ts";
import type { TaskState } from "./periodic_task.ts";
import { onSignals, SIGNALS, signalsLeft } from "./signals.ts";

/** One manager, or several. */
export type Managers = Manager | readonly Manager[];

/** Whatever is missing or wrong in a manager, measured by its contract. */
export type Serving<M> = M extends Manager
  ? (string extends keyof M["contract"]["procedures"] ? unknown
    : Handlers<M["contract"]>)
  : M extends readonly Manager[] ? { readonly [I in keyof M]: Serving<M[I]> }
  : never;

/** How to start a service. */
export interface ServiceOptions<M extends Managers = Managers>
  extends ConnectionOptions {
  /** The broker. */
  readonly url: BrokerUrl;
  /** Name of this host in `<topic>.<host>`; default: the machine's name. */
  readonly host?: string | undefined;
  /** Who serves. Managers of one topic share its consumers. */
  readonly manager: M & Serving<M>;
  /** Drain on SIGINT and SIGTERM; default true. In a worker of `launch` its launcher decides. */
  readonly signals?: boolean | undefined;
  /** Adds behaviour around all handlers: authorization, audit, transactions. */
  readonly wrap?: ((inner: Dispatcher) => Dispatcher) | undefined;
}

/** Milliseconds that a service has to finish, unless said otherwise. */
const GRACE = 30_000;

/** Managers of running services. */
const taken = new WeakSet<Manager>();

/** A running service. */
export class Service implements AsyncDisposable {
  /** Name of the host. */
  readonly host: string;
  /** Resolves when the service has stopped; rejects if its link to the broker is given up. */
  readonly stopped: Promise<void>;
  readonly #connection: ConnectionContext;
  readonly #ended = Promise.withResolvers<void>();
  readonly #stack = new AsyncDisposableStack();
  readonly #periodic: PeriodicTasks[] = [];
  #stopping: Promise<void> | undefined;
  #stoppedAt = 0;

  private constructor(host: string, connection: ConnectionContext) {
    this.host = host;
    this.#connection = connection;
    this.stopped = this.#ended.promise;
    this.stopped.catch(() => {}); // whoever awaits it gets the error
  }

  /**
   * Starts a service: makes the queues of its topics, calls `initHost`, takes messages, calls `postStartHook`.
   *
   * @throws {ConnectionFailedError} the broker cannot be reached.
   * @throws {InvalidValueError} a manager lacks a method of its contract, or an option is wrong.
   */
  static async start<const M extends Managers>(
    options: ServiceOptions<M>,
  ): Promise<Service> {
    const managers = managersOf(options.manager);
    const host = options.host ?? Deno.hostname();
    checkName("host", host);
    const publisherId = options.publisherId ??
      `${managers[0]?.contract.topic}.${host}`;
    const connection = await createConnection(options.url, {
      ...options,
      publisherId,
    });
    const service = new Service(host, connection);
    try {
      await service.#start(managers, options);
    } catch (error) {
      await service.stop();
      throw error;
    }
    return service;
  }

  /** What it has done so far. */
  get stats(): ServerStats {
    return this.#connection.stats;
  }

  /** What its managers do again and again: the last run of each task, and the next. */
  get tasks(): readonly TaskState[] {
    return this.#periodic.flatMap(({ states }) => states);
  }

  /** Handlers at once, over all consumers. */
  get concurrency(): number {
    return this.#connection.concurrency;
  }

  /**
   * Holds from now on; handlers that run are left alone. See {@linkcode ConnectionContext.concurrency}.
   *
   * @throws {InvalidValueError} it is no whole number from 1 to 65535.
   */
  set concurrency(handlers: number) {
    this.#connection.concurrency = handlers;
  }

  /**
   * Takes no more messages, finishes what is in hand within `grace`, and closes. Safe to call twice. SIGINT and SIGTERM
   * do the same; a second one ends the process at once.
   */
  stop(): Promise<void> {
    return this.#stopping ??= this.#stop();
  }

  /** The same as `stop()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #stop(): Promise<void> {
    this.#stoppedAt = performance.now();
    await this.#stack.disposeAsync().finally(() => this.#ended.resolve());
  }

  /** What is deferred first is undone last. */
  async #start(
    managers: readonly Manager[],
    options: ServiceOptions,
  ): Promise<void> {
    const stopping = new AbortController();
    const gone = new AbortController();
    this.#stack.defer(() => gone.abort());
    this.#stack.defer(() => this.#endTasks(options.grace));
    this.#stack.use(this.#connection);
    for (const manager of managers) this.#take(manager);
    this.#connection.addEventListener(
      "failed",
      ({ detail }) => this.#fail(detail.error),
    );
    if ((options.signals ?? true) && !signalsLeft()) {
      this.#stack.use(onSignals(SIGNALS, () => void this.stop()));
    }
    for (const [topic, dispatcher] of dispatchers(managers, options.wrap)) {
      await this.#createConsumers(topic, dispatcher);
    }
    for (const manager of managers) {
      await manager.initHost({
        host: this.host,
        connection: this.#connection,
        stopping: stopping.signal,
        signal: gone.signal,
      });
    }
    await this.#connection.consume();
    if (this.#stopping) {
      throw new ConnectionDisposedError(
        `The service on ${this.host} was stopped while it started`,
      );
    }
    for (const manager of managers) this.#startTasks(manager);
    this.#stack.defer(() => { // deferred last, so it comes first
      stopping.abort();
      for (const tasks of this.#periodic) tasks.stop();
    });
    for (const manager of managers) await manager.postStartHook();
    log("service").info("Serving {topics} on {host}", {
      topics: managers.map(({ contract }) => contract.topic),
      host: this.host,
    });
  }

  /** The three consumers of Nova's service (`service.py`, `Service.start`). */
  async #createConsumers(topic: string, dispatcher: Dispatcher): Promise<void> {
    await this.#connection.createConsumer(topic, dispatcher);
    await this.#connection.createConsumer(
      queueFor(topic, this.host),
      dispatcher,
    );
    await this.#connection.createConsumer(topic, dispatcher, { fanout: true });
  }

  #startTasks(manager: Manager): void {
    const { topic } = manager.contract;
    const lead = (task: string) => this.#connection.lead(topic, task);
    const tasks = new PeriodicTasks(periodicTasksOf(manager), { lead });
    this.#periodic.push(tasks);
  }

  /** What remains of the grace time is for tasks that are still running. */
  async #endTasks(grace = GRACE): Promise<void> {
    const deadline = this.#stoppedAt + grace;
    await Promise.all(this.#periodic.map((tasks) => tasks.ended(deadline)));
  }

  /** A manager belongs to one running service: it knows its host and connection. */
  #take(manager: Manager): void {
    if (taken.has(manager)) {
      throw new InvalidValueError(
        `Invalid option manager: the manager of ${manager.contract.topic} serves on ${manager.host} already; make another`,
        { data: { path: "manager" } },
      );
    }
    taken.add(manager);
    this.#stack.defer(() => void taken.delete(manager));
    Object.assign(manager, { host: this.host, connection: this.#connection });
  }

  #fail(error: Error): void {
    this.#ended.reject(
      new ConnectionFailedError(
        `The service on ${this.host} lost its broker for good: ${error.message}`,
        { cause: error },
      ),
    );
    void this.stop();
  }
}

function managersOf(given: Managers): readonly Manager[] {
  const managers = Array.isArray(given)
    ? given as readonly Manager[]
    : [given as Manager];
  if (managers.length > 0 && managers.every((manager) => manager?.contract)) {
    return managers;
  }
  throw new InvalidValueError(
    "Invalid option manager: give at least one manager with a contract",
    { data: { path: "manager" } },
  );
}

/** One dispatcher for each topic, over all its managers. */
function dispatchers(
  managers: readonly Manager[],
  wrap: ServiceOptions["wrap"],
): Map<string, Dispatcher> {
  const byTopic = Map.groupBy(managers, ({ contract }) => contract.topic);
  const made = new Map<string, Dispatcher>();
  for (const [topic, [first, ...others]] of byTopic) {
    const dispatcher = (first as Manager).createRpcDispatcher(others);
    made.set(topic, wrap ? wrap(dispatcher) : dispatcher);
  }
  return made;
}
