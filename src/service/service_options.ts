/** Options of a service, and the checks of their values. @module */
import { checkDuration, checkInteger, LABEL } from "../option_checks.ts";
import { InvalidValueError } from "../errors.ts";
import { oneLine } from "../logging.ts";
import type { Handlers } from "../contract/types.ts";
import {
  checkInterceptors,
  type ServiceInterceptor,
} from "../rpc/interceptors.ts";
import type { ServiceStore } from "../rpc/discovery/service_report.ts";
import type {
  BrokerUrls,
  ConnectionOptions,
} from "../connection/connection_options.ts";
import type { Cells } from "../cells/cells_options.ts";
import type { Manager } from "./manager.ts";
import type { TaskInterceptor } from "./periodic/task_interceptors.ts";

/**
 * One manager or several.
 * @category Serving
 */
export type Managers = Manager | readonly Manager[];

/**
 * Members that managers must have by their contracts; the compiler reports a missing or wrong one.
 * @category Serving
 */
export type CheckedManagers<M> = M extends Manager
  ? (string extends keyof M["contract"]["procedures"] ? unknown
    : Handlers<M["contract"]>)
  : M extends readonly Manager[]
    ? { readonly [I in keyof M]: CheckedManagers<M[I]> }
  : never;

/**
 * Server that runs beside the managers, such as an HTTP gateway (Nova: `WSGIService`).
 * @category Serving
 */
export interface Companion {
  /** Called after the managers have started. An error fails the start of the service. */
  start(): unknown;
  /** Called at the beginning of a stop: the managers and their connection can still be used. */
  stop(): unknown;
}

/**
 * Options of a service.
 * @category Serving
 */
export interface ServiceOptions<M extends Managers = Managers>
  extends ConnectionOptions {
  /** URL of the broker, or a function that returns it for each attempt to connect. */
  readonly url: BrokerUrls;
  /** Brokers of all cells, by their names; see `cell`. */
  readonly cells?: Cells | undefined;
  /**
   * Name of the cell in which the service serves, in its reports. With `cells`, also the broker and the options of the
   * connection are those of this cell, and `url` may be left out. Default: none.
   */
  readonly cell?: string | undefined;
  /** Name of this host in the queue `<topic>.<host>`; default: the machine's name. */
  readonly host?: string | undefined;
  /** Manager or managers of the service. Managers of the same topic share its consumers. */
  readonly manager: M & CheckedManagers<M>;
  /**
   * True to drain on SIGINT and SIGTERM; default true. Has no effect in a worker of `launch`, where the launcher decides.
   */
  readonly signals?: boolean | undefined;
  /**
   * True to take the commands of operators (see `operations`), and to pause the queues of its topics and its host when an
   * operator says so; default false. A service without it refuses them.
   */
  readonly remoteControl?: boolean | undefined;
  /** Functions around all handlers, the first outermost: authorization, audit, transactions. Default: none. */
  readonly interceptors?: readonly ServiceInterceptor[] | undefined;
  /** Functions around each run of the managers' periodic tasks, the first outermost. Default: none. */
  readonly taskInterceptors?: readonly TaskInterceptor[] | undefined;
  /** True to reply to `oslo_rpc_server_ping` and to `ping` of Nova's namespace `baseapi`, without `interceptors`; default true. */
  readonly baseApi?: boolean | undefined;
  /** Servers that start after the managers and stop before them. */
  readonly companions?: readonly Companion[] | undefined;
  /** Milliseconds between two reports of the service (Nova: `report_interval`); default 10 000; 0 = no reports. */
  readonly reportInterval?: number | undefined;
  /**
   * Milliseconds without a report after which a host counts as departed. This service removes the queues of such a host in
   * its topics, if they are empty and have no consumer. Applies to hosts with a record in the `store`, and not with the
   * profile `nova`. Default 604 800 000 (7 days); `Infinity` = never.
   */
  readonly hostExpiry?: number | undefined;
  /** Store for the record of the service, where other processes find the service when it no longer replies. */
  readonly store?: ServiceStore | undefined;
  /** Name of the program in its reports; default: its first topic. */
  readonly binary?: string | undefined;
  /** Version of the program in its reports; default: the version of the contract of each topic. */
  readonly version?: string | undefined;
  /** Availability zone or other place of the service, in its reports. */
  readonly zone?: string | undefined;
  /** Milliseconds that replace `every` of a periodic task, by the name of the task. */
  readonly taskIntervals?: Readonly<Record<string, number>> | undefined;
  /**
   * TCP port for `GET /livez` and `GET /readyz`; default: none; 0 = any free port. Worker n of `launch` uses the n-th port
   * after it.
   */
  readonly healthPort?: number | undefined;
  /** Address of the health port; default `127.0.0.1`. Probes from other machines need `0.0.0.0`. */
  readonly healthHostname?: string | undefined;
}

/**
 * Returns the managers of a service as a list.
 *
 * @throws {InvalidValueError} there is no manager, or one has no contract.
 */
export function managersOf(input: Managers): readonly Manager[] {
  const managers = Array.isArray(input)
    ? input as readonly Manager[]
    : [input as Manager];
  if (managers.length > 0 && managers.every((manager) => manager?.contract)) {
    return managers;
  }
  throw new InvalidValueError(
    "Invalid option manager: give at least one manager with a contract",
    { data: { path: "manager" } },
  );
}

/** Maximum `reportInterval`: one day. */
const MAX_INTERVAL_MS = 86_400_000;

/**
 * Checks the values of the options that a service has and its connection has not.
 *
 * @throws {InvalidValueError} an option has an invalid value; the message names it.
 */
export function checkServiceValues(options: ServiceOptions): void {
  const { reportInterval = 0, healthPort = 0, taskIntervals = {} } = options;
  const { hostExpiry = Infinity } = options;
  checkDuration("hostExpiry", hostExpiry);
  checkInteger("reportInterval", Math.ceil(reportInterval), 0, MAX_INTERVAL_MS);
  checkInteger("healthPort", healthPort, 0, 65_535);
  for (const [task, every] of Object.entries(taskIntervals)) {
    if (every !== undefined) checkDuration(`taskIntervals.${task}`, every);
  }
  checkInterceptors(options.interceptors);
  checkInterceptors(options.taskInterceptors, "taskInterceptors");
  for (const name of ["binary", "version", "zone"] as const) {
    const text = options[name];
    if (text === undefined || LABEL.test(text)) continue;
    throw new InvalidValueError(
      `Invalid option ${name} "${
        oneLine(text, 60)
      }": give 1 to 200 printable ASCII characters`,
      { data: { path: name } },
    );
  }
}

/**
 * Returns the options of the connection of a service, which sends notifications as `<topic>.<host>`, and stops
 * connecting once the service stops.
 */
export function serviceConnectionOptions(
  options: ServiceOptions,
  host: string,
  stopping: AbortSignal,
): ServiceOptions {
  const [manager] = managersOf(options.manager);
  const { publisherId = `${manager?.contract.topic}.${host}`, signal } =
    options;
  const signals = signal ? [signal, stopping] : [stopping];
  return { ...options, host, publisherId, signal: AbortSignal.any(signals) };
}
