/** A worker process: it serves until SIGINT or SIGTERM, and then finishes what it has in hand. @module */
import { getLogger } from "npm:@logtape/logtape@^2.4.2";
import { Service } from "../mod.ts";
import { dated, logToConsole } from "./compute_log.ts";
import { ComputeManager } from "./compute_manager.ts";

/** Serves as `host`, or under the machine's name; resolves when told to stop and done. */
export async function work(url: string, host?: string): Promise<void> {
  await logToConsole(dated, "info");
  await using service = await Service.start({
    url,
    host,
    manager: new ComputeManager(),
    timeout: 10_000,
    grace: 5_000, // a console that someone reads would hold the process for longer
  });
  await service.stopped;
  const { handled, failed } = service.stats;
  getLogger("compute").info("stopped; {handled} handled, {failed} failed", {
    handled,
    failed,
  });
}
