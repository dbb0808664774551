/** A service: managers that serve their topics on one host, from start to drained stop (Nova: `service.py`). @module */
import { ConnectionDisposedError, ConnectionFailedError } from "../errors.ts";
import { logger } from "../logging.ts";
import type { ConnectionContext } from "../connection/connection_context.ts";
import { checkHost } from "../names.ts";
import type { ServerStats } from "../rpc/server_stats.ts";
import type { ServiceState } from "../rpc/discovery/service_report.ts";
import { connect } from "../connection/connect.ts";
import { bindManager, createConsumers } from "./manager_hosting.ts";
import {
  protectHostQueues,
  removeOwnQueues,
  startHostSweep,
} from "./host_sweep.ts";
import { bestEffort } from "../async/deadline.ts";
import {
  type HealthEndpoint,
  ReadinessMonitor,
  serveReadiness,
} from "./health/readiness.ts";
import { type Manager, periodicTasksOf } from "./manager.ts";
import { checkServiceOptions } from "./option_names.ts";
import { PeriodicTasks } from "./periodic/periodic_tasks.ts";
import type { TaskState } from "./periodic/task_runner.ts";
import {
  createReporting,
  REPORTER_OPTIONS,
  type Reporting,
} from "./service_reporting.ts";
import {
  type Managers,
  managersOf,
  serviceConnectionOptions,
  type ServiceOptions,
} from "./service_options.ts";
import {
  DRAIN_SIGNALS,
  onSignals,
  workerNumber,
} from "../config/worker_role.ts";

/** Milliseconds that a service has to finish, unless said otherwise. */
const GRACE = 30_000;
/** Milliseconds that each step of a stop has at least, also when the grace time is over. */
const LEAST = 1_000;

/** A running service. */
export class Service implements AsyncDisposable {
  /** Name of the host. */
  readonly host: string;
  /** Resolves when the service has stopped; rejects if its link to the broker is given up. */
  readonly stopped: Promise<void>;
  readonly #managers: readonly Manager[];
  readonly #options: ServiceOptions;
  readonly #ended = Promise.withResolvers<void>();
  /** What is deferred first is undone last. */
  readonly #stack = new AsyncDisposableStack();
  readonly #stopping = new AbortController();
  readonly #link = new ReadinessMonitor();
  readonly #periodic: PeriodicTasks[] = [];
  #connection!: ConnectionContext;
  #health: HealthEndpoint | undefined;
  #reporting: Reporting | undefined;
  #signals: Disposable | undefined;
  #state: ServiceState = "starting";
  #starting: Promise<void> | undefined;
  #halting: Promise<void> | undefined;
  #removed = false;
  #deadline = Infinity;

  private constructor(options: ServiceOptions) {
    checkServiceOptions(options);
    this.#managers = managersOf(options.manager);
    this.#options = options;
    this.host = options.host ?? Deno.hostname();
    checkHost(this.host);
    this.stopped = this.#ended.promise;
    this.stopped.catch(() => {}); // whoever awaits it gets the error
  }

