/** What the driver adds to the AMQP client: the pitfalls of RabbitMQ, one by one, and the way to a broker. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { type Address, direct } from "../../../src/transport/address.ts";
import { backoff } from "../../../src/async/backoff.ts";
import { delay } from "../../../src/async/deadline.ts";
import type { Message } from "../../../src/transport/transport.ts";
import {
  ConnectionFailedError,
  InvalidValueError,
  NoRouteError,
  RejectedError,
  RpcError,
  TopologyError,
} from "../../../src/errors.ts";
import { brokerUrl, privateBroker } from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { freePort, until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import {
  consumer,
  consumersOf,
  eventsOf,
  Mailbox,
  message,
  plain,
  proxiedBus,
  queue,
  rabbitBus,
  rabbitLink,
  soon,
  text,
  told,
  withoutPauses,
} from "../support.ts";

// A channel that the broker closes

Deno.test("a channel error is survived: what was under way on the channel is sent again", async () => {
  await using bus = await rabbitBus();
  const base = await brokerUrl();
  const route = queue(bus.name());
  const { first } = await consumer(bus, route);
  const transport = await bus.link.openSession(soon());
  await transport.publish(route, message("0"), soon());
  // The exchange is known to be there, and is not: each publish to it ends the channel for all.
  const name = bus.exchange;
  await plain(base, (channel) => channel.deleteExchange(name));
  const others = Array.from(
    { length: 20 },
    (_, at) =>
      transport.publish(direct(route.key), message(`${at + 1}`), soon()),
  );
  await transport.publish(route, message("unbound"), soon());
  await Promise.all(others);
  const texts = new Set((await first(21)).map(text));
  assert.equal(texts.size, 21);
  assert.equal(texts.has("unbound"), false);
});

Deno.test("inspect() tells that a queue is another connection's alone, and hurts nobody", async () => {
  await using bus = await rabbitBus();
  const route = queue(bus.name());
  const { first, mail, transport } = await consumer(bus, route);
  await plain(await brokerUrl(), async (channel) => {
    const { queue } = await channel.assertQueue("", { exclusive: true });
    const looks = Array.from(
      { length: 20 },
      (_, at) =>
        bus.link.inspect(direct(at % 2 ? queue : "nowhere"), soon())
          .then(() => "gone", (error) => error.data.reason),
    );
    const states = await Promise.all(looks);
    assert.deepEqual([...new Set(states)], ["gone", "inUse"]);
    assert.equal(states.filter((state) => state === "inUse").length, 10);
  });
  await transport.publish(direct(route.key), message("x"), soon());
  await first(1);
  assert.deepEqual(mail.deliveries.map(({ redelivered }) => redelivered), [
    false,
  ]);
});

Deno.test("post() works again after its exchange was deleted", async () => {
  await using bus = await rabbitBus();
  const base = await brokerUrl();
  const route = queue(bus.name());
  const transport = await bus.link.openSession(soon());
  await transport.send(route, message("to warm up"), soon());
  const name = bus.exchange;
  await plain(base, (channel) => channel.deleteExchange(name));
  await until("the exchange is declared again", async () => {
    await transport.send(route, message("again"), soon());
    return await plain(
      base,
      (channel) => channel.checkExchange(name).then(() => true),
    ).catch(() => false);
  });
  const { first } = await consumer(bus, route);
  await transport.send(route, message("at last"), soon());
  assert.deepEqual((await first(1)).map(text), ["at last"]);
});

Deno.test("publish() refuses with a typed error what ends its channel again and again", async () => {
  await using bus = await rabbitBus();
  const address = queue(bus.name());
  const transport = await bus.link.openSession(soon());
  await transport.publish(address, message("fine"), soon());
  // Nobody may publish to an internal exchange: 403 and the end of the channel, each time.
  await plain(await brokerUrl(), async (channel) => {
    await channel.deleteExchange(bus.exchange);
    await channel.assertExchange(bus.exchange, "topic", { internal: true });
  });
  await assert.rejects(
    transport.publish(address, message("x"), soon()),
    (error) => {
      assert.ok(error instanceof RejectedError, `${error}`);
      assert.equal(error.data.replyCode, 403);
      return true;
    },
  );
  await transport.publish(direct(bus.name()), message("unharmed"), soon());
});

Deno.test("messages that the broker refuses for their content do no harm to those beside them", async () => {
  await using bus = await rabbitBus();
  const transport = await bus.link.openSession(soon());
  const name = bus.name();
  const { mail, dispose } = await consumer(bus, queue(name));
  const route = direct(name);
  const refused = message("refused", { headers: { CC: "not a list" } });
  const sent = Array.from(
    { length: 20 },
    (_, n) =>
      transport.publish(route, n % 2 ? refused : message(`${n}`), soon()),
  );
  const outcomes = await Promise.allSettled(sent);
  assert.deepEqual(
    outcomes.map((outcome) =>
      outcome.status === "rejected" ? outcome.reason.data.replyCode : "taken"
    ),
    outcomes.map((_, n) => n % 2 ? 406 : "taken"),
  );
  await until("all have come", () => new Set(mail.texts).size === 10);
  await dispose();
});

Deno.test("publish() to a full queue goes on until there is room, in order to lose nothing, and else ends as refused", async () => {
  await using bus = await rabbitBus();
  const transport = await bus.link.openSession(soon());
  const name = bus.name();
  await plain(await brokerUrl(), async (channel) => {
    const full = { "x-max-length": 1, "x-overflow": "reject-publish" };
    await channel.assertQueue(name, { arguments: full });
    const publish = (text: string, ms?: number) =>
      transport.publish(direct(name), message(text), soon(ms));
    await publish("first");
    const error = await publish("too late", 300).catch((error) => error);
    assert.ok(error instanceof RejectedError, `${error}`);
    assert.equal(error.inDoubt, false);
    const others = ["second", "third"].map((text) => publish(text));
    const found: string[] = [];
    await until("all were taken", async () => {
      const got = await channel.get(name, { noAck: true });
      if (got) found.push(`${got.content}`);
      return found.length === 3;
    });
    await Promise.all(others);
    assert.deepEqual(found.toSorted(), ["first", "second", "third"]);
  });
});

Deno.test("messages that one queue refuses do not hold up those for another", async () => {
  await using bus = await rabbitBus();
  const transport = await bus.link.openSession(soon());
  const [full, free] = [bus.name(), bus.name()];
  await plain(await brokerUrl(), async (channel) => {
    const refusing = { "x-max-length": 0, "x-overflow": "reject-publish" };
    await channel.assertQueue(full, { arguments: refusing });
    await channel.assertQueue(free);
    const publish = (queue: string, n: number) =>
      transport.publish(direct(queue), message(`${n}`), soon());
    const refused = Array.from({ length: 1_500 }, (_, n) => publish(full, n));
    for (let n = 0; n < 20; n++) await publish(free, n);
    assert.equal((await channel.checkQueue(free)).messageCount, 20);
    await channel.deleteQueue(full); // the default exchange drops them now
    await Promise.all(refused);
  });
});

Deno.test("a queue that is deleted under its consumer is declared and consumed again", async () => {
  await using bus = await rabbitBus();
  const base = await brokerUrl();
  const route = queue(bus.name());
  const { first, transport } = await consumer(bus, route);
  await plain(base, (channel) => channel.deleteQueue(route.key));
  await until(
    "it is consumed again",
    async () => await consumersOf(bus, route.key) === 1,
  );
  const sent = message("through the exchange", { mandatory: true });
  await transport.publish(route, sent, soon());
  assert.deepEqual((await first(1)).map(text), ["through the exchange"]);
});

Deno.test("a queue that is deleted again and again keeps its consumer, and a cancelled one stays away", async () => {
  await using bus = await rabbitBus();
  const base = await brokerUrl();
  const [kept, dropped] = [queue(bus.name()), queue(bus.name())];
  const { first } = await consumer(bus, kept);
  const { cancel } = await consumer(bus, dropped);
  await cancel();
  for (let round = 1; round <= 5; round++) {
    await plain(base, async (channel) => {
      await channel.deleteQueue(kept.key);
      await channel.deleteQueue(dropped.key);
    });
    await until(
      "it is consumed again",
      async () => await consumersOf(bus, kept.key) === 1,
    );
  }
  const transport = await bus.link.openSession(soon());
  await transport.publish(direct(kept.key), message("still"), soon());
  assert.deepEqual((await first(1)).map(text), ["still"]);
  assert.equal(await consumersOf(bus, dropped.key), undefined);
});

Deno.test("a passive queue that is gone is waited for, and consumed in the form in which it comes back", async () => {
  const base = await brokerUrl();
  await using bus = await rabbitBus(base, {
    nova: { transientQuorum: false, streamFanout: false, passive: true },
  });
  const events = eventsOf(bus.link);
  const route = queue(bus.name());
  await plain(base, (channel) => channel.assertExchange(bus.exchange, "topic"));
  const make = (arguments_: object) =>
    plain(
      base,
      (channel) => channel.assertQueue(route.key, { arguments: arguments_ }),
    );
  await make({});
  await using log = await logged();
  const { first } = await consumer(bus, route);
  await plain(base, (channel) => channel.deleteQueue(route.key));
  await until(
    "it is missed",
    () => log.times(/Cannot consume .* yet: .*does not exist/) > 0,
  );
  await make({ "x-max-length": 5 });
  await until(
    "it is consumed again",
    async () => await consumersOf(bus, route.key) === 1,
  );
  const transport = await bus.link.openSession(soon());
  await transport.publish(direct(route.key), message("back"), soon());
  assert.deepEqual((await first(1)).map(text), ["back"]);
  assert.deepEqual(events.filter(({ type }) => type === "failed"), []);
});

Deno.test("of consumers that start at once on one channel, the one that is refused has the error, and the others run", async () => {
  const base = await brokerUrl();
  await using bus = await rabbitBus();
  const session = await bus.link.openSession(soon());
  const addresses = Array.from({ length: 5 }, () => queue(bus.name()));
  for (const [taken, { key }] of addresses.entries()) {
    for (const address of addresses) await session.declare(address, soon());
    await plain(base, async (channel) => {
      await channel.consume(key, () => {}, { exclusive: true });
      const mail = new Mailbox();
      const started = await Promise.allSettled(
        addresses.map((address) =>
          session.consume(address, mail.receive, { prefetch: 1 }, soon())
        ),
      );
      for (const [n, outcome] of started.entries()) {
        if (n !== taken) {
          assert.equal(outcome.status, "fulfilled", `${n}, not ${taken}`);
          continue;
        }
        assert.ok(outcome.status === "rejected", `${n} was not refused`);
        assert.ok(outcome.reason instanceof TopologyError, outcome.reason);
        const { entity, reason } = outcome.reason.data;
        assert.deepEqual([entity, reason], [`queue ${key}`, "inUse"]);
      }
      const running = addresses.filter((_, n) => n !== taken);
      await Promise.all(running.map(async (address) => {
        // Those that had started are restored.
        await until(
          "it is consumed",
          async () => await consumersOf(bus, address.key) === 1,
        );
        await session.publish(address, message(address.key), soon());
      }));
      const came = (await mail.first(running.length)).map(text);
      assert.deepEqual(came.sort(), running.map(({ key }) => key).sort());
      for (const delivery of mail.deliveries) delivery.ack();
      for (const outcome of started) {
        if (outcome.status === "fulfilled") await outcome.value.cancel();
      }
    });
  }
});

Deno.test("consumers with queues of their own that have to start again leave no queue behind, which would fill", async () => {
  await using node = await privateBroker();
  await using bus = await rabbitBus(node.url);
  const session = await bus.link.openSession(soon());
  const topic = bus.name();
  const mail = new Mailbox();
  const consume = (address: Address) =>
    session.consume(address, mail.receive, { prefetch: 1 }, soon());
  await plain(node.url, async (channel) => {
    for (let round = 0; round < 10; round++) {
      const taken = queue(bus.name());
      await session.declare(taken, soon());
      await channel.consume(taken.key, () => {}, { exclusive: true });
      const fanouts = Array.from(
        { length: 3 },
        () => consume({ kind: "fanout", topic }),
      );
      // The refusal ends the channel on which the others start: sooner or later, as chance has it.
      const refused = delay(round, soon()).then(() => consume(taken));
      await assert.rejects(refused, TopologyError);
      await Promise.all(fanouts);
    }
    const counts = async () => {
      const listed = await node.ctl("list_queues", "-q", "name", "consumers");
      return listed.split("\n").filter((line) =>
        line.startsWith(`${topic}_fanout`)
      ).map((line) => line.split("\t")[1]);
    };
    await until(
      "each queue has its consumer",
      async () => (await counts()).every((count) => count === "1"),
    );
    assert.equal((await counts()).length, 30);
  });
});

// Forms of exchanges and queues

/** A refusal of a declaration, by the name of what exists in another form. */
const inequivalent = (entity: string) => (error: unknown) => {
  assert.ok(error instanceof TopologyError, String(error));
  assert.equal(error.data.entity, entity);
  assert.equal(error.data.reason, "inequivalent");
  assert.ok(error.message.includes(entity), error.message);
  return true;
};

