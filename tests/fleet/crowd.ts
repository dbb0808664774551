/**
 * A process of many services, each with a link of its own: `crowd.ts <url> <host> <count>`. All are busy: they lead or stand
 * by, call each other, stream, and fail casts. Prints `ready`, serves until a signal, prints `stopped`.
 */
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  implement,
  type PeriodicTask,
  Service,
} from "../../mod.ts";

const [url = "", host = "", count = ""] = Deno.args;
const crowd = contract({
  topic: "crowd",
  version: "1.0",
  procedures: {
    work: { args: z.object({ ms: z.number() }) },
    fail: { retry: { attempts: 2, backoff: [100] } },
    tail: { yields: z.number() },
  },
});

const pause = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));
const sweep: PeriodicTask = {
  name: "sweep",
  every: 50,
  initialDelay: 0,
  leader: true,
  run: () => {},
};

async function start(n: number): Promise<Service> {
  const handlers = implement(crowd, {
    work: ({ ms }) => pause(ms).then(() => {}),
    fail: () => {
      throw new Error("as planned");
    },
    async *tail(_, { signal }) {
      for (let n = 0; !signal.aborted; n++) {
        yield n;
        await pause(20);
      }
    },
  });
  return await Service.start({
    url,
    host: `${host}-${n}`,
    manager: Object.assign(handlers, { periodic: [sweep] }),
    heartbeat: 10 + n, // links differ by it: one for each service
    reportInterval: 500,
    grace: 200,
  });
}

/** A caller on the link of a service, busy until the service stops. */
async function use(n: number, stop: AbortSignal): Promise<void> {
  await using connection = await createConnection(url, { heartbeat: 10 + n });
  const client = connection.client(crowd);
  const streaming = async () => {
    for await (const _ of client.multicall("tail", {}, { signal: stop }));
  };
  const calling = async () => {
    while (!stop.aborted) {
      await client.call("work", { ms: 200 }, { signal: stop, timeout: 2_000 });
    }
  };
  await client.cast("fail");
  await Promise.allSettled([streaming(), calling()]);
}

const numbers = Array.from({ length: Number(count) }, (_, n) => n);
const services = await Promise.all(numbers.map(start));
const stop = new AbortController();
const used = numbers.map((n) => use(n, stop.signal));
Deno.addSignalListener("SIGTERM", () => stop.abort());
console.log("ready");
await Promise.all([...used, ...services.map(({ stopped }) => stopped)]);
console.log("stopped");
Deno.exit(0);
