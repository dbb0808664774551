/** Whatever grows by what arrives has a bound: a table of all that grows, and each bound of a number driven with too much. */
import assert from "node:assert/strict";
import { readdirSync, readFileSync } from "node:fs";
import { TABLE_LIMITS } from "../src/amqp/codec/field_reader.ts";
import { BodyBudget } from "../src/transport/oversized_body.ts";
import { InterruptedError } from "../src/errors.ts";
import { AsyncQueue } from "../src/async/async_queue.ts";
import { UnreachableQueues } from "../src/rpc/replies/unreachable_queues.ts";
import { StreamReceiver } from "../src/rpc/streams/stream_receiver.ts";
import { reportsIn } from "../src/rpc/discovery/service_contract.ts";
import type { ServiceReport } from "../src/rpc/discovery/service_report.ts";
import { ServiceTracker } from "../src/rpc/discovery/service_tracker.ts";
import type { Reply } from "../src/wire/rpc_message.ts";

/** Why it cannot grow by what strangers send. */
const OWN = "what this program itself has opened, declared or configured";
const PREFETCH = "unacknowledged deliveries: the prefetch of its consumers";
const SENT = "what this program itself sends and has not settled: the window";
const CALLS = "calls of this program that wait";
const HANDLERS = "handlers of this program that run";
const LETTERS =
  "letters of one walk: a million, see MAX_LETTERS of operations/letters/walk.ts";
const MEMORY_BUS = "the bus of one process, which only that process fills";

