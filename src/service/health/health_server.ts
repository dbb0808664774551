/** Liveness and readiness over HTTP, for whoever restarts processes and routes to them. @module */
import { InvalidValueError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { delay } from "../../async/deadline.ts";
import type { ProbeRequest, ProbeResponse } from "./probe_http.ts";
import { ProbeServer } from "./probe_server.ts";

/** How a process is. */
export interface Health {
  /** False when only a restart helps. That an event loop turns is told by an answer at all. */
  readonly live: boolean;
  /** True while work is taken and can be answered. */
  readonly ready: boolean;
  /** What else is told, in the body. */
  readonly detail: Readonly<Record<string, unknown>>;
}

/** Where to answer, if at all. */
export interface HealthPort {
  /** TCP port; 0 = a free one, undefined = none. */
  readonly port: number | undefined;
  /** Address; default 127.0.0.1. */
  readonly hostname: string | undefined;
}

/** Where to answer. */
export interface HealthOptions {
  /** TCP port; 0 = a free one. */
  readonly port: number;
  /** Address. */
  readonly hostname: string;
  /** Waits while another process has the port: a predecessor that drains. */
  readonly waitForPort?: boolean | undefined;
}

/** Milliseconds between two tries to get the port of a predecessor. */
const RETRY_INTERVAL_MS = 500;

/** Answers `GET /livez` and `GET /readyz` until disposed. */
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
   * Begins to answer.
   *
   * @throws {InvalidValueError} the port cannot be had.
   */
  static start(options: HealthOptions, check: () => Health): HealthServer {
    const health = new HealthServer(options, check);
    if (!health.#listen()) void health.#wait();
    return health;
  }

  /** Where it answers; undefined while another process has the port. */
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

  /** False if it has to wait for the port. */
  #listen(): boolean {
    const { port, hostname, waitForPort } = this.#options;
    try {
      this.#server = new ProbeServer(
        { port, hostname },
        (asked) => this.#respond(asked),
      );
      return true;
    } catch (error) {
      if (waitForPort && error instanceof Deno.errors.AddrInUse) return false;
      const reason = error instanceof Error ? error.message : String(error);
      throw new InvalidValueError(
        `Cannot answer for health on ${hostname}:${port}: ${reason}; give a free port, or 0`,
        { data: { path: "healthPort" }, cause: error },
      );
    }
  }

  async #wait(): Promise<void> {
    const { signal } = this.#disposed;
    const { port } = this.#options;
    logger("service").info("Port {port} is taken: waiting for it", { port });
    try {
      do await delay(RETRY_INTERVAL_MS, { at: Infinity, signal }); while (
        !this.#listen()
      );
    } catch (error) {
      if (signal.aborted) return;
      logger("service").error("No answers for health: {error}", {
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
    const well = pathname === "/livez" ? live : live && ready;
    return {
      status: well ? 200 : 503,
      body: { status: well ? "ok" : "unavailable", ...detail },
      headers: { "cache-control": "no-store" },
    };
  }
}
