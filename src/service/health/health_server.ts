/** HTTP server for liveness and readiness probes, such as those of Kubernetes, and for the metrics of Prometheus. @module */
import { InvalidValueError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import {
  metricFamilies,
  type MetricFamily,
  PROMETHEUS_TYPE,
  prometheusText,
} from "../../telemetry/prometheus.ts";
import type { ProbeRequest, ProbeResponse } from "./probe_http.ts";
import { ProbeServer } from "./probe_server.ts";

/** Health of a process. */
export interface Health {
  /** False if only a restart helps. A blocked event loop needs no flag: the probe gets no response then. */
  readonly live: boolean;
  /** True while the process accepts requests and can reply to them. */
  readonly ready: boolean;
  /** Further members of the response body. */
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Optional port of a health server. */
export interface HealthPort {
  /** TCP port; 0 = any free port, undefined = no health server. */
  readonly port: number | undefined;
  /** Address to listen on; default `127.0.0.1`. */
  readonly hostname: string | undefined;
}

/** Options of a health server. */
export interface HealthOptions {
  /** TCP port; 0 = any free port. */
  readonly port: number;
  /** Address to listen on. */
  readonly hostname: string;
  /** True to wait while another process has the port, such as the predecessor of a worker, which still drains. */
  readonly waitForPort?: boolean | undefined;
}

/** Milliseconds between two attempts to get the port of a predecessor. */
const RETRY_INTERVAL_MS = 500;

/** Sources of the responses of a health server. */
export interface HealthSources {
  /** Returns the health of the process. */
  readonly check: () => Health;
  /** Returns the metrics; default: those of this process. */
  readonly metrics?: () => readonly MetricFamily[] | Promise<MetricFamily[]>;
}

/**
 * Responds to `GET /livez`, `GET /readyz` and `GET /metrics` until disposed; to `GET /metrics.json` with the same metrics
 * for a launcher, which joins those of its workers.
 */
export class HealthServer implements AsyncDisposable {
  readonly #options: HealthOptions;
  readonly #sources: HealthSources;
  readonly #disposed = new AbortController();
  #server: ProbeServer | undefined;

  private constructor(options: HealthOptions, sources: HealthSources) {
    this.#options = options;
    this.#sources = sources;
  }

  /**
   * Starts a server that asks its sources for each request.
   *
   * @throws {InvalidValueError} the port cannot be opened.
   */
  static start(options: HealthOptions, sources: HealthSources): HealthServer {
    const health = new HealthServer(options, sources);
    if (!health.#listen()) void health.#wait();
    return health;
  }

  /** URL of the server; undefined while another process has the port. */
  get url(): string | undefined {
    const { hostname, port } = this.#server?.addr ?? {};
    if (hostname === undefined) return undefined;
    return `http://${
      hostname.includes(":") ? `[${hostname}]` : hostname
    }:${port}`;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#disposed.abort();
    await this.#server?.[Symbol.asyncDispose]();
  }

  /** Opens the port; returns false if another process has it and the server has to wait. */
  #listen(): boolean {
    const { port, hostname, waitForPort } = this.#options;
    try {
      this.#server = new ProbeServer(
        { port, hostname },
        (request) => this.#respond(request),
      );
      return true;
    } catch (error) {
      if (waitForPort && error instanceof Deno.errors.AddrInUse) return false;
      const reason = error instanceof Error ? error.message : String(error);
      throw new InvalidValueError(
        `Cannot open the health port ${hostname}:${port}: ${reason}; give a free port, or 0`,
        { data: { path: "healthPort" }, cause: error },
      );
    }
  }

  /** Tries again until the port is free. */
  async #wait(): Promise<void> {
    const { signal } = this.#disposed;
    const { port } = this.#options;
    logger("service").info(
      "Health port {port} is in use; waiting until it is free",
      { port },
    );
    try {
      do await delay(RETRY_INTERVAL_MS, { at: Infinity, signal }); while (
        !this.#listen()
      );
    } catch (error) {
      if (signal.aborted) return;
      logger("service").error("The health port cannot be opened: {error}", {
        error,
      });
    }
  }

  #respond(
    { method, pathname }: ProbeRequest,
  ): ProbeResponse | Promise<ProbeResponse> {
    if (!PATHS.includes(pathname)) {
      return { status: 404, body: { status: "unknown path" } };
    }
    if (method !== "GET" && method !== "HEAD") {
      const headers = { allow: "GET, HEAD" };
      return { status: 405, body: { status: "GET only" }, headers };
    }
    if (pathname.startsWith("/metrics")) return this.#metrics(pathname);
    const { live, ready, detail } = this.#sources.check();
    const healthy = pathname === "/livez" ? live : live && ready;
    return {
      status: healthy ? 200 : 503,
      body: { status: healthy ? "ok" : "unavailable", ...detail },
      headers: { "cache-control": "no-store" },
    };
  }

  async #metrics(pathname: string): Promise<ProbeResponse> {
    const { metrics = metricFamilies } = this.#sources;
    const families = await metrics();
    return pathname === "/metrics.json"
      ? { status: 200, body: { families } }
      : {
        status: 200,
        body: prometheusText(families),
        headers: { "content-type": PROMETHEUS_TYPE },
      };
  }
}

const PATHS = ["/livez", "/readyz", "/metrics", "/metrics.json"];
