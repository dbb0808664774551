/** What a worker of the tests of poison serves. */
import { z } from "npm:zod@^4.6.7";
import { contract } from "../../mod.ts";

/** `work` is done, or kills its worker if it is poison. */
export const poisonable = contract({
  topic: "poisonable",
  version: "1.0",
  procedures: {
    /** The same, which the ledger keeps. */
    long: {
      args: z.object({ id: z.number(), poison: z.boolean() }),
      maxDuration: 1_800_000,
    },
    work: { args: z.object({ id: z.number(), poison: z.boolean() }) },
  },
});