Deno.test("declare() refuses what exists in another form, by name, and hurts nobody", async () => {
  await using bus = await rabbitBus();
  const base = await brokerUrl();
  const transport = await bus.link.openSession(soon());
  const near = queue(bus.name());
  await transport.declare(near, soon());
  await transport.declare(near, soon()); // the same again is fine
  const { mail } = await consumer(bus, near);
  const other = queue(bus.name());
  await plain(
    base,
    (channel) =>
      channel.assertQueue(other.key, { arguments: { "x-max-length": 5 } }),
  );
  const refused = inequivalent(`queue ${other.key}`);
  await assert.rejects(transport.declare(other, soon()), refused);
  const consuming = transport.consume(other, () => {}, { prefetch: 0 }, soon());
  await assert.rejects(consuming, refused);
  await assert.rejects(bus.link.inspect(other, soon()), refused);
  await transport.publish(near, message("unharmed"), soon());
  await until("it has come", () => mail.texts.includes("unharmed"));
});

Deno.test("an exchange of another form is refused by declare() and publish()", async () => {
  await using bus = await rabbitBus();
  await plain(
    await brokerUrl(),
    (channel) => channel.assertExchange(bus.exchange, "fanout"),
  );
  const transport = await bus.link.openSession(soon());
  const address = queue(bus.name());
  const refused = inequivalent(`exchange ${bus.exchange}`);
  await assert.rejects(transport.declare(address, soon()), refused);
  const sent = transport.publish(address, message("x"), soon());
  await assert.rejects(sent, refused);
});

