/** What `transport.ts` promises, held by every transport: the bus inside the process, and RabbitMQ. */
import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import fc from "npm:fast-check@^4.10.2";
import {
  ConnectionDisposedError,
  NoRouteError,
  TopologyError,
} from "../../src/errors.ts";
import {
  type Address,
  direct,
  queueName,
} from "../../src/transport/address.ts";
import type { Delivery, Message } from "../../src/transport/transport.ts";
import { until } from "../setup/probe.ts";
import {
  type Bus,
  conforms,
  consumer,
  consumersOf,
  Mailbox,
  message,
  queue,
  Reader,
  soon,
  text,
  transientQueue,
} from "./support.ts";

/** Sends texts one after the other. */
async function send(
  bus: Bus,
  route: Address,
  ...texts: string[]
): Promise<void> {
  const transport = await bus.link.openSession(soon());
  for (const each of texts) {
    await transport.publish(route, message(each), soon());
  }
  await transport[Symbol.asyncDispose]();
}

/** What is in a queue, by taking it out: up to and without an end mark. */
async function drain(bus: Bus, route: Address): Promise<string[]> {
  await send(bus, direct(queueName(route)), "END");
  const { mail, dispose } = await consumer(bus, route);
  await until("the end mark came", () => mail.texts.includes("END"));
  for (const delivery of mail.deliveries) delivery.ack();
  await dispose();
  return mail.texts.filter((each) => each !== "END");
}

// Routing

conforms(
  "publish() by topic reaches the queue of the key alone",
  async (bus) => {
    const [one, other] = [queue(bus.name()), queue(bus.name())];
    const transport = await bus.link.openSession(soon());
    await transport.declare(one, soon());
    await transport.declare(other, soon());
    await send(bus, one, "a", "b");
    await send(bus, other, "c");
    assert.deepEqual(await drain(bus, one), ["a", "b"]);
    assert.deepEqual(await drain(bus, other), ["c"]);
  },
);

conforms("publish() to a host does not reach the topic", async (bus) => {
  const topic = bus.name();
  const host: Address = { kind: "host", topic, host: "one" };
  const all = await consumer(bus, queue(topic));
  const own = await consumer(bus, host);
  await send(bus, host, "host");
  await send(bus, queue(topic), "topic");
  assert.equal((await own.first(1)).map(text)[0], "host");
  assert.equal((await all.first(1)).map(text)[0], "topic");
});

conforms(
  "publish() through the default exchange reaches the queue of that name",
  async (bus) => {
    const name = bus.name();
    const { first } = await consumer(bus, queue(name));
    await send(bus, direct(name), "x");
    const [delivery] = await first(1);
    assert.equal(delivery?.key, name);
    assert.equal(delivery && text(delivery), "x");
  },
);

conforms(
  "a fanout gives each transport a queue of its own, gone with its transport",
  async (bus) => {
    const topic = bus.name();
    const route: Address = { kind: "fanout", topic };
    const one = await consumer(bus, route);
    const two = await consumer(bus, route);
    await send(bus, route, "all");
    assert.deepEqual((await one.first(1)).map(text), ["all"]);
    assert.deepEqual((await two.first(1)).map(text), ["all"]);
    await one.dispose();
    await send(bus, route, "rest");
    assert.deepEqual((await two.first(2)).map(text), ["all", "rest"]);
    await two.dispose();
    await assert.rejects(published(bus, route), NoRouteError);
    assert.deepEqual(one.mail.texts, ["all"]);
  },
);

conforms(
  "a fanout works without durability too, when its exchange went with the last queue",
  async (bus) => {
    const route: Address = { kind: "fanout", topic: bus.name() };
    for (const each of ["first", "second"]) {
      const { first, dispose } = await consumer(bus, route);
      await send(bus, route, each);
      assert.deepEqual((await first(1)).map(text), [each]);
      await dispose();
      await send(bus, route, "nobody");
    }
  },
  { form: { durable: false } },
);

conforms(
  "a pool route gives each pool a copy, and one member of it",
  async (bus) => {
    const topic = bus.name();
    const [a, b] = [bus.name(), bus.name()].map((pool): Address => ({
      kind: "pool",
      topic,
      pool,
    })) as [Address, Address];
    const members = [];
    for (const route of [a, a, b, b]) {
      members.push(
        await consumer(bus, route, 1),
      );
    }
    await send(bus, a, "1", "2");
    const [a1, a2, b1, b2] = members as [Member, Member, Member, Member];
    for (const each of members) await each.first(1);
    assert.deepEqual([...a1.mail.texts, ...a2.mail.texts].sort(), ["1", "2"]);
    assert.deepEqual([...b1.mail.texts, ...b2.mail.texts].sort(), ["1", "2"]);
  },
);

