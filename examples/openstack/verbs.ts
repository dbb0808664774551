/** The three verbs of the OpenStack example. @module */
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  type ConnectionOptions,
  contract,
  implement,
  type ListenerOptions,
  Service,
  type Target,
} from "../../mod.ts";

/** URL and options of a cloud's bus. */
export interface Bus extends ConnectionOptions {
  readonly url: string;
}

/** Resolves at Ctrl-C. */
function interrupted(): Promise<void> {
  return new Promise((resolve) => {
    const stop = () => {
      Deno.removeSignalListener("SIGINT", stop);
      resolve();
    };
    Deno.addSignalListener("SIGINT", stop);
  });
}

/** Prints notifications until Ctrl-C. The exclusive queue takes none from other listeners. */
export async function listen(
  connection: ConnectionContext,
  options: ListenerOptions,
): Promise<void> {
  await connection.createListener(
    ({ timestamp, priority, publisherId, eventType, payload }) => {
      const what = `${priority} ${publisherId} ${eventType}`;
      console.log(`${timestamp} ${what} ${JSON.stringify(payload)}`);
    },
    { ...options, exclusive: true },
  );
  console.log("listening");
  await interrupted();
}

/** Nova's base API, which all its services have (`baserpc.py`). */
const BASE = { namespace: "baseapi", version: "1.1" };

/** Calls `ping` of a service and prints the result and its time. */
export async function ping(
  connection: ConnectionContext,
  target: Target,
  timeout: number,
): Promise<void> {
  const began = performance.now();
  const args = { arg: "warren" };
  const whom = { ...target, ...BASE };
  const answer = await connection.call(whom, "ping", args, { timeout });
  const ms = (performance.now() - began).toFixed(1);
  console.log(`${JSON.stringify(answer)} in ${ms} ms`);
}

/** The part of nova-compute's interface that this host serves. */
const compute = contract({
  topic: "compute",
  version: "6.0",
  procedures: {
    get_host_uptime: { args: z.looseObject({}), result: z.string() },
  },
});

/** Serves as a host of the cloud until a signal stops it. */
export async function serve(bus: Bus, host: string): Promise<void> {
  const started = Date.now();
  const manager = implement(compute, {
    get_host_uptime: () =>
      `up ${Math.round((Date.now() - started) / 1_000)} s, posing as ${host}`,
  });
  await using service = await Service.start({ ...bus, host, manager });
  console.log(`serving compute.${host}`);
  await service.stopped;
}