Deno.test("what is passive is taken as it is: no other form is refused, and no binding is made", async () => {
  const base = await brokerUrl();
  await using bus = await rabbitBus(base, {
    nova: { transientQuorum: false, streamFanout: false, passive: true },
  });
  const address = queue(bus.name());
  const transport = await bus.link.openSession(soon());
  const missing = (error: unknown) =>
    error instanceof TopologyError && error.data.reason === "missing" &&
    error.data.entity === `exchange ${bus.exchange}`;
  await assert.rejects(transport.declare(address, soon()), missing);
  await assert.rejects(
    transport.publish(address, message("x"), soon()),
    missing,
  );
  await plain(base, async (channel) => {
    await channel.assertExchange(bus.exchange, "direct");
    await channel.assertQueue(address.key, {
      durable: false,
      arguments: { "x-max-length": 5 },
    });
  });
  await transport.declare(address, soon());
  const { mail } = await consumer(bus, address);
  const sent = message("x", { mandatory: true });
  await assert.rejects(transport.publish(address, sent, soon()), NoRouteError);
  await transport.publish(direct(address.key), message("old"), soon());
  await until("it has come", () => mail.texts.includes("old"));
});

// Headers and bodies

const BAD_HEADERS: [value: unknown, kind: string][] = [
  [new Date(0), "Date"],
  [1n, "bigint"],
  [{ "!": "timestamp", value: 1 }, "Object"],
  [["a"], "Array"],
  [NaN, "number"],
  [Infinity, "number"],
  [undefined, "undefined"],
  [() => {}, "Function"],
  [Symbol("x"), "symbol"],
];

