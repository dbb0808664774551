/** A request that comes again is not run again: told by its id. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import fc from "npm:fast-check@^4.10.2";
import { memoryLedgerStore, RpcDispatcher } from "../../../mod.ts";
import {
  DoneRequest,
  RecentRequests,
} from "../../../src/rpc/request/recent_requests.ts";
import { ReplyCache } from "../../../src/rpc/cache/reply_cache.ts";
import {
  RequestKey,
  requestKey,
} from "../../../src/rpc/request/request_key.ts";
import { dialects, type Request } from "../../../src/wire/mod.ts";
import type { IncomingRequest } from "../../../src/rpc/request/incoming_request.ts";
import { until } from "../../setup/probe.ts";
import {
  aborted,
  type Bus,
  onRabbit,
  type Raw,
  sumHandlers,
  sums,
} from "../support.ts";

/** A worker that counts what it runs, which of it has ended by its signal, and a stranger who can ask twice. */
async function setUp(bus: Bus) {
  const runs = { add: 0, wait: 0, count: 0, aborted: 0 };
  const open = Promise.withResolvers<void>();
  const worker = await bus.serve(
    sums(bus.topic),
    sumHandlers({
      add: ({ a, b }) => (runs.add++, a + b),
      wait: async (_, { signal }) => {
        runs.wait++;
        await Promise.race([open.promise, aborted(signal)]);
        if (signal.aborted) runs.aborted++;
      },
      async *count({ to }) {
        runs.count++;
        yield 1;
        await open.promise;
        for (let n = 2; n <= to; n++) yield n;
      },
    }),
  );
  const raw = await bus.raw() as Raw;
  const queue = `reply_${bus.topic}`;
  await raw.channel.assertQueue(queue, { exclusive: true });
  const send = (method: string, args: object, ids: object, more = {}) => {
    const body = { method, args, _reply_q: queue, _timeout: null, ...ids };
    const content = Buffer.from(JSON.stringify(body));
    raw.channel.publish("warren", bus.topic, content, more);
  };
  /** As oslo.messaging puts it into an envelope. */
  const sendOslo = (method: string, args: object, ids: object) => {
    const body = { method, args, _reply_q: queue, _timeout: null, ...ids };
    const message = JSON.stringify(body);
    const outer = { "oslo.version": "2.0", "oslo.message": message };
    const content = Buffer.from(JSON.stringify(outer));
    raw.channel.publish("warren", bus.topic, content);
  };
  const answers: Record<string, unknown>[] = [];
  await raw.channel.consume(queue, (message) => {
    const { "oslo.message": inner, ...outer } = JSON.parse(
      String(message?.content),
    );
    answers.push(inner === undefined ? outer : JSON.parse(inner));
  }, { noAck: true });
  const over = async () => {
    await worker[Symbol.asyncDispose]();
    await raw[Symbol.asyncDispose]();
  };
  return { runs, open, worker, send, sendOslo, answers, over };
}

const ids = (call: string) => ({ _msg_id: call, _unique_id: `u-${call}` });

onRabbit(
  "a call that comes again gets its answer again, and is not run again",
  async (bus) => {
    const { runs, worker, send, answers, over } = await setUp(bus);
    for (let n = 1; n <= 3; n++) {
      send("add", { a: 1, b: 2 }, ids("one"));
      await until("it is answered", () => answers.length === n);
    }
    assert.equal(runs.add, 1);
    const [first] = answers;
    assert.equal(first?.result, 3);
    for (const answer of answers) assert.deepEqual(answer, first);
    assert.equal(worker.stats.repeated, 2);
    await over();
  },
);

onRabbit(
  "a call that comes again while it runs waits for that run",
  async (bus) => {
    const { runs, open, worker, send, answers, over } = await setUp(bus);
    send("wait", {}, ids("one"));
    send("wait", {}, ids("one"));
    send("wait", {}, ids("two"));
    await until("they are in hand", () => worker.stats.active === 3);
    assert.equal(runs.wait, 2);
    open.resolve();
    await until("none is left in hand", () => worker.stats.active === 0);
    await until("both are answered", () => answers.length === 2);
    assert.deepEqual(answers.map(({ _msg_id }) => _msg_id).sort(), [
      "one",
      "two",
    ]);
    assert.equal(worker.stats.repeated, 1);
    await over();
  },
);

/** Calls of one request id. */
const other = (call: string, id = "u") => ({ _msg_id: call, _unique_id: id });

