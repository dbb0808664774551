/** A worker that a test stops: `frozen_worker.ts <url> <topic>`. It ends by itself after a minute. */
import { z } from "npm:zod@^4.6.7";
import { contract, implement, Service } from "../../mod.ts";

const [url = "", topic = ""] = Deno.args;
const served = contract({
  topic,
  version: "1.0",
  procedures: {
    add: { args: z.object({ a: z.number() }), result: z.number() },
  },
});
await using _service = await Service.start({
  url,
  host: "one",
  manager: implement(served, { add: ({ a }) => a + 1 }),
});
await new Promise((resolve) => setTimeout(resolve, 60_000));
