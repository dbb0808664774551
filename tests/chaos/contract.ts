/** The contract of the fault matrix: work whose every run is told by the worker, under ids of the caller's own. */
import { z } from "npm:zod@^4.6.7";
import { type Args, contract } from "../../mod.ts";

const work = {
  args: z.object({
    /** Told again at the start and the end of each run. */
    id: z.string(),
    /** Milliseconds that a run takes. */
    ms: z.number().default(5),
    /** Milliseconds for which a run blocks the event loop. */
    spin: z.number().default(0),
    /** Kills its worker before it ends. */
    poison: z.boolean().default(false),
  }),
  result: z.string(),
};

/** The contract on a topic of one row's own, so that no row sees what another left. */
export const chaos = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      work,
      /** The same, and asked again when the broker was lost. */
      again: { ...work, idempotent: true },
      /** The same, for work of minutes. */
      long: { ...work, maxDuration: 60_000 },
      /** The same, for work whose first attempt fails. */
      flaky: { ...work, retry: { attempts: 3, backoff: [5_000] } },
      tell: { args: z.object({ id: z.string() }) },
      count: {
        args: z.object({ id: z.string(), items: z.number() }),
        yields: z.number(),
      },
    },
  });

/** The contract's type. */
export type Chaos = ReturnType<typeof chaos>;

/** One piece of work. */
export type Work = Args<Chaos, "work">;