onRabbit(
  "a request that is sent again as another call runs once, and each call gets the answer in its own words",
  async (bus) => {
    const { runs, open, worker, ...peer } = await setUp(bus);
    const { send, sendOslo, answers, over } = peer;
    const long = { a: 1, b: 2, c: "x".repeat(1_000) };
    let round = 0;
    for (const ask of [send, sendOslo]) {
      for (const args of [{ a: 1, b: 2 }, long]) {
        answers.length = runs.add = 0;
        const id = `${++round}`;
        for (const [n, call] of ["one", "two", "three"].entries()) {
          ask("add", args, other(call, id));
          await until("it is answered", () => answers.length === n + 1);
        }
        assert.equal(runs.add, 1);
        assert.deepEqual(answers.map(({ _msg_id }) => _msg_id), [
          "one",
          "two",
          "three",
        ]);
        for (const { result, ending } of answers) {
          assert.deepEqual([result, ending], [3, true]);
        }
        assert.equal(new Set(answers.map((each) => each._unique_id)).size, 3);
      }
    }
    assert.equal(worker.stats.repeated, 8);
    answers.length = 0;
    for (const call of ["one", "two"]) send("wait", {}, other(call));
    await until("they are in hand", () => worker.stats.active === 2);
    open.resolve();
    await until("both are answered", () => answers.length === 2);
    assert.deepEqual(answers.map(({ _msg_id }) => _msg_id), ["one", "two"]);
    assert.equal(runs.wait, 1);
    await over();
  },
);

onRabbit(
  "other content under the same id is refused, while the first runs and when it is done",
  async (bus) => {
    const { runs, open, worker, send, answers, over } = await setUp(bus);
    const others: [string, object, object?][] = [
      ["wait", { tag: "y" }],
      ["add", { tag: "x" }],
      ["wait", { tag: "x" }, { _context_user: "x" }],
      ["wait", { tag: "x" }, { version: "1.0" }],
      ["wait", { tag: "x" }, { namespace: "n" }],
      ["wait", { tag: "x" }, { _timeout: undefined }],
    ];
    send("wait", { tag: "x" }, other("first"));
    await until("it runs", () => runs.wait === 1);
    for (const round of [1, 2]) {
      for (const [n, [method, args, more]] of others.entries()) {
        send(method, args, { ...other(`${n}`), ...more });
      }
      const refused = () =>
        answers.filter(({ failure }) => `${failure}`.includes("Conflict"));
      await until(
        "all are refused",
        () => refused().length === round * others.length,
      );
      open.resolve();
      await until(
        "the first is answered",
        () =>
          answers.some(({ _msg_id, failure }) =>
            _msg_id === "first" && failure === null
          ),
      );
    }
    const cast = { _unique_id: "c", _reply_q: undefined, _timeout: undefined };
    for (const b of [1, 2, 1]) send("add", { a: 1, b }, cast);
    await until("all have been looked at", () => worker.stats.repeated === 1);
    await until("none is in hand", () => worker.stats.active === 0);
    assert.deepEqual([runs.wait, runs.add, worker.stats.dead], [1, 1, 1]);
    await over();
  },
);

onRabbit(
  "who asks the same has a run of his own where the first one's ends without an answer, and for a stream",
  async (bus) => {
    const { runs, open, worker, send, answers, over } = await setUp(bus);
    send("wait", {}, other("short"), { expiration: "300" });
    await until("it runs", () => runs.wait === 1);
    for (const call of ["one", "two"]) send("wait", {}, other(call));
    await until("they are in hand", () => worker.stats.active === 3);
    await until("the next one runs", () => runs.wait === 2);
    assert.equal(runs.aborted, 1);
    for (const call of ["a", "b"]) send("count", { to: 2 }, other(call, "v"));
    await until("both run", () => runs.count === 2);
    open.resolve();
    await until("none is in hand", () => worker.stats.active === 0);
    await until("all came", () => answers.length === 2 + 2 * 3);
    const of = (call: string) =>
      answers.filter(({ _msg_id }) => _msg_id === call)
        .map(({ result }) => result);
    assert.deepEqual(of("short"), []);
    for (const call of ["one", "two"]) assert.deepEqual(of(call), [null]);
    for (const call of ["a", "b"]) assert.deepEqual(of(call), [1, 2, null]);
    assert.equal(runs.wait, 2);
    send("count", { to: 2 }, other("a", "v")); // its reader had all of it
    await until("it is known", () => worker.stats.repeated === 2);
    assert.equal(runs.count, 2);
    await over();
  },
);

onRabbit(
  "a message without an id is never the same as another (Folsom)",
  async (bus) => {
    const { runs, send, answers, worker, over } = await setUp(bus);
    for (let n = 0; n < 3; n++) send("add", { a: 1, b: 2 }, { _msg_id: "one" });
    await until("all are answered", () => answers.length === 3);
    assert.equal(runs.add, 3);
    assert.equal(worker.stats.repeated, 0);
    await over();
  },
);

