/** Whatever grows by what arrives has a bound: a table of all that grows, and each bound of a number driven with too much. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { TABLE } from "../src/bus/rabbitmq/octets.ts";
import { Room } from "../src/bus/oversized.ts";
import { StreamInterruptedError } from "../src/errors.ts";
import { Arrivals } from "../src/rpc/arrivals.ts";
import { GoneQueues } from "../src/rpc/gone_queues.ts";
import { Items } from "../src/rpc/items.ts";
import { reportsIn } from "../src/rpc/service_contract.ts";
import type { ServiceReport } from "../src/rpc/service_report.ts";
import { Sightings } from "../src/rpc/sightings.ts";
import type { Reply } from "../src/wire/envelope.ts";

/** Why it cannot grow by what strangers send. */
const OWN = "what this program itself has opened, declared or configured";
const PREFETCH = "unacknowledged deliveries: the prefetch of its consumers";
const SENT = "what this program itself sends and has not settled: the window";
const CALLS = "calls of this program that wait";
const HANDLERS = "handlers of this program that run";
const MEMORY_BUS = "the bus of one process, which only that process fills";

/** Of each collection that lives longer than a function: what bounds it. */
const BOUNDS: Readonly<Record<string, string>> = {
  "bus/memory/broker.ts #exchanges": MEMORY_BUS,
  "bus/memory/broker.ts #queues": MEMORY_BUS,
  "bus/memory/link.ts #transports": OWN,
  "bus/memory/queue.ts #items": MEMORY_BUS,
  "bus/memory/queue.ts #members": OWN,
  "bus/memory/transport.ts #cancels": OWN,
  "bus/oversized.ts #waiting": PREFETCH,
  "bus/pool.ts #idle": OWN,
  "bus/pool.ts #waiters": CALLS,
  "bus/rabbitmq/acks.ts #due": PREFETCH,
  "bus/rabbitmq/acks.ts #unsettled": PREFETCH,
  "bus/rabbitmq/arrivals.ts consumers": OWN,
  "bus/rabbitmq/confirms.ts #waiting": SENT,
  "bus/rabbitmq/desired.ts #all": OWN,
  "bus/rabbitmq/incoming.ts #channels": OWN,
  "bus/rabbitmq/link.ts #transports": OWN,
  "bus/rabbitmq/link.ts #watchers": OWN,
  "bus/rabbitmq/outcomes.ts #counts": SENT,
  "bus/rabbitmq/outgoing.ts #busy": OWN,
  "bus/rabbitmq/publishing_channel.ts #waiting": SENT,
  "bus/rabbitmq/renewals.ts #waits":
    "consumers with deliveries that wait: no more than those",
  "bus/rabbitmq/topology.ts #known": OWN,
  "bus/rabbitmq/transport.ts #exclusive": OWN,
  "bus/rabbitmq/window.ts #waiters": SENT,
  "bus/reserve.ts #places":
    "1000 messages and 64 MiB; of more, the oldest is told to go, ten a second, and no consumer is renewed",
  "bus/routes.ts uses": OWN,
  "deadlines.ts followers": OWN,
  "deadlines.ts wheel": "what waits, each counted elsewhere",
  "flood.ts #kinds": "kinds of lines, see its KINDS",
  "rpc/arrivals.ts #here": "20 000 items, the newest (driven below)",
  "rpc/batches.ts #open": SENT,
  "rpc/beats.ts #calls": HANDLERS,
  "rpc/claims.ts #lanes": OWN,
  "rpc/contract_client.ts #plans": OWN,
  "rpc/copies.ts #made": OWN,
  "rpc/elsewhere.ts #surveys": "queues, see its QUEUES",
  "rpc/elsewhere.ts infos": "answers, see its ANSWERS",
  "rpc/gone_queues.ts #until": "200 queues for a minute (driven below)",
  "rpc/inbox.ts #asked": CALLS,
  "rpc/inbox.ts cancellers": OWN,
  "rpc/inbox.ts deniers": OWN,
  "rpc/inbox.ts pending": CALLS,
  "rpc/inheritance.ts running": HANDLERS,
  "rpc/items.ts #arrived":
    "the credit of 32, or 10 000 items of other peers (driven below)",
  "rpc/job.ts answers": "what its handler gives",
  "rpc/ledger.ts #running": HANDLERS,
  "rpc/long_running.ts #left": "1000 handlers",
  "rpc/loop_watch.ts #inHand": HANDLERS,
  "rpc/old_peers.ts #newer": OWN,
  "rpc/permits.ts #waiting": PREFETCH,
  "rpc/quarantine.ts #givenBack": "messages, see its GIVEN_BACK",
  "rpc/quarantine.ts #moving": PREFETCH,
  "rpc/refusals.ts #inHand": "1 000 answers, beyond that the prefetch",
  "rpc/running.ts #calls": "requests in hand, and the streams that are kept",
  "rpc/sent_items.ts #kept":
    "the window of credit and an ending (tests/rpc/resume_test.ts)",
  "rpc/sent_items.ts #streams":
    "16 MiB for a minute (tests/rpc/resume_test.ts)",
  "rpc/server.ts #jobs": PREFETCH,
  "rpc/server.ts #ledgers": OWN,
  "rpc/sightings.ts #alive": "20 000 services (driven below)",
  "rpc/sightings.ts #known": "20 000 services (driven below)",
  "rpc/sightings.ts #newest": "one of each service that is kept",
  "rpc/subscriptions.ts #consumers": OWN,
  "rpc/subscriptions.ts #listeners": OWN,
  "rpc/subscriptions.ts #planned": OWN,
  "service/config_secrets.ts warned": OWN,
  "service/links.ts links": OWN,
  "service/manager.ts periodic": OWN,
  "service/memory_ledger.ts #entries": "what its age and size let stay",
  "service/periodic.ts #elections": OWN,
  "service/probe_server.ts #open":
    "64 connections (tests/service/health_bounds_test.ts)",
  "service/service.ts #periodic": OWN,
  "service/service_health.ts ports": OWN,
  "service/slot.ts #children": OWN,
  "slots.ts #free": "what it is used for",
  "slots.ts #items": "what it is used for",
  "slots.ts #numbers": "what it is used for",
  "telemetry.ts parts": OWN,
  "wire/batch.ts #heads": "256 answers, 64 KiB (tests/wire/batch_test.ts)",
  "wire/batch.ts parts": "256 answers, 64 KiB (tests/wire/batch_test.ts)",
};

