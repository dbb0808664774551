/** What the log says of a request that failed. @module */
import { log, oneLine } from "../telemetry.ts";
import type { Job } from "./job.ts";

/** A cast that fails is an error, since nobody else is told; a call's caller is. */
export function logFailure({ request, over }: Job, thrown: unknown): void {
  const said = {
    method: oneLine(request.method, 60),
    error: thrown,
  };
  const rpc = log("rpc");
  if (over) rpc.debug("{method} ended after its caller: {error}", said);
  else if (request.reply) rpc.info("{method} failed: {error}", said);
  else rpc.error("The cast {method} failed: {error}", said);
}
