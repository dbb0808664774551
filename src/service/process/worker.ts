/** Runs the services of one process: of a program of its own, or of a worker of a launcher. @module */
import {
  becomeWorker,
  DRAIN_SIGNALS,
  METRICS_VARIABLE,
  onSignals,
  readyMarker,
} from "../../config/worker_role.ts";
import { logger } from "../../logging.ts";
import { LOOPBACK } from "../../names.ts";
import { HealthServer } from "../health/health_server.ts";
import type { Service } from "../service.ts";

/** Milliseconds after which a worker whose launcher has died exits, even if it has not drained. */
const ORPHANED_EXIT_TIMEOUT_MS = 3_500;
/** Milliseconds after which a worker that has drained exits, even if its program has not ended. */
const DRAINED_EXIT_TIMEOUT_MS = 5_000;

/** Function that starts a service. */
type StartService = () => Promise<Service>;

/** Options of `runServices`. */
interface RunOptions {
  /** Signal that stops the services. */
  readonly drain?: AbortSignal;
  /** Called when all services have started. */
  readonly onReady?: () => void;
}

/**
 * Starts services and waits until all have stopped. If one of them fails, the others are stopped and its error is thrown.
 */
export async function runServices(
  services: readonly StartService[],
  { drain, onReady }: RunOptions = {},
): Promise<void> {
  await using running = new AsyncDisposableStack();
  const stopped: Promise<void>[] = [];
  for (const start of services) {
    if (drain?.aborted) return;
    const service = await unlessDraining(start(), drain);
    if (!service) return;
    const stop = () => void service.stop();
    drain?.addEventListener("abort", stop);
    if (drain?.aborted) stop();
    stopped.push(running.use(service).stopped);
  }
  onReady?.();
  await Promise.all(stopped);
}

/**
 * Waits for the start of a service. If `drain` fires before, returns undefined, and the service stops as soon as it has
 * started.
 */
async function unlessDraining(
  starting: Promise<Service>,
  drain: AbortSignal | undefined,
): Promise<Service | undefined> {
  if (!drain) return await starting;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const stopWaiting = () => resolve(undefined);
  drain.addEventListener("abort", stopWaiting);
  const service = await Promise.race([promise, starting]);
  drain.removeEventListener("abort", stopWaiting);
  // The broker may be unreachable: the drain must not wait for the start, and an error of the start no longer matters.
  if (!service) starting.then((late) => late.stop()).catch(() => {});
  return service;
}

/** Runs the services as worker number `worker`, until they stop, the launcher asks to drain, or the launcher has died. */
export async function runAsWorker(
  services: readonly StartService[],
  worker: number,
): Promise<void> {
  const drain = new AbortController();
  becomeWorker(worker);
  const terms = DRAIN_SIGNALS.filter((signal) => signal !== "SIGINT");
  using term = onSignals(terms, () => {
    term[Symbol.dispose](); // without this listener, a second signal ends the process at once
    drain.abort();
  });
  await using _launcher = followLauncher(drain);
  await using metrics = serveMetrics();
  const onReady = () => announceReady(metrics);
  await runServices(services, { drain: drain.signal, onReady });
}

/** Server of the metrics of this worker, and the secret of its launcher. */
interface WorkerMetrics extends AsyncDisposable {
  readonly server: HealthServer;
  readonly secret: string;
}

/** Serves the metrics of this worker to its launcher, if the launcher asks for them and the permissions allow it. */
function serveMetrics(): WorkerMetrics | undefined {
  try {
    const secret = Deno.env.get(METRICS_VARIABLE);
    if (!secret) return undefined;
    const check = () => ({ live: true, ready: true, detail: {} });
    const options = { port: 0, hostname: LOOPBACK };
    const server = HealthServer.start(options, { check });
    return {
      ...{ server, secret },
      [Symbol.asyncDispose]: () => server[Symbol.asyncDispose](),
    };
  } catch (error) {
    const text = "The launcher cannot read the metrics of this worker: {error}";
    logger("service").info(text, { error });
    return undefined;
  }
}

/** Tells the launcher that all services have started, and where it can read their metrics. */
function announceReady(metrics: WorkerMetrics | undefined): void {
  try {
    const { url = "" } = metrics?.server ?? {};
    const { port = "" } = URL.parse(url) ?? {};
    const marker = metrics
      ? readyMarker({ secret: metrics.secret, port })
      : readyMarker();
    const line = `${marker}\n`;
    Deno.stdout.writeSync(new TextEncoder().encode(line));
  } catch {
    // The launcher has died. The end of stdin reports this as well, and drains the worker.
  }
}

/**
 * Drains when the launcher asks for it or has died, until disposed. After that the program has some seconds to end by
 * itself.
 */
function followLauncher(drain: AbortController): AsyncDisposable {
  const commands = Deno.stdin.readable.getReader();
  let disposed = false;
  const reading = (async () => {
    // The launcher sends no other command than `DRAIN_COMMAND`, so the text is not compared.
    while (!(await commands.read()).done) drain.abort();
    if (disposed) return;
    exitAfter(ORPHANED_EXIT_TIMEOUT_MS, 1);
    drain.abort();
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      disposed = true;
      exitAfter(DRAINED_EXIT_TIMEOUT_MS, 0);
      await commands.cancel();
      await reading;
    },
  };
}

/**
 * Exits after `ms` milliseconds if the process has not ended by itself: a handler that ignores its signal must not keep it
 * alive.
 */
function exitAfter(ms: number, code: number): void {
  Deno.unrefTimer(setTimeout(() => Deno.exit(code), ms));
}