Deno.test("a header that AMQP would change is refused by name", async () => {
  await using bus = await rabbitBus();
  const transport = await bus.link.openSession(soon());
  for (const [value, kind] of BAD_HEADERS) {
    const headers = { fine: 1, wrong: value };
    for (const send of ["publish", "send"] as const) {
      await assert.rejects(
        transport[send](direct(bus.name()), message("x", { headers }), soon()),
        (error) => {
          assert.ok(error instanceof InvalidValueError, `${kind}: ${error}`);
          assert.equal(error.data.path, "headers.wrong");
          assert.match(error.message, new RegExp(`"wrong".* ${kind}`));
          return true;
        },
      );
    }
  }
});

Deno.test("what AMQP cannot carry is a typed error, and the channel lives on", async () => {
  await using bus = await rabbitBus();
  const name = bus.name();
  const { transport, first } = await consumer(bus, queue(name));
  const long = "x".repeat(256);
  const bad: [Partial<Message>, string?][] = [
    [{ headers: { large: "x".repeat(140_000) } }],
    [{
      headers: Object.fromEntries(
        Array.from({ length: 20_000 }, (_, at) => [`h${at}`, at]),
      ),
    }],
    [{ headers: { [long]: 1 } }],
    [{ messageId: long }],
    [{ correlationId: long }],
    [{ replyTo: long }],
    [{}, long],
  ];
  for (const [more, key = name] of bad) {
    for (const send of ["publish", "send"] as const) {
      await assert.rejects(
        transport[send](direct(key), message("x", more), soon()),
        (error) => {
          assert.ok(error instanceof InvalidValueError, `${error}`);
          assert.ok(error.message.length < 500);
          return true;
        },
      );
    }
  }
  const headers = { large: "x".repeat(60_000) };
  await transport.publish(direct(name), message("fits", { headers }), soon());
  const [delivery] = await first(1);
  assert.deepEqual({ ...delivery?.message.headers }, headers);
});

