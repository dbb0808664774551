/** Errors that hold errors: what of them reaches callers and the log, and what of it is bounded. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  RemoteError,
  type RpcErrorOptions,
  TimeoutError,
} from "../../../mod.ts";
import type { Failure } from "../../../src/errors.ts";
import { loggableError } from "../../../src/redaction.ts";
import { innerFailuresOf } from "../../../src/rpc/replies/inner_failures.ts";
import { decode, encode } from "../../../src/wire/codec.ts";
import { grizzly } from "../../../src/wire/dialect.ts";
import { fromFailure, toFailure } from "../../../src/wire/failure.ts";
import { failureOf, onEachBus } from "../support.ts";

class Taken extends Error {
  override readonly name = "Taken";
  readonly data: RpcErrorOptions["data"];
  constructor(message: string, options: RpcErrorOptions = {}) {
    super(message, options);
    this.data = options.data;
  }
}
class Several extends AggregateError {
  constructor(message: string, options: RpcErrorOptions = {}) {
    super([], message, options);
  }
}
const classes = { Taken, Several };

/** An error as a driver of PostgreSQL makes it. */
const duplicate = () =>
  Object.assign(new Error("duplicate key value"), {
    name: "DatabaseError",
    code: "23505",
    detail: "Key (id)=(1) already exists.",
    constraint: "users_pkey",
    query: "SELECT secret",
  });
const details = {
  code: "23505",
  detail: "Key (id)=(1) already exists.",
  constraint: "users_pkey",
};

/** An error as it comes to a caller that is Warren. */
function arrived(thrown: unknown): Error {
  const options = { classes, fromDispatcher: false };
  const failure = {
    ...toFailure(thrown, options),
    ...innerFailuresOf(thrown, classes),
  };
  return fromFailure(over(failure), classes);
}

/** A failure over the wire and back. */
function over(failure: Failure): Failure {
  const reply = { kind: "reply", call: "c", ending: true, failure } as const;
  const { body, headers } = encode(reply, grizzly);
  const decoded = decode(body, headers);
  assert.ok("message" in decoded && decoded.message.kind === "reply");
  return decoded.message.failure as Failure;
}

const remote = (error: unknown): RemoteError => {
  assert.ok(error instanceof RemoteError, `${error}`);
  return error;
};

onEachBus(
  "errors within a handler's error reach its caller, listed ones as their classes",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      errors: { Taken },
      procedures: {
        all: { result: z.null() },
        using: {},
        deep: {},
        bare: {},
        tail: { yields: z.string() },
      },
    });
    const several = () =>
      new AggregateError([
        duplicate(),
        new Taken("taken", { data: { id: 1 } }),
        "a text",
      ], "none worked");
    await using _worker = await bus.serve(api, {
      all: () => Promise.reject(several()),
      using: async () => {
        await using _resource = {
          [Symbol.asyncDispose]: () => Promise.reject(new Taken("closing")),
        };
        throw duplicate();
      },
      deep: () => {
        const cause = new Error("b", { cause: new Taken("c") });
        throw new Taken("a", { cause, data: { n: 1 } });
      },
      bare: () => {
        throw duplicate();
      },
      // deno-lint-ignore require-yield
      tail: async function* () {
        throw several();
      },
    });
    await using connection = await bus.connect();
    const client = connection.client(api);
    for (
      const failed of [
        client.call("all"),
        client.multicall("tail").next(),
      ]
    ) {
      const all = await failureOf(failed);
      assert.ok(all instanceof AggregateError);
      assert.equal(all.message, "none worked");
      assert.equal(remote(all.cause).failure.type, "AggregateError");
      const [first, taken, text] = all.errors;
      assert.deepEqual(remote(first).failure.details, details);
      assert.equal(remote(first).message, "DatabaseError: duplicate key value");
      assert.ok(taken instanceof Taken);
      assert.deepEqual(taken.data, { id: 1 });
      assert.match(remote(text).message, /Thrown value: a text/);
    }
    const using = await failureOf(client.call("using"));
    assert.ok(using instanceof SuppressedError);
    assert.ok(using.error instanceof Taken);
    assert.equal(remote(using.suppressed).failure.details?.code, "23505");
    const deep = await failureOf(client.call("deep"));
    assert.ok(deep instanceof Taken);
    const b = remote(remote(deep.cause).cause);
    assert.equal(b.message, "Error: b");
    assert.ok(b.cause instanceof Taken);
    const bare = remote(await failureOf(client.call("bare")));
    assert.deepEqual(bare.failure.details, details);
    const untyped = connection.call({ topic: bus.topic }, "all");
    assert.ok(await failureOf(untyped) instanceof AggregateError);
  },
);

Deno.test("a listed class that is an AggregateError arrives with its errors", () => {
  const thrown = Object.assign(new Several("s"), { errors: [new Taken("t")] });
  const error = arrived(thrown);
  assert.ok(error instanceof Several);
  assert.ok(error.errors[0] instanceof Taken);
});

Deno.test("an error of Warren's within a handler's error shows its code", () => {
  const error = remote(
    arrived(new Error("x", { cause: new TimeoutError("y") })),
  );
  assert.equal(remote(error.cause).failure.details?.code, "TIMEOUT");
});

/** How deep errors are within a failure, and how many there are in all. */
function measure(failure: Failure): { depth: number; errors: number } {
  const { cause, errors = [], error, suppressed } = failure;
  const within = [cause, ...errors, error, suppressed]
    .filter((each) => each !== undefined).map(measure);
  return {
    depth: Math.max(0, ...within.map(({ depth }) => depth + 1)),
    errors: within.reduce((sum, { errors }) => sum + errors + 1, 0),
  };
}

