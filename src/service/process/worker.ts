/** The services of one process, alone or as a launcher's worker. @module */
import {
  becomeWorker,
  DRAIN_SIGNALS,
  onSignals,
  READY_MARKER,
} from "../../config/worker_role.ts";
import type { Service } from "../service.ts";

/** Milliseconds that a worker has to drain once its launcher is gone, and that its program has once it has drained. */
const ORPHANED_EXIT_TIMEOUT_MS = 3_500;
const DRAINED_EXIT_TIMEOUT_MS = 5_000;

/** Starts a service. */
type StartService = () => Promise<Service>;

/** How services are run. */
interface RunOptions {
  /** Stops them when it fires. */
  readonly drain?: AbortSignal;
  /** Called when all have started. */
  readonly onReady?: () => void;
}

/** Starts services, waits until all have stopped. If one cannot start or is lost, the others are stopped. */
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

/** A service that has started; undefined if it is asked to stop before: then it stops as soon as it has started. */
async function unlessDraining(
  starting: Promise<Service>,
  asked: AbortSignal | undefined,
): Promise<Service | undefined> {
  if (!asked) return await starting;
  const { promise, resolve } = Promise.withResolvers<undefined>();
  const give = () => resolve(undefined);
  asked.addEventListener("abort", give);
  const service = await Promise.race([promise, starting]);
  asked.removeEventListener("abort", give);
  // Its broker may be out of reach: nobody waits for that, and its error is of no use to anyone.
  if (!service) starting.then((late) => late.stop()).catch(() => {});
  return service;
}

/** Runs the services of worker number `worker` until they stop, or its launcher says so or is gone. */
export async function runAsWorker(
  services: readonly StartService[],
  worker: number,
): Promise<void> {
  const drain = new AbortController();
  becomeWorker(worker);
  const terms = DRAIN_SIGNALS.filter((signal) => signal !== "SIGINT");
  using term = onSignals(terms, () => {
    term[Symbol.dispose](); // a second one ends it at once
    drain.abort();
  });
  await using _launcher = followLauncher(drain);
  await runServices(services, { drain: drain.signal, onReady: announceReady });
}

function announceReady(): void {
  try {
    Deno.stdout.writeSync(new TextEncoder().encode(`${READY_MARKER}\n`));
  } catch {
    // The launcher is gone, which the end of stdin says as well.
  }
}

/** Drains on the launcher's word or at its end, until disposed. Then the program has a while to end by itself. */
function followLauncher(drain: AbortController): AsyncDisposable {
  const words = Deno.stdin.readable.getReader();
  let over = false;
  const listening = (async () => {
    // The launcher says but one thing.
    while (!(await words.read()).done) drain.abort();
    if (over) return;
    exitAfter(ORPHANED_EXIT_TIMEOUT_MS, 1);
    drain.abort();
  })();
  return {
    [Symbol.asyncDispose]: async () => {
      over = true;
      exitAfter(DRAINED_EXIT_TIMEOUT_MS, 0);
      await words.cancel();
      await listening;
    },
  };
}

/** Ends the process unless it ends by itself before: a handler that ignores its signal must not keep it. */
function exitAfter(ms: number, code: number): void {
  Deno.unrefTimer(setTimeout(() => Deno.exit(code), ms));
}
