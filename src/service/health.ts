/** Liveness and readiness over HTTP, for whoever restarts processes and routes to them. @module */
import { InvalidValueError } from "../errors.ts";
import { log } from "../telemetry.ts";
import { pause, within } from "../wait.ts";

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
  /** Address; default {@linkcode EVERYWHERE}. */
  readonly hostname: string | undefined;
}

/** Where to answer. */
export interface HealthOptions {
  /** TCP port; 0 = a free one. */
  readonly port: number;
  /** Address. */
  readonly hostname: string;
  /** Waits while another process has the port: a predecessor that drains. */
  readonly patient?: boolean | undefined;
}

/** Address, unless said otherwise: who probes is rarely on the same machine. */
export const EVERYWHERE = "0.0.0.0";

/** Milliseconds between two tries to get the port of a predecessor. */
const RETRY = 500;
/** Milliseconds that answers under way have at the end. */
const GOODBYE = 1_000;

/** Answers `GET /livez` and `GET /readyz` until disposed. */
export class HealthServer implements AsyncDisposable {
  readonly #options: HealthOptions;
  readonly #check: () => Health;
  readonly #waiting = new AbortController();
  /** Ends what does not end by itself, e.g. for a client that never reads. */
  readonly #cut = new AbortController();
  #server: Deno.HttpServer<Deno.NetAddr> | undefined;

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
    this.#waiting.abort();
    const closing = this.#server?.shutdown();
    if (!closing) return;
    const wait = { deadline: performance.now() + GOODBYE };
    // Aborting what has been shut down throws.
    await within(closing, wait, () => undefined).catch(() => this.#cut.abort());
  }

  /** False if it has to wait for the port. */
  #listen(): boolean {
    const { port, hostname, patient } = this.#options;
    const { signal } = this.#cut;
    const onListen = () => {};
    try {
      this.#server = Deno.serve(
        { port, hostname, signal, onListen },
        (request) => this.#answer(request),
      );
      return true;
    } catch (error) {
      if (patient && error instanceof Deno.errors.AddrInUse) return false;
      const reason = error instanceof Error ? error.message : String(error);
      throw new InvalidValueError(
        `Cannot answer for health on ${hostname}:${port}: ${reason}; give a free port, or 0`,
        { data: { path: "healthPort" }, cause: error },
      );
    }
  }

  async #wait(): Promise<void> {
    const { signal } = this.#waiting;
    const { port } = this.#options;
    log("service").info("Port {port} is taken: waiting for it", { port });
    try {
      do await pause(RETRY, { deadline: Infinity, signal }); while (
        !this.#listen()
      );
    } catch (error) {
      if (signal.aborted) return;
      log("service").error("No answers for health: {error}", {
        error,
      });
    }
  }

  #answer({ method, url }: Request): Response {
    const pathname = URL.parse(url)?.pathname ?? ""; // its host may be anything
    if (!["/livez", "/readyz"].includes(pathname)) {
      return Response.json({ status: "unknown path" }, { status: 404 });
    }
    if (method !== "GET" && method !== "HEAD") {
      const headers = { allow: "GET, HEAD" };
      return Response.json({ status: "GET only" }, { status: 405, headers });
    }
    const { live, ready, detail } = this.#check();
    const well = pathname === "/livez" ? live : live && ready;
    const status = well ? 200 : 503;
    return Response.json({ status: well ? "ok" : "unavailable", ...detail }, {
      status,
      headers: { "cache-control": "no-store" },
    });
  }
}