/** Of each collection that lives longer than a function: what bounds it. */
const BOUNDS: Readonly<Record<string, string>> = {
  "transport/memory/bus.ts bindings": MEMORY_BUS,
  "transport/memory/bus.ts buses": MEMORY_BUS,
  "transport/memory/bus.ts exchanges": MEMORY_BUS,
  "transport/memory/bus.ts queues": MEMORY_BUS,
  "transport/memory/transport.ts #sessions": OWN,
  "transport/memory/queue.ts #items": MEMORY_BUS,
  "transport/memory/queue.ts #subscribers": OWN,
  "transport/memory/session.ts #cancels": OWN,
  "transport/memory/queue_browser.ts #deliveries": MEMORY_BUS,
  "transport/rabbitmq/consuming/browse_batch.ts #deliveries":
    "the prefetch of its consumer: by the sizes before, about 4 MiB, see MAX_BATCH of queue_browser.ts",
  "transport/oversized_body.ts #postponed": PREFETCH,
  "transport/session_pool.ts #idle": OWN,
  "transport/session_pool.ts #waiters": CALLS,
  "transport/rabbitmq/consuming/deliveries.ts #states": PREFETCH,
  "transport/rabbitmq/consuming/deliveries.ts NO_TAGS": "always empty",
  "transport/rabbitmq/consuming/consumer_spec.ts #all": OWN,
  "transport/rabbitmq/transport.ts #sessions": OWN,
  "transport/rabbitmq/new_queues.ts #names": OWN,
  "transport/rabbitmq/transport_events.ts #listeners": OWN,
  "transport/rabbitmq/publishing/publish_errors.ts #counts": SENT,
  "transport/rabbitmq/publishing/publish_channel.ts #waiters": SENT,
  "transport/rabbitmq/publishing/publish_channel.ts #replaced":
    "one in 100 ms, each for 30 s at most, see its MIN_USE_MS and MAX_SETTLING_MS",
  "transport/rabbitmq/connection/connection_moves.ts #movables": OWN,
  "transport/rabbitmq/consuming/consumers.ts #earlier":
    "channels of earlier connections with deliveries that are not settled: one for each move",
  "amqp/channel/confirms.ts #waiting": OWN,
  "transport/rabbitmq/consuming/consumer_renewal.ts #exempt":
    "consumers with deliveries that wait: no more than those",
  "transport/rabbitmq/connection/request_channel.ts #channels":
    "channels for declarations, see its MAX_CHANNELS",
  "transport/rabbitmq/connection/topology.ts #declared": OWN,
  "transport/rabbitmq/connection/topology.ts #declaring": OWN,
  "transport/rabbitmq/connection/topology.ts #unconsumed": OWN,
  "transport/rabbitmq/routes/found_forms.ts #forms":
    "10 000 queues, see its MAX_FORMS",
  "transport/rabbitmq/session.ts #exclusive": OWN,
  "transport/rabbitmq/publishing/publish_window.ts #waiters": SENT,
  "transport/waiting_reserve.ts #slots":
    "1000 messages and 64 MiB; of more, the oldest is told to go, ten a second, and no consumer is renewed",
  "ids.ts useCounts": OWN,
  "async/timer_wheel.ts wheel": "what waits, each counted elsewhere",
  "log_throttle.ts followers": OWN,
  "log_throttle.ts #kinds": "kinds of lines, see its KINDS",
  "async/async_queue.ts #items": "20 000 items, the newest (driven below)",
  "rpc/replies/reply_batcher.ts #open": SENT,
  "rpc/replies/heartbeats.ts #calls": HANDLERS,
  "rpc/server/claims.ts #watched": OWN,
  "rpc/client/typed_client.ts #plans": OWN,
  "rpc/queue_wait.ts #reached": "10 000 names of queues",
  "rpc/client/intercepted_stream.ts #opened":
    "one for each call of next() by an interceptor",
  "rpc/dispatch/intercepted_streams.ts #opened":
    "one for each call of next() by an interceptor",
  "rpc/retries/republisher.ts #declared": OWN,
  "rpc/retries/version_survey.ts #surveys": "queues, see its MAX_QUEUES",
  "rpc/retries/version_survey.ts infos": "answers, see its MAX_REPLIES",
  "rpc/replies/unreachable_queues.ts #until":
    "200 queues for a minute (driven below)",
  "rpc/inbox.ts #inspections": CALLS,
  "rpc/inbox.ts #unmatchedListeners": OWN,
  "rpc/inbox.ts #unknownListeners": OWN,
  "rpc/inbox.ts pending": CALLS,
  "rpc/notifications/listener.ts #active": PREFETCH,
  "rpc/notifications/listener.ts #consumers": OWN,
  "rpc/propagation.ts activeContexts": HANDLERS,
  "rpc/streams/stream_receiver.ts #unread":
    "the credit of 32, or 10 000 items of other peers (driven below)",
  "rpc/request/incoming_request.ts #replies": "what its handler gives",
  "rpc/request/recent_requests.ts #active": HANDLERS,
  "rpc/cache/digest_table.ts #words":
    "handlers that run, 50 000 ids, or 16 MiB of replies (tests/rpc/cache)",
  "rpc/cache/message_head.ts #objects":
    "16 objects of headers (tests/rpc/cache)",
  "rpc/cache/reply_cache.ts #chunks":
    "16 MiB a generation (tests/rpc/request/recent_requests_test.ts)",
  "rpc/server/long_running.ts #detached": "1000 handlers",
  "rpc/server/event_loop_monitor.ts #active": HANDLERS,
  "rpc/call_queues.ts #newer": OWN,
  "amqp/channel/channel_input.ts consumers": OWN,
  "amqp/channel/consumer_ends.ts #ending": OWN,
  "amqp/channel/confirms.ts #listeners":
    "messages that the program publishes and the broker has not confirmed",
  "amqp/channel/consumer_starts.ts #others": OWN,
  "amqp/channel/requests.ts #pending": OWN,
  "amqp/handshake.ts #methods": "methods, see its MAX_METHODS",
  "async/semaphore.ts #waiters": PREFETCH,
  "rpc/retries/quarantine.ts #requeued": "messages, see its MAX_REQUEUED",
  "rpc/retries/quarantine.ts #moving": PREFETCH,
  "rpc/retries/unreadable_messages.ts #pending":
    "1 000 answers, beyond that the prefetch",
  "rpc/control_targets.ts #calls":
    "requests in hand, and the streams that are kept",
  "rpc/streams/replay_buffer.ts #unread":
    "the window of credit and an ending (tests/rpc/streams/gap_recovery_test.ts)",
  "rpc/streams/replay_buffer.ts #streams":
    "16 MiB for a minute (tests/rpc/streams/gap_recovery_test.ts)",
  "rpc/server/server.ts #requests": PREFETCH,
  "rpc/server/server.ts #recent": OWN,
  "rpc/discovery/service_tracker.ts #alive": "20 000 services (driven below)",
  "rpc/discovery/service_tracker.ts #reported":
    "20 000 services (driven below)",
  "rpc/discovery/service_tracker.ts #newest":
    "one of each service that is kept",
  "rpc/steering/paused_queues.ts #watched": OWN,
  "rpc/server/subscriptions.ts #consumers": OWN,
  "rpc/server/subscriptions.ts #listeners": OWN,
  "rpc/server/subscriptions.ts #planned": OWN,
  "config/exposed_secrets.ts warnedFiles": OWN,
  "connection/transport_registry.ts transports": OWN,
  "service/manager.ts periodic": OWN,
  "ledger/memory_ledger.ts #entries": "what its age and size let stay",
  "operations/letters/fingerprints.ts #counts": LETTERS,
  "operations/letters/listing.ts #messages":
    "8 MiB of letters, see its MAX_BUFFER_BYTES (tests/operations/hidden.ts)",
  "operations/letters/pass.ts #acknowledged": LETTERS,
  "operations/letters/pass.ts #arrived": "the letters of two batches",
  "operations/letters/pass.ts #pending":
    "256 copies and 8 MiB, see its MAX_PENDING",
  "operations/letters/replay.ts #replayed": LETTERS,
  "operations/letters/results.ts #failures": "100, see its MAX_FAILURES",
  "service/periodic/periodic_tasks.ts #elections": OWN,
  "service/health/probe_server.ts #open":
    "64 connections (tests/service/health/health_bounds_test.ts)",
  "service/service.ts #periodic": OWN,
  "service/health/readiness.ts ports": OWN,
  "service/process/worker_slot.ts #processes": OWN,
  "slot_map.ts #free": "what it is used for",
  "slot_map.ts #items": "what it is used for",
  "telemetry/instrument.ts #series": "MAX_SERIES",
  "telemetry/instrument.ts #readers": OWN,
  "telemetry/meter.ts recorders": "the instruments",
  "telemetry/meter.ts gauges": "the instruments",
  "rpc/telemetry/sent_message.ts active": CALLS,
  "rpc/telemetry/known_procedures.ts procedures": OWN,
  "rpc/telemetry/known_procedures.ts eventTypes":
    "MAX_EVENT_TYPES of a topic of this program",
  "slot_map.ts #handles": "what it is used for",
  "logging.ts loggers": OWN,
  "wire/reply_batch.ts #heads":
    "256 answers, 64 KiB (tests/wire/reply_batch_test.ts)",
  "wire/reply_batch.ts replies":
    "256 answers, 64 KiB (tests/wire/reply_batch_test.ts)",
};

