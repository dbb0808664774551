/** Runs several services, in this process or in worker processes (Nova: `ServiceLauncher`, `ProcessLauncher`). @module */
import { checkInteger } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { WORKER_VARIABLE } from "../../config/worker_role.ts";
import type { Service } from "../service.ts";
import { supervise } from "./supervisor.ts";
import { runAsWorker, runServices } from "./worker.ts";

/**
 * Options of `launch`.
 * @category Serving
 */
export interface LaunchOptions {
  /** Number of worker processes, each of which runs all the services; default: none, the services run in this process. */
  readonly workers?: number | undefined;
  /**
   * Arguments of the `deno` command that starts a worker; default: `run -A`, this program and its arguments. For a program
   * made by `deno compile`: arguments of the program; default: its own.
   */
  readonly args?: readonly string[] | undefined;
  /**
   * TCP port on which the launcher answers `GET /livez` and `GET /readyz`: it is ready when each worker serves. Default:
   * none. Without `workers`, use the option of the same name of the services.
   */
  readonly healthPort?: number | undefined;
  /** Address of the health port; default `127.0.0.1`. Probes from other machines need `0.0.0.0`. */
  readonly healthHostname?: string | undefined;
}

const launchNames = namesOf<LaunchOptions>({
  workers: true,
  args: true,
  healthPort: true,
  healthHostname: true,
});

/**
 * Starts services and waits until all have stopped. If a service cannot start, or its connection fails for good, the others
 * are stopped and the error is thrown.
 *
 * With `workers`, this process becomes a launcher and runs no service. It starts the same program once for each worker; in a
 * worker, the same call runs the services. The launcher looks after its workers:
 *
 * - It prints the output of its workers line by line, each line after `[worker 1] ` or the like.
 * - It restarts a worker that ends without having been asked to, and logs the last error of that worker. At least 1 000
 *   milliseconds lie between two starts of one worker; each further failure doubles this interval, up to 30 000. A worker
 *   that has served for 60 000 milliseconds starts without a pause and with the first interval again. SIGTERM to a worker
 *   drains it.
 * - SIGINT or SIGTERM drains all workers, and `launch` resolves when they have ended. A second signal kills them and ends
 *   the launcher with exit code 130 or 143.
 * - SIGHUP (not on Windows) replaces the workers one after the other. A worker drains when its successor has started its
 *   services. The first start of a successor has no pause; a successor that fails is started again at the intervals above.
 *   Both processes run for a while, so a port that the program opens must be shared: `Deno.serve({ reusePort: true })`.
 * - Workers ignore SIGINT and SIGHUP, because a terminal sends these signals to them too. If the launcher dies, its workers
 *   drain and end within four seconds. A worker has five seconds to exit after it has drained.
 *
 * The code before and after the call runs in every process. `WARREN_WORKER` is the number of the worker; in the launcher it
 * is unset or empty. Programs that a worker starts inherit the variable. The launcher uses the stdin of its workers. The
 * launcher needs the permissions `--allow-run` for Deno itself and `--allow-env=WARREN_WORKER`; a worker needs the latter.
 *
 * @throws {InvalidValueError} `workers` is no whole number from 1 to 1 024, or an option is unknown.
 * @throws {Deno.errors.NotCapable} a permission is missing.
 * @example
 * ```ts ignore
 * await launch([
 *   () => Service.start({ url, manager: new ComputeManager() }),
 *   () => Service.start({ url, manager: new SchedulerManager() }),
 * ], { workers: 4 });
 * ```
 * @category Serving
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

/** Returns the arguments that start this program again. */
function sameProgram(): readonly string[] {
  return Deno.build.standalone
    ? Deno.args
    : ["run", "-A", Deno.mainModule, ...Deno.args];
}
