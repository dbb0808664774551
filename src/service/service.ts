/** Service: managers that serve their topics on one host, from the start to the drained stop (Nova: `service.py`). @module */
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
import { Lifecycle } from "./lifecycle.ts";
import {
  type HealthEndpoint,
  ReadinessMonitor,
  serveReadiness,
} from "./health/readiness.ts";
import { type Manager, periodicTasksOf } from "./manager.ts";
import { checkServiceOptions } from "./option_names.ts";
import { type CellServiceOptions, optionsInCell } from "./service_cell.ts";
import { settleAll } from "../async/in_parallel.ts";
import { PeriodicTasks } from "./periodic/periodic_tasks.ts";
import { recordRuns } from "./periodic/task_telemetry.ts";
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

/** Default of the milliseconds that active requests have to finish when a service stops. */
const GRACE_MS = 30_000;

/**
 * A running service.
 * @category Serving
 */
export class Service implements AsyncDisposable {
  /** Name of the host. */
  readonly host: string;
  readonly #managers: readonly Manager[];
  readonly #options: ServiceOptions;
  readonly #lifecycle: Lifecycle;
  readonly #periodic: PeriodicTasks[] = [];
  #connection!: ConnectionContext;
  #health: HealthEndpoint | undefined;
  #reporting: Reporting | undefined;
  #state: ServiceState = "starting";
  /** True once `kill` was called: the last report says `removed` and not `stopped`. */
  #removed = false;

  private constructor(options: ServiceOptions) {
    checkServiceOptions(options);
    this.#managers = managersOf(options.manager);
    this.#options = options;
    this.host = options.host ?? Deno.hostname();
    checkHost(this.host);
    const onStopping = () => this.#report("stopping");
    this.#lifecycle = new Lifecycle(options.grace ?? GRACE_MS, onStopping);
  }

  /**
   * Starts a service: creates the queues of its topics, calls `initHost` of its managers, consumes, starts the periodic
   * tasks, calls `postStartHook`, and starts the companions. `stop` undoes these steps in the reverse order.
   *
   * @throws {ConnectionFailedError} the broker or the ledger store cannot be used.
   * @throws {InvalidValueError} a manager lacks a method of its contract, or an option is invalid.
   * @throws {ConnectionDisposedError} a signal arrived during the start, or the service was stopped.
   */
  static async start<const M extends Managers>(
    options: ServiceOptions<M> | CellServiceOptions<M>,
  ): Promise<Service> {
    const service = new Service(optionsInCell(options));
    try {
      await service.#lifecycle.start(() => service.#start());
    } catch (error) {
      await service.stop();
      throw error;
    }
    return service;
  }

  /** Resolves when the service has stopped; rejects if its connection to the broker has failed for good. */
  get stopped(): Promise<void> {
    return this.#lifecycle.ended;
  }

  /** Current state. */
  get state(): ServiceState {
    return this.#state;
  }

  /** Counters since the start. */
  get stats(): ServerStats {
    return this.#connection.stats;
  }

  /** Periodic tasks of the managers: the last run of each, and the next one. */
  get tasks(): readonly TaskState[] {
    return this.#periodic.flatMap(({ states }) => states);
  }

  /** URL of the health server; undefined without `healthPort`, and while the predecessor of a worker has the port. */
  get healthUrl(): string | undefined {
    return this.#health?.url;
  }

  /** Handlers that run at the same time, over all consumers. */
  get concurrency(): number {
    return this.#connection.concurrency;
  }

  /**
   * Sets the maximum at once; active handlers continue. See {@linkcode ConnectionContext.concurrency}.
   *
   * @throws {InvalidValueError} the value is no whole number from 1 to 65535.
   */
  set concurrency(handlers: number) {
    this.#connection.concurrency = handlers;
  }