type Member = Awaited<ReturnType<typeof consumer>>;

/** Publishes one mandatory message. */
async function published(
  bus: Bus,
  route: Address,
  more: Partial<Message> = {},
) {
  const transport = await bus.link.openSession(soon());
  try {
    await transport.publish(
      route,
      message("mandatory", { mandatory: true, ...more }),
      soon(),
    );
  } finally {
    await transport[Symbol.asyncDispose]();
  }
}

// What is carried

conforms("a message arrives with all that it was sent with", async (bus) => {
  const name = bus.name();
  const { transport, first } = await consumer(bus, queue(name));
  const sent: Message = {
    body: new TextEncoder().encode("é€😀"),
    headers: {
      text: "é€😀",
      zero: 0,
      minus: -1.5,
      yes: true,
      no: false,
      none: null,
      big: Number.MAX_SAFE_INTEGER,
    },
    messageId: "id",
    correlationId: "call",
    replyTo: "inbox",
    expiration: 60_000,
    persistent: true,
  };
  await transport.publish(direct(name), sent, soon());
  const [delivery] = await first(1);
  assert.ok(delivery);
  const { body, headers, ...rest } = delivery.message;
  assert.deepEqual({ ...headers }, sent.headers);
  assert.equal(text(delivery), "é€😀");
  assert.deepEqual(rest, {
    messageId: "id",
    correlationId: "call",
    replyTo: "inbox",
    expiration: 60_000,
    persistent: true,
  });
  assert.equal(delivery.redelivered, false);
  assert.equal(body.byteLength, sent.body.byteLength);
});

conforms(
  "of a body above the limit the beginning and the end arrive, or all of it where its reader keeps it and nobody asks",
  async (bus) => {
    const body = Uint8Array.from({ length: 400_000 }, (_, n) => n % 251);
    const ends = [...body.subarray(0, 65_536), ...body.subarray(-65_536)];
    const transport = await bus.link.openSession(soon());
    const name = bus.name();
    for (
      const [keep, asks] of [
        [true, false],
        [true, true],
        [false, false],
        [false, true],
      ] as const
    ) {
      const came = Promise.withResolvers<Delivery>();
      const reader = await transport.consume(
        queue(name),
        came.resolve,
        { prefetch: 1, limit: { bytes: 100_000, allowWhole: keep } },
        soon(),
      );
      const asked = asks ? { replyTo: "inbox", correlationId: "call" } : {};
      const sent = { body, headers: { a: "b" }, messageId: "id", ...asked };
      await transport.publish(direct(name), sent, soon());
      const delivery = await came.promise;
      const { message } = delivery;
      assert.equal(message.oversized, 400_000);
      assert.equal(message.headers.a, "b");
      const expected = keep && !asks ? [...body] : ends;
      assert.deepEqual([...message.body], expected);
      delivery.ack();
      await reader.cancel();
    }
    await transport[Symbol.asyncDispose]();
  },
);

conforms(
  "a body arrives as it was: a view into a larger buffer, nothing, many frames",
  async (bus) => {
    const name = bus.name();
    const { transport, first } = await consumer(bus, queue(name));
    const large = new Uint8Array(1_000_000).map((_, at) => at % 251);
    const bodies = [large.subarray(7, 1_000), large.subarray(5, 5), large];
    for (const body of bodies) {
      await transport.publish(direct(name), message("", { body }), soon());
    }
    const came = (await first(3)).map(({ message }) =>
      Uint8Array.from(message.body)
    );
    assert.deepEqual(came, bodies.map((body) => Uint8Array.from(body)));
  },
);

conforms("a queue keeps the order of what is sent to it", async (bus) => {
  const route = queue(bus.name());
  const transport = await bus.link.openSession(soon());
  const mail = new Mailbox();
  await transport.consume(
    route,
    (delivery) => (mail.receive(delivery), delivery.ack()),
    { prefetch: 7 },
    soon(),
  );
  const texts = Array.from({ length: 200 }, (_, at) => `${at}`);
  const posts = texts.map((each) =>
    transport.send(direct(route.key), message(each), soon())
  );
  await Promise.all(posts);
  assert.deepEqual((await mail.first(200)).map(text), texts);
});