Deno.test("headers come as values, whatever they were wrapped in, and their names are harmless", async () => {
  await using bus = await rabbitBus();
  const name = bus.name();
  const { transport, first } = await consumer(bus, queue(name));
  const own = JSON.parse(
    '{"__proto__": "mine", "constructor": "c", "toString": "t"}',
  );
  await transport.publish(
    direct(name),
    message("own", { headers: own }),
    soon(),
  );
  await plain(await brokerUrl(), async (channel) => {
    const headers = {
      when: { "!": "timestamp", value: 1_700_000_000 },
      float: { "!": "float", value: 1.5 },
      table: { inner: { "!": "timestamp", value: 7 }, "__proto__x": 1 },
      list: [{ "!": "double", value: 2 }, "plain"],
    };
    channel.sendToQueue(name, Buffer.from("foreign"), { headers });
    await channel.waitForConfirms();
  });
  const [mine, foreign] = await first(2);
  const got = mine?.message.headers ?? {};
  assert.deepEqual(Object.entries(got).sort(), Object.entries(own).sort());
  assert.equal(Object.getPrototypeOf(got), Object.prototype, "not replaced");
  assert.equal(({} as Record<string, unknown>).mine, undefined);
  assert.deepEqual(JSON.parse(JSON.stringify(foreign?.message.headers)), {
    when: 1_700_000_000,
    float: 1.5,
    table: { inner: 7, "__proto__x": 1 },
    list: [2, "plain"],
  });
});

Deno.test("a body is the sender's own again as soon as it is handed over", async () => {
  await using bus = await rabbitBus();
  const name = bus.name();
  const { transport, first } = await consumer(bus, queue(name));
  for (const size of [10, 5_000, 300_000]) {
    const body = new Uint8Array(size + 9).fill(1).subarray(9);
    await transport.send(direct(name), message("", { body }), soon());
    body.fill(2);
  }
  for (const { message: { body } } of await first(3)) {
    assert.ok(body.every((byte) => byte === 1), `${body.byteLength} bytes`);
  }
});

// Writing

Deno.test("300 publishes in one turn make few writes", async () => {
  const sockets = watchSockets();
  await using bus = await rabbitBus();
  const transport = await bus.link.openSession(soon());
  const nowhere = direct(bus.name());
  const publish = () =>
    transport.publish(nowhere, message("x".repeat(200)), soon());
  await publish();
  const seen = sockets();
  const before = seen.writes;
  await Promise.all(Array.from({ length: 300 }, publish));
  const writes = seen.writes - before;
  assert.ok(writes > 0 && writes <= 10, `${writes} writes`);
});

