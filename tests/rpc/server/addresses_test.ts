/** Names that can meet: two topics, hosts, pools or tasks whose queue is one, and who serves what comes there. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  contract,
  createConnection,
  implement,
  InvalidValueError,
  RpcDispatcher,
  Service,
  type Target,
} from "../../../mod.ts";
import {
  addresseeOfName,
  misdirectionReason,
} from "../../../src/rpc/request/addressee.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { type Bus, failureOf, onEachBus, onRabbit } from "../support.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";

/** A contract whose worker says which topic it serves. */
const whoseOf = (topic: string) =>
  contract({ topic, version: "1.0", procedures: { whose: {} } });

/** A dispatcher of a topic that tells who ran. */
function served(topic: string, ran: string[]): RpcDispatcher {
  const handlers = { whose: () => void ran.push(topic) };
  return new RpcDispatcher([implement(whoseOf(topic), handlers)]);
}

/** One pair of names with one queue: who consumes it, whom a request is for, and whether that is its consumer. */
interface Pair {
  readonly name: string;
  readonly queue: (topic: string) => string;
  readonly consume: (
    connection: ConnectionContext,
    topic: string,
    ran: string[],
  ) => Promise<void>;
  readonly to: (topic: string) => Target;
  readonly mine: boolean;
}

const host: Pair["consume"] = (connection, topic, ran) =>
  connection.createConsumer(topic, served(topic, ran), { host: "eu" });
const topic: Pair["consume"] = (connection, topic, ran) =>
  connection.createConsumer(`${topic}.eu`, served(`${topic}.eu`, ran));
const joined: Pair["consume"] = (connection, topic, ran) =>
  connection.createConsumer(`${topic}.eu`, served(topic, ran));
const pool: Pair["consume"] = (connection, topic, ran) =>
  connection.createWorker(topic, served(topic, ran), `${topic}.eu`);
const one = (topic: string): Target => ({ topic: `${topic}.eu` });
const other = (topic: string): Target => ({ topic, host: "eu" });
const whole = (topic: string): Target => ({ topic });
const queue = (topic: string) => `${topic}.eu`;

const pairs: readonly Pair[] = [
  { name: "host, asked as host", consume: host, to: other, mine: true },
  { name: "host, asked as topic", consume: host, to: one, mine: false },
  { name: "topic, asked as topic", consume: topic, to: one, mine: true },
  { name: "topic, asked as host", consume: topic, to: other, mine: false },
  { name: "joined by hand, as topic", consume: joined, to: one, mine: true },
  { name: "joined by hand, as host", consume: joined, to: other, mine: true },
  { name: "pool, asked as its topic", consume: pool, to: whole, mine: true },
].map((pair) => ({ ...pair, queue }));

for (const { name, queue, consume, to, mine } of pairs) {
  onEachBus(`one queue of two names: ${name}`, async (bus) => {
    await using _log = await logged();
    for (const part of ["", ".dead", ".quarantine"]) {
      bus.owns(`${queue(bus.topic)}${part}`);
    }
    const ran: string[] = [];
    await using worker = await bus.connect();
    await consume(worker, bus.topic, ran);
    await worker.consume();
    await using connection = await bus.connect();
    const target = to(bus.topic);
    if (mine) {
      await connection.call(target, "whose");
      return assert.equal(ran.length, 1);
    }
    const error = await failureOf(connection.call(target, "whose"));
    assert.ok(error instanceof InvalidValueError, Deno.inspect(error));
    assert.ok(error.message.includes(`topic ${bus.topic}.eu`), error.message);
    assert.ok(
      error.message.includes(`topic ${bus.topic} on host eu`),
      error.message,
    );
    await connection.cast(target, "whose");
    await using stranger = await Stranger.on(bus);
    const [letter] = await stranger.take(deadOf(queue(bus.topic)), 1);
    const { headers } = letter!.message;
    assert.match(`${headers["warren-reason"]}`, /^Refused: it is for topic /);
    assert.ok(headers["warren-to"], "it says whom it was for");
    assert.deepEqual(ran, []);
    assert.equal(worker.stats.refused, 2);
  });
}

onEachBus(
  "a pool with the name of another topic's queue: each serves its own alone",
  async (bus) => {
    await using _log = await logged();
    const [a, b] = [`${bus.topic}-a`, bus.name("b")];
    bus.owns(`${a}.eu`);
    const ran: string[] = [];
    await using pool = await bus.connect();
    await pool.createWorker(a, served(a, ran), b);
    await pool.consume();
    await using connection = await bus.connect();
    await connection.call({ topic: a }, "whose");
    assert.deepEqual(ran, [a]);
    // The pool's queue is that of topic b once somebody serves it: what is asked of b is refused by the pool.
    await using worker = await bus.connect();
    await worker.createConsumer(b, served(b, ran));
    const error = await failureOf(connection.call({ topic: b }, "whose"));
    assert.ok(error.message.includes(`topic ${b}`), error.message);
    assert.ok(error.message.includes(`topic ${a}`), error.message);
  },
);