  /**
   * Replaces the intervals of periodic tasks at once: milliseconds by the name of the task. A task that is not named
   * uses its own `every` again. Names of unknown tasks are ignored, since several services may share one setting.
   *
   * @throws {InvalidValueError} an interval is no duration.
   */
  setTaskIntervals(intervals: Readonly<Record<string, number>>): void {
    checkServiceOptions({ ...this.#options, taskIntervals: intervals });
    for (const tasks of this.#periodic) tasks.setTaskIntervals(intervals);
  }

  /**
   * Stops the service: stops its companions, consumes no more, finishes active requests within `grace`, calls `cleanupHost`,
   * reports `stopped`, and closes its connections. A second call waits for the same stop. SIGINT and SIGTERM do the same; a
   * second signal ends the process at once.
   */
  stop(): Promise<void> {
    const why = `The service on ${this.host} was told to stop`;
    return this.#lifecycle.stop(new ConnectionDisposedError(why));
  }

  /**
   * Stops the service for good (Nova: `Service.kill`): also removes its record from the store, and the queues of its host if
   * they are empty.
   */
  async kill(): Promise<void> {
    const wasStopped = this.#state === "stopped";
    this.#removed = true;
    await this.stop();
    if (wasStopped) await this.#reporting?.records?.remove();
    await removeOwnQueues(this.#options, this.host);
  }

  /** Same as `stop()`. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.stop();
  }

  async #start(): Promise<void> {
    const lifecycle = this.#lifecycle;
    const stopped = new AbortController();
    const monitor = new ReadinessMonitor();
    this.#health = serveReadiness(this.#options, this, monitor);
    if (this.#health) lifecycle.use(this.#health);
    lifecycle.defer(() => stopped.abort());
    this.#stopOnSignals();
    await this.#connect(monitor);
    const [managers, connection] = [this.#managers, this.#connection];
    for (const manager of managers) {
      lifecycle.use(bindManager(manager, this.host, connection));
    }
    lifecycle.use(startHostSweep(this.#options, this.host));
    const reporting = this.#reporting?.reporter.start();
    await settleAll([reporting, this.#createQueues()]);
    lifecycle.throwIfStopping();
    for (const each of managers) await this.#initHost(each, stopped.signal);
    lifecycle.defer(() => this.#drain());
    await lifecycle.step(() => connection.consume());
    for (const each of managers) {
      await lifecycle.step(() => this.#startTasks(each));
    }
    for (const each of managers) {
      await lifecycle.step(() => each.postStartHook());
    }
    await this.#startCompanions();
    lifecycle.throwIfStopping();
    this.#report("up");
    logger("service").info("Serving {topics} on {host}", {
      topics: managers.map(({ contract }) => contract.topic).join(", "),
      host: this.host,
    }, this.host);
  }

  #report(state: ServiceState): void {
    this.#state = state;
    void this.#reporting?.reporter.report();
  }

  /** Stops the service at the first signal. Does nothing in a worker of `launch`, where the launcher decides. */
  #stopOnSignals(): void {
    const { signals = true } = this.#options;
    if (!signals || workerNumber() !== undefined) return;
    const listening = onSignals(DRAIN_SIGNALS, () => void this.stop());
    // Without the listeners, a second signal ends the process at once.
    const { stopping } = this.#lifecycle;
    stopping.addEventListener("abort", () => listening[Symbol.dispose]());
  }

  /** Creates the queues of the topics, which no other service may remove before they are consumed. */
  async #createQueues(): Promise<void> {
    const [host, managers] = [this.host, this.#managers];
    const protection = protectHostQueues(this.#connectionOptions(), host);
    this.#lifecycle.use(await protection);
    await createConsumers(this.#connection, managers, host, this.#options);
  }

  /** Opens two contexts on one transport: the second replies to queries while all handlers of the first are busy. */
  async #connect(monitor: ReadinessMonitor): Promise<void> {
    const lifecycle = this.#lifecycle;
    const options = this.#connectionOptions();
    const connection = await lifecycle.open(connect(options.url, options));
    this.#connection = connection;
    monitor.monitor(connection);
    connection.addEventListener(
      "failed",
      ({ detail }) => this.#fail(detail.error),
    );
    const own = await connect(options.url, { ...options, ...REPORTER_OPTIONS });
    const contexts = { connection, own, periodic: this.#periodic };
    this.#reporting = createReporting(this, this.#options, contexts);
    const { reporter } = this.#reporting;
    await lifecycle.open(Promise.resolve(reporter));
    lifecycle.defer(async () => {
      this.#state = this.#removed ? "removed" : "stopped";
      await reporter.report();
    });
  }

  #connectionOptions(): ServiceOptions {
    const { stopping } = this.#lifecycle;
    return serviceConnectionOptions(this.#options, this.host, stopping);
  }

  async #initHost(manager: Manager, signal: AbortSignal): Promise<void> {
    const lifecycle = this.#lifecycle;
    const [connection, stopping] = [this.#connection, lifecycle.stopping];
    const environment = { host: this.host, connection, stopping, signal };
    await lifecycle.step(() => manager.initHost(environment));
    const name = `cleanupHost of ${manager.contract.topic}`;
    lifecycle.deferLimited(name, () => manager.cleanupHost());
  }

  #startTasks(manager: Manager): void {
    const { topic } = manager.contract;
    const { taskIntervals, taskInterceptors } = this.#options;
    const around = recordRuns(taskInterceptors, { topic, host: this.host });
    const lead = (task: string) => this.#connection.lead(topic, task);
    const tasks = periodicTasksOf(manager);
    const periodic = new PeriodicTasks(tasks, { lead, taskIntervals, around });
    this.#periodic.push(periodic);
    const { stopping } = this.#lifecycle;
    stopping.addEventListener("abort", () => periodic.stop());
  }

  async #startCompanions(): Promise<void> {
    const lifecycle = this.#lifecycle;
    for (const companion of this.#options.companions ?? []) {
      await lifecycle.step(() => companion.start());
      lifecycle.deferLimited("Stop of a companion", () => companion.stop());
    }
  }

  /** Waits for active handlers and tasks, which share the shutdown timeout. */
  async #drain(): Promise<void> {
    const { deadline, drainTimeout } = this.#lifecycle;
    const tasks = this.#periodic.map((each) => each.ended(deadline));
    await Promise.all([this.#connection.drain(drainTimeout), ...tasks]);
  }

  #fail(cause: Error): void {
    const text =
      `The service on ${this.host} lost its broker for good: ${cause.message}`;
    this.#lifecycle.fail(new ConnectionFailedError(text, { cause }));
  }
}
