/** A contract whose workers say who they are, for tests with several processes. */
import { z } from "npm:zod@^4.6.7";
import { contract } from "../../mod.ts";

export const fleet = contract({
  topic: "fleet",
  version: "1.0",
  procedures: {
    who: { result: z.string() },
    /** Answers after a while; the worker prints `started <id>` first. */
    work: {
      args: z.object({ id: z.string(), ms: z.number() }),
      result: z.string(),
    },
    /** Remembered, so that `heard` can tell what came. */
    tell: { args: z.object({ id: z.string() }) },
    heard: { result: z.array(z.string()) },
    /** Numbers without end, each with the host that counts. */
    tail: { yields: z.string() },
  },
});