conforms(
  "an expired message is not delivered, a younger one is",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    await transport.declare(route, soon());
    const put = (text: string, expiration?: number) =>
      transport.publish(
        direct(route.key),
        message(text, { expiration }),
        soon(),
      );
    await put("old", 1);
    await put("young", 60_000);
    await until("the old one has expired", async () => {
      const { first, dispose } = await consumer(bus, route);
      const [head] = await first(1);
      await dispose();
      return head !== undefined && text(head) === "young";
    });
    await put("ever");
    assert.deepEqual(await drain(bus, route), ["young", "ever"]);
  },
);

// Acknowledgements

conforms("consumers of a queue share what is in it", async (bus) => {
  const route = queue(bus.name());
  const one = await consumer(bus, route, 1);
  const two = await consumer(bus, route, 1);
  await send(bus, direct(route.key), "a", "b");
  const [first] = await one.first(1);
  const [second] = await two.first(1);
  assert.ok(first && second);
  assert.deepEqual([text(first), text(second)].sort(), ["a", "b"]);
});

conforms("prefetch bounds what is unacknowledged", async (bus) => {
  const route = queue(bus.name());
  const bounded = await consumer(bus, route, 3);
  await send(bus, direct(route.key), "1", "2", "3", "4", "5");
  await bounded.first(3);
  const rest = await consumer(bus, route);
  assert.deepEqual((await rest.first(2)).map(text), ["4", "5"]);
  assert.deepEqual(bounded.mail.texts, ["1", "2", "3"]);
  await rest.cancel();
  bounded.mail.deliveries[1]?.ack();
  await send(bus, direct(route.key), "6", "7");
  assert.equal((await bounded.first(4)).map(text)[3], "6");
  bounded.mail.deliveries[0]?.reject(false);
  assert.equal((await bounded.first(5)).map(text)[4], "7");
});

conforms(
  "deliveries that wait leave their places to others",
  async (bus) => {
    const route = queue(bus.name());
    const bounded = await consumer(bus, route, 2);
    await send(bus, direct(route.key), "1", "2", "3", "4", "5", "6");
    const waits = (await bounded.first(2)).map((each) =>
      each.exemptFromPrefetch(() => {})
    );
    await bounded.first(4);
    const rest = await consumer(bus, route);
    assert.deepEqual((await rest.first(2)).map(text), ["5", "6"]);
    assert.deepEqual(bounded.mail.texts, ["1", "2", "3", "4"]);
    await rest.cancel();
    for (const each of waits) each[Symbol.dispose]();
    const [one, two, three, four] = bounded.mail.deliveries;
    one?.ack();
    two?.reject(true);
    three?.ack();
    four?.ack();
    await send(bus, direct(route.key), "7");
    const came = (await bounded.first(6)).slice(4).map(text);
    assert.deepEqual(came.sort(), ["2", "7"]);
    assert.ok(bounded.mail.deliveries.every(({ lost }) => !lost));
  },
);

conforms(
  "of more than 1000 deliveries that wait, the one that came first is told that it has to go",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    let waiting = 0;
    const gone = Promise.withResolvers<string>();
    const receive = (delivery: Delivery) => {
      waiting++;
      delivery.exemptFromPrefetch(() => gone.resolve(text(delivery)));
    };
    await transport.consume(route, receive, { prefetch: 200 }, soon());
    const texts = Array.from({ length: 1_100 }, (_, n) => `${n}`);
    await send(bus, direct(route.key), ...texts);
    assert.equal(await gone.promise, "0");
    assert.ok(waiting > 1_000, `${waiting} waited`);
    await transport[Symbol.asyncDispose]();
  },
);

conforms(
  "each consumer of a transport has its own prefetch; 0 is no bound",
  async (bus) => {
    const transport = await bus.link.openSession(soon());
    const [bounded, unbounded] = [queue(bus.name()), queue(bus.name())];
    const [few, all] = [new Mailbox(), new Mailbox()];
    await transport.consume(bounded, few.receive, { prefetch: 1 }, soon());
    await transport.consume(unbounded, all.receive, { prefetch: 0 }, soon());
    await send(bus, direct(bounded.key), "1", "2");
    await send(bus, direct(unbounded.key), "1", "2", "3");
    await all.first(3);
    assert.deepEqual(few.texts, ["1"]);
  },
);

conforms("ack() takes a message out of its queue", async (bus) => {
  const route = queue(bus.name());
  const { first, dispose } = await consumer(bus, route);
  await send(bus, direct(route.key), "done", "open");
  const [done] = await first(2);
  done?.ack();
  await dispose();
  assert.deepEqual(await drain(bus, route), ["open"]);
});

