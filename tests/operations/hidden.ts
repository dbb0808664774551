/**
 * Lists many dead letters, and prints the longest time in which a second observer saw some of them hidden, and by how much
 * the memory of the listing process grew, which has listed 20 000 letters of another queue before:
 *
 *     deno run -A tests/operations/hidden.ts [url] [quorum | classic] [letters] [bytes]
 */
import { createConnection, operations } from "../../mod.ts";
import { type Channel, connect } from "../../src/amqp/mod.ts";
import { deadLetterHeaders } from "../../src/wire/mod.ts";
import { brokerUrl } from "../setup/broker.ts";

/** Result of a listing. */
export interface Hidden {
  /** Number of letters; of those that were listed, and that were listed again. */
  readonly letters: number;
  readonly listed: number;
  readonly again: number;
  /** True if they came in the order of the queue. */
  readonly inOrder: boolean;
  /** Longest milliseconds without a moment in which all letters were ready. */
  readonly hiddenMs: number;
  /** Growth of the resident memory in MiB. */
  readonly grownMiB: number;
  /** Milliseconds of the listing. */
  readonly ms: number;
}

/** Fills a queue of dead letters; resolves when the broker has confirmed them. */
export async function fill(
  channel: Channel,
  topic: string,
  type: string,
  { letters, bytes = 600 }: { letters: number; bytes?: number },
): Promise<void> {
  const queue = `${topic}.dead`;
  const declared = {
    queue,
    durable: true,
    arguments: { "x-queue-type": type },
  };
  await channel.request("queue.declare", declared);
  const text = "x".repeat(bytes);
  for (let n = 0; n < letters; n++) {
    const cast = { method: "grow", args: { n, text }, _unique_id: `id${n}` };
    const body = new TextEncoder().encode(JSON.stringify(cast));
    const headers = deadLetterHeaders({
      ...{ attempts: 1, deadLetterCount: 1, queue: topic, host: "one" },
      ...{ reason: "Error: boom", deadAt: Date.now() },
    });
    const content = { body, headers, messageId: `id${n}`, persistent: true };
    channel.publish({ exchange: "", routingKey: queue }, content);
    if (n % 2_000 === 1_999) await channel.confirmed();
  }
  await channel.confirmed();
}

/** Watches a queue from the outside, until disposed. */
class Observer implements AsyncDisposable {
  readonly #channel: Channel;
  readonly #queue: string;
  readonly #letters: number;
  readonly #done: Promise<void>;
  #ended = false;
  #longest = 0;

  constructor(channel: Channel, queue: string, letters: number) {
    this.#channel = channel;
    this.#queue = queue;
    this.#letters = letters;
    this.#done = this.#watch();
  }

  /** Longest milliseconds in which some were hidden. */
  get longest(): number {
    return Math.round(this.#longest);
  }

  async #watch(): Promise<void> {
    let seen = performance.now();
    while (!this.#ended) {
      const declared = { queue: this.#queue, passive: true };
      const { messageCount } = await this.#channel.request(
        "queue.declare",
        declared,
      );
      const now = performance.now();
      if (messageCount >= this.#letters) seen = now;
      else this.#longest = Math.max(this.#longest, now - seen);
      await new Promise((resolve) => setTimeout(resolve, 10));
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#ended = true;
    await this.#done;
  }
}

/** Letters of another queue that are listed before, so that the heap of the process has its usual size. */
const WARM = 20_000;

/** Lists letters, and measures. */
async function measure(
  url: string,
  type: string,
  letters: number,
  bytes: number,
): Promise<Hidden> {
  const topic = `t${crypto.randomUUID().slice(0, 8)}`;
  const raw = await connect(url);
  const channel = await raw.openChannel({ confirms: true });
  try {
    await fill(channel, topic, type, { letters, bytes });
    await using connection = await createConnection(url);
    const { deadLetters } = operations(connection);
    await fill(channel, `${topic}.warm`, type, { letters: WARM, bytes });
    await Array.fromAsync(deadLetters({ topic, host: "warm" }));
    const before = Deno.memoryUsage().rss;
    let [most, next, again, inOrder] = [before, 0, 0, true];
    const seen = new Uint8Array(letters);
    const began = performance.now();
    await using observer = new Observer(channel, `${topic}.dead`, letters);
    for await (const { id } of deadLetters({ topic })) {
      const n = Number(id?.slice(2));
      inOrder &&= n === next;
      again += seen[n] ?? 0;
      seen[n] = 1;
      if (++next % 1_000 === 0) most = Math.max(most, Deno.memoryUsage().rss);
    }
    const ms = Math.round(performance.now() - began);
    const grownMiB = Math.round((most - before) / 1024 ** 2);
    const hiddenMs = observer.longest;
    const listed = next - again;
    return { letters, listed, again, inOrder, hiddenMs, grownMiB, ms };
  } finally {
    for (const queue of [`${topic}.dead`, `${topic}.warm.dead`]) {
      await channel.request("queue.delete", { queue });
    }
    await raw.close();
  }
}

if (import.meta.main) {
  const [url, type = "quorum", letters = "100000", bytes = "600"] = Deno.args;
  const result = await measure(
    url ?? await brokerUrl(),
    type,
    Number(letters),
    Number(bytes),
  );
  console.log(JSON.stringify(result));
}