Deno.test("300 declarations in one turn make few writes, and those that are refused have their own errors", async () => {
  const sockets = watchSockets();
  await using bus = await rabbitBus();
  const session = await bus.link.openSession(soon());
  const addresses = Array.from({ length: 300 }, () => queue(bus.name()));
  const refused = [7, 150, 299];
  await plain(await brokerUrl(), async (channel) => {
    for (const n of refused) {
      const name = addresses[n]?.key ?? "";
      await channel.assertQueue(name, { arguments: { "x-max-length": 5 } });
    }
  });
  const seen = sockets();
  const before = seen.writes;
  const declared = await Promise.allSettled(
    addresses.map((address) => session.declare(address, soon())),
  );
  const writes = seen.writes - before;
  for (const [n, outcome] of declared.entries()) {
    if (refused.includes(n)) {
      assert.ok(outcome.status === "rejected", `${n} was not refused`);
      inequivalent(`queue ${addresses[n]?.key}`)(outcome.reason);
    } else assert.equal(outcome.status, "fulfilled", `${n} was refused`);
  }
  // Each refusal closes its channel, so that those after it are sent again; bindings wait for the exchange on another channel.
  assert.ok(writes > 0 && writes <= 50, `${writes} writes`);
  await Promise.all(
    [6, 8, 298].map(async (n) => {
      const address = addresses[n] ?? assert.fail();
      const sent = message("x", { mandatory: true });
      await session.publish(address, sent, soon());
      assert.equal((await bus.link.inspect(address, soon()))?.messages, 1);
    }),
  );
});

Deno.test("sockets send without delay", async () => {
  const sockets = watchSockets();
  await using bus = await rabbitBus();
  await bus.link.openSession(soon());
  assert.equal(sockets().prompt.size, 2);
});

/** Counts writes of all sockets, and the sockets without delay, until it is asked. */
function watchSockets() {
  const { connect } = Deno;
  const seen = { writes: 0, prompt: new Set<unknown>() };
  const watched = (socket: Deno.TcpConn) => {
    const { write, setNoDelay } = socket;
    socket.write = (bytes) => {
      seen.writes++;
      return write.call(socket, bytes);
    };
    socket.setNoDelay = (on) => {
      if (on !== false) seen.prompt.add(socket);
      setNoDelay.call(socket, on);
    };
    return socket;
  };
  Deno.connect =
    (async (options: Deno.ConnectOptions) =>
      watched(await connect(options))) as typeof connect;
  return () => {
    Deno.connect = connect;
    return seen;
  };
}

Deno.test("send() waits for a connection that is slower than its sender, until its deadline", async () => {
  await using bus = await proxiedBus();
  const transport = await bus.link.openSession(soon());
  const to = direct(bus.name());
  const body = new Uint8Array(100_000);
  await transport.send(to, message("", { body }), soon()); // the broker accepts this size
  bus.proxy.blackhole(true);
  let taken = 0;
  const flood = async () => {
    for (; taken < 2_500; taken++) {
      await transport.send(to, message("", { body }), soon(500));
    }
  };
  await assert.rejects(flood(), (error) => {
    assert.ok(error instanceof RpcError);
    assert.deepEqual([error.code, error.inDoubt], ["TIMEOUT", false]);
    return true;
  });
  assert.ok(taken < 1_200, `${taken} of 100 kB were taken`);
  bus.proxy.blackhole(false);
  await transport.send(to, message("it flows again"), soon());
});

// The way to a broker

Deno.test("backoff() has full jitter, grows, and is bounded", () => {
  const random = Math.random;
  try {
    Math.random = () => 1;
    const limits = Array.from({ length: 9 }, (_, attempt) => backoff(attempt));
    assert.deepEqual(limits, [
      100,
      200,
      400,
      800,
      1600,
      3200,
      5000,
      5000,
      5000,
    ]);
    assert.equal(backoff(5_000), 5_000);
    assert.equal(backoff(3, 10, 50), 50);
    Math.random = () => 0;
    assert.equal(backoff(9), 0);
  } finally {
    Math.random = random;
  }
  const drawn = Array.from({ length: 200 }, () => backoff(20));
  assert.ok(drawn.every((ms) => ms >= 0 && ms <= 5_000));
  assert.ok(new Set(drawn.map((ms) => Math.floor(ms / 1_000))).size > 1);
});

const REFUSED: [name: string, change: (url: URL) => string][] = [
  ["a wrong password", ({ host }) => `amqp://guest:s3cret%2Fword@${host}`],
  ["an unknown user", ({ host }) => `amqp://no%20body:s3cret%2Fword@${host}`],
  [
    "an unknown virtual host",
    (url) => `${url.href.replace(/\/$/, "")}/s3cret-less`,
  ],
];