conforms("reject() puts a message back, or drops it", async (bus) => {
  const route = queue(bus.name());
  const { first, dispose } = await consumer(bus, route, 1);
  await send(bus, direct(route.key), "a");
  const [fresh] = await first(1);
  fresh?.reject(true);
  const [, again] = await first(2);
  assert.deepEqual([fresh?.redelivered, again?.redelivered], [false, true]);
  assert.equal(again && text(again), "a");
  again?.reject(false);
  await dispose();
  assert.deepEqual(await drain(bus, route), []);
});

conforms(
  "what a disposed transport held comes again, in its old order and marked",
  async (bus) => {
    const route = queue(bus.name());
    const lost = await consumer(bus, route, 3);
    await send(bus, direct(route.key), "1", "2", "3", "4", "5");
    await lost.first(3);
    await lost.dispose();
    const { first } = await consumer(bus, route);
    const came = await first(5);
    assert.deepEqual(came.map(text), ["1", "2", "3", "4", "5"]);
    const marks = came.map(({ redelivered }) => redelivered);
    assert.deepEqual(marks, [true, true, true, false, false]);
  },
);

conforms("settling twice does nothing", async (bus) => {
  const route = queue(bus.name());
  const { first, dispose } = await consumer(bus, route);
  await send(bus, direct(route.key), "a", "b", "c");
  const [a, b] = await first(3);
  a?.ack();
  a?.ack();
  a?.reject(true);
  b?.reject(false);
  b?.reject(true);
  b?.ack();
  await send(bus, direct(route.key), "d"); // the channel is still open
  await first(4);
  await dispose();
  assert.deepEqual(await drain(bus, route), ["c", "d"]);
});

type Fate = "ack" | "drop" | "back" | "keep";

function settle(delivery: Delivery | undefined, fate: Fate): void {
  if (fate === "ack") delivery?.ack();
  else if (fate !== "keep") delivery?.reject(fate === "back");
}

/** What becomes of each of some messages, in which order, and after which of them the event loop has a turn. */
const settling = fc.array(
  fc.record({
    fate: fc.constantFrom<Fate>("ack", "ack", "drop", "back", "keep"),
    order: fc.nat(),
    turn: fc.boolean(),
  }),
  { minLength: 1, maxLength: 12 },
);

conforms(
  "whatever the order in which messages are settled, each has its own fate",
  async (bus) => {
    await fc.assert(
      fc.asyncProperty(settling, async (plan) => {
        const route = queue(bus.name());
        const { first, dispose, mail } = await consumer(bus, route);
        const names = plan.map((_, at) => `${at}`);
        await send(bus, direct(route.key), ...names);
        const came = await first(names.length);
        const steps = plan.map((step, at) => ({ ...step, at }))
          .sort((a, b) => a.order - b.order);
        for (const { fate, turn, at } of steps) {
          settle(came[at], fate);
          if (turn) await new Promise((resolve) => setTimeout(resolve));
        }
        const left = (...fates: Fate[]) =>
          names.filter((_, at) => fates.includes(plan[at]?.fate ?? "keep"));
        await send(bus, direct(route.key), "last"); // the channel is still open
        await first(names.length + left("back").length + 1);
        assert.deepEqual(
          mail.texts.slice(names.length).sort(),
          [...left("back"), "last"].sort(),
        );
        await dispose();
        const drained = await drain(bus, route);
        assert.deepEqual(
          drained.sort(),
          [...left("back", "keep"), "last"].sort(),
        );
      }),
      { numRuns: 40 },
    );
  },
);

conforms("settling after disposal does nothing", async (bus) => {
  const route = queue(bus.name());
  const { first, dispose } = await consumer(bus, route);
  await send(bus, direct(route.key), "a", "b");
  const [a, b] = await first(2);
  await dispose();
  a?.ack();
  b?.reject(false);
  assert.deepEqual(await drain(bus, route), ["a", "b"]);
});

conforms("cancel() takes no more and leaves what is held", async (bus) => {
  const route = queue(bus.name());
  const { first, cancel, dispose, mail } = await consumer(bus, route);
  await send(bus, direct(route.key), "ack", "reject", "keep");
  const [acked, rejected] = await first(3);
  await cancel();
  await send(bus, direct(route.key), "later");
  acked?.ack();
  rejected?.reject(true);
  assert.deepEqual(await drain(bus, route), ["reject", "later"]);
  await cancel(); // twice is fine
  await dispose();
  assert.deepEqual(await drain(bus, route), ["keep"]);
  assert.equal(mail.deliveries.length, 3);
});

