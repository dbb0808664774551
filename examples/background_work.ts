/**
 * Slow work beside quick calls: each has a topic and a `concurrency` of its own, so that the slow work never takes the
 * places of the quick one.
 *
 *     deno run -A examples/background_work.ts
 *
 * @module
 */
import { z } from "npm:zod@^4.6.7";
import { contract, createConnection, implement, Service } from "../mod.ts";

/** Quick: answered at once. */
const videos = contract({
  topic: "videos",
  version: "1.0",
  procedures: { status: { result: z.object({ encoded: z.int() }) } },
});
/** Slow: casts that wait in their own queue, are tried again, and are ended if they take too long. */
const encoding = contract({
  topic: "videos-encoding",
  version: "1.0",
  procedures: {
    encode: {
      args: z.object({ id: z.int() }),
      retry: { attempts: 3, backoff: [1_000] },
      maxDuration: 60_000,
    },
  },
});

const url = Deno.args[0] ?? "memory:background";
const VIDEOS = 6;
let encoded = 0;
const allEncoded = Promise.withResolvers<void>();

// Both run in one process here. They may as well be two programs, each with as many replicas as it needs.
await using _quick = await Service.start({
  url,
  manager: implement(videos, { status: () => ({ encoded }) }),
  signals: false,
});
await using slow = await Service.start({
  url,
  concurrency: 2, // encoders at once in this process
  manager: implement(encoding, {
    async encode() {
      await new Promise((resolve) => setTimeout(resolve, 200)); // a program that encodes
      if (++encoded === VIDEOS) allEncoded.resolve();
    },
  }),
  signals: false,
});

await using connection = await createConnection(url);
const background = connection.client(encoding);
for (let id = 1; id <= VIDEOS; id++) await background.cast("encode", { id });
const quick = connection.client(videos);
const began = performance.now();
const status = await quick.call("status");
const ms = performance.now() - began;
console.log(`${status.encoded} encoded; the answer took ${ms.toFixed(0)} ms`);
console.log(`${slow.stats.active} casts at the worker`);
await allEncoded.promise;
console.log(`${(await quick.call("status")).encoded} encoded`);
