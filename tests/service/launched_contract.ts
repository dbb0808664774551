/** What the workers of `launched.ts` serve. */
import { z } from "npm:zod@^4.6.7";
import { contract } from "../../mod.ts";

// deno-lint-ignore explicit-function-return-type explicit-module-boundary-types
export const launched = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      /** Answers with its process after a while. */
      hold: { args: z.object({ ms: z.number() }), result: z.number() },
      /** Gives back what it got, a little later. */
      echo: { args: z.object({ n: z.number() }), result: z.number() },
    },
  });
