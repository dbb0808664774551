/** A worker process: serves until SIGINT or SIGTERM, then finishes its requests. @module */
import { getLogger } from "npm:@logtape/logtape@^2.4.2";
import { Service } from "../../mod.ts";
import { dated, logToConsole } from "./log.ts";
import { ComputeManager } from "./manager.ts";

/** Serves as `host` (default: the machine's name); resolves when a signal has stopped the service. */
export async function work(
  url: readonly string[],
  host?: string,
): Promise<void> {
  await logToConsole(dated, "info");
  await using service = await Service.start({
    url,
    host,
    manager: new ComputeManager(),
    timeout: 10_000,
    grace: 5_000, // an open console stream would otherwise delay the end of the process by 30 s
  });
  await service.stopped;
  const { handled, failed } = service.stats;
  getLogger("compute").info("stopped; {handled} handled, {failed} failed", {
    handled,
    failed,
  });
}
