/** Answers find their calls, in whatever order they come, how often, how late, and among whatever else. */
import { direct } from "../../../src/transport/address.ts";
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import { MemoryTransport } from "../../../src/transport/memory/transport.ts";
import type { Message, Session } from "../../../src/transport/transport.ts";
import { RpcClient } from "../../../src/rpc/client/rpc_client.ts";
import { Inbox } from "../../../src/rpc/inbox.ts";
import { defaultLimits } from "../../../src/wire/json.ts";
import { encodeControl } from "../../../src/wire/codec.ts";
import { grizzly } from "../../../src/wire/dialect.ts";
import { message, soon } from "../../transport/support.ts";
import { until } from "../../setup/probe.ts";
import { failureOf } from "../support.ts";

const target = { topic: "topic" };

/** A caller, and a worker of our own that answers what and when a test likes. */
class Pair implements AsyncDisposable {
  readonly inbox: Inbox;
  readonly caller: RpcClient;
  /** Ids of the calls, by the number in their arguments. */
  readonly ids = new Map<number, string>();
  /** Calls that the caller took back. */
  readonly cancelled: unknown[] = [];
  readonly #link: MemoryTransport;
  readonly #worker: Session;

  private constructor(link: MemoryTransport, transport: Session, own: Session) {
    this.#link = link;
    this.#worker = own;
    this.inbox = new Inbox(link, defaultLimits);
    this.caller = new RpcClient({
      session: transport,
      inbox: this.inbox,
      transport: link,
    }, {
      dialect: grizzly,
      limits: defaultLimits,
      errors: {},
      waitForRoute: false,
      legacyPeers: "never",
    });
  }

  static async open(): Promise<Pair> {
    const link = new MemoryTransport();
    const pair = new Pair(
      link,
      await link.openSession(soon()),
      await link.openSession(soon()),
    );
    const options = { prefetch: 0 };
    await pair.#worker.consume(
      { kind: "topic", topic: "topic" },
      (delivery) => {
        const { args, _msg_id } = JSON.parse(
          new TextDecoder().decode(delivery.message.body),
        );
        pair.ids.set(args.n, _msg_id);
        delivery.ack();
      },
      options,
      soon(),
    );
    await pair.#worker.consume(
      { kind: "topic", topic: "worker" },
      ({ message: { headers } }) => {
        pair.cancelled.push(headers["warren-call"]);
      },
      options,
      soon(),
    );
    return pair;
  }

  /** Asks that many times; resolves when the worker has all of it. */
  async ask(count: number) {
    const calls = Array.from({ length: count }, (_, n) => {
      const call = this.caller.call({
        target,
        method: "m",
        args: { n },
        options: {},
      });
      call.catch(() => {}); // looked at later
      return call;
    });
    await until("all are asked", () => this.ids.size === count, 10_000, 1);
    return calls;
  }

  /** Sends something to the caller's inbox. */
  async send(said: Partial<Message>): Promise<void> {
    const sent = { ...message(""), ...said };
    await this.#worker.publish(direct(this.inbox.name), sent, soon());
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.caller.dispose();
    await this.#link[Symbol.asyncDispose]();
  }
}

const json = (value: unknown) =>
  new TextEncoder().encode(JSON.stringify(value));
const nothing = { result: null, failure: null };

/** What the worker says of one call, in this order. */
type Say = (call: string, n: number) => readonly Partial<Message>[];
const reply = (call: string, said: object, headers = {}) => ({
  body: json({ ...nothing, _msg_id: call, ...said }),
  headers,
});
const worker = { "warren-inbox": "worker" };