conforms(
  "a receiver that throws hurts nobody, and holds its message",
  async (bus) => {
    const [bad, good] = [queue(bus.name()), queue(bus.name())];
    const transport = await bus.link.openSession(soon());
    const mail = new Mailbox();
    let calls = 0;
    const throwing = () => {
      calls++;
      throw new Error("a receiver's own fault");
    };
    await transport.consume(bad, throwing, { prefetch: 2 }, soon());
    await transport.consume(good, mail.receive, { prefetch: 0 }, soon());
    await send(bus, direct(bad.key), "1", "2");
    await until("both were received", () => calls === 2);
    await send(bus, direct(good.key), "fine");
    await mail.first(1);
    await transport[Symbol.asyncDispose]();
    assert.deepEqual(await drain(bus, bad), ["1", "2"]);
  },
);

// What nobody takes

conforms(
  "publish() refuses a mandatory message that no queue takes",
  async (bus) => {
    const nowhere = bus.name();
    for (const route of [direct(nowhere), queue(nowhere)]) {
      await assert.rejects(published(bus, route), (error) => {
        assert.ok(error instanceof NoRouteError);
        assert.deepEqual(error.data, { key: nowhere });
        return true;
      });
      await assert.rejects(
        published(bus, route, { messageId: undefined }),
        NoRouteError,
      );
    }
  },
);

conforms(
  "publish() tells each of many at once its own outcome",
  async (bus) => {
    const [route, nowhere] = [queue(bus.name()), direct(bus.name())];
    const { transport, first } = await consumer(bus, route);
    const id = crypto.randomUUID();
    const sends = Array.from({ length: 100 }, (_, at) =>
      transport.publish(
        at % 2 ? nowhere : direct(route.key),
        message(`${at}`, {
          mandatory: true,
          ...at > 89 ? { messageId: id } : {},
        }),
        soon(),
      ).then(() => "taken", (error) => error.code));
    const expected = Array.from(
      { length: 100 },
      (_, at) => at % 2 ? "NO_ROUTE" : "taken",
    );
    assert.deepEqual(await Promise.all(sends), expected);
    assert.equal((await first(50)).length, 50);
  },
);

conforms(
  "send() tells the listener of the inbox what came back",
  async (bus) => {
    const reader = new Reader();
    await bus.link.startInbox(reader, soon());
    const transport = await bus.link.openSession(soon());
    const nowhere = direct(bus.name());
    await transport.send(nowhere, message("dropped"), soon());
    await transport.publish(nowhere, message("dropped"), soon());
    const sent = message("back", { mandatory: true, correlationId: "call" });
    await transport.send(nowhere, sent, soon());
    await until("the message came back", () => reader.back.length > 0);
    const [back] = reader.back;
    assert.equal(reader.back.length, 1);
    assert.deepEqual([back?.messageId, back?.correlationId], [
      sent.messageId,
      "call",
    ]);
  },
);

conforms(
  "send() reaches every queue of a fanout, and none is no error",
  async (bus) => {
    const route: Address = { kind: "fanout", topic: bus.name() };
    const transport = await bus.link.openSession(soon());
    await transport.send(route, message("nobody"), soon());
    const one = await consumer(bus, route);
    const two = await consumer(bus, route);
    await transport.send(route, message("all"), soon());
    assert.deepEqual((await one.first(1)).map(text), ["all"]);
    assert.deepEqual((await two.first(1)).map(text), ["all"]);
  },
);

conforms(
  "what send() has written reaches its queue, although its session is disposed at once",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    await transport.declare(route, soon());
    const texts = Array.from({ length: 200 }, (_, at) => `${at}`);
    await Promise.all(
      texts.map((each) => transport.send(route, message(each), soon())),
    );
    await transport[Symbol.asyncDispose]();
    assert.deepEqual(await drain(bus, route), texts);
  },
);

conforms(
  "the inbox brings what is sent to its name, to the newest reader",
  async (bus) => {
    const [old, now] = [new Reader(), new Reader()];
    await bus.link.startInbox(old, soon());
    await send(bus, direct(bus.link.inbox), "1");
    await old.mail.first(1);
    await bus.link.startInbox(now, soon());
    await send(bus, direct(bus.link.inbox), "2");
    assert.deepEqual((await now.mail.first(1)).map(text), ["2"]);
    assert.equal(await consumersOf(bus, bus.link.inbox), 1);
    assert.deepEqual(old.mail.texts, ["1"]);
  },
);

// Queues that go, consumers that are alone

