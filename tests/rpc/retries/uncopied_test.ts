/** Messages of which no plain copy can be made: they are kept all the same, and others go on. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { InvalidValueError, RejectedError } from "../../../mod.ts";
import type { Message, Session } from "../../../src/transport/transport.ts";
import { direct } from "../../../src/transport/address.ts";
import {
  newAttempt,
  Republisher,
  sameAttempt,
} from "../../../src/rpc/retries/republisher.ts";
import { aborted, type Bus, onRabbit, sumHandlers, sums } from "../support.ts";
import { type Odd, propertiesOf, putOdd } from "./odd.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";

const junk = (bytes: number) => Buffer.alloc(bytes, 0xff);
const text = (said: string) => Buffer.from(said);

/** Each has once stopped its queue: a copy was refused by AMQP or by the broker. */
const ODD: readonly Odd[] = [
  { id: junk(255) },
  { headers: [[junk(200), text("grows")]] },
  { headers: [[text("CC"), [text("elsewhere")]], [text("CC"), text("x")]] },
  { headers: [[text("BCC"), [text("elsewhere")]], [text("BCC"), text("x")]] },
  {
    headers: Array.from(
      { length: 32 },
      (_, n) => [text(`${n}`.padEnd(100)), junk(250)] as const,
    ),
  },
];

const textOf = ({ body }: { readonly body: Uint8Array }) =>
  new TextDecoder().decode(body);

const cast = (tag: string, id: string) =>
  JSON.stringify({ method: "wait", args: { tag }, _unique_id: id });

/** A worker whose handler fails where the tag says so. */
function failing(bus: Bus) {
  return bus.serve(
    sums(bus.topic),
    sumHandlers({
      wait: ({ tag }) => {
        if (tag === "boom") throw new Error("boom");
      },
    }),
    { concurrency: 2 },
  );
}

onRabbit(
  "casts of which no plain copy can be made are dead letters beside good calls, as they fail or cannot be read",
  async (bus) => {
    await using _log = await logged();
    await using worker = await failing(bus);
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const bad = ODD.map((odd, n) => [cast("boom", `${n}`), odd] as const);
    const junk = ODD.map((odd) => ["junk", odd] as const);
    await putOdd(bus.url, bus.topic, [...bad, ...junk]);
    for (let a = 0; a < 20; a++) {
      assert.equal(await client.call("add", { a, b: 1 }), a + 1);
    }
    const all = 2 * ODD.length;
    await until("all are kept", () => worker.stats.dead === all);
    await using stranger = await Stranger.on(bus);
    const letters = await stranger.take(deadOf(bus.topic), all);
    const bodies = letters.map(({ message }) => textOf(message)).sort();
    assert.deepEqual(bodies, [...bad, ...junk].map(([body]) => body).sort());
    for (const { message: { headers } } of letters) {
      assert.equal(headers["warren-queue"], bus.topic);
      assert.equal(headers.CC ?? headers.BCC, undefined);
    }
    assert.equal(worker.stats.active, 0);
  },
);

onRabbit(
  "casts of which no plain copy can be made are handled apart, one at a time, after two interruptions",
  async (bus) => {
    await using _log = await logged();
    await (await failing(bus))[Symbol.asyncDispose](); // makes the queue
    const once = [text("warren-interrupted"), text("1")] as const;
    const messages = ODD.map(({ headers = [], ...odd }, n) =>
      [cast("a", `${n}`), { ...odd, headers: [once, ...headers] }] as const
    );
    await putOdd(bus.url, bus.topic, messages);
    let runs = 0;
    const dying = await bus.serve(
      sums(bus.topic),
      sumHandlers({
        wait: async (_, { signal }) => (runs++, await aborted(signal)),
      }),
    );
    await until("it has them", () => runs === ODD.length);
    await dying.drain(0);
    await dying[Symbol.asyncDispose]();
    let now = 0, most = 0;
    const open = Promise.withResolvers<void>();
    const handlers = sumHandlers({
      wait: async () => {
        most = Math.max(most, ++now);
        await open.promise;
        now--;
      },
    });
    await using worker = await bus.serve(sums(bus.topic), handlers);
    await until(
      "all are apart",
      () => worker.stats.interrupted === ODD.length && now > 0,
    );
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    open.resolve();
    const all = ODD.length + 1;
    await until("all are handled", () => worker.stats.handled === all);
    assert.equal(most, 1);
  },
);