/** Ways in which a call is answered. Each has its ending, after which nothing of it counts. */
const answers: Readonly<Record<string, Say>> = {
  single: (call, n) => [reply(call, { result: n, ending: true })],
  parts: (call, n) => [
    reply(call, { result: "not this" }),
    reply(call, { result: n }),
    reply(call, { ending: true }),
  ],
  beats: (call, n) => [
    reply(call, { ending: false }, { ...worker, "warren-beat": "true" }),
    reply(call, { ending: false }, { ...worker, "warren-beat": "true" }),
    reply(call, { result: n, ending: true }, worker),
  ],
  folsom: (call, n) => [
    { body: json({ ...nothing, result: n }), correlationId: call },
    { body: json({ ...nothing, ending: true }), correlationId: call },
  ],
  failure: (call, n) => [
    reply(call, {
      failure: JSON.stringify({ class: "E", module: "m", message: `${n}` }),
    }),
  ],
};

/** What belongs to no call, and how it is counted. */
const strangers: Readonly<
  Record<string, ["late" | "refused" | undefined, Partial<Message>]>
> = {
  "a wrong id": ["late", reply("nobody", { result: "wrong", ending: true })],
  "the id of a prototype": ["late", reply("__proto__", { ending: true })],
  "no id": ["late", { body: json({ ...nothing, ending: true }) }],
  "no message": ["refused", { body: json([]) }],
  "no JSON": ["refused", { body: new Uint8Array([255]) }],
  "a request": ["refused", { body: json({ method: "m", args: {} }) }],
  "a control": [
    undefined,
    encodeControl({ kind: "control", command: "cancel", call: "nobody" }),
  ],
};

/** All lists in one, each in its own order; `draws` decides which goes on. */
function interleaved<T>(
  lists: readonly (readonly T[])[],
  draws: readonly number[],
): T[] {
  const left = lists.map((list) => [...list]).filter((list) => list.length > 0);
  const all: T[] = [];
  for (let at = 0; left.length > 0; at++) {
    const from = (draws[at % draws.length] ?? 0) % left.length;
    all.push(left[from]?.shift() as T);
    if (left[from]?.length === 0) left.splice(from, 1);
  }
  return all;
}

const plans = fc.record({
  calls: fc.array(
    fc.record({
      how: fc.constantFrom(...Object.keys(answers)),
      /** How often all of it is said, once more than that when nobody waits any more. */
      times: fc.integer({ min: 1, max: 3 }),
    }),
    { minLength: 1, maxLength: 12 },
  ),
  among: fc.array(fc.constantFrom(...Object.keys(strangers)), { maxLength: 8 }),
  draws: fc.array(fc.nat(), { minLength: 1, maxLength: 50 }),
});

Deno.test("each call gets its own answer, whatever the order and whatever comes between", async () => {
  const seen = new Set<string>();
  await fc.assert(
    fc.asyncProperty(plans, async ({ calls, among, draws }) => {
      await using pair = await Pair.open();
      const asked = await pair.ask(calls.length);
      const said = calls.map(({ how }, n) => {
        seen.add(how);
        return answers[how]?.(`${pair.ids.get(n)}`, n) ?? [];
      });
      const foreign = among.map((name) => {
        const [, stranger] = strangers[name] ?? [];
        return [stranger ?? {}];
      });
      const often = said.map((all, n) =>
        Array.from({ length: calls[n]?.times ?? 1 }, () => all).flat()
      );
      for (const each of interleaved([...often, ...foreign], draws)) {
        await pair.send(each);
      }
      for (const [n, call] of asked.entries()) {
        if (calls[n]?.how !== "failure") {
          assert.deepEqual(await call, { value: n, parsed: false });
        } else assert.equal((await failureOf(call)).message, `E: ${n}`);
      }
      assert.equal(pair.inbox.pending.size, 0);

      const before = { ...pair.inbox.unmatched };
      const count = (kind: string) =>
        among.filter((name) => strangers[name]?.[0] === kind).length;
      assert.equal(before.refused, count("refused"));
      assert.ok(before.late >= count("late"));
      for (const each of interleaved(said, draws)) await pair.send(each);
      const total = said.flat().length;
      await until(
        "all that is late is counted",
        () => pair.inbox.unmatched.late === before.late + total,
        1_000,
        1,
      );
      assert.equal(pair.inbox.unmatched.refused, before.refused);
      assert.equal(pair.inbox.pending.size, 0);
    }),
    { numRuns: 150 },
  );
  assert.deepEqual([...seen].sort(), Object.keys(answers).sort());
});

