/** What the workers of `launched.ts` serve. */
import { z } from "npm:zod@^4.6.7";
import { type Contract, contract } from "../../../mod.ts";

const procedures = {
  /** Answers with its process after a while. */
  hold: { args: z.object({ ms: z.number() }), result: z.number() },
  /** Gives back what it got, a little later. */
  echo: { args: z.object({ n: z.number() }), result: z.number() },
};

/** The contract on a topic of the test's own. */
export function launched(topic: string): Contract<typeof procedures> {
  return contract({ topic, version: "1.0", procedures });
}
