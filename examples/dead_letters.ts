/**
 * Lists the dead letters of a queue, or puts them back into the queues from which they came.
 *
 *     deno run -A examples/dead_letters.ts list <queue>.dead [--url amqp://…] [--limit 100]
 *     deno run -A examples/dead_letters.ts requeue <queue>.dead [--url amqp://…] [--limit 100]
 *
 * @module
 */
import type { Buffer } from "node:buffer";
import { parseArgs } from "node:util";
import * as amqp from "npm:amqplib@2.3.1";

const text = { type: "string" } as const;
const { values, positionals: [verb, queue] } = parseArgs({
  allowPositionals: true,
  options: { url: text, limit: text },
});
const limit = Number(values.limit ?? 100);
if (!queue || (verb !== "list" && verb !== "requeue") || !(limit > 0)) {
  console.error("Usage: dead_letters.ts list|requeue <queue>.dead [--url …]");
  Deno.exit(2);
}

const url = values.url ?? Deno.env.get("AMQP_URL") ?? "amqp://localhost";
const connection = await amqp.connect(url);
const channel = await connection.createConfirmChannel();

/** Resolves when the broker has confirmed the message. A message that no queue takes is returned before its confirm. */
function publish(
  to: string,
  content: Buffer,
  headers: Record<string, unknown>,
): Promise<void> {
  return new Promise((resolve, reject) => {
    const returned = () => reject(new Error(`There is no queue ${to}`));
    channel.once("return", returned);
    const options = { headers, persistent: true, mandatory: true };
    channel.sendToQueue(to, content, options, (error) => {
      channel.off("return", returned);
      if (error) reject(error);
      else resolve();
    });
  });
}

try {
  const { messageCount } = await channel.checkQueue(queue);
  const count = Math.min(limit, messageCount); // those that come back while this runs are left alone
  for (let taken = 0; taken < count; taken++) {
    const letter = await channel.get(queue);
    if (!letter) break;
    const headers = letter.properties.headers ?? {};
    const { "warren-reason": reason, "warren-queue": origin } = headers;
    const attempts = headers["warren-attempts"];
    console.log(`${origin}, ${attempts} attempts, ${reason}`);
    console.log(`  ${letter.content.toString().slice(0, 300)}`);
    if (verb === "list") continue; // unacknowledged: the queue has it again when the channel closes
    await publish(`${origin}`, letter.content, headers);
    channel.ack(letter);
  }
} finally {
  await channel.close();
  await connection.close();
}
