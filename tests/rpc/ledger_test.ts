/** A request that comes again is not run again: told by its id. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { RpcDispatcher } from "../../mod.ts";
import { Answered, Ledger } from "../../src/rpc/ledger.ts";
import type { Job } from "../../src/rpc/job.ts";
import { until } from "../setup/probe.ts";
import { type Bus, onRabbit, type Raw, sumHandlers, sums } from "./bus.ts";

/** A worker that counts what it runs, and a stranger who can ask twice. */
async function setUp(bus: Bus) {
  const runs = { add: 0, wait: 0 };
  const open = Promise.withResolvers<void>();
  const worker = await bus.serve(
    sums(bus.topic),
    sumHandlers({
      add: ({ a, b }) => (runs.add++, a + b),
      wait: async () => {
        runs.wait++;
        await open.promise;
      },
    }),
  );
  const raw = await bus.raw() as Raw;
  const queue = `reply_${bus.topic}`;
  await raw.channel.assertQueue(queue, { exclusive: true });
  const send = (method: string, args: object, ids: object) => {
    const body = { method, args, _reply_q: queue, _timeout: null, ...ids };
    const content = Buffer.from(JSON.stringify(body));
    raw.channel.publish("warren", bus.topic, content);
  };
  const answers: Record<string, unknown>[] = [];
  await raw.channel.consume(queue, (message) => {
    answers.push(JSON.parse(String(message?.content)));
  }, { noAck: true });
  const over = async () => {
    await worker[Symbol.asyncDispose]();
    await raw[Symbol.asyncDispose]();
  };
  return { runs, open, worker, send, answers, over };
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
    await until("they are in hand", () => worker.stats.inHand === 3);
    assert.equal(runs.wait, 2);
    open.resolve();
    await until("none is left in hand", () => worker.stats.inHand === 0);
    await until("both are answered", () => answers.length === 2);
    assert.deepEqual(answers.map(({ _msg_id }) => _msg_id).sort(), [
      "one",
      "two",
    ]);
    assert.equal(worker.stats.repeated, 1);
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

/** As much of a job as a ledger looks at. */
function job(bytes = 0, abandoned = false): Job {
  const message = { body: new Uint8Array(bytes), headers: {} };
  return { answers: bytes > 0 ? [message] : [], abandoned } as unknown as Job;
}

/** A ledger that was told of a request's end. */
async function ended(ledger: Ledger, id: string, of: Job): Promise<void> {
  const end = Promise.resolve();
  ledger.begin(id, of, end);
  await end;
}

Deno.test("a ledger knows the last 50 000 requests and more, and whatever runs", async () => {
  const ledger = new Ledger();
  const running = Promise.withResolvers<void>();
  ledger.begin("runs", job(), running.promise);
  for (let n = 0; n < 110_000; n++) await ended(ledger, `${n}`, job());
  assert.equal(ledger.find("9000"), undefined);
  for (const id of ["60000", "109999"]) {
    assert.deepEqual(ledger.find(id), { answers: [] });
  }
  assert.ok("ended" in (ledger.find("runs") ?? {}));
  running.resolve();
  await running.promise;
  assert.deepEqual(ledger.find("runs"), { answers: [] });
});

Deno.test("a ledger keeps at most 32 MiB of answers, and nothing of what goes back to its queue", async () => {
  const ledger = new Ledger();
  for (let n = 0; n < 50; n++) await ended(ledger, `${n}`, job(1024 * 1024));
  await ended(ledger, "back", job(0, true));
  assert.equal(ledger.find("back"), undefined);
  let kept = 0;
  for (let n = 0; n < 50; n++) {
    const known = ledger.find(`${n}`);
    assert.ok(known && "answers" in known, "it is known");
    kept += known.answers.length;
  }
  assert.ok(kept >= 16 && kept <= 32, `${kept}`);
});

Deno.test("the ledgers of a connection keep their answers apart, and at most 32 MiB of them together", async () => {
  const answered = new Answered();
  const ledgers = Array.from({ length: 5 }, () => new Ledger(answered));
  for (const [n, ledger] of ledgers.entries()) {
    await ended(ledger, "same", job(n + 1));
  }
  const lengths = ledgers.map((ledger) => {
    const known = ledger.find("same");
    return known && "answers" in known && known.answers[0]?.body.length;
  });
  assert.deepEqual(lengths, [1, 2, 3, 4, 5]);
  let kept = 0;
  for (let n = 0; n < 60; n++) {
    const ledger = ledgers[n % ledgers.length] as Ledger;
    await ended(ledger, `${n}`, job(1024 * 1024));
  }
  for (let n = 0; n < 60; n++) {
    const known = ledgers[n % ledgers.length]?.find(`${n}`);
    assert.ok(known && "answers" in known, "it is known");
    kept += known.answers.length;
  }
  assert.ok(kept >= 16 && kept <= 32, `${kept}`);
});
