/** A worker as a program of its own: `worker.ts <url> <topic>`. Says "ready" when it serves. */
import { z } from "npm:zod@^4.6.7";
import { contract, implement, Service } from "../../../mod.ts";

const [url = "", topic = ""] = Deno.args;

/** Resolves when the process is told to stop: by then the service has begun to. */
function told(): Promise<void> {
  return new Promise((resolve) => {
    const stop = () => {
      for (const name of ["SIGTERM", "SIGINT"] as const) {
        Deno.removeSignalListener(name, stop);
      }
      resolve();
    };
    for (const name of ["SIGTERM", "SIGINT"] as const) {
      Deno.addSignalListener(name, stop);
    }
    console.log("holding");
  });
}

const manager = implement(
  contract({
    topic,
    version: "1.0",
    procedures: {
      hold: { result: z.string() },
      who: { result: z.string() },
    },
  }),
  {
    hold: async () => {
      await told();
      return "finished";
    },
    who: (): string => manager.host,
  },
);
await using service = await Service.start({ url, manager });
console.log("ready");
await service.stopped;
console.log("stopped");
