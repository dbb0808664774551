/** A program whose handlers never end: `hung.ts <url> <topic>`. Its service is stopped with little grace; then nothing is left to do. */
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  implement,
  Service,
} from "../../../mod.ts";

const [url = "", topic = ""] = Deno.args;
const api = contract({
  topic,
  version: "1.0",
  procedures: {
    call: { result: z.string() },
    endless: { result: z.string() },
    cast: { result: z.void() },
    stream: { yields: z.number() },
  },
});

const begun = { call: 0, endless: 0, cast: 0, stream: 0, event: 0 };
const all = Promise.withResolvers<void>();

/** Never resolves. */
function hang(kind: keyof typeof begun): Promise<never> {
  begun[kind]++;
  if (Object.values(begun).every((times) => times > 0)) all.resolve();
  return new Promise(() => {});
}

const manager = implement(api, {
  call: () => hang("call"),
  endless: () => hang("endless"),
  cast: () => hang("cast"),
  async *stream() {
    yield 1;
    await hang("stream");
  },
});
const service = await Service.start({
  ...{ url, manager, host: "one" },
  concurrency: 4,
  grace: 100,
});
const listening = await createConnection(url, { grace: 100 });
await listening.createListener(() => hang("event"), {
  topic: `${topic}-events`,
  exclusive: true,
});
const asking = await createConnection(url, {
  grace: 100,
  notifications: { topics: [`${topic}-events`] },
});
const client = asking.client(api, { timeout: 60_000 });
const failed = (error: unknown) => void (error instanceof Error);
client.call("call").catch(failed);
client.call("endless", {}, { timeout: Infinity }).catch(failed);
await client.cast("cast");
const items = client.multicall("stream");
await items.next();
items.next().catch(failed);
await asking.notify("hung", {});
await all.promise;
client.call("call").catch(failed); // waits for its turn
await service.stop();
await listening[Symbol.asyncDispose]();
await asking[Symbol.asyncDispose]();
console.log("stopped");