onRabbit(
  "two pools on one connection each handle a message once",
  async (bus) => {
    const runs: string[] = [];
    await using worker = await bus.connect();
    const handlers = sumHandlers({
      wait: ({ tag }) => void runs.push(`${tag}`),
    });
    const endpoint = { contract: sums(bus.topic), ...handlers };
    const dispatcher = new RpcDispatcher([endpoint]);
    for (const pool of ["a", "b"]) {
      await worker.createWorker(bus.topic, dispatcher, bus.name(pool));
    }
    await worker.consume();
    await using connection = await bus.connect();
    await connection.client(sums(bus.topic)).cast("wait", { tag: "x" });
    await until("both have it", () => runs.length === 2);
    assert.equal(worker.stats.repeated, 0);
  },
);

const reply = (queue: string) => ({ call: "call", queue, form: "oneMessage" });

/** As much of a request as the memory of recent requests reads. */
function request(
  id: string,
  { bytes = 0, abandoned = false, reader = "", content = "" } = {},
): IncomingRequest {
  const message = { body: new Uint8Array(bytes), headers: {} };
  return {
    key: new RequestKey(id, () => content),
    request: { reply: reply(reader) },
    onReplies: () => {},
    replies: bytes > 0 ? [message] : [],
    settlement: { abandoned, fenced: false },
  } as unknown as IncomingRequest;
}

/** Tells a ledger of a request and of its end. */
async function ended(
  ledger: RecentRequests,
  incoming: IncomingRequest,
): Promise<void> {
  const end = Promise.resolve();
  ledger.start(incoming, end);
  await end;
}

/** The answers that a ledger has for a request; undefined if it does not know the request as done. */
function repliesOf(ledger: RecentRequests, id: string, reader = "") {
  const known = ledger.find(request(id, { reader }));
  if (!(known instanceof DoneRequest)) return undefined;
  assert.ok(known.hasReaderOf(request(id, { reader })), "the same reader");
  assert.ok(!known.hasReaderOf(request(id, { reader: `${reader}?` })));
  return known.replies;
}

Deno.test("a ledger knows the last 50 000 requests and more, and whatever runs", async () => {
  const ledger = new RecentRequests();
  const running = Promise.withResolvers<void>();
  const runs = request("runs", { reader: "x" });
  ledger.start(runs, running.promise);
  for (let n = 0; n < 110_000; n++) await ended(ledger, request(`${n}`));
  assert.equal(ledger.find(request("9000")), undefined);
  for (const id of ["60000", "109999"]) {
    assert.deepEqual(repliesOf(ledger, id), []);
  }
  const known = ledger.find(request("runs"));
  assert.ok(known && "incoming" in known && known.incoming === runs);
  assert.ok(known.hasReaderOf(runs) && !known.hasReaderOf(request("runs")));
  assert.equal(ledger.evictions, 1);
  running.resolve();
  await running.promise;
  assert.deepEqual(repliesOf(ledger, "runs", "x"), []);
});

Deno.test("a request that has ended is not mistaken for those that run after it", async () => {
  const ledger = new RecentRequests();
  const forever = new Promise<void>(() => {});
  for (let n = 0; n < 100; n++) {
    await ended(ledger, request(`ended ${n}`));
    ledger.start(request(`runs ${n}`), forever);
  }
  for (let n = 0; n < 100; n++) {
    assert.deepEqual(repliesOf(ledger, `ended ${n}`), []);
    const known = ledger.find(request(`runs ${n}`));
    assert.ok(known && "incoming" in known);
    assert.equal(known.incoming.key?.text, `runs ${n}`);
  }
});

Deno.test("any number may wait for a run and leave again; who stays is told once", async () => {
  const ledger = new RecentRequests();
  const runs = Promise.withResolvers<void>();
  const first = request("runs");
  ledger.start(first, runs.promise);
  const known = ledger.find(first);
  assert.ok(known && "incoming" in known);
  for (let n = 0; n < 100_000; n++) {
    const leaving = new AbortController();
    const waiting = known.until(leaving.signal, true);
    leaving.abort(n);
    await assert.rejects(waiting, (reason) => reason === n);
  }
  const { signal } = new AbortController();
  const told: string[] = [];
  const stream = known.until(signal, true).then(() => told.push("stream"));
  const end = known.until(signal, false).then(() => told.push("end"));
  ledger.startStream(request("runs"));
  await Promise.resolve();
  assert.deepEqual(told, [], "another request's stream");
  ledger.startStream(first);
  await stream;
  assert.deepEqual(told, ["stream"]);
  runs.resolve();
  await end;
  await known.until(signal, true);
  assert.deepEqual(told, ["stream", "end"]);
});

