/** Errors to the wire and back: only what a list names is ever constructed. */
import assert from "node:assert/strict";
import {
  type Failure,
  InvalidResultError,
  InvalidValueError,
  NoSuchMethodError,
  RemoteError,
  type RpcErrorOptions,
  UnsupportedVersionError,
} from "../../src/errors.ts";
import { fromFailure, nameOf, toFailure } from "../../src/wire/failure.ts";

class NotFound extends Error {
  readonly data: unknown;
  constructor(message: string, options: RpcErrorOptions = {}) {
    super(message, options);
    this.data = options.data;
  }
}
class DiskNotFound extends NotFound {}
class Picky extends Error {
  constructor(message: string, { data }: RpcErrorOptions = {}) {
    if (data?.id === undefined) throw new TypeError("no id");
    super(message);
  }
}

const classes = {
  "nova.exception.NotFound": NotFound,
  "nova.exception.DiskNotFound": DiskNotFound,
  Picky,
};
const sent = (thrown: unknown, options = {}) =>
  toFailure(thrown, { classes, fromDispatcher: false, ...options });
const failure = (fields: Partial<Failure>): Failure => ({
  type: "Error",
  module: "",
  message: "m",
  data: {},
  traceback: [],
  ...fields,
});

Deno.test("a listed class arrives as itself, with its data and the remote error as its cause", () => {
  const error = new NotFound("no i-1", { data: { id: "i-1" } });
  const wire = sent(error);
  assert.deepEqual(wire, {
    type: "NotFound",
    module: "nova.exception",
    message: "no i-1",
    data: { id: "i-1" },
    traceback: [],
  });
  const back = fromFailure(wire, classes);
  assert.ok(back instanceof NotFound);
  assert.equal(back.message, "no i-1");
  assert.deepEqual(back.data, { id: "i-1" });
  assert.ok(back.cause instanceof RemoteError);
});

Deno.test("nameOf prefers the exact class to a base of it, in any order of the list", () => {
  assert.equal(
    nameOf(new DiskNotFound("x"), classes),
    "nova.exception.DiskNotFound",
  );
  const swapped = Object.fromEntries(Object.entries(classes).reverse());
  assert.equal(
    nameOf(new DiskNotFound("x"), swapped),
    "nova.exception.DiskNotFound",
  );
});

Deno.test("a class of which only the base is listed arrives as the base", () => {
  class FlavorNotFound extends NotFound {}
  const back = fromFailure(sent(new FlavorNotFound("x")), classes);
  assert.equal(back.constructor, NotFound);
});

Deno.test("an unlisted class arrives as RemoteError with its type", () => {
  const back = fromFailure(sent(new RangeError("too far")), classes);
  assert.ok(back instanceof RemoteError);
  assert.equal(back.failure.type, "RangeError");
  assert.equal(back.message, "RangeError: too far");
  assert.equal(back.code, "REMOTE");
});

Deno.test.each([
  ["NoSuchMethodError", new NoSuchMethodError("x")],
  ["UnsupportedVersionError", new UnsupportedVersionError("x")],
  ["InvalidValueError", new InvalidValueError("x")],
  ["InvalidResultError", new InvalidResultError("x")],
])(
  "%s keeps its class as a refusal, and is a RemoteError from a handler",
  (name, error) => {
    const refused = fromFailure(sent(error, { fromDispatcher: true }), classes);
    assert.equal(refused.constructor, error.constructor);
    const thrown = fromFailure(sent(error), classes);
    assert.ok(thrown instanceof RemoteError);
    assert.equal(thrown.failure.type, name);
  },
);

Deno.test("fromFailure gives RemoteError where the class refuses what came", () => {
  const back = fromFailure(failure({ type: "Picky" }), classes);
  assert.ok(back instanceof RemoteError);
  const good = failure({ type: "Picky", data: { id: 1 } });
  assert.ok(fromFailure(good, classes) instanceof Picky);
});

Deno.test.each([
  "constructor",
  "__proto__",
  "toString",
  "hasOwnProperty",
  "prototype",
  "",
])("fromFailure constructs nothing by the name %s", (type) => {
  for (const module of ["", "warren", "constructor", "__proto__"]) {
    const back = fromFailure(failure({ type, module }), classes);
    assert.equal(back.constructor, RemoteError);
  }
});

Deno.test("fromFailure looks at what the list itself has, and constructs nothing but errors", () => {
  const inherited = Object.create({ Evil: RangeError });
  const evil = failure({ type: "Evil" });
  assert.equal(fromFailure(evil, inherited).constructor, RemoteError);
  const odd = { Evil: Date as unknown as typeof NotFound };
  assert.equal(fromFailure(evil, odd).constructor, RemoteError);
});

Deno.test("fromFailure lets no peer pretend a refusal that no worker makes", () => {
  for (const type of ["BlockedError", "RemoteError", "NoRouteError"]) {
    const back = fromFailure(failure({ type, module: "warren" }), classes);
    assert.equal(back.constructor, RemoteError);
  }
});

Deno.test("toFailure cuts a message of 1 MB", () => {
  assert.ok(sent(new Error("x".repeat(1_000_000))).message.length <= 16 * 1024);
  const named = Object.assign(new Error("m"), { name: "N".repeat(1_000_000) });
  assert.ok(sent(named).type.length <= 16 * 1024);
});

Deno.test.each([
  ["a text", "boom", "Thrown value: boom"],
  ["a number", 5, "Thrown value: 5"],
  ["undefined", undefined, "Thrown value: undefined"],
  ["null", null, "Thrown value: null"],
  ["a symbol", Symbol("s"), "Thrown value: Symbol(s)"],
  [
    "an object without a prototype",
    Object.create(null),
    "Thrown value: a value of type object",
  ],
])("toFailure describes %s that was thrown", (_name, thrown, message) => {
  assert.deepEqual(sent(thrown), failure({ message }));
});

Deno.test("toFailure takes data only where JSON carries it", () => {
  const withData = (data: unknown) =>
    sent(new NotFound("x", { data } as never));
  assert.deepEqual(withData({ a: 1 }).data, { a: 1 });
  for (const data of [{ at: new Date() }, [1], "text", null, { a: NaN }]) {
    assert.deepEqual(withData(data).data, {});
  }
  const cyclic = new Error("x");
  cyclic.cause = cyclic;
  assert.equal(sent(cyclic).message, "x");
});

Deno.test("toFailure describes an error whose parts throw", () => {
  const trap = () => {
    throw new Error("trap");
  };
  const error = new Error("x");
  for (const part of ["name", "message", "data", "stack"]) {
    Object.defineProperty(error, part, { get: trap });
  }
  assert.deepEqual(
    sent(error, { traceback: true }),
    failure({ type: "", message: "", traceback: ["\n"] }),
  );
});

Deno.test("toFailure sends the stack only if it is asked to", () => {
  const error = new Error("x");
  assert.deepEqual(sent(error).traceback, []);
  const { traceback } = sent(error, { traceback: true });
  assert.ok(traceback.length > 1);
  assert.ok(traceback.every((line) => line.endsWith("\n")));
  assert.match(traceback.join(""), /failure_test\.ts/);
});
