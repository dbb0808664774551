/** How to start a service, and what is checked of it. @module */
import { checkDuration, checkInteger, LABEL } from "../option_checks.ts";
import { InvalidValueError } from "../errors.ts";
import { oneLine } from "../logging.ts";
import type { Handlers } from "../contract/types.ts";
import type { Dispatcher } from "../rpc/dispatch/dispatcher.ts";
import type { ServiceStore } from "../rpc/discovery/service_report.ts";
import type {
  BrokerUrls,
  ConnectionOptions,
} from "../connection/connection_options.ts";
import { checkDurations } from "../ledger/options.ts";
import type { Manager } from "./manager.ts";

/** One manager, or several. */
export type Managers = Manager | readonly Manager[];

/** Whatever is missing or wrong in a manager, measured by its contract. */
export type CheckedManagers<M> = M extends Manager
  ? (string extends keyof M["contract"]["procedures"] ? unknown
    : Handlers<M["contract"]>)
  : M extends readonly Manager[]
    ? { readonly [I in keyof M]: CheckedManagers<M[I]> }
  : never;

/** What runs beside the managers, e.g. an HTTP server in front of them (Nova: `WSGIService`). */
export interface Companion {
  /** Called when the service takes messages. What it throws fails the start. */
  start(): unknown;
  /** Called first when the service stops: it may still use the managers and their connection. */
  stop(): unknown;
}

/** How to start a service. */
export interface ServiceOptions<M extends Managers = Managers>
  extends ConnectionOptions {
  /** The broker, or a function that tells it at each attempt to connect. */
  readonly url: BrokerUrls;
  /** Name of this host in `<topic>.<host>`; default: the machine's name. */
  readonly host?: string | undefined;
  /** Who serves. Managers of one topic share its consumers. */
  readonly manager: M & CheckedManagers<M>;
  /** Drain on SIGINT and SIGTERM; default true. In a worker of `launch` its launcher decides. */
  readonly signals?: boolean | undefined;
  /** Adds behaviour around all handlers: authorization, audit, transactions. */
  readonly wrap?: ((inner: Dispatcher) => Dispatcher) | undefined;
  /** Whether `oslo_rpc_server_ping`, and `ping` of Nova's namespace `baseapi`, are answered, without `wrap`; default true. */
  readonly baseApi?: boolean | undefined;
  /** What starts after the managers and stops before them. */
  readonly companions?: readonly Companion[] | undefined;
  /** Milliseconds between two reports to whoever watches (Nova: `report_interval`); default 10 000, 0 = none. */
  readonly reportInterval?: number | undefined;
  /**
   * Milliseconds without a report after which a host has left: of its queues in the topics of this service those are removed
   * that nobody consumes and that hold nothing. Only hosts that the `store` remembers; not with the profile `nova`. Default
   * 604 800 000 (7 days), `Infinity` = never.
   */
  readonly hostExpiry?: number | undefined;
  /** Where its record is kept, so that others find it when it does not answer any more. */
  readonly store?: ServiceStore | undefined;
  /** Name of the program in its reports; default: its first topic. */
  readonly binary?: string | undefined;
  /** Version of the program in its reports; default: those of its contracts. */
  readonly version?: string | undefined;
  /** Where it runs, in its reports, e.g. an availability zone. */
  readonly zone?: string | undefined;
  /** Milliseconds in place of a periodic task's `every`, by the name of the task. */
  readonly taskIntervals?: Readonly<Record<string, number>> | undefined;
  /**
   * TCP port for `GET /livez` and `GET /readyz`; default: none; 0 = a free one. Worker n of `launch` takes the n-th port
   * after it.
   */
  readonly healthPort?: number | undefined;
  /** Address of that port; default `127.0.0.1`: for probes from outside, give `0.0.0.0`. */
  readonly healthHostname?: string | undefined;
}

/**
 * The managers of a service.
 *
 * @throws {InvalidValueError} there is none, or one has no contract.
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

/** A day in milliseconds. */
const MAX_INTERVAL_MS = 86_400_000;

/**
 * Checks what a service is told beyond what its connection is.
 *
 * @throws {InvalidValueError} naming the option that is wrong.
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
  checkDurations(managersOf(options.manager), options);
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

/** Options of a service's connection: it notifies as `<topic>.<host>`, and connects no more once the service stops. */
export function serviceConnectionOptions(
  options: ServiceOptions,
  host: string,
  stopping: AbortSignal,
): ServiceOptions {
  const [manager] = managersOf(options.manager);
  const { publisherId = `${manager?.contract.topic}.${host}`, signal } =
    options;
  const signals = signal ? [signal, stopping] : [stopping];
  return { ...options, publisherId, signal: AbortSignal.any(signals) };
}