onRabbit(
  "a message whose copy is refused is kept as a new one, with its properties as bytes",
  async (bus) => {
    await using _connection = await bus.connect();
    await using stranger = await Stranger.on(bus);
    const { transport } = stranger;
    const topic = { kind: "topic", topic: bus.topic } as const;
    const wait = { at: performance.now() + 30_000 };
    await transport.declare(topic, wait);
    const odd = { ...ODD[1], ...ODD[0] };
    await putOdd(bus.url, bus.topic, [["body", odd]]);
    const [delivery] = await stranger.take(topic, 1);
    assert.ok(delivery);
    let refusals = 0;
    const copies = new Republisher(
      {
        declare: transport.declare.bind(transport),
        waitForNewQueues: transport.waitForNewQueues.bind(transport),
        publish: (...sent: Parameters<Session["publish"]>) =>
          refusals++ === 0
            ? Promise.reject(content)
            : transport.publish(...sent),
      } as Session,
    );
    const said = { "warren-queue": bus.topic };
    assert.ok(await copies.deadLetter(topic, delivery.message, said));
    const [letter] = await stranger.take(deadOf(bus.topic), 1);
    assert.equal(letter && textOf(letter.message), "body");
    const { "warren-properties": properties, ...own } =
      letter?.message.headers ?? {};
    assert.deepEqual(own, said);
    assert.deepEqual(Buffer.from(properties as Buffer), propertiesOf(odd));
  },
);

const queue = { kind: "topic", topic: "t" } as const;

/** Copies on a broker that refuses the first so many messages. */
function refusing(errors: readonly Error[]) {
  const sent: Message[] = [];
  const transport = {
    declare: () => Promise.resolve(),
    waitForNewQueues: () => Promise.resolve(),
    publish: (_: unknown, message: Message) => {
      sent.push(message);
      const error = errors[sent.length - 1];
      return error ? Promise.reject(error) : Promise.resolve();
    },
  };
  return { sent, copies: new Republisher(transport as unknown as Session) };
}

const message: Message = {
  body: text("b"),
  headers: { own: "text", CC: "x" },
  messageId: "m",
  encodedProperties: text("raw"),
};
const content = new RejectedError("no", { data: { reason: "content" } });

Deno.test("a retry keeps all properties of its message but those of the call and of the earlier attempt", () => {
  const sent = {
    ...message,
    ...{ correlationId: "c", replyTo: "q", expiration: 5, oversized: 9 },
    ...{ unreadable: "why", persistent: false, mandatory: false, added: 7 },
  };
  const kept = { body: message.body, messageId: "m", added: 7 };
  const always = { persistent: true, mandatory: true };
  assert.deepEqual(newAttempt(sent, { more: "x" }), {
    ...{ ...kept, ...always, oversized: 9 },
    headers: { own: "text", more: "x" },
  });
  assert.deepEqual(sameAttempt(sent), {
    ...{ ...kept, ...always },
    ...{ correlationId: "c", replyTo: "q", expiration: 5 },
    headers: { own: "text" },
  });
});

Deno.test("a dead letter that is refused for its content is tried in simpler forms", async () => {
  await using log = await logged();
  const { sent, copies } = refusing([content, content, content]);
  const kept = await copies.deadLetter(queue, message, { "warren-queue": "t" });
  assert.equal(kept, false, "nothing else can be done with it");
  assert.deepEqual(sent.map(({ messageId, headers }) => [messageId, headers]), [
    ["m", { own: "text", "warren-queue": "t" }],
    [undefined, { "warren-queue": "t", "warren-properties": text("raw") }],
    [undefined, { "warren-queue": "t" }],
  ]);
  assert.deepEqual(sent.map(textOf), ["b", "b", "b"]);
  assert.match(log.lines.join(""), /Dropped a message of 1 bytes from .*t/);
});

Deno.test("no other refusal of a dead letter settles its message", async () => {
  await using _log = await logged();
  const others = [
    new RejectedError("a nack"),
    new RejectedError("no right", { data: { replyCode: 403 } }),
    new Error("anything else"),
  ];
  for (const other of others) {
    for (const before of [[], [content], [content, content]]) {
      const { copies } = refusing([...before, other]);
      const burying = copies.deadLetter(queue, message, {});
      await assert.rejects(burying, (error) => error === other);
    }
  }
  const unfit = new InvalidValueError("the routing key is too long");
  const { copies } = refusing([unfit, unfit, unfit]);
  await assert.rejects(
    copies.deadLetter(queue, message, {}),
    InvalidValueError,
  );
});

Deno.test("the pause of messages that cannot be copied doubles, though they go back into their queue meanwhile", async () => {
  const { copies } = refusing([]);
  await copies.backOff(AbortSignal.abort());
  await copies.send(direct("t"), message);
  const began = performance.now();
  await copies.backOff(new AbortController().signal);
  assert.ok(performance.now() - began >= 1_950);
  await copies.send({ kind: "deadLetter", of: queue }, message);
  const again = performance.now();
  await copies.backOff(new AbortController().signal);
  assert.ok(performance.now() - again < 1_900);
});
