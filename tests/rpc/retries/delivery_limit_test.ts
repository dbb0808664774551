/** Messages that come back again and again: RabbitMQ drops them at the delivery limit of their quorum queue, if nothing begins the count anew. */
import assert from "node:assert/strict";
import {
  type ConnectionOptions,
  createConnection,
  type LedgerStore,
  type NotificationHandler,
  RejectedError,
} from "../../../mod.ts";
import type {
  Delivery,
  Message,
  Session,
} from "../../../src/transport/transport.ts";
import type { IncomingRequest } from "../../../src/rpc/request/incoming_request.ts";
import { RequestKey } from "../../../src/rpc/request/request_key.ts";
import type { ServedQueue } from "../../../src/rpc/request/served_queue.ts";
import type { Responder } from "../../../src/rpc/replies/responder.ts";
import {
  Quarantine,
  type QuarantineOptions,
} from "../../../src/rpc/retries/quarantine.ts";
import { Republisher } from "../../../src/rpc/retries/republisher.ts";
import { UnreadableMessages } from "../../../src/rpc/retries/unreadable_messages.ts";
import { node, onNode } from "../../transport/node.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { Bus, Raw, sumHandlers, sums } from "../support.ts";

const QUEUE = { kind: "topic", topic: "t" } as const;
const SERVED = {
  queue: QUEUE,
  quarantine: { kind: "quarantine", of: QUEUE },
} as unknown as ServedQueue;

/** Headers of a message that a quorum queue has delivered ten times before. */
const WORN = {
  "x-delivery-count": 10,
  "x-acquired-count": 12,
  "warren-attempt": "3",
  "warren-interrupted": "1",
  own: "text",
};

/** A session that publishes to queues, but not to those that `refuses` names. */
function session(refuses: (queue: string) => boolean = () => false) {
  const sent: (readonly [string, Message])[] = [];
  const publish = (
    address: { queue?: string; kind: string },
    copy: Message,
  ) => {
    const queue = address.queue ?? address.kind;
    if (refuses(queue)) return Promise.reject(new RejectedError("refused"));
    sent.push([queue, copy]);
    return Promise.resolve();
  };
  const declare = () => Promise.resolve();
  const flush = () => Promise.resolve();
  const waitForNewQueues = () => Promise.resolve();
  const session = { declare, waitForNewQueues, publish, flush };
  return { sent, session: session as unknown as Session };
}

/** A delivery, and what became of it. */
function worn(more: Partial<Message> = {}, deliveryCount = 10) {
  const settled: string[] = [];
  const delivery = {
    message: {
      ...{ body: new Uint8Array(3), headers: WORN, messageId: "m" },
      ...{ correlationId: "c", replyTo: "q", ...more },
    },
    ...{ key: "t", redelivered: true, deliveryCount, lost: false },
    exemptFromPrefetch: () => ({ [Symbol.dispose]: () => {} }),
    ack: () => void settled.push("ack"),
    reject: (requeue: boolean) => void settled.push(`reject ${requeue}`),
  } satisfies Delivery;
  return { delivery, settled };
}

Deno.test("a message that came ten times is replaced by a copy of the same attempt, without the broker's counts", async () => {
  const { sent, session: on } = session();
  const copies = new Republisher(on);
  const { delivery, settled } = worn();
  assert.equal(await copies.replace(delivery, QUEUE), true);
  assert.deepEqual(settled, ["ack"]);
  const [[queue, copy] = []] = sent;
  assert.equal(queue, "t");
  assert.deepEqual(copy?.headers, {
    ...{ "warren-attempt": "3", "warren-interrupted": "1", own: "text" },
  });
  assert.deepEqual(
    [copy?.messageId, copy?.correlationId, copy?.replyTo, copy?.persistent],
    ["m", "c", "q", true],
  );
});

Deno.test("a message is not replaced before, nor if its body was not kept or the broker takes no copy", async () => {
  await using _log = await logged();
  const cases = [
    [worn({}, 9), () => false],
    [worn({ oversized: 4 }), () => false],
    [worn(), () => true],
  ] as const;
  for (const [{ delivery, settled }, refuses] of cases) {
    const { sent, session: on } = session(refuses);
    const replaced = await new Republisher(on).replace(delivery, QUEUE);
    assert.deepEqual([replaced, sent, settled], [false, [], []]);
  }
  const { sent, session: on } = session();
  const { delivery } = worn({ oversized: 3 });
  assert.equal(await new Republisher(on).replace(delivery, QUEUE), true);
  assert.equal(sent[0]?.[1].oversized, 3, "it is sent in chunks");
});

Deno.test("what cannot be read goes back as a copy where no dead letters may be kept", async () => {
  await using _log = await logged();
  for (const count of [9, 10]) {
    const { sent, session: on } = session((queue) => queue === "deadLetter");
    const messages = new UnreadableMessages(
      {} as Responder,
      new Republisher(on),
    );
    const { delivery, settled } = worn({}, count);
    messages.stop(); // no pause
    messages.reject(delivery, { reason: "junk" }, QUEUE, () => {});
    await Promise.all(messages.pending);
    const copied = count === 10;
    assert.deepEqual(settled, [copied ? "ack" : "reject true"]);
    assert.deepEqual(sent.map(([queue]) => queue), copied ? ["t"] : []);
  }
});

/** A request that came so often, with one interruption in its headers. */
function request(settled: string[]): IncomingRequest {
  return {
    ...{ message: worn().delivery.message, redelivered: true },
    ...{ deliveryCount: 10, key: new RequestKey("r", () => "") },
    request: { kind: "request", id: "r", method: "m", interruptions: 1 },
    settlement: { handOver: () => void settled.push("handed over") },
  } as unknown as IncomingRequest;
}