/** A field, or a constant of a module, that begins empty or small. */
const GROWS =
  /^(?: {2}(?:readonly )?|const )(#?\w+)(?:: .+)? = (?:new (?:Map|Set|SlotMap|KeyedSlotMap|IndexedQueue)(?:<.*>)?\(\)|new Int32Array\(.+\)|\[[A-Z]*\]);$/gm;

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
  using sightings = new ServiceTracker({}, true, () => void told++);
  for (let n = 0; n < 30_000; n++) sightings.onReport(report(n));
  assert.equal(told, 30_000);
  for (let n = 29_000; n < 30_000; n++) sightings.onReport(report(n));
  assert.equal(told, 30_000, "the newest are known");
  for (let n = 0; n < 1_000; n++) sightings.onReport(report(n));
  assert.equal(told, 31_000, "the oldest are forgotten");
  told = 0;
  const records = [report(25_000), report(29_000)]
    .map((each) => ({ ...each, updatedAt: Date.now() }));
  sightings.onRecord(records);
  assert.equal(told, 2, "of 30 000 names the first 20 000 were remembered");
});

const item = (sequence?: number): Reply => ({
  ...{ kind: "reply", id: undefined, call: "c", result: 1, ending: false },
  ...(sequence !== undefined && { sequence, runId: "r" }),
});

Deno.test("an item beyond its credit ends its stream, and is not kept", async () => {
  const items = new StreamReceiver();
  for (let n = 1; n <= 40; n++) items.receive(item(n), 1);
  for (let n = 1; n <= 32; n++) assert.equal((await items.next()).sequence, n);
  await assert.rejects(items.next(), (error) => {
    assert.ok(error instanceof InterruptedError);
    assert.match(error.message, /item 33 beyond its credit/);
    return error.data.sequence === 32;
  });
  // A window that has grown has 1024 items at most.
  const grown = new StreamReceiver();
  let sent = 0;
  while (sent < 10_000) {
    const next = grown.next();
    grown.receive({ ...item(++sent), window: 1_000_000 }, 1);
    await next;
  }
  for (let n = 0; n < 1_024; n++) grown.receive(item(++sent), 1);
  grown.receive(item(++sent), 1);
  let kept = 0;
  await assert.rejects(async () => {
    for (;; kept++) await grown.next();
  }, /beyond its credit/);
  assert.ok(kept >= 512 && kept <= 1_024, `${kept}`);
  const foreign = new StreamReceiver();
  for (let n = 0; n <= 10_000; n++) foreign.receive(item(), 1);
  for (let n = 0; n < 10_000; n++) await foreign.next();
  await assert.rejects(foreign.next(), /more than 10000 items/);
});

Deno.test("what arrives for a reader who does not pull is 20 000 items at most", async () => {
  const arrivals = new AsyncQueue<number>();
  for (let n = 0; n < 25_000; n++) arrivals.push(n);
  arrivals.end();
  const all = await Array.fromAsync(arrivals);
  assert.equal(all.length, 20_000);
  assert.equal(all[0], 5_000);
});

Deno.test("of queues that were gone, 200 are remembered", () => {
  const gone = new UnreachableQueues();
  for (let n = 0; n < 300; n++) gone.add(`${n}`);
  const known = Array.from({ length: 300 }, (_, n) => gone.has(`${n}`));
  assert.equal(known.filter(Boolean).length, 200);
});

Deno.test("messages that wait for room on lost channels are forgotten", () => {
  const room = new BodyBudget();
  room.tryAcquire();
  let looked = 0;
  const lost = { requeue: () => assert.fail("it is back already") };
  for (let n = 0; n < 5_000; n++) {
    room.postpone({
      ...lost,
      get alive() {
        return looked++, false;
      },
    });
  }
  looked = 0;
  room.release();
  assert.ok(looked <= 1_024, `${looked} were kept`);
  assert.ok(TABLE_LIMITS.values < 10_000);
});
