/** Queues that exist in another form: which are used as they are, which are refused, and what the log says. */
import assert from "node:assert/strict";
import {
  contract,
  createConnection,
  implement,
  Service,
} from "../../../mod.ts";
import { TopologyError } from "../../../src/errors.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import type { Address, QueueAddress } from "../../../src/transport/address.ts";
import { declareAsFound } from "../../../src/transport/rabbitmq/routes/adoption.ts";
import { FoundForms } from "../../../src/transport/rabbitmq/routes/found_forms.ts";
import {
  Mailbox,
  message,
  type Named,
  plain,
  queue,
  rabbitBus,
  soon,
  text,
} from "../support.ts";

const TYPES = ["classic", "quorum"] as const;
type Arguments = Record<string, unknown>;

const create = async (name: string, args: Arguments, durable = true) =>
  await plain(
    await brokerUrl(),
    (channel) => channel.assertQueue(name, { durable, arguments: args }),
  );

const QUORUM = { "x-queue-type": "quorum" };
const CLASSIC = { "x-queue-type": "classic" };

/** By the type that is wanted: arguments that a queue was created with, and what the log names. */
const FOUND: readonly [
  wanted: typeof TYPES[number],
  name: string,
  existing: Arguments,
  found: typeof TYPES[number],
  named: RegExp,
][] = [
  ["quorum", "classic", CLASSIC, "classic", /x-queue-type"? is "?classic/],
  ["quorum", "no type", {}, "classic", /x-queue-type"? is/],
  ["quorum", "no locator", QUORUM, "quorum", /leader-locator"? is "?none/],
  [
    "quorum",
    "another locator",
    { ...QUORUM, "x-queue-leader-locator": "client-local" },
    "quorum",
    /leader-locator"? is "?client-local/,
  ],
  ["classic", "quorum", QUORUM, "quorum", /x-queue-type"? is "?quorum/],
  [
    "classic",
    "this version's quorum",
    { ...QUORUM, "x-queue-leader-locator": "balanced" },
    "quorum",
    /x-queue-type"? is "?quorum/,
  ],
];

for (const [queueType, name, existing, found, named] of FOUND) {
  Deno.test(`a queue that exists as ${name} serves where ${queueType} is wanted, with one warning`, async () => {
    await using log = await logged();
    await using bus = await rabbitBus(undefined, { queueType });
    const address = queue(bus.name());
    await create(address.key, existing);
    const session = await bus.link.openSession(soon());
    await session.declare(address, soon());
    const mail = new Mailbox();
    await session.consume(address, mail.receive, { prefetch: 5 }, soon());
    await session.send(address, message("sent"), soon());
    await session.publish(address, message("published"), soon());
    const deliveries = await mail.first(2);
    assert.deepEqual(deliveries.map(text).sort(), ["published", "sent"]);
    const counts = deliveries.map((each) => each.deliveryCount !== undefined);
    assert.deepEqual(counts, Array(2).fill(found === "quorum"));
    deliveries.forEach((each) => each.ack());
    assert.equal(log.times(/is used as it is/), 1);
    assert.equal(log.times(named), 1, log.lines.join("\n"));
    const state = await bus.link.inspect(address, soon());
    assert.equal(state?.consumers, 1);
  });
}

for (const queueType of TYPES) {
  Deno.test(`queues of casts that wait are used in each form, ${queueType} wanted`, async () => {
    await using bus = await rabbitBus(undefined, { queueType });
    const session = await bus.link.openSession(soon());
    const both = { "x-dead-letter-strategy": "at-least-once" };
    const forms: readonly Arguments[] = [
      ...[CLASSIC, QUORUM, { ...QUORUM, ...both }],
      { ...QUORUM, ...both, "x-overflow": "reject-publish" },
      {
        ...QUORUM,
        ...both,
        "x-overflow": "reject-publish",
        "x-queue-leader-locator": "balanced",
      },
    ];
    for (const form of forms) {
      const target = queue(bus.name());
      const name = `${target.key}.delay.100`;
      await create(name, {
        ...form,
        "x-message-ttl": 100,
        "x-dead-letter-exchange": "",
        "x-dead-letter-routing-key": target.key,
      });
      const mail = new Mailbox();
      await session.consume(target, mail.receive, { prefetch: 5 }, soon());
      const of: QueueAddress = target;
      const waiting: Address = { kind: "delay", of, ms: 100 };
      await session.declare(waiting, soon());
      await session.publish(waiting, message("late"), soon());
      assert.deepEqual((await mail.first(1)).map(text), ["late"]);
      assert.equal(await session.removeEmpty(waiting, soon()), true);
      assert.equal(await bus.link.inspect(waiting, soon()), undefined);
    }
  });
}

Deno.test("a queue that was used as it is and is deleted is created as it was wanted", async () => {
  await using bus = await rabbitBus(undefined, { queueType: "quorum" });
  const address = queue(bus.name());
  await create(address.key, CLASSIC);
  const session = await bus.link.openSession(soon());
  const mail = new Mailbox();
  await session.consume(address, mail.receive, { prefetch: 5 }, soon());
  const base = await brokerUrl();
  await plain(base, (channel) => channel.deleteQueue(address.key));
  const { health } = bus.link;
  await until("it is consumed again", async () => {
    const { consumers } = health.call(bus.link).consuming;
    const state = await bus.link.inspect(address, soon());
    return state?.consumers === 1 && consumers.consuming === 1;
  });
  await session.publish(address, message("x"), soon());
  const [delivery] = await mail.first(1);
  assert.equal(delivery?.deliveryCount, 0, "it is a quorum queue");
  delivery?.ack();
});

Deno.test("a queue that differs in something else is refused, and the error says how to move it", async () => {
  await using bus = await rabbitBus();
  const session = await bus.link.openSession(soon());
  const forms: [Arguments, durable: boolean, argument: string][] = [
    [{ "x-max-length": 5 }, true, "x-max-length"],
    [{ "x-expires": 60_000, ...QUORUM }, true, "x-expires"],
    [{ "x-queue-type": "stream" }, true, "x-queue-type"],
  ];
  for (const [args, durable, argument] of forms) {
    const address = queue(bus.name());
    await create(address.key, args, durable);
    await assert.rejects(session.declare(address, soon()), (error) => {
      assert.ok(error instanceof TopologyError, String(error));
      assert.equal(error.data.argument, argument);
      assert.equal(error.data.reason, "inequivalent");
      assert.match(error.message, /serve another topic .* drain the old queue/);
      return true;
    });
  }
});

for (const preferred of TYPES) {
  Deno.test(`queues of any type are used as they are without a word, and new ones are ${preferred}`, async () => {
    await using log = await logged();
    await using bus = await rabbitBus(undefined, {
      queueType: preferred,
      anyQueueType: true,
    });
    const session = await bus.link.openSession(soon());
    const kinds = [CLASSIC, QUORUM, undefined];
    const addresses = Array.from({ length: 60 }, () => queue(bus.name()));
    const kindOf = (n: number) => kinds[n % 3];
    for (const [n, { key }] of addresses.entries()) {
      const kind = kindOf(n);
      if (kind) await create(key, kind);
    }
    await Promise.all(addresses.map((each) => session.declare(each, soon())));
    const mails = await Promise.all(addresses.map(async (address) => {
      const mail = new Mailbox();
      await session.consume(address, mail.receive, { prefetch: 1 }, soon());
      await session.publish(address, message("x"), soon());
      return mail;
    }));
    const expected = addresses.map((_, n) =>
      kindOf(n)?.["x-queue-type"] ?? preferred
    );
    const found = await Promise.all(mails.map(async (mail) => {
      const [delivery] = await mail.first(1);
      return delivery?.deliveryCount === undefined ? "classic" : "quorum";
    }));
    assert.deepEqual(found, expected);
    const { foundTypes = {} } = bus.link.health();
    for (const [n, { key }] of addresses.entries()) {
      assert.equal(foundTypes[key] ?? preferred, expected[n]);
    }
    assert.equal(log.times(/as it is/), 0);
  });
}

Deno.test("a queue that another process creates between the look and the declaration is used as that one made it", async () => {
  await using log = await logged();
  const form = (type: "classic" | "quorum") => ({ "x-queue-type": type });
  const forms = {
    classic: form("classic"),
    quorum: form("quorum"),
    preferred: "quorum",
    anyType: true,
  } as const;
  const flags = { durable: true, exclusive: false, autoDelete: false };
  const named = (name: string) => (
    { name, ...flags, arguments: forms.quorum, forms }
  );
  const found = new FoundForms();
  found.declared({ ...named("other"), arguments: forms.classic });
  const wanted: string[] = [];
  const refusals = [
    new TopologyError("It is not there", { data: { reason: "missing" } }),
    new TopologyError("It is another one", {
      data: {
        entity: "queue raced",
        reason: "inequivalent",
        argument: "x-queue-type",
        existing: "classic",
        wanted: "quorum",
      },
    }),
  ];
  await declareAsFound(named("raced"), found, (queue) => {
    const look = queue.isFound ? "look for" : "create";
    wanted.push(`${look} ${queue.arguments["x-queue-type"]}`);
    const refusal = refusals.shift();
    return refusal ? Promise.reject(refusal) : Promise.resolve();
  });
  assert.deepEqual(wanted, [
    "look for classic",
    "create quorum",
    "look for classic",
  ]);
  assert.equal(found.typeOf("raced"), "classic");
  assert.equal(log.times(/as it is/), 0);
});

Deno.test("processes that create the same queues as different types use those of the first one", async () => {
  await using log = await logged();
  const [one, two] = await Promise.all(
    TYPES.map((queueType) =>
      rabbitBus(undefined, { queueType, anyQueueType: true })
    ),
  );
  assert.ok(one && two);
  await using _one = one;
  await using _two = two;
  const addresses = Array.from({ length: 30 }, () => queue(one.name()));
  const declareAll = async ({ link }: typeof one, inTurn: Named[]) => {
    const session = await link.openSession(soon());
    await Promise.all(inTurn.map((each) => session.declare(each, soon())));
  };
  await Promise.all([
    declareAll(one, addresses),
    declareAll(two, addresses.toReversed()),
  ]);
  const { foundTypes = {} } = one.link.health();
  assert.deepEqual(two.link.health().foundTypes, foundTypes);
  const types = addresses.map(({ key }) => foundTypes[key]);
  assert.deepEqual(new Set(types), new Set(TYPES), "each has won some");
  for (const { key } of addresses) {
    const type = foundTypes[key];
    const locator = type === "quorum" &&
      { "x-queue-leader-locator": "balanced" };
    await create(key, { "x-queue-type": type, ...locator }); // refused unless it has that type
  }
  assert.equal(log.times(/as it is/), 0);
});

Deno.test("several URLs give quorum queues; an existing classic queue and those of its failed casts stay classic", async () => {
  await using log = await logged();
  await using bus = await rabbitBus(undefined, { anyQueueType: true });
  const base = await brokerUrl();
  const url = [base, base.replace("127.0.0.1", "localhost")];
  // Both at the same time, since a process waits for each new queue of a cluster.
  const check = async (existing: "classic" | undefined) => {
    const topic = bus.name();
    if (existing) await create(topic, { "x-queue-type": existing });
    const jobs = contract({
      topic,
      version: "1.0",
      procedures: { fail: { retry: { attempts: 2, backoff: [100] } } },
    });
    const manager = implement(jobs, {
      fail: () => {
        throw new Error("always");
      },
    });
    await using _service = await Service.start({
      url,
      manager,
      signals: false,
    });
    await using connection = await createConnection(url);
    await connection.client(jobs).cast("fail");
    const of: QueueAddress = queue(topic);
    const dead: Address = { kind: "deadLetter", of };
    await until(
      "the cast is a dead letter",
      async () => (await bus.link.inspect(dead, soon()))?.messages === 1,
    );
    const derived: Address[] = [
      { kind: "quarantine", of },
      { kind: "delay", of, ms: 100 },
    ];
    for (const each of [of, ...derived]) await bus.link.inspect(each, soon());
    const { foundTypes = {} } = bus.link.health();
    const type = existing ?? "quorum";
    const names = ["", ".dead", ".quarantine", ".delay.100"].map((end) =>
      `${topic}${end}`
    );
    assert.deepEqual(
      names.map((name) => foundTypes[name]),
      names.map(() => type),
    );
    assert.equal(connection.health().foundTypes?.[topic], type);
  };
  await Promise.all([check("classic"), check(undefined)]);
  assert.equal(log.times(/as it is/), 0);
});