/** A quarantine whose copies are taken by these queues. */
function quarantineOn(taking: readonly string[]) {
  const { sent, session: on } = session((queue) => !taking.includes(queue));
  const republisher = new Republisher(on);
  const options = { session: on, republisher } as QuarantineOptions;
  return { sent, quarantine: new Quarantine(options) };
}

Deno.test("a copy of a request keeps its interruptions, also those that only the broker has counted", async () => {
  await using _log = await logged();
  const settled: string[] = [];
  const { sent, quarantine } = quarantineOn(["t"]);
  const plain = request(settled);
  assert.equal(quarantine.isNearLimit(plain, SERVED), true);
  assert.equal(await quarantine.replace(plain, SERVED), true);
  assert.equal(quarantine.isNearLimit(plain, SERVED), false);
  const interrupted = request(settled);
  const decision = await quarantine.onInterrupted(interrupted, SERVED);
  assert.equal(decision, "served", "the quarantine queue does not take it");
  assert.equal(await quarantine.replace(interrupted, SERVED), true);
  assert.deepEqual(settled, ["handed over", "handed over"]);
  const counts = sent.map(([, { headers }]) => headers["warren-interrupted"]);
  assert.deepEqual(counts, ["1", "11"]);
});

Deno.test("a request that no queue takes as a copy is admitted, and not copied twice", async () => {
  await using _log = await logged();
  const settled: string[] = [];
  const { quarantine } = quarantineOn([]);
  const incoming = request(settled);
  assert.equal(await quarantine.replace(incoming, SERVED), false);
  assert.equal(quarantine.isNearLimit(incoming, SERVED), false);
  const fanout = { ...SERVED, queue: undefined };
  assert.equal(quarantine.isNearLimit(request(settled), fanout), false);
  assert.deepEqual(settled, []);
});

/** A store that lets no worker finish what it runs, so many times. */
function fencing(times: number): LedgerStore & { readonly fenced: number } {
  let fenced = 0, epoch = 0, lost = false;
  return {
    lease: 10_000,
    get fenced() {
      return fenced;
    },
    claim: () => {
      const taken = lost;
      lost = false;
      return Promise.resolve(
        taken
          ? { state: "taken", left: 10_000, kept: false }
          : { state: "held", epoch: ++epoch },
      );
    },
    done: () => {
      lost = fenced < times;
      if (lost) fenced++;
      return Promise.resolve(!lost);
    },
    renew: () => Promise.resolve(true),
    keep: () => Promise.resolve(true),
    release: () => Promise.resolve(),
    returned: () => Promise.resolve(),
    sweep: () => Promise.resolve([]),
  };
}

/** The limit that RabbitMQ 4 has without a policy. */
async function limitTo(deliveries: number, pattern: string): Promise<void> {
  const policy = JSON.stringify({ "delivery-limit": deliveries });
  await node.ctl("set_policy", "limit", pattern, policy);
}

/** A user who may not create queues of dead letters. */
async function withoutDeadLetters(): Promise<string> {
  await node.ctl("add_user", "no-dead", "secret");
  const configure = "^(?!.*[.]dead$).*";
  await node.ctl("set_permissions", "no-dead", configure, ".*", ".*");
  return node.url.replace(/\/\/[^@/]*@|\/\//, "//no-dead:secret@");
}

onNode(
  "a cast that is given back 60 times is handled, on a quorum queue with a delivery limit of 20",
  async () => {
    await using log = await logged();
    await using bus = new Bus(node.url);
    const url = await withoutDeadLetters();
    await limitTo(20, `^${bus.topic}`);
    const ledger = fencing(60);
    const runs: unknown[] = [];
    const options: ConnectionOptions = { queueType: "quorum", ledger };
    await using worker = await new Bus(url).serve(
      sums(bus.topic),
      sumHandlers({ wait: ({ tag }) => void runs.push(tag) }),
      options,
    );
    await using connection = await createConnection(url, {
      queueType: "quorum",
    });
    await connection.client(sums(bus.topic)).cast("wait", { tag: "a" });
    await until("it is handled", () => worker.stats.handled > 60, 40_000);
    assert.deepEqual([runs.length, ledger.fenced], [61, 60]);
    assert.equal(worker.stats.interrupted, 0);
    assert.equal(log.times(/cannot be replaced/), 0);
  },
);

onNode(
  "an event that was rejected ten times begins anew at a listener, on a quorum queue with a delivery limit of 11",
  async () => {
    await using _log = await logged();
    await using bus = new Bus(node.url);
    const pool = bus.name("pool");
    await limitTo(11, `^${pool}$`);
    const options = { queueType: "quorum" } as const;
    const makes = await createConnection(node.url, options);
    await makes.createListener(() => {}, { pool });
    await makes[Symbol.asyncDispose]();
    await using connection = await createConnection(node.url, options);
    await connection.notify("happened", {});
    await using raw = await Raw.open(node.url);
    for (let count = 0; count < 10; count++) {
      const got = await until("it comes", () => raw.channel.get(pool));
      const { headers } = got.properties;
      assert.equal(headers?.["x-delivery-count"] ?? 0, count);
      raw.channel.reject(got, true);
    }
    const handled: string[] = [];
    const handler: NotificationHandler = ({ eventType }) => {
      handled.push(eventType);
      return handled.length < 4 ? "requeue" : undefined;
    };
    await connection.createListener(handler, { pool });
    await until("it is handled", () => handled.length === 4, 20_000);
    assert.deepEqual(new Set(handled), new Set(["happened"]));
    await until("the queue is empty", async () => {
      const { messageCount } = await raw.channel.checkQueue(pool);
      return messageCount === 0;
    });
  },
);
