/**
 * A program that OpenTelemetry traces: an HTTP request leads to a call, a nested call, a cast with a retry, and an event.
 * Run by `otlp_test.ts` with the URL of a broker and a topic.
 */
import { z } from "npm:zod@^4.6.7";
import { contract, createConnection, implement, Service } from "../../mod.ts";

const [url = "", topic = ""] = Deno.args;
const traced = contract({
  topic,
  version: "1.0",
  procedures: {
    outer: { result: z.number() },
    inner: { result: z.number() },
    again: { retry: { attempts: 2, backoff: [100] } },
  },
});

await using connection = await createConnection(url);
const client = connection.client(traced);
await using page = Deno.serve(
  { port: 0, hostname: "127.0.0.1", onListen: () => {} },
  async ({ url }) => {
    if (url.endsWith("/data")) return new Response("data");
    return new Response(`${await client.call("outer")}`);
  },
);
const { port } = page.addr;
const at = (path: string) =>
  fetch(`http://127.0.0.1:${port}/${path}`).then((response) => response.text());

let attempts = 0;
await using _service = await Service.start({
  url,
  host: "one",
  signals: false,
  reportInterval: 0,
  manager: implement(traced, {
    outer: async () => {
      const result = await client.call("inner");
      await client.cast("again");
      return result;
    },
    inner: async () => (await at("data")).length,
    again: async () => {
      if (++attempts === 1) throw new Error("not yet");
      await connection.notify(`${topic}.done`, {});
    },
  }),
});
const done = Promise.withResolvers<void>();
await using listener = await createConnection(url);
await listener.createListener(() => done.resolve(), {
  eventType: `${topic}.done`,
  exclusive: true,
});
await at("page");
await done.promise;
