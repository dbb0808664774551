/** HTTP server for liveness and readiness probes, such as those of Kubernetes. @module */
import { InvalidValueError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
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

/** Responds to `GET /livez` and `GET /readyz` until disposed. */
export class HealthServer implements AsyncDisposable {
  readonly #options: HealthOptions;
  readonly #check: () => Health;
  readonly #disposed = new AbortController();
  #server: ProbeServer | undefined;

  private constructor(options: HealthOptions, check: () => Health) {
    this.#options = options;
    this.#check = check;
  }

  /**
   * Starts a server that calls `check` for each request.
   *
   * @throws {InvalidValueError} the port cannot be opened.
   */
  static start(options: HealthOptions, check: () => Health): HealthServer {
    const health = new HealthServer(options, check);
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

  #respond({ method, pathname }: ProbeRequest): ProbeResponse {
    if (!["/livez", "/readyz"].includes(pathname)) {
      return { status: 404, body: { status: "unknown path" } };
    }
    if (method !== "GET" && method !== "HEAD") {
      const headers = { allow: "GET, HEAD" };
      return { status: 405, body: { status: "GET only" }, headers };
    }
    const { live, ready, detail } = this.#check();
    const healthy = pathname === "/livez" ? live : live && ready;
    return {
      status: healthy ? 200 : 503,
      body: { status: healthy ? "ok" : "unavailable", ...detail },
      headers: { "cache-control": "no-store" },
    };
  }
}
