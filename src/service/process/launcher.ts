/** Several services in one process, or in several (Nova: `ServiceLauncher`, `ProcessLauncher`). @module */
import { checkInteger } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { WORKER_VARIABLE } from "../../config/worker_role.ts";
import type { Service } from "../service.ts";
import { supervise } from "./supervisor.ts";
import { runAsWorker, runServices } from "./worker.ts";

/** How to launch services. */
export interface LaunchOptions {
  /** Processes that each run all the services; default: none but this one. */
  readonly workers?: number | undefined;
  /**
   * Arguments with which this Deno starts a worker; default: `run -A`, this program and its arguments, or what a compiled
   * program was given.
   */
  readonly args?: readonly string[] | undefined;
  /**
   * TCP port on which the launcher answers `GET /livez` and `GET /readyz` for its workers: ready when each of them serves.
   * Default: none. Without workers, give the services themselves a port.
   */
  readonly healthPort?: number | undefined;
  /** Address of that port; default `127.0.0.1`: for probes from outside, give `0.0.0.0`. */
  readonly healthHostname?: string | undefined;
}

const launchNames = namesOf<LaunchOptions>({
  workers: true,
  args: true,
  healthPort: true,
  healthHostname: true,
});

/**
 * Starts services, waits until all have stopped. If one cannot start or is lost, the others are stopped, and its error is
 * thrown.
 *
 * With `workers`, this process runs no service. It starts the program again as so many workers, in which the same call
 * runs the services, and looks after them:
 *
 * - What they print is printed here line by line, after `[worker 1] ` and so on.
 * - A worker that ends unasked is started again, and the log says its last error. There are at least 1 000 milliseconds from
 *   one start to the next, twice as many after each further failure, and 30 000 at most; a worker that has served for
 *   60 000 milliseconds begins anew. SIGTERM to a worker drains it.
 * - SIGINT or SIGTERM drains all workers, and `launch` resolves when they have ended. A second one ends all at once, with
 *   exit code 130 or 143.
 * - SIGHUP replaces one worker after the other, each when its successor has started its services; not on Windows. No start
 *   waits at first; a successor that fails is started again after the same pauses. Both run for a while: a port that the
 *   program opens itself must allow that (`Deno.serve({ reusePort: true })`).
 * - Workers ignore SIGINT and SIGHUP, which a terminal sends to them too. If this process dies, they drain, and end within
 *   four seconds. A worker that has drained has five seconds to end.
 *
 * The code before and after the call runs in every process; `WARREN_WORKER` is a worker's number, and unset or empty in
 * the launcher; programs that a worker starts inherit it. A worker's stdin belongs to its launcher. The launcher needs `--allow-run` for Deno itself and
 * `--allow-env=WARREN_WORKER`; so does a worker for the latter.
 *
 * @throws {InvalidValueError} `workers` is not a whole number from 1, or an option has another name than these.
 * @throws {Deno.errors.NotCapable} a permission is missing.
 * @example
 * ```ts ignore
 * await launch([
 *   () => Service.start({ url, manager: new ComputeManager() }),
 *   () => Service.start({ url, manager: new SchedulerManager() }),
 * ], { workers: 4 });
 * ```
 */
export async function launch(
  services: readonly (() => Promise<Service>)[],
  options: LaunchOptions = {},
): Promise<void> {
  checkNames(options, launchNames);
  if (options.workers === undefined) return await runServices(services);
  const workers = checkInteger("workers", options.workers, 1, 1_024);
  const worker = Deno.env.get(WORKER_VARIABLE);
  if (worker) return await runAsWorker(services, Number(worker));
  const { healthPort: port, healthHostname: hostname } = options;
  if (port !== undefined) checkInteger("healthPort", port, 0, 65_535);
  const args = options.args ?? sameProgram();
  await supervise(workers, args, { port, hostname });
}

function sameProgram(): readonly string[] {
  return Deno.build.standalone
    ? Deno.args
    : ["run", "-A", Deno.mainModule, ...Deno.args];
}
