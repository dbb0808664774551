/** The arithmetic of the benchmark: who is compared with whom, and what is said of it. */
import assert from "node:assert/strict";
import { chosen } from "./chosen.ts";
import { goalLines } from "./goals.ts";
import type { Delivery, PeerPlan } from "./peers.ts";
import type { Costs, Measured } from "./rounds.ts";
import { promiseOf, tables } from "./table.ts";
import type { Figures, Workload } from "./workloads.ts";

const after: Delivery = { acknowledges: "after", confirms: true };
const never: Delivery = { acknowledges: "never", confirms: false };

/** A peer that is never started. */
function peer(
  name: string,
  kind: PeerPlan["kind"],
  cast: Delivery = after,
): PeerPlan {
  return {
    name,
    kind,
    terms: "",
    promises: { call: after, cast, fanout: cast },
    missing: () => Promise.resolve(undefined),
    command: () => ({ program: "", args: [], env: {} }),
  };
}

const peers = [
  peer("Warren", "Warren"),
  peer("Warren, at-most-once", "Warren", never),
  peer("NestJS", "framework", never),
  peer("Moleculer, reliable", "framework"),
  peer("limit, frames", "program"),
  peer("amqplib, frames", "program"),
];

/** Rates of the rounds by peer and workload. */
function measured(
  rates: Record<string, Record<string, readonly number[]>>,
  costs: Record<string, Costs> = {},
): Measured {
  const rounds = (each: readonly number[]) =>
    each.map((rate): Figures => ({
      rate,
      clientCpu: 1e6 / rate,
      serverCpu: 1,
    }));
  const results = Object.entries(rates).map(([name, workloads]) =>
    [
      name,
      new Map(
        Object.entries(workloads).map(([workload, each]) =>
          [workload, rounds(each)] as const
        ),
      ),
    ] as const
  );
  const all = new Map(Object.entries(costs));
  return { results: new Map(results), costs: all, failures: [] };
}

/** What follows the name in the line of a goal. */
function verdict(lines: readonly string[], name: string): string | undefined {
  const found = lines.filter((each) => each.startsWith(`${name} `));
  assert.ok(found.length <= 1);
  return found[0]?.slice(name.length).trim().replaceAll(/ +/g, " ");
}

Deno.test("goals compare Warren's columns each with its own peer, by the ratios of the rounds", () => {
  const lines = goalLines(
    measured({
      "Warren": { "call @1": [110, 120, 130], "casts": [130] },
      "Warren, at-most-once": { "call @1": [100, 100, 300], "casts": [500] },
      "NestJS": { "call @1": [100, 100, 100], "casts": [400] },
      "Moleculer, reliable": { "call @1": [50, 200, 200], "casts": [101] },
      "limit, frames": { "casts": [900] },
    }),
    peers,
  );
  const of = (name: string) => verdict(lines, name);
  assert.equal(
    of("Warren: call @1, rate, to NestJS"),
    "1.20 (1.10–1.30) ≥ 1.1 × yes",
  );
  assert.equal(
    of("Warren, at-most-once: call @1, rate, to Moleculer, reliable"),
    "1.50 (0.50–2.00) ≥ 1.1 × yes",
  );
  assert.equal( // NestJS is faster, and acknowledges no cast
    of("Warren: casts, rate, to Moleculer, reliable"),
    "1.29 (1.29–1.29) ≥ 1.3 × NO",
  );
  assert.equal( // programs are no frameworks, and Warren is not its own peer
    of("Warren, at-most-once: casts, rate, to NestJS"),
    "1.25 (1.25–1.25) ≥ 1 × yes",
  );
  assert.equal(
    of("Warren: stream, rate, to nobody"),
    "- ≥ 1.2 × not measured",
  );
  assert.equal(
    of("Warren: call @64, rate, to limit, frames"),
    "- ≥ 0.75 × not measured",
  );
});

Deno.test("goals of costs have an upper bound, and memory is the sum of both ends", () => {
  const lines = goalLines(
    measured({
      "Warren": { "call @64": [400] },
      "amqplib, frames": { "call @64": [100] },
    }, {
      "Warren": { coldStart: [50, 40], client: [60, 70], server: [60, 70] },
      "NestJS": { coldStart: [100, 100], client: [100, 90], server: [60, 50] },
    }),
    peers,
  );
  const of = (name: string) => verdict(lines, name);
  assert.equal(
    of("Warren: call @64, client CPU, to amqplib, frames"),
    "0.25 (0.25–0.25) ≤ 0.5 × yes",
  );
  assert.equal(
    of("Warren: cold start, to NestJS"),
    "0.45 (0.40–0.50) ≤ 0.4 × NO",
  );
  assert.equal(
    of("Warren: peak memory of both ends, call @64, to NestJS"),
    "0.88 (0.75–1.00) ≤ 1 × yes",
  );
});

Deno.test("each line of a table says what its peer promises of that verb", () => {
  assert.equal(promiseOf(after), "acks after handler, confirms");
  const before = { acknowledges: "before", confirms: false } as const;
  assert.equal(promiseOf(before), "acks before handler, no confirms");
  assert.equal(promiseOf(never), "no acks, no confirms");
  const run = () => Promise.resolve(undefined);
  const casts: Workload = {
    name: "casts",
    verb: "cast",
    servers: 1,
    answered: false,
    run,
  };
  const rates = { casts: [1_000] };
  const lines = tables(
    measured({ "Warren": rates, "NestJS": rates }),
    peers,
    [casts],
  );
  assert.match(`${lines[3]}`, /^Warren +acks after handler, confirms +1,000 /);
  assert.match(`${lines[4]}`, /^NestJS +no acks, no confirms +1,000 /);
  assert.equal(lines.length, 5);
});

Deno.test("peers are chosen by names that may have a comma of their own", () => {
  const names = (wanted?: string) =>
    chosen(peers, wanted).map(({ name }) => name);
  assert.equal(names().length, peers.length);
  const both = ["Warren", "Warren, at-most-once"];
  assert.deepEqual(names("Warren,Warren, at-most-once"), both);
  assert.deepEqual(names("Warren, at-most-once;Warren"), both);
  assert.deepEqual(names("NestJS,limit, frames"), ["NestJS", "limit, frames"]);
  assert.throws(() => names("Warren, NestJS"), /Unknown: Warren, NestJS; give/);
});