conforms(
  "inspect() counts consumers, and knows no queue that is not there",
  async (bus) => {
    const route = queue(bus.name());
    const count = () => consumersOf(bus, route.key);
    await bus.link.openSession(soon());
    assert.equal(await count(), undefined);
    const one = await consumer(bus, route);
    assert.equal(await count(), 1);
    const two = await consumer(bus, route);
    assert.equal(await count(), 2);
    await one.cancel();
    assert.equal(await count(), 1);
    await two.dispose();
    assert.equal(await count(), 0);
  },
);

conforms(
  "inspect() counts what waits in a queue, and knows no queue that is not there",
  async (bus) => {
    const route = queue(bus.name());
    const look = () => bus.link.inspect(direct(route.key), soon());
    await bus.link.openSession(soon());
    assert.equal(await look(), undefined);
    const { first, dispose } = await consumer(bus, route, 2);
    await send(bus, direct(route.key), "1", "2", "3", "4", "5");
    const [one] = await first(2);
    const counted = (messages: number, consumers: number) => {
      const right = { messages, consumers };
      return until(
        "it is so",
        async () => isDeepStrictEqual(await look(), right),
      );
    };
    await counted(3, 1); // what is unacknowledged is with its consumer
    one?.ack();
    await counted(2, 1);
    await dispose();
    await counted(4, 0);
  },
);

conforms("an auto-delete queue goes with its last consumer", async (bus) => {
  const route = transientQueue(bus.name());
  const count = () => consumersOf(bus, route.key);
  const one = await consumer(bus, route);
  const two = await consumer(bus, route);
  await one.cancel();
  assert.equal(await count(), 1);
  await send(bus, direct(route.key), "held");
  const [held] = await two.first(1);
  await two.cancel();
  assert.equal(await count(), undefined);
  await assert.rejects(published(bus, direct(route.key)), NoRouteError);
  held?.reject(true); // into a queue that is no more

  const heir = await consumer(bus, route); // the same name, another queue
  await one.cancel();
  await two.dispose();
  assert.equal(await count(), 1);
  await send(bus, direct(route.key), "new");
  assert.deepEqual((await heir.first(1)).map(text), ["new"]);
});

conforms("an exclusive consumer is alone until it cancels", async (bus) => {
  const route = queue(bus.name());
  const alone = { prefetch: 0, exclusive: true };
  const owner = await bus.link.openSession(soon());
  const mail = new Mailbox();
  const handle = await owner.consume(route, mail.receive, alone, soon());
  const other = await bus.link.openSession(soon());
  const bystander = new Mailbox();
  const near = queue(bus.name());
  await other.consume(near, bystander.receive, { prefetch: 0 }, soon());
  await send(bus, direct(near.key), "held");
  const [held] = await bystander.first(1);
  const refused = (error: unknown) => {
    assert.ok(error instanceof TopologyError);
    assert.equal(error.data.entity, `queue ${route.key}`);
    assert.equal(error.data.reason, "inUse");
    return true;
  };
  const taking = other.consume(route, () => {}, alone, soon());
  await assert.rejects(taking, refused);
  held?.ack(); // its channel is still the same: it does not come again
  await send(bus, direct(near.key), "unharmed");
  await send(bus, direct(route.key), "mine");
  await bystander.first(2);
  await mail.first(1);
  assert.deepEqual(bystander.texts, ["held", "unharmed"]);
  const sharing = other.consume(route, () => {}, { prefetch: 0 }, soon());
  await assert.rejects(sharing, refused);
  await send(bus, direct(near.key), "restored");
  await until("it still consumes", () => bystander.texts.includes("restored"));
  await handle.cancel();
  await other.consume(route, () => {}, alone, soon());
  await assert.rejects(
    owner.consume(route, mail.receive, alone, soon()),
    TopologyError,
  );
}, { needs: ["exclusiveConsumer"] });

// Declarations

conforms(
  "what is passive and missing is an error that names it, and is not made",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    const missing = (error: unknown) => {
      assert.ok(error instanceof TopologyError, String(error));
      const { message, data } = error;
      assert.equal(data.reason, "missing");
      assert.ok(
        message.startsWith(`Cannot use ${data.entity}: it does not exist`),
      );
      return true;
    };
    await assert.rejects(transport.declare(route, soon()), missing);
    const consuming = transport.consume(
      route,
      () => {},
      { prefetch: 0 },
      soon(),
    );
    await assert.rejects(consuming, missing);
    assert.equal(await consumersOf(bus, route.key), undefined);
  },
  {
    form: {
      nova: { transientQuorum: false, streamFanout: false, passive: true },
    },
  },
);