Deno.test("what travels of the errors within an error is 4 deep, 32 errors and 32 KiB at most", () => {
  const chain = (n: number): Error =>
    new Error(`${n}`, n > 0 ? { cause: chain(n - 1) } : {});
  const wide = (n: number): Error =>
    n > 0 ? new AggregateError(Array(40).fill(wide(n - 1))) : new Error("leaf");
  const cyclic = new Error("x");
  cyclic.cause = cyclic;
  const large = new AggregateError(
    Array.from({ length: 30 }, () => new Error("y".repeat(100_000))),
  );
  const told = (thrown: Error) =>
    over({
      ...toFailure(thrown, { fromDispatcher: false }),
      ...innerFailuresOf(thrown, {}),
    });
  assert.equal(measure(told(chain(100))).depth, 4);
  assert.equal(measure(told(cyclic)).depth, 4);
  assert.ok(measure(told(wide(3))).errors <= 32);
  assert.ok(JSON.stringify(told(large)).length < 40_000);
  assert.ok(measure(told(large)).errors > 10);
});

Deno.test("a hostile failure is read in bounds: deep, wide, of other forms", () => {
  const hostile = (held: string) => {
    const failure = `{"class":"E","message":"m","kwargs":{},${held}}`;
    const body = JSON.stringify({ result: null, failure, _msg_id: "c" });
    const decoded = decode(new TextEncoder().encode(body), {});
    assert.ok("message" in decoded, JSON.stringify(decoded));
    assert.ok(decoded.message.kind === "reply" && decoded.message.failure);
    return decoded.message.failure;
  };
  const deep = hostile(`${`"cause":{`.repeat(50)}"class":"x"${"}".repeat(50)}`);
  assert.equal(measure(deep).depth, 4);
  const wide = hostile(`"errors":[${Array(9_000).fill('{"class":"x"}')}]`);
  assert.equal(measure(wide).errors, 32);
  const error = fromFailure(wide, {});
  assert.ok(error instanceof AggregateError && error.errors.length === 32);
  const many = Array.from({ length: 999 }, (_, n) => `"k${n}":"${n}"`);
  const odd = hostile(
    `"details":{"o":{},"code":"1",${many}},"cause":5,"errors":{},"error":[]`,
  );
  assert.ok(Object.keys(odd.details ?? {}).length <= 16);
  assert.equal(odd.details?.code, "1");
  assert.deepEqual(measure(odd), { depth: 0, errors: 0 });
});

Deno.test("secrets in the errors within an error are masked, and members of other names do not travel", () => {
  const inner = Object.assign(duplicate(), {
    message: "login with password=hunter2 failed",
    detail: "token: hunter2",
    data: { secret: "hunter2", id: 1 },
  });
  const told = JSON.stringify(
    innerFailuresOf(new Error("x", { cause: inner }), {}),
  );
  assert.doesNotMatch(told, /hunter2|SELECT/);
  assert.match(told, /"id":1/);
});

Deno.test("an error whose members throw still travels", () => {
  const error = new AggregateError([new Error("in")], "x");
  for (const part of ["cause", "errors", "code"]) {
    Object.defineProperty(error, part, {
      get: () => {
        throw new Error("trap");
      },
    });
  }
  assert.deepEqual(innerFailuresOf(error, {}), { errors: [] });
});

onEachBus(
  "a caller that is no Warren gets a failure with the keys that it had before",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      procedures: { all: {} },
    });
    await using _worker = await bus.serve(api, {
      all: () => {
        throw new AggregateError([duplicate()], "x", { cause: duplicate() });
      },
    });
    await using folsom = await bus.connect({ dialect: "folsom" });
    const error = remote(
      await failureOf(folsom.call({ topic: bus.topic }, "all")),
    );
    assert.equal(error.cause, undefined);
    assert.deepEqual(Object.keys(error.failure).sort(), [
      "data",
      "message",
      "module",
      "traceback",
      "type",
    ]);
  },
);

onEachBus(
  "an error whose inner errors are larger than a message may be travels without them",
  async (bus) => {
    const api = contract({
      topic: bus.topic,
      version: "1.0",
      errors: { Taken },
      procedures: { all: {} },
    });
    const cause = new Error("y".repeat(1_900), { cause: duplicate() });
    await using _worker = await bus.serve(api, {
      all: () => {
        throw new Taken("m".repeat(300), { cause, data: { id: 1 } });
      },
    }, { maxMessageSize: 1_500 });
    await using connection = await bus.connect();
    const error = await failureOf(connection.client(api).call("all"));
    assert.ok(error instanceof Taken);
    assert.equal(error.message.length, 300);
    assert.deepEqual(error.data, { id: 1 });
    assert.equal(remote(error.cause).cause, undefined);
  },
);

Deno.test("the log shows the errors within an error, with their code, detail and constraint, in bounds", () => {
  const line = (thrown: unknown) => `${(loggableError(thrown) as Error).stack}`;
  const all = line(
    new AggregateError([duplicate(), new Taken("taken")], "none worked"),
  );
  for (
    const part of [
      "none worked",
      "duplicate key value",
      "23505",
      "already exists",
      "users_pkey",
      "taken",
    ]
  ) assert.ok(all.includes(part), `${part}: ${all}`);
  const suppressed = line(new SuppressedError(new Error("later"), duplicate()));
  assert.match(suppressed, /error: Error: later.*suppressed: .*users_pkey/);
  const wide = (n: number): Error =>
    n > 0 ? new AggregateError(Array(200).fill(wide(n - 1))) : duplicate();
  assert.ok(line(wide(3)).length <= 3_400);
});