/** A field, or a constant of a module, that begins empty. */
const GROWS =
  /^(?: {2}(?:readonly )?|const )(#?\w+)(?:: .+)? = (?:new (?:Map|Set|Slots|Register|Line)(?:<.*>)?\(\)|\[\]);$/gm;

Deno.test("all that grows has a stated bound, and nothing else is in the table", () => {
  const src = new URL("../src/", import.meta.url);
  const files = readdirSync(src, { recursive: true, encoding: "utf8" })
    .filter((file) => file.endsWith(".ts"));
  const found = files.flatMap((file) => {
    const text = readFileSync(new URL(file, src), "utf8");
    const joined = text.replaceAll(/=\n\s+new /g, "= new ");
    return [...joined.matchAll(GROWS)].map(([, name]) => `${file} ${name}`);
  });
  const unique = [...new Set(found)].sort();
  assert.deepEqual(unique, Object.keys(BOUNDS).sort());
});

const report = (n: number, more: object = {}) => ({
  ...{ id: `id${n}`, host: `host${n}`, topic: "t", binary: "b", version: "1" },
  ...{ reportCount: 1, state: "up", interval: 0, startedAt: n, ...more },
} as ServiceReport);

Deno.test("of forged services the newest 20 000 are kept, with what is known of reports alone", () => {
  const [kept] = reportsIn({ reports: [report(1, { junk: "x".repeat(9) })] });
  assert.deepEqual(kept, report(1));
  let told = 0;
  using sightings = new Sightings({}, true, () => void told++);
  for (let n = 0; n < 30_000; n++) sightings.heard(report(n));
  assert.equal(told, 30_000);
  for (let n = 29_000; n < 30_000; n++) sightings.heard(report(n));
  assert.equal(told, 30_000, "the newest are known");
  for (let n = 0; n < 1_000; n++) sightings.heard(report(n));
  assert.equal(told, 31_000, "the oldest are forgotten");
  told = 0;
  const records = [report(25_000), report(29_000)]
    .map((each) => ({ ...each, updatedAt: Date.now() }));
  sightings.recorded(records);
  assert.equal(told, 2, "of 30 000 names the first 20 000 were remembered");
});

const item = (sequence?: number): Reply => ({
  ...{ kind: "reply", id: undefined, call: "c", result: 1, ending: false },
  ...(sequence !== undefined && { sequence, run: "r" }),
});

Deno.test("an item beyond its credit ends its stream, and is not kept", async () => {
  const items = new Items();
  for (let n = 1; n <= 40; n++) items.receive(item(n));
  for (let n = 1; n <= 32; n++) assert.equal((await items.next()).sequence, n);
  await assert.rejects(items.next(), (error) => {
    assert.ok(error instanceof StreamInterruptedError);
    assert.match(error.message, /item 33 beyond its credit/);
    return error.data.sequence === 32;
  });
  const foreign = new Items();
  for (let n = 0; n <= 10_000; n++) foreign.receive(item());
  for (let n = 0; n < 10_000; n++) await foreign.next();
  await assert.rejects(foreign.next(), /more than 10000 items/);
});

Deno.test("what arrives for a reader who does not pull is 20 000 items at most", async () => {
  const arrivals = new Arrivals<number>();
  for (let n = 0; n < 25_000; n++) arrivals.push(n);
  arrivals.end();
  const all = await Array.fromAsync(arrivals);
  assert.equal(all.length, 20_000);
  assert.equal(all[0], 5_000);
});

Deno.test("of queues that were gone, 200 are remembered", () => {
  const gone = new GoneQueues();
  for (let n = 0; n < 300; n++) gone.add(`${n}`);
  const known = Array.from({ length: 300 }, (_, n) => gone.has(`${n}`));
  assert.equal(known.filter(Boolean).length, 200);
});

Deno.test("messages that wait for room on lost channels are forgotten", () => {
  const room = new Room();
  room.take();
  let looked = 0;
  const lost = { giveBack: () => assert.fail("it is back already") };
  for (let n = 0; n < 5_000; n++) {
    room.postpone({
      ...lost,
      get alive() {
        return looked++, false;
      },
    });
  }
  looked = 0;
  room.give();
  assert.ok(looked <= 1_024, `${looked} were kept`);
  assert.ok(TABLE.values < 10_000);
});
