/**
 * Several listeners on one event: each pool gets every event, and the listeners of one pool share them.
 *
 *     deno run -A examples/events.ts
 *
 * @module
 */
import { createConnection, type NotificationHandler } from "../mod.ts";

const url = Deno.args[0] ?? "memory:events";
const EVENTS = 4;

await using connection = await createConnection(url);
const counts = new Map<string, number>();
const allCame = Promise.withResolvers<void>();

/** Makes a listener that counts its events. */
function counter(name: string): NotificationHandler {
  return ({ payload }) => {
    console.log(`${name} got ${JSON.stringify(payload)}`);
    counts.set(name, (counts.get(name) ?? 0) + 1);
    const total = [...counts.values()].reduce((sum, n) => sum + n, 0);
    if (total === 3 * EVENTS) allCame.resolve(); // billing, audit, screen
  };
}

const eventType = "order.*";
// Two workers of one pool share its events; a dead worker's event goes to the other.
const billing = { pool: "billing", eventType };
await connection.createListener(counter("billing 1"), billing);
await connection.createListener(counter("billing 2"), billing);
// Another pool has a queue of its own, so it gets all events as well, also those that come while nobody of it runs.
await connection.createListener(counter("audit"), { pool: "audit", eventType });
// An exclusive listener gets all events from now on, for example for a screen, and leaves nothing behind.
const exclusive = { exclusive: true, eventType };
await connection.createListener(counter("screen"), exclusive);

for (let id = 1; id <= EVENTS; id++) {
  await connection.notify("order.placed", { id });
}
await allCame.promise;
const of = (name: string) => counts.get(name) ?? 0;
console.log(`billing ${of("billing 1") + of("billing 2")} in all`);
console.log(`audit ${of("audit")}, screen ${of("screen")}`);
