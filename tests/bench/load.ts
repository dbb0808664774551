/** The load that a client makes when it is told to: the same for all peers that run on Deno. */
import { type Args, obey, type Order, tell } from "./orders.ts";

/** How a library is used. */
export interface Client {
  /** Asks the server of that topic. */
  call(args: Args, topic: number): Promise<Args>;
  cast?(args: Args): Promise<unknown>;
  fanout?(args: Args): Promise<unknown>;
  stream?(count: number): AsyncIterable<{ readonly n: number }>;
}

/** Requests of so many bytes as JSON. */
function requests(bytes: number): () => Args {
  let id = 0;
  const empty = JSON.stringify({ id: 100_000, text: "" }).length;
  const text = "x".repeat(Math.max(0, bytes - empty));
  return () => ({ id: ++id, text });
}

const quantile = (sorted: Float64Array, share: number) =>
  sorted[Math.min(sorted.length - 1, Math.floor(share * sorted.length))] ?? 0;

async function calls(
  client: Client,
  { inFlight, ms, bytes, topics = 1 }: Extract<Order, { do: "call" }>,
): Promise<void> {
  const next = requests(bytes);
  const took: number[] = [];
  let failed = 0;
  let error: string | undefined;
  const began = performance.now();
  const one = async () => {
    while (performance.now() < began + ms) {
      const args = next();
      const sent = performance.now();
      try {
        const { id } = await client.call(args, args.id % topics);
        if (id !== args.id) throw new Error(`the answer to ${id}`);
        took.push(performance.now() - sent);
      } catch (reason) {
        failed++;
        error ??= String(reason);
      }
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  const sorted = Float64Array.from(took).sort();
  tell({
    calls: took.length,
    failed,
    ms: performance.now() - began,
    p50: quantile(sorted, 0.5),
    p99: quantile(sorted, 0.99),
    error,
  });
}

async function sends(
  send: ((args: Args) => Promise<unknown>) | undefined,
  { count, inFlight, bytes }: Extract<Order, { do: "cast" | "fanout" }>,
): Promise<void> {
  if (!send) return tell({ unsupported: true });
  const next = requests(bytes);
  let left = count;
  let failed = 0;
  let error: string | undefined;
  const began = performance.now();
  const one = async () => {
    while (left-- > 0) {
      await send(next()).catch((reason) => {
        failed++;
        error ??= String(reason);
      });
    }
  };
  await Promise.all(Array.from({ length: inFlight }, one));
  tell({ sent: count - failed, failed, ms: performance.now() - began, error });
}

async function items({ stream }: Client, count: number): Promise<void> {
  if (!stream) return tell({ unsupported: true });
  const began = performance.now();
  let items = 0;
  for await (const { n } of stream(count)) {
    if (n !== ++items) return tell({ items, failed: 1, error: `item ${n}` });
  }
  tell({ items, failed: count - items, ms: performance.now() - began });
}

/** Obeys until stdin ends. */
export async function serveOrders(client: Client): Promise<void> {
  tell({ ready: true });
  await obey(async (order) => {
    if (order.do === "call") await calls(client, order);
    else if (order.do === "stream") await items(client, order.count);
    else if (order.do === "cast") await sends(client.cast, order);
    else if (order.do === "fanout") await sends(client.fanout, order);
  });
}