conforms(
  "a delayed message comes to its queue when its time is over",
  async (bus) => {
    const of = queue(bus.name());
    const delay: Address = { kind: "delay", of, ms: 200 };
    const { first, transport } = await consumer(bus, of);
    await transport.declare(delay, soon());
    const began = performance.now();
    await transport.publish(delay, message("later"), soon());
    assert.deepEqual((await first(1)).map(text), ["later"]);
    assert.ok(performance.now() - began >= 190);
    assert.ok(await transport.removeEmpty(delay, soon()));
  },
  { needs: ["delayedRetry"] },
);

conforms(
  "a broker that counts deliveries says how many came before",
  async (bus) => {
    const route = queue(bus.name());
    const counts: unknown[] = [];
    const { promise, resolve } = Promise.withResolvers<void>();
    const transport = await bus.link.openSession(soon());
    await transport.consume(
      route,
      (delivery) => {
        counts.push(delivery.deliveryCount);
        if (counts.length < 3) return delivery.reject(true);
        delivery.ack();
        resolve();
      },
      { prefetch: 1 },
      soon(),
    );
    await send(bus, route, "x");
    await promise;
    assert.deepEqual(counts, [0, 1, 2]);
  },
  { needs: ["deliveryCount"], form: { queueType: "quorum" } },
);

conforms(
  "what is acknowledged before flush() stays acknowledged, whatever becomes of the connection",
  async (bus) => {
    const route = queue(bus.name());
    const { transport, first, dispose } = await consumer(bus, route);
    await send(bus, route, "done", "open");
    const [done] = await first(2);
    done?.ack();
    await transport.flush(soon());
    await dispose();
    assert.deepEqual(await drain(bus, route), ["open"]);
  },
);

conforms(
  "a queue that is declared without its binding gets what is sent to its name alone",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    await transport.declare(route, soon(), { bind: false });
    await assert.rejects(published(bus, route), NoRouteError);
    await published(bus, direct(route.key));
    assert.equal((await drain(bus, route)).length, 1);
  },
);

conforms(
  "removeEmpty() removes a queue that has no message and no consumer, and no other",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    const look = () => bus.link.inspect(route, soon());
    assert.equal(await look(), undefined);
    const { cancel } = await consumer(bus, route);
    assert.deepEqual(await look(), { messages: 0, consumers: 1 });
    assert.equal(await transport.removeEmpty(route, soon()), false);
    await cancel();
    await send(bus, route, "x");
    assert.deepEqual(await look(), { messages: 1, consumers: 0 });
    assert.equal(await transport.removeEmpty(route, soon()), false);
    assert.deepEqual(await drain(bus, route), ["x"]);
    assert.equal(await transport.removeEmpty(route, soon()), true);
    assert.equal(await look(), undefined);
  },
);

conforms(
  "unbind() keeps what is published from the queue, until it is declared again",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    await transport.declare(route, soon());
    await published(bus, route);
    await transport.unbind(route, soon());
    await transport.unbind(route, soon()); // the same again is fine
    await assert.rejects(published(bus, route), NoRouteError);
    await transport.declare(route, soon());
    await published(bus, route);
    assert.equal((await drain(bus, route)).length, 2);
  },
);

// Waits

conforms(
  "an aborted signal ends every wait with its reason, and leaves nothing",
  async (bus) => {
    const route = queue(bus.name());
    const transport = await bus.link.openSession(soon());
    const name = bus.name();
    await transport.send(direct(name), message("to warm up"), soon());
    const reason = new Error("enough");
    const wait = { ...soon(), signal: AbortSignal.abort(reason) };
    const uses = [
      () => transport.declare(route, wait),
      () => transport.publish(route, message("x"), wait),
      () => transport.send(route, message("x"), wait),
      () => transport.send(direct(name), message("x"), wait),
      () => transport.consume(route, () => {}, { prefetch: 0 }, wait),
      () => bus.link.openSession(wait),
      () => bus.link.startInbox(new Reader(), wait),
    ];
    for (const use of uses) {
      await assert.rejects(use(), (error) => error === reason, `${use}`);
    }
    const controller = new AbortController();
    const soonAborted = { ...soon(), signal: controller.signal };
    const consuming = transport.consume(
      route,
      () => {},
      { prefetch: 0 },
      soonAborted,
    );
    controller.abort(reason);
    const outcome = await consuming.then(() => 1, (error) => {
      assert.equal(error, reason);
      return 0;
    });
    // One that is asked for later is there, so the other one would be too.
    await transport.consume(
      queue(name),
      () => {},
      { prefetch: 0 },
      soon(),
    );
    await until(
      `${outcome} consumers are left`,
      async () =>
        (await consumersOf(bus, queueName(route)) ?? 0) ===
          outcome,
    );
  },
);