Deno.test("a ledger keeps at most 32 MiB of answers, and nothing of what goes back to its queue", async () => {
  const ledger = new RecentRequests();
  for (let n = 0; n < 50; n++) {
    await ended(ledger, request(`${n}`, { bytes: 1024 * 1024 }));
  }
  await ended(ledger, request("back", { abandoned: true }));
  assert.equal(ledger.find(request("back")), undefined);
  let kept = 0;
  for (let n = 0; n < 50; n++) kept += repliesOf(ledger, `${n}`)?.length ?? NaN;
  assert.ok(kept >= 16 && kept <= 32, `${kept}`);
});

Deno.test("the ledgers of a connection keep their answers apart, and at most 32 MiB of them together", async () => {
  const answered = new ReplyCache();
  const ledgers = Array.from({ length: 5 }, () => new RecentRequests(answered));
  for (const [n, ledger] of ledgers.entries()) {
    await ended(ledger, request("same", { bytes: n + 1 }));
  }
  const lengths = ledgers.map((ledger) =>
    repliesOf(ledger, "same")?.[0]?.body.length
  );
  assert.deepEqual(lengths, [1, 2, 3, 4, 5]);
  let kept = 0;
  for (let n = 0; n < 60; n++) {
    const ledger = ledgers[n % ledgers.length] as RecentRequests;
    await ended(ledger, request(`${n}`, { bytes: 1024 * 1024 }));
  }
  for (let n = 0; n < 60; n++) {
    const ledger = ledgers[n % ledgers.length] as RecentRequests;
    kept += repliesOf(ledger, `${n}`)?.length ?? NaN;
  }
  assert.ok(kept >= 16 && kept <= 32, `${kept}`);
});

Deno.test("requests of one id never share an answer unless procedure and arguments are the same", async () => {
  const json = fc.jsonValue({ maxDepth: 2 });
  const content = fc.record({
    method: fc.constantFrom("get", "put"),
    version: fc.constantFrom(undefined, "1.0", "1.1"),
    namespace: fc.constantFrom(undefined, "n"),
    args: fc.dictionary(fc.constantFrom("a", "b", "ab"), json),
  });
  const keyOf = (fields: Pick<Request, "method" | "args">, queue: string) =>
    requestKey({
      ...{ kind: "request", id: "i", context: {}, ...fields },
      reply: { call: "c", queue, form: "oneMessage" },
    }, dialects.grizzly) as RequestKey;
  await fc.assert(fc.asyncProperty(content, content, async (one, two) => {
    const [first, second] = [keyOf(one, "q1"), keyOf(two, "q2")];
    const same = JSON.stringify([one.version, one.namespace, one.method]) ===
        JSON.stringify([two.version, two.namespace, two.method]) &&
      JSON.stringify(one.args) === JSON.stringify(two.args);
    assert.equal(first.text, second.text);
    assert.equal(first.content === second.content, same);
    const ledger = new RecentRequests();
    const asked = (key: RequestKey) =>
      ({ ...request("i", { bytes: 1 }), key }) as IncomingRequest;
    await ended(ledger, asked(first));
    const known = ledger.find(asked(second));
    assert.ok(known instanceof DoneRequest);
    assert.equal(known.hasContentOf(asked(second)), same);
    assert.equal(known.replies.length, same ? 1 : 0);
    const store = memoryLedgerStore();
    const held = await store.claim(first.text, first.content);
    assert.ok(held.state === "held");
    const claim = { key: first.text, epoch: held.epoch };
    await store.done(claim, "its answer");
    const state = (await store.claim(second.text, second.content)).state;
    assert.equal(state, same ? "done" : "conflict");
  }));
});

Deno.test("what a message gains on its way is no part of its key and content", () => {
  const keyOf = (more: object) =>
    requestKey(
      {
        ...{ kind: "request", id: "i", method: "m", args: { a: 1 } },
        ...{ context: {}, warren: 3, ...more },
        reply: { call: "c", queue: "q", form: "oneMessage", ...more },
      } as Request,
      dialects.grizzly,
    ) as RequestKey;
  const { text, content } = keyOf({});
  const gained = [
    { timeout: 5 },
    { monitor: 1, credit: 2 },
    { interruptions: 2, deferred: 1, expires: 7 },
    { queue: "renewed" },
    { call: "another" },
    { to: "topic" },
  ];
  for (const more of gained) {
    const other = keyOf(more);
    assert.deepEqual([other.text, other.content], [text, content]);
  }
  for (const more of [{ id: "j" }, { attempt: 2 }, { deadLetterCount: 1 }]) {
    assert.notEqual(keyOf(more).text, text);
  }
});