/** 0 … count - 1, shuffled by a seed. */
function permutation(count: number, seed: number): number[] {
  const list = Array.from({ length: count }, (_, n) => n);
  for (let n = count - 1, state = seed >>> 0; n > 0; n--) {
    state = (Math.imul(state, 1_664_525) + 1_013_904_223) >>> 0;
    const other = Math.floor(state / 2 ** 32 * (n + 1));
    [list[n], list[other]] = [list[other] as number, list[n] as number];
  }
  return list;
}

Deno.test("a thousand calls get their own answers, which come in any order, each twice", async () => {
  await fc.assert(
    fc.asyncProperty(fc.integer(), fc.integer(), async (one, two) => {
      await using pair = await Pair.open();
      const asked = await pair.ask(1_000);
      let settled = 0;
      for (const call of asked) call.then(() => settled++);
      for (const seed of [one, two]) {
        for (const n of permutation(1_000, seed)) {
          const id = `${pair.ids.get(n)}`;
          await pair.send(reply(id, { result: n, ending: true }));
        }
      }
      const values = (await Promise.all(asked)).map(({ value }) => value);
      assert.deepEqual(values, asked.map((_, n) => n));
      await until("the second are counted", () => {
        return pair.inbox.unmatched.late === 1_000;
      });
      assert.equal(settled, 1_000);
      assert.equal(pair.inbox.pending.size, 0);
    }),
    { numRuns: 5 },
  );
});

Deno.test("who gave up gets nothing, the others all of theirs, and a worker that goes on is told", async () => {
  const some = fc.array(fc.boolean(), { minLength: 1, maxLength: 20 });
  await fc.assert(
    fc.asyncProperty(some, fc.integer(), async (leaving, seed) => {
      await using pair = await Pair.open();
      const stops = leaving.map(() => new AbortController());
      const asked = stops.map(({ signal }, n) => {
        const call = pair.caller.call({
          target,
          method: "m",
          args: { n },
          options: { signal },
        });
        call.catch(() => {});
        return call;
      });
      await until("all are asked", () => pair.ids.size === asked.length);
      leaving.forEach((leaves, n) => {
        if (leaves) stops[n]?.abort(new Error(`${n} left`));
      });
      const left = leaving.filter((leaves) => leaves).length;
      await until(
        "they are gone",
        () => pair.inbox.pending.size === asked.length - left,
        1_000,
        1,
      );
      for (const n of permutation(asked.length, seed)) {
        const id = `${pair.ids.get(n)}`;
        const beat = { ...worker, "warren-beat": "true" };
        await pair.send(reply(id, { ending: false }, beat));
        await pair.send(reply(id, { result: n, ending: true }, worker));
      }
      for (const [n, call] of asked.entries()) {
        if (leaving[n]) {
          assert.equal((await failureOf(call)).message, `${n} left`);
        } else assert.equal((await call).value, n);
      }
      await until(
        "both answers to each of them are counted",
        () => pair.inbox.unmatched.late === 2 * left,
        1_000,
        1,
      );
      // The sign of life is answered, the ending is not: nothing goes on after it.
      const gone = [...leaving.keys()].filter((n) => leaving[n]);
      await until("told", () => pair.cancelled.length === left, 1_000, 1);
      assert.deepEqual(
        pair.cancelled.toSorted(),
        gone.map((n) => pair.ids.get(n)).toSorted(),
      );
      assert.equal(pair.inbox.pending.size, 0);
    }),
    { numRuns: 60 },
  );
});