// Disposal

conforms(
  "a disposed transport refuses every use, and twice is fine",
  async (bus) => {
    const route = queue(bus.name());
    const { transport, cancel } = await consumer(bus, route);
    const other = await bus.link.openSession(soon());
    await Promise.all([
      transport[Symbol.asyncDispose](),
      transport[Symbol.asyncDispose](),
    ]);
    await transport[Symbol.asyncDispose]();
    await cancel();
    const uses = [
      () => transport.declare(route, soon()),
      () => transport.publish(direct(route.key), message("x"), soon()),
      () => transport.send(direct(route.key), message("x"), soon()),
      () => transport.consume(route, () => {}, { prefetch: 0 }, soon()),
    ];
    for (const use of uses) {
      await assert.rejects(use(), ConnectionDisposedError, `${use}`);
    }
    assert.equal(await consumersOf(bus, route.key), 0);
    await other.publish(direct(route.key), message("unharmed"), soon());
    assert.deepEqual(await drain(bus, route), ["unharmed"]);
  },
);

conforms(
  "disposal settles what is under way, and nothing of it stays",
  async (bus) => {
    const name = bus.name();
    const routes = Array.from({ length: 5 }, () => queue(bus.name()));
    const transport = await bus.link.openSession(soon());
    await transport.declare(queue(name), soon());
    const work = [
      ...routes.map((route) =>
        transport.consume(route, () => {}, { prefetch: 0 }, soon())
      ),
      ...routes.map((route) =>
        transport.consume(
          route,
          () => {},
          { prefetch: 0, exclusive: true },
          soon(),
        )
      ),
      ...routes.map((route) => transport.declare(route, soon())),
      ...Array.from(
        { length: 50 },
        () => transport.publish(direct(name), message("x"), soon()),
      ),
      transport.publish(queue(name), message("x"), soon()),
      transport.send(queue(name), message("x"), soon()),
    ];
    const outcomes = Promise.allSettled(work);
    await transport[Symbol.asyncDispose]();
    for (const outcome of await outcomes) {
      if (outcome.status === "fulfilled") continue;
      const { reason } = outcome;
      assert.ok(
        reason instanceof ConnectionDisposedError ||
          reason instanceof TopologyError && reason.data.reason === "inUse",
        `${reason?.stack}`,
      );
    }
    for (const { key } of routes) {
      await until(
        "no consumer is left",
        async () => (await consumersOf(bus, key) ?? 0) === 0,
      );
    }
  },
);

conforms("disposal of a link disposes its transports", async (bus) => {
  const route = queue(bus.name());
  const { transport } = await consumer(bus, route);
  await bus.link.startInbox(new Reader(), soon());
  await transport.publish(
    direct(route.key),
    message("left alone", { expiration: 60_000 }),
    soon(),
  );
  await bus.link[Symbol.asyncDispose]();
  await assert.rejects(
    transport.publish(direct(route.key), message("x"), soon()),
    ConnectionDisposedError,
  );
  await bus.link[Symbol.asyncDispose]();
});

conforms(
  "the first consumer of an election's queue gets all tokens, of which one waits; then the next gets what it held",
  async (bus) => {
    const address = {
      kind: "leader",
      topic: bus.name(),
      task: "sweep",
    } as const;
    const [first, second] = [new Mailbox(), new Mailbox()];
    const one = await bus.link.openSession(soon());
    await using two = await bus.link.openSession(soon());
    const options = { prefetch: 2, restore: false };
    const active = await one.consume(address, first.receive, options, soon());
    await two.consume(address, second.receive, options, soon());
    for (const token of ["a", "b", "c", "d"]) {
      await one.publish(address, message(token), soon());
    }
    const [a, b] = await first.first(2);
    assert.deepEqual(first.texts, ["a", "b"]);
    a?.ack();
    await first.first(3); // c was dropped when d came
    assert.deepEqual(first.texts, ["a", "b", "d"]);
    b?.ack();
    assert.deepEqual(second.texts, []);
    await active.cancel();
    first.deliveries[2]?.reject(true);
    await second.first(1);
    assert.deepEqual(second.texts, ["d"]);
    await one[Symbol.asyncDispose]();
  },
  { needs: ["singleActiveConsumer"] },
);
