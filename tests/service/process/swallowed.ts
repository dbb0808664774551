/**
 * A service behind a network that falls silent: `swallowed.ts <url> <topic> <heartbeat> <how>`. It says what happens when, in
 * milliseconds since it was told to stop.
 */
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  implement,
  Service,
} from "../../../mod.ts";
import { proxyTo } from "../../setup/proxy.ts";

const [base = "", topic = "", heartbeat = "", how = ""] = Deno.args;
const api = contract({
  topic,
  version: "1.0",
  procedures: { hang: { args: z.object({ ends: z.boolean() }) } },
});
await using proxy = proxyTo(base);
let told = 0;
const since = () => Math.round(performance.now() - told);
const begun = Promise.withResolvers<void>();
let running = 0;
const service = await Service.start({
  url: proxy.url(base),
  host: "one",
  grace: 1_000,
  heartbeat: Number(heartbeat),
  manager: implement(api, {
    hang: ({ ends }, { signal }) =>
      new Promise<void>((resolve) => {
        if (++running === 2) begun.resolve();
        signal.addEventListener("abort", () => {
          console.log(`signal ${since()}`);
          if (ends) resolve();
        });
      }),
  }),
});
const events = await createConnection(proxy.url(base), { grace: 1_000 });
await events.createListener(() => {}, {
  topic: `${topic}-events`,
  exclusive: true,
});
{
  await using connection = await createConnection(base);
  const client = connection.client(api);
  await client.cast("hang", { ends: true });
  await client.cast("hang", { ends: false });
  await begun.promise;
}
proxy.blackhole(true);
if (how === "lost") {
  proxy.reset(); // the next connection is accepted, and hears nothing
  const { promise, resolve } = Promise.withResolvers<void>();
  const { accepted } = proxy.connections;
  const timer = setInterval(() => {
    if (proxy.connections.accepted >= accepted + 2) resolve();
  }, 10);
  await promise;
  clearInterval(timer);
}
told = performance.now();
await Promise.all([service.stop(), events[Symbol.asyncDispose]()]);
console.log(`stopped ${since()}`);
addEventListener("unload", () => console.log(`exit ${since()}`));
