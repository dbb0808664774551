/** Several services in one process (Nova: `ServiceLauncher`). @module */
import type { Service } from "./service.ts";

/**
 * Starts services, waits until all have stopped. If one cannot start or is lost, the others are stopped, and its error is
 * thrown.
 *
 * @example
 * ```ts ignore
 * await launch([
 *   () => Service.start({ url, manager: new ComputeManager() }),
 *   () => Service.start({ url, manager: new SchedulerManager() }),
 * ]);
 * ```
 */
export async function launch(
  services: readonly (() => Promise<Service>)[],
): Promise<void> {
  await using running = new AsyncDisposableStack();
  const stopped: Promise<void>[] = [];
  for (const start of services) {
    stopped.push(running.use(await start()).stopped);
  }
  await Promise.all(stopped);
}
