/** When the services of this process are live, and when they are ready. @module */
import type { ConnectionEvents } from "../../connection/connection_events.ts";
import type { TransportHealth } from "../../transport/transport.ts";
import type { ServerStats } from "../../rpc/server_stats.ts";
import type { ServiceState } from "../../rpc/discovery/service_report.ts";
import { type Health, HealthServer } from "./health_server.ts";
import { LOOPBACK } from "../../names.ts";
import { workerNumber } from "../../config/worker_role.ts";

/** Where it is told. */
interface ReadinessOptions {
  readonly healthPort?: number | undefined;
  readonly healthHostname?: string | undefined;
}

/** A port, and those for whom it answers. */
interface SharedPort {
  readonly server: HealthServer;
  readonly checks: Set<() => Health>;
}

const ports = new Map<string, SharedPort>();

/** Live if all are, ready if all are. */
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

function openPort(port: number, hostname: string): SharedPort {
  const waitForPort = workerNumber() !== undefined; // for its predecessor
  const checks = new Set<() => Health>();
  const server = HealthServer.start(
    { port, hostname, waitForPort: waitForPort },
    () => combinedHealth(checks),
  );
  return { server, checks };
}

/** A service that is asked how it is. */
interface ObservedService {
  readonly host: string;
  readonly state: ServiceState;
  readonly concurrency: number;
  readonly stats: Pick<ServerStats, "longRunning">;
}

/** Answers for one service, maybe among others. */
export interface HealthEndpoint extends AsyncDisposable {
  /** Where; undefined while another process has the port. */
  readonly url: string | undefined;
}

/**
 * Answers for a service, if a port is given; services of one process may have the same. It is live unless its link is given
 * up; ready while it is up, both sides of its link are there, all consumers consume, and handlers that have run for long leave
 * a place to others.
 *
 * @throws {InvalidValueError} the port cannot be had.
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

/** What is told of the link, and whether work comes in by it and can be answered, now or when the broker takes messages. */
function readinessOf(
  service: ObservedService,
  { condition, health }: ReadinessMonitor,
): Health {
  const { state } = service;
  const { slots = 0, handlers = [] } = state === "up"
    ? service.stats.longRunning
    : {};
  const { publishing, consuming } = health ?? {};
  const connected = [publishing, consuming].every((side) =>
    side?.state === "up" || side?.state === "blocked"
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

/** `connecting` before the first connection; `blocked`: the broker takes no messages, and delivers them all the same. */
export type TransportCondition =
  | "connecting"
  | "up"
  | "blocked"
  | "recovering"
  | "failed";

/** A connection that tells how its link is. */
export interface MonitoredConnection extends ConnectionEvents {
  /** How both sides of the link are. */
  health(): TransportHealth;
}

/** Follows one connection. */
export class ReadinessMonitor {
  #condition: TransportCondition = "connecting";
  #connection: MonitoredConnection | undefined;

  /** How it is now. */
  get condition(): TransportCondition {
    return this.#condition;
  }

  /** Both sides of the link; undefined before the first connection. */
  get health(): TransportHealth | undefined {
    return this.#connection?.health();
  }

  /** The connection is up, and followed from now on. */
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
