/** Liveness and readiness of the services of this process. @module */
import type { ConnectionEvents } from "../../connection/connection_events.ts";
import type { TransportHealth } from "../../transport/transport_health.ts";
import type { ServerStats } from "../../rpc/server_stats.ts";
import type { ServiceState } from "../../rpc/discovery/service_report.ts";
import { type Health, HealthServer } from "./health_server.ts";
import { LOOPBACK } from "../../names.ts";
import { workerNumber } from "../../config/worker_role.ts";

/** Port and address of the health server. */
interface ReadinessOptions {
  readonly healthPort?: number | undefined;
  readonly healthHostname?: string | undefined;
}

/** Health server that several services of this process share. */
interface SharedPort {
  readonly server: HealthServer;
  readonly checks: Set<() => Health>;
}

/** Health servers by address and port. */
const ports = new Map<string, SharedPort>();

/** Combines the health of several services: live if all are live, ready if all are ready. */
function combinedHealth(checks: Iterable<() => Health>): Health {
  const all = Array.from(checks, (check) => check());
  const [first] = all;
  const detail = all.length === 1 && first
    ? first.detail
    : { services: all.map(({ detail }) => detail) };
  return {
    live: all.every(({ live }) => live),
    ready: all.every(({ ready }) => ready),
    detail,
  };
}

/** Starts a health server. In a worker it waits for the port, which its predecessor may still have. */
function openPort(port: number, hostname: string): SharedPort {
  const waitForPort = workerNumber() !== undefined;
  const checks = new Set<() => Health>();
  const server = HealthServer.start(
    { port, hostname, waitForPort: waitForPort },
    { check: () => combinedHealth(checks) },
  );
  return { server, checks };
}

/** Service whose health is checked. */
interface ObservedService {
  readonly host: string;
  readonly state: ServiceState;
  readonly concurrency: number;
  readonly stats: Pick<ServerStats, "longRunning">;
}

/** Entry of one service at a health server; disposal removes it, and the last one closes the server. */
export interface HealthEndpoint extends AsyncDisposable {
  /** URL of the health server; undefined while another process has the port. */
  readonly url: string | undefined;
}

/**
 * Serves the health of a service if it has a health port; services of one process may share a port. Worker n of `launch`
 * uses the n-th port after it.
 *
 * A service is live unless its connection to the broker has failed for good. It is ready while its state is `up`, its
 * publishing and its consuming connection are open, all its consumers are active, and long-running handlers do not occupy
 * its whole `concurrency`.
 *
 * @throws {InvalidValueError} the port cannot be opened.
 */
export function serveReadiness(
  { healthPort, healthHostname: hostname = LOOPBACK }: ReadinessOptions,
  service: ObservedService,
  monitor: ReadinessMonitor,
): HealthEndpoint | undefined {
  if (healthPort === undefined) return undefined;
  const port = healthPort === 0 ? 0 : healthPort + (workerNumber() ?? 0);
  const key = port === 0 ? crypto.randomUUID() : `${hostname} ${port}`;
  const { server, checks } = ports.get(key) ?? openPort(port, hostname);
  ports.set(key, { server, checks });
  const check = () => readinessOf(service, monitor);
  checks.add(check);
  return {
    get url() {
      return server.url;
    },
    async [Symbol.asyncDispose]() {
      checks.delete(check);
      if (checks.size > 0) return;
      ports.delete(key);
      await server[Symbol.asyncDispose]();
    },
  };
}

/**
 * Computes the health of a service. A blocked connection counts as open: the broker delivers requests on it, and replies are
 * sent once it is unblocked. The state of the consuming connection is `up` only while all its consumers are active.
 */
function readinessOf(
  service: ObservedService,
  { condition, health }: ReadinessMonitor,
): Health {
  const { state } = service;
  const { slots = 0, handlers = [] } = state === "up"
    ? service.stats.longRunning
    : {};
  const { publishing, consuming } = health ?? {};
  const connected = [publishing, consuming].every((connection) =>
    connection?.state === "up" || connection?.state === "blocked"
  );
  return {
    live: condition !== "failed",
    ready: state === "up" && connected && slots < service.concurrency,
    detail: {
      ...{ state, link: condition, publishing, consuming },
      longRunning: handlers.length > 0 ? handlers : undefined,
    },
  };
}

/**
 * State of the transport. `connecting`: before the first connection. `blocked`: the broker accepts no messages, but
 * delivers them.
 */
export type TransportCondition =
  | "connecting"
  | "up"
  | "blocked"
  | "recovering"
  | "failed";

/** Connection with events and health of its transport. */
export interface MonitoredConnection extends ConnectionEvents {
  /** Health of the publishing and the consuming connection. */
  health(): TransportHealth;
}

/** Follows the state of the transport of one connection. */
export class ReadinessMonitor {
  #condition: TransportCondition = "connecting";
  #connection: MonitoredConnection | undefined;

  /** Current state of the transport. */
  get condition(): TransportCondition {
    return this.#condition;
  }

  /** Health of the publishing and the consuming connection; undefined before the first connection. */
  get health(): TransportHealth | undefined {
    return this.#connection?.health();
  }

  /** Starts to follow a connection that is open. */
  monitor(connection: MonitoredConnection): void {
    this.#connection = connection;
    this.#condition = "up";
    const conditions = {
      connected: "up",
      unblocked: "up",
      blocked: "blocked",
      disconnected: "recovering",
      failed: "failed",
    } as const;
    for (const [event, condition] of Object.entries(conditions)) {
      connection.addEventListener(event, () => this.#condition = condition);
    }
  }
}