  /**
   * Starts a service: makes the queues of its topics, calls `initHost`, takes messages, calls `postStartHook`, starts its
   * companions. `stop` undoes that in the reverse order.
   *
   * @throws {ConnectionFailedError} the broker or the ledger store cannot be used.
   * @throws {InvalidValueError} a manager lacks a method of its contract, or an option is wrong.
   * @throws {ConnectionDisposedError} a signal came, or it was stopped, while it started.
   */
  static async start<const M extends Managers>(
    options: ServiceOptions<M>,
  ): Promise<Service> {
    const service = new Service(options);
    try {
      await (service.#starting = service.#start());
    } catch (error) {
      await service.stop();
      throw error;
    }
    return service;
  }

  /** Where it is in its life. */
  get state(): ServiceState {
    return this.#state;
  }

  /** What it has done so far. */
  get stats(): ServerStats {
    return this.#connection.stats;
  }

  /** What its managers do again and again: the last run of each task, and the next. */
  get tasks(): readonly TaskState[] {
    return this.#periodic.flatMap(({ states }) => states);
  }

  /** Where `/livez` and `/readyz` are answered; undefined without `healthPort`, or while a predecessor has the port. */
  get healthUrl(): string | undefined {
    return this.#health?.url;
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
   * Spaces periodic tasks anew, from now on: milliseconds by the name of a task; those that are not named go back to their
   * own `every`. Names that no task has are for other services.
   *
   * @throws {InvalidValueError} it is no duration.
   */
  setTaskIntervals(intervals: Readonly<Record<string, number>>): void {
    checkServiceOptions({ ...this.#options, taskIntervals: intervals });
    for (const tasks of this.#periodic) tasks.setTaskIntervals(intervals);
  }

  /**
   * Stops its companions, takes no more messages, finishes what is in hand within `grace`, calls `cleanupHost`, says that it has
   * stopped, and closes. Safe to call twice. SIGINT and SIGTERM do the same; a second one ends the process at once.
   */
  stop(): Promise<void> {
    const why = `The service on ${this.host} was told to stop`;
    return this.#halting ??= this.#halt(new ConnectionDisposedError(why));
  }

  /**
   * Stops, and removes its record from the store, and the queues of its host if nothing is in them: it is not expected back
   * (Nova: `Service.kill`).
   */
  async kill(): Promise<void> {
    const over = this.#state === "stopped";
    this.#removed = true;
    await this.stop();
    if (over) await this.#reporting?.records?.remove();
    await removeOwnQueues(this.#options, this.host);
  }

  /** The same as `stop()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #start(): Promise<void> {
    const gone = new AbortController();
    this.#health = serveReadiness(this.#options, this, this.#link);
    if (this.#health) this.#stack.use(this.#health);
    this.#stack.defer(() => gone.abort());
    if ((this.#options.signals ?? true) && workerNumber() === undefined) {
      this.#signals = onSignals(DRAIN_SIGNALS, () => void this.stop());
    }
    await this.#connect();
    const [managers, connection] = [this.#managers, this.#connection];
    for (const manager of managers) {
      this.#stack.use(bindManager(manager, this.host, connection));
    }
    const { companions = [] } = this.#options;
    this.#stack.use(startHostSweep(this.#options, this.host));
    this.#stack.use(await protectHostQueues(this.#connecting(), this.host));
    await createConsumers(connection, managers, this.host, this.#options);
    for (const manager of managers) await this.#initHost(manager, gone.signal);
    this.#stack.defer(() => this.#drain());
    await this.#step(() => connection.consume());
    for (const manager of managers) this.#startTasks(manager);
    for (const each of managers) await this.#step(() => each.postStartHook());
    for (const companion of companions) {
      await this.#step(() => companion.start());
      this.#undo("A companion's stop", () => companion.stop());
    }
    this.#check();
    this.#become("up");
    logger("service").info("Serving {topics} on {host}", {
      topics: managers.map(({ contract }) => contract.topic).join(", "),
      host: this.host,
    }, this.host);
  }

  /** A start that is under way ends with its step, so that what the step did is undone in its turn. */
  async #halt(reason: Error): Promise<void> {
    this.#deadline = performance.now() + (this.#options.grace ?? GRACE);
    this.#signals?.[Symbol.dispose]();
    this.#become("stopping");
    this.#stopping.abort(reason);
    for (const tasks of this.#periodic) tasks.stop();
    await this.#leave("The start", () => this.#starting?.catch(() => {}));
    await this.#stack.disposeAsync().finally(() => this.#ended.resolve());
  }

  #become(state: ServiceState): void {
    this.#state = state;
    void this.#reporting?.reporter.report();
  }

  /** A start goes no further once it is told to stop. */
  #check(): void {
    this.#stopping.signal.throwIfAborted();
  }

  async #step(work: () => unknown): Promise<void> {
    this.#check();
    await work();
  }

  #undo(what: string, undo: () => unknown): void {
    const leave = () => this.#leave(what, undo);
    if (this.#stack.disposed) void leave(); // the step outlasted the stop
    else this.#stack.defer(leave);
  }

  /** Two contexts on one link: the second answers for the service while all handlers of the first are busy. */
  async #connect(): Promise<void> {
    const options = this.#connecting();
    const connection = await this.#own(connect(options.url, options));
    this.#connection = connection;
    this.#link.monitor(connection);
    connection.addEventListener(
      "failed",
      ({ detail }) => this.#fail(detail.error),
    );
    const own = await connect(options.url, { ...options, ...REPORTER_OPTIONS });
    const { reporter } = this.#reporting = createReporting(
      this,
      this.#managers,
      this.#options,
      connection,
      own,
    );
    await this.#own(Promise.resolve(reporter));
    this.#stack.defer(async () => {
      this.#state = this.#removed ? "removed" : "stopped";
      await reporter.report();
    });
    await reporter.start();
    this.#check();
  }

  #connecting(): ServiceOptions {
    return serviceConnectionOptions(
      this.#options,
      this.host,
      this.#stopping.signal,
    );
  }

  /** It is disposed when the service stops; at once, if the service has been stopped meanwhile. */
  async #own<T extends AsyncDisposable>(opening: Promise<T>): Promise<T> {
    const opened = await opening;
    if (this.#stopping.signal.aborted) await opened[Symbol.asyncDispose]();
    this.#check();
    return this.#stack.use(opened);
  }

  async #initHost(manager: Manager, signal: AbortSignal): Promise<void> {
    const [connection, stopping] = [this.#connection, this.#stopping.signal];
    const environment = { host: this.host, connection, stopping, signal };
    await this.#step(() => manager.initHost(environment));
    const what = `cleanupHost of ${manager.contract.topic}`;
    this.#undo(what, () => manager.cleanupHost());
  }

  #startTasks(manager: Manager): void {
    const { topic } = manager.contract;
    const { taskIntervals } = this.#options;
    const lead = (task: string) => this.#connection.lead(topic, task);
    const tasks = periodicTasksOf(manager);
    this.#periodic.push(new PeriodicTasks(tasks, { lead, taskIntervals }));
  }

  /** Handlers and tasks share the grace time. */
  async #drain(): Promise<void> {
    const { grace = GRACE } = this.#options;
    const tasks = this.#periodic.map((each) => each.ended(this.#deadline));
    const left = this.#deadline - performance.now();
    const drain = Math.max(left, Math.min(grace, LEAST));
    await Promise.all([this.#connection.drain(drain), ...tasks]);
  }

  async #leave(what: string, work: () => unknown): Promise<void> {
    const least = performance.now() + LEAST;
    await bestEffort(what, work, Math.max(this.#deadline, least));
  }

  #fail(cause: Error): void {
    const text =
      `The service on ${this.host} lost its broker for good: ${cause.message}`;
    const error = new ConnectionFailedError(text, { cause });
    this.#ended.reject(error);
    this.#halting ??= this.#halt(error);
  }
}
