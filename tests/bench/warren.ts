/**
 * Warren as tests/README.md says: schemas at both ends, confirms, acknowledged after the handler, the ledger in
 * memory, deadlines. `warren.ts client|server <topic> [topics] [delivery]`: the number of topics that a server serves;
 * `memory` is both in one process, without a broker; with `at-most-once` nothing is confirmed, and a request is
 * acknowledged before its handler.
 */
import { z } from "npm:zod@^4.6.7";
import {
  type Contract,
  contract,
  createConnection,
  implement,
  Service,
} from "../../mod.ts";
import { type Client, serveOrders } from "./load.ts";
import { Counter, tell } from "./orders.ts";

const args = z.object({ id: z.number(), text: z.string() });

const [role = "", name = "bench", topics = "1", last] = Deno.args;
const delivery = last === "at-most-once" ? last : "at-least-once";
const confirm = delivery === "at-least-once";

const bench = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: {
      lookup: { args, result: args, delivery },
      note: { args, delivery },
      count: {
        delivery,
        args: z.object({ count: z.number() }),
        yields: z.object({ n: z.number() }),
      },
    },
  }) satisfies Contract;

const nameOf = (topic: number) => topic === 0 ? name : `${name}-${topic}`;
const url = role === "memory"
  ? `memory:${name}`
  : Deno.env.get("AMQP_URL") ?? "amqp://127.0.0.1";
const text = "y".repeat(70);
const counter = new Counter();

const manager = (topic: string) =>
  implement(bench(topic), {
    lookup: ({ id }) => ({ id, text }),
    note: () => counter.handled(),
    async *count({ count }) {
      for (let n = 1; n <= count; n++) yield { n };
    },
  });

function serve(): Promise<Service> {
  const all = Array.from({ length: Number(topics) }, (_, n) => nameOf(n));
  return Service.start({
    url,
    manager: all.map(manager),
    host: `host-${Deno.pid}`,
    concurrency: 512,
    signals: false,
  });
}

async function call(): Promise<void> {
  await using connection = await createConnection(url);
  const clients = Array.from(
    { length: Number(topics) },
    (_, n) => connection.client(bench(nameOf(n)), { confirm }),
  );
  const [first] = clients;
  if (!first) return;
  const client: Client = {
    call: (args, topic) => (clients[topic] ?? first).call("lookup", args),
    cast: (args) => first.cast("note", args),
    fanout: (args) => first.fanoutCast("note", args),
    stream: (count) => first.multicall("count", { count }),
  };
  await serveOrders(client);
}

if (role === "client") await call();
else {
  await using _service = await serve();
  if (role === "memory") await call();
  else {
    tell({ ready: true });
    await counter.obey();
  }
}
