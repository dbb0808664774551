/** When a service is live, and when it is ready. @module */
import type { ServiceState } from "../rpc/service_report.ts";
import { EVERYWHERE, HealthServer } from "./health.ts";
import type { LinkState } from "./link_state.ts";
import type { ServiceOptions } from "./service_options.ts";
import { workerNumber } from "./signals.ts";

/**
 * Answers for a service, if a port is given. It is live unless its link is given up; ready while it is up and its link is
 * there.
 *
 * @throws {InvalidValueError} the port cannot be had.
 */
export function answerForHealth(
  { healthPort, healthHostname: hostname = EVERYWHERE }: ServiceOptions,
  service: { readonly state: ServiceState },
  link: LinkState,
): HealthServer | undefined {
  if (healthPort === undefined) return undefined;
  const worker = workerNumber() ?? 0;
  const port = healthPort === 0 ? 0 : healthPort + worker;
  const options = { port, hostname, patient: worker > 0 };
  return HealthServer.start(options, () => {
    const { condition } = link;
    const { state } = service;
    const up = condition === "up" || condition === "blocked";
    return {
      live: condition !== "failed",
      ready: state === "up" && up,
      detail: { state, link: condition },
    };
  });
}