onEachBus(
  "a request without the header, of an older Warren or another peer, is served",
  async (bus) => {
    for (const part of ["", ".dead", ".quarantine"]) {
      bus.owns(`${bus.topic}.eu${part}`);
    }
    const ran: string[] = [];
    await using worker = await bus.connect();
    await host(worker, bus.topic, ran);
    await worker.consume();
    await using stranger = await Stranger.on(bus);
    const body = { method: "whose", args: {}, version: "1.0" };
    await stranger.put(`${bus.topic}.eu`, JSON.stringify(body));
    await until("it ran", () => ran.length === 1);
  },
);

onEachBus(
  "the address survives 80 headers of others, and the copies of a cast",
  async (bus) => {
    await using _log = await logged();
    const ran: string[] = [];
    await using worker = await bus.connect();
    const boom = () => {
      ran.push("boom");
      throw new Error("boom");
    };
    const api = whoseOf(bus.topic);
    const manager = implement(api, { whose: boom });
    await worker.createConsumer(bus.topic, new RpcDispatcher([manager]));
    await worker.consume();
    await using stranger = await Stranger.on(bus);
    const others = Array.from({ length: 80 }, (_, i) => [`other-${i}`, "x"]);
    const headers = { ...Object.fromEntries(others), "warren-to": bus.topic };
    const body = { method: "whose", args: {}, version: "1.0" };
    await stranger.put(bus.topic, JSON.stringify(body), { headers });
    const [letter] = await stranger.take(deadOf(bus.topic), 1);
    const said = letter!.message.headers;
    assert.equal(said["warren-to"], bus.topic);
    assert.equal(Object.keys(said).filter((k) => /^other/.test(k)).length, 72);
  },
);

Deno.test("a service does not start with two topics that have one queue", async () => {
  const whose = () => {};
  const manager = ["shop", "shop.eu"].map((topic) =>
    implement(whoseOf(topic), { whose })
  );
  const url = `memory:${crypto.randomUUID()}`;
  const options = { url, host: "eu", signals: false, manager } as const;
  const error = await failureOf(Service.start(options));
  assert.ok(error instanceof InvalidValueError);
  assert.match(error.message, /topic shop on host eu and topic shop\.eu/);
});

Deno.test("names that would be queues beside others are refused", async () => {
  const bus = `memory:${crypto.randomUUID()}`;
  await using connection = await createConnection(bus);
  for (const task of ["dead", "quarantine", "delay.100", "x.dead"]) {
    assert.throws(() => connection.lead("shop", task), InvalidValueError);
  }
  const dispatcher = served("shop", []);
  const wrong = { host: "eu", fanout: true };
  const both = connection.createConsumer("shop", dispatcher, wrong);
  assert.ok(await failureOf(both) instanceof InvalidValueError);
  const hosts = ["dead", "delay.100", "quarantine", "leader.x"];
  for (const host of hosts) {
    const made = connection.createConsumer("shop", dispatcher, { host });
    assert.ok(await failureOf(made) instanceof InvalidValueError, host);
  }
});

Deno.test("all pairs of addresses with one joined name are told apart", () => {
  const addresses = ["a.b.c", "a/b.c", "a.b/c"];
  const consumers = [
    { topic: "a.b.c", byQueueName: false },
    { topic: "a", host: "b.c", byQueueName: false },
    { topic: "a.b", host: "c", byQueueName: false },
  ];
  const table = consumers.map((consumer) =>
    addresses.map((to) => misdirectionReason(consumer, to) === undefined)
  );
  assert.deepEqual(table, [
    [true, false, false],
    [false, true, false],
    [false, false, true],
  ]);
  const loose = addresseeOfName("a.b.c", served("a", []));
  for (const to of [...addresses, undefined]) {
    assert.equal(misdirectionReason(loose, to), undefined);
  }
  assert.ok(misdirectionReason(loose, "a.b.d"));
});

/** Queues whose names can meet those of topics and hosts, and what keeps them apart. */
onRabbit(
  "events and requests in one queue: neither is lost",
  async (bus: Bus) => {
    await using _log = await logged();
    const name = bus.name("events.info");
    const topic = name.slice(0, -".info".length);
    const ran: string[] = [];
    await using worker = await bus.connect({
      notifications: { topics: [topic] },
    });
    await worker.createConsumer(name, served(name, ran));
    await worker.consume();
    await worker.notify("x.y", 1);
    await using stranger = await Stranger.on(bus);
    const [letter] = await stranger.take(deadOf(name), 1);
    const { headers } = letter!.message;
    assert.match(
      `${headers["warren-reason"]}`,
      /a notification where requests/,
    );
  },
);