for (const [name, change] of REFUSED) {
  Deno.test(`${name} is a ConnectionFailedError at once, without the password`, async () => {
    const url = change(new URL(await brokerUrl()));
    await using link = rabbitLink(url);
    const events = eventsOf(link);
    for (const wait of [soon(), { at: Infinity }]) {
      await assert.rejects(link.openSession(wait), (error) => {
        assert.ok(error instanceof ConnectionFailedError);
        assert.match(
          error.message,
          /check the user, the password and the virtual host|does not open the virtual host: check that it exists/,
        );
        const shown = `${error.message} ${error.stack} ${
          JSON.stringify(error)
        }`;
        assert.doesNotMatch(shown, /s3cret(\/|%2F)word|guest:guest/i);
        return true;
      });
    }
    await told(events, "failed");
  });
}

Deno.test("connecting to nothing is a ConnectionFailedError at the deadline", async () => {
  await using link = rabbitLink(`amqp://guest:guest@127.0.0.1:${freePort()}`);
  await assert.rejects(link.openSession(soon(300)), (error) => {
    assert.ok(error instanceof ConnectionFailedError);
    assert.match(error.message, /ECONNREFUSED|refused/i);
    assert.doesNotMatch(error.message, /guest/);
    return true;
  });
});

Deno.test("a node that is down is passed over, whichever comes first", async () => {
  using _ = withoutPauses();
  const base = await brokerUrl();
  const dead = `amqp://guest:guest@127.0.0.1:${freePort()}`;
  for (const urls of [[dead, base], [base, dead], [dead, dead, base]]) {
    await using link = rabbitLink(...urls);
    const transport = await link.openSession(soon());
    await transport.publish(direct("nowhere"), message("x"), soon());
    assert.equal(await consumersOf({ link }, "nowhere"), undefined);
  }
});

Deno.test("connections go over all nodes in turn", async () => {
  using _ = withoutPauses();
  const base = await brokerUrl();
  await using one = proxyTo(base);
  await using two = proxyTo(base);
  await using three = proxyTo(base);
  const nodes = [one, two, three];
  await using link = rabbitLink(...nodes.map((node) => node.url(base)));
  const events = eventsOf(link);
  await link.openSession(soon());
  for (let round = 1; round <= 4; round++) {
    for (const node of nodes) node.reset();
    await told(events, "connected", round + 1);
  }
  const counts = nodes.map(({ connections }) => connections.accepted);
  assert.ok(counts.every((count) => count >= 2), `${counts}`);
});

Deno.test("an idle pool keeps no process alive", async () => {
  const at = (path: string) =>
    new URL(`../../../src/${path}`, import.meta.url).href;
  const program = `
    import { SessionPool } from "${at("transport/session_pool.ts")}";
    import { RabbitTransport } from "${at("transport/rabbitmq/transport.ts")}";
    const transport = new RabbitTransport({ urls: [new URL(Deno.args[0])] });
    const pool = new SessionPool(transport, () => {}, { idle: 600_000 });
    const soon = { at: performance.now() + 20_000 };
    await transport.startInbox({ onDelivery() {}, onReturned() {} }, soon);
    const body = new Uint8Array(1);
    for (let lease = 0; lease < 2; lease++) {
      const session = await pool.acquire(true, soon);
      await session.publish({ kind: "direct", queue: "nowhere" }, { body, headers: {} }, soon);
      await pool.release(session, true, true);
    }
    console.log("released");
    addEventListener("unload", () => console.log("left"));
  `;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "-A",
      `data:application/typescript,${encodeURIComponent(program)}`,
      await brokerUrl(),
    ],
    stdout: "piped",
    stderr: "inherit",
  }).spawn();
  let out = "";
  let over = false;
  const reading = (async () => {
    for await (
      const chunk of child.stdout.pipeThrough(new TextDecoderStream())
    ) {
      out += chunk;
    }
    over = true;
  })();
  try {
    await until(
      "the leases are given back",
      () => out.includes("released"),
      20_000,
    );
    await until("the process has ended by itself", () => over, 2_000);
  } finally {
    if (!over) child.kill("SIGKILL");
    await reading;
  }
  const { code } = await child.status;
  assert.deepEqual([code, out.split("\n")[1]], [0, "left"]);
});
