/** `contract()`: what it refuses at run time, and how it names what is wrong. */
import assert from "node:assert/strict";
import { type } from "npm:arktype@2";
import * as v from "npm:valibot@1";
import { z } from "npm:zod@^4.6.7";
import { type Contract, contract, InvalidValueError } from "../../mod.ts";
import { parse } from "../../src/contract/schema.ts";

const declare = contract as unknown as (declared: unknown) => Contract;
const good = { topic: "t", version: "1.1", procedures: {} };
const endless: string = "1.".padEnd(99, "9");
const one = (name: string, procedure: unknown) => ({
  ...good,
  procedures: Object.fromEntries([[name, procedure]]),
});

Deno.test("contract gives back the record that it was given", () => {
  const declared = { ...good, procedures: { a: {} } };
  assert.equal(contract(declared), declared);
});

Deno.test.each([
  ["undefined", undefined, ""],
  ["null", null, ""],
  ["a text", "compute", ""],
  ["a wrong key", { ...good, versoin: 1 }, "versoin"],
  ["no topic", { ...good, topic: undefined }, "topic"],
  ["an empty topic", { ...good, topic: "" }, "topic"],
  ["a wildcard topic", { ...good, topic: "compute.#" }, "topic"],
  ["a starred topic", { ...good, topic: "*" }, "topic"],
  ["a topic of the broker's", { ...good, topic: "amq.direct" }, "topic"],
  ["a topic of 201 bytes", { ...good, topic: "x".repeat(201) }, "topic"],
  ["a topic with a line break", { ...good, topic: "a\nb" }, "topic"],
  ["a namespace with a space", { ...good, namespace: "a b" }, "namespace"],
  ["no version", { ...good, version: undefined }, "version"],
  ["a version that is a number", { ...good, version: 1.1 }, "version"],
  ["a version of one part", { ...good, version: "1" }, "version"],
  ["a version of letters", { ...good, version: "x.y" }, "version"],
  [
    "an endless version",
    { ...good, version: endless },
    "version",
  ],
  ["no procedures", { ...good, procedures: undefined }, "procedures"],
  ["a procedure that is null", one("a", null), "procedures.a"],
  ["a wrong word", one("a", { reslt: z.string() }), "procedures.a.reslt"],
  ["args that are no schema", one("a", { args: {} }), "procedures.a.args"],
  [
    "a result that is a class",
    one("a", { result: Date }),
    "procedures.a.result",
  ],
  [
    "yields that is a text",
    one("a", { yields: "string" }),
    "procedures.a.yields",
  ],
  [
    "both a result and yields",
    one("a", { result: z.string(), yields: z.string() }),
    "procedures.a",
  ],
  [
    "an unknown delivery",
    one("a", { delivery: "exactly-once" }),
    "procedures.a.delivery",
  ],
  ["since a later minor", one("a", { since: "1.2" }), "procedures.a.since"],
  ["since another major", one("a", { since: "0.9" }), "procedures.a.since"],
  ["since nonsense", one("a", { since: "now" }), "procedures.a.since"],
  ...["5000", 0, -1, NaN, null].map((maxDuration) =>
    [
      `maxDuration ${JSON.stringify(maxDuration)}`,
      one("a", { maxDuration }),
      "procedures.a.maxDuration",
    ] as const
  ),
  ...["5000", 0, -1, 1.5, NaN, Infinity, 2n].map((maxArgsSize) =>
    [
      `maxArgsSize ${typeof maxArgsSize} ${maxArgsSize}`,
      one("a", { maxArgsSize }),
      "procedures.a.maxArgsSize",
    ] as const
  ),
  ["errors that are no classes", { ...good, errors: { x: {} } }, "errors.x"],
])("contract refuses %s and names the path", (_name, declared, path) => {
  assert.throws(() => declare(declared), (error) => {
    assert.ok(error instanceof InvalidValueError);
    assert.equal(error.data.path, path);
    assert.ok(error.message.includes(path));
    return true;
  });
});

const RESERVED = [
  "contract",
  "host",
  "connection",
  "initHost",
  "postStartHook",
  "cleanupHost",
  "periodic",
  "createRpcDispatcher",
  "then",
];

Deno.test("contract refuses names that are no names of procedures", () => {
  const odd = ["", "_x", "#x", "a.b", "a b", "1a", "é", "а", "a\u200b", "x\n"];
  const long = "x".repeat(101);
  const inherited = Object.getOwnPropertyNames(Object.prototype);
  for (const name of [...odd, long, ...RESERVED, ...inherited]) {
    assert.throws(() => declare(one(name, {})), InvalidValueError, name);
  }
});

Deno.test("contract takes names that only functions have, and hosts with dots as topics", () => {
  for (const name of ["bind", "call", "apply", "name", "length", "a1_b"]) {
    assert.ok(declare(one(name, {})).procedures[name]);
  }
  assert.ok(declare({ ...good, topic: "compute.gb-07_x", namespace: "ns" }));
});

Deno.test.each([
  ["zod", z.object({ id: z.string(), n: z.number().default(1) })],
  ["valibot", v.object({ id: v.string(), n: v.optional(v.number(), 1) })],
  ["arktype", type({ id: "string", n: "number = 1" })],
])(
  "parse gives the output of a schema of %s, or the paths of what is wrong",
  async (_name, schema) => {
    assert.deepEqual(await parse(schema, { id: "x" }, "it"), { id: "x", n: 1 });
    assert.throws(
      () => parse(schema, { id: 5 }, "arguments of t.a"),
      (error) => {
        assert.ok(error instanceof InvalidValueError);
        assert.match(error.message, /^Invalid arguments of t\.a: id: /);
        assert.equal(error.data.path, "id");
        return true;
      },
    );
  },
);

Deno.test("parse waits for a schema that takes its time, and names at most five issues", async () => {
  const slow = z.string().refine((text) => Promise.resolve(text === "yes"));
  assert.equal(await parse(slow, "yes", "it"), "yes");
  await assert.rejects(
    async () => await parse(slow, "no", "it"),
    InvalidValueError,
  );
  const wide = z.object(
    Object.fromEntries("abcdefgh".split("").map((key) => [key, z.string()])),
  );
  assert.throws(() => parse(wide, {}, "it"), (error) => {
    assert.ok(error instanceof InvalidValueError);
    assert.equal((error.data.issues as string[]).length, 5);
    return true;
  });
});
