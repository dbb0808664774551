/** Messages above the broker's `max_message_size`, for which RabbitMQ closes the channel that they share with others. */
import assert from "node:assert/strict";
import { RejectedError } from "../../../src/errors.ts";
import { type Address, direct } from "../../../src/transport/address.ts";
import type { Session } from "../../../src/transport/transport.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import {
  type Bus,
  consumer,
  message,
  queue,
  rabbitBus,
  soon,
} from "../support.ts";

const MAX = 20_000;
const TOO_LARGE = message("x".repeat(MAX + 1));

let node: PrivateBroker;
Deno.test.beforeAll(async () => {
  const config = `max_message_size = ${MAX}`;
  if (rabbitmqServer) node = await privateBroker({ config });
});
Deno.test.afterAll(() => node?.[Symbol.asyncDispose]());

type Verb = "publish" | "send";

/** A way to a queue, on a bus of its own. */
const ways: Readonly<Record<string, (bus: Bus) => Promise<[Address, Verb]>>> = {
  "with confirms": (bus) => Promise.resolve([queue(bus.name()), "publish"]),
  "without confirms": (bus) => Promise.resolve([queue(bus.name()), "send"]),
  "to a fanout": (bus) =>
    Promise.resolve([{ kind: "fanout", topic: bus.name() }, "send"]),
};

function onNode(name: string, fn: () => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn });
}

/** Fails unless a message is refused with both sizes. */
async function assertRefused(sent: Promise<void>, ms: number): Promise<void> {
  const started = performance.now();
  const error = await sent.then(
    () => assert.fail("the message was accepted"),
    (error: unknown) => error,
  );
  assert.ok(error instanceof RejectedError, String(error));
  assert.deepEqual(error.data, {
    reason: "content",
    replyCode: 406,
    size: MAX + 1,
    maxSize: MAX,
  });
  assert.match(
    error.message,
    /its body has 20001 bytes, and the broker takes 20000 at most/,
  );
  assert.equal(error.inDoubt, false);
  const took = performance.now() - started;
  assert.ok(took < ms, `refused after ${took} ms`);
}

/** Sends messages before and behind one that is too large, in one turn of the event loop, on channels that are open or not. */
async function assertOthersArrive(
  session: Session,
  [address, verb]: [Address, Verb],
  texts: () => readonly string[],
  isOnce: boolean,
): Promise<void> {
  const numbered = (round: number) =>
    Array.from({ length: 40 }, (_, at) => `${round}.${at}`);
  const expected: string[] = [];
  for (let round = 0; round < 3; round++) {
    const all = numbered(round);
    expected.push(...all);
    const put = (text: string) =>
      session[verb](address, message(text, { mandatory: true }), soon());
    const before = all.slice(0, 20).map(put);
    const refused = assertRefused(
      session[verb](address, TOO_LARGE, soon()),
      2_000,
    );
    const behind = all.slice(20).map(put);
    await Promise.all([...before, refused, ...behind]);
  }
  const distinct = () => new Set(texts()).size;
  await until("all have arrived", () => distinct() === expected.length, 10_000);
  // A message whose confirm was lost with the channel is sent again; without confirms, only what the broker has dropped is.
  const arrived = isOnce ? texts() : new Set(texts());
  assert.deepEqual([...arrived].sort(), expected.toSorted());
}

for (const queueType of ["classic", "quorum"] as const) {
  for (const [name, open] of Object.entries(ways)) {
    onNode(
      `a message that is too large is refused at once, and the others arrive, ${name}, ${queueType}`,
      async () => {
        await using bus = await rabbitBus(node.url, { queueType });
        const way = await open(bus);
        const { transport, mail } = await consumer(bus, way[0]);
        const isOnce = way[1] === "send" &&
          !(queueType === "quorum" && way[0].kind === "topic");
        await assertOthersArrive(transport, way, () => mail.texts, isOnce);
        assert.equal(bus.link.health().publishing.losses, 0);
      },
    );
  }
}

onNode("the limit that was learned once closes no other channel", async () => {
  await using log = await logged();
  await using bus = await rabbitBus(node.url);
  const address = queue(bus.name());
  const { transport } = await consumer(bus, address);
  await assertRefused(transport.send(address, TOO_LARGE, soon()), 2_000);
  const closed = async () =>
    (await node.log()).split("larger than configured max").length - 1;
  const count = await until("the log is written", closed, 10_000);
  const other = await bus.link.openSession(soon());
  for (const session of [transport, other]) {
    await assertRefused(session.send(address, TOO_LARGE, soon()), 20);
    await assertRefused(session.publish(address, TOO_LARGE, soon()), 20);
  }
  const oversized = { ...TOO_LARGE, oversized: MAX + 1 };
  await assertRefused(other.publish(address, oversized, soon()), 20);
  assert.equal(await closed(), count);
  assert.deepEqual(log.lines.filter((line) => /\bERR\b/.test(line)), []);
});

onNode("a message of exactly the limit is accepted", async () => {
  await using bus = await rabbitBus(node.url);
  const address = queue(bus.name());
  const { transport, first } = await consumer(bus, address);
  const largest = message("y".repeat(MAX));
  await transport.send(address, largest, soon());
  await transport.publish(direct(address.key), largest, soon());
  const deliveries = await first(2);
  const sizes = deliveries.map(({ message: { body } }) => body.length);
  assert.deepEqual(sizes, [MAX, MAX]);
});
