/** `RpcDispatcher`: nothing is run but what a contract lists, in a version and namespace that fit. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type Contract,
  contract,
  implement,
  InvalidResultError,
  InvalidValueError,
  Manager,
  NoSuchMethodError,
  requestContext,
  RpcDispatcher,
  UnsupportedVersionError,
} from "../../../mod.ts";
import { all, failureOf } from "../support.ts";

const answering = (version: string, namespace?: string) => ({
  contract: contract({
    topic: "t",
    version,
    ...(namespace === undefined ? {} : { namespace }),
    procedures: { who: { result: z.string() } },
  }),
  who: () => `${namespace ?? "none"} ${version}`,
});
const asked = (
  dispatcher: RpcDispatcher,
  version: string,
  method = "who",
  namespace?: string,
) => dispatcher.dispatch(requestContext(), version, method, {}, namespace);

Deno.test("dispatch takes the same major with no higher minor", async () => {
  const dispatcher = new RpcDispatcher([answering("1.3")]);
  for (const version of ["1.0", "1.3", "1.2.9"]) {
    assert.equal(await asked(dispatcher, version), "none 1.3");
  }
  for (const version of ["1.4", "2.0", "0.9", "1", "", "x.y", "1.-1"]) {
    const error = await failureOf(asked(dispatcher, version));
    assert.ok(error instanceof UnsupportedVersionError, version);
    assert.match(error.message, /served: 1\.3/);
  }
});

Deno.test("dispatch takes the first endpoint of the namespace whose version fits", async () => {
  const dispatcher = new RpcDispatcher([
    answering("1.3"),
    answering("2.0"),
    answering("1.0", "base"),
    answering("1.9"),
  ]);
  assert.deepEqual(dispatcher.topics, ["t"]);
  assert.equal(await asked(dispatcher, "1.0"), "none 1.3");
  assert.equal(await asked(dispatcher, "1.8"), "none 1.9");
  assert.equal(await asked(dispatcher, "2.0"), "none 2.0");
  assert.equal(await asked(dispatcher, "1.0", "who", "base"), "base 1.0");
  const wrong = [["1.1", "base"], ["2.0", "base"], ["1.0", "other"]] as const;
  for (const [version, namespace] of wrong) {
    const error = await failureOf(asked(dispatcher, version, "who", namespace));
    assert.ok(error instanceof UnsupportedVersionError);
  }
});

Deno.test("dispatch finds a method in a later endpoint that fits", async () => {
  const extra = implement(
    contract({
      topic: "t",
      version: "1.0",
      procedures: { extra: { result: z.string() } },
    }),
    { extra: () => "here" },
  );
  const dispatcher = new RpcDispatcher([answering("1.3"), extra]);
  assert.equal(await asked(dispatcher, "1.0", "extra"), "here");
  const error = await failureOf(asked(dispatcher, "1.1", "extra"));
  assert.ok(error instanceof NoSuchMethodError);
});

/** A manager with all that an attacker could hope for; any of it that runs is counted. */
class Tempting extends Manager {
  readonly contract = contract({
    topic: "t",
    version: "1.0",
    procedures: { bind: {} },
  });
  ran = 0;
  bind() {
    this.ran++;
  }
  secret() {
    this.ran++;
  }
  _private() {
    this.ran++;
  }
  override initHost() {
    this.ran++;
  }
  #hidden() {
    this.ran++;
  }
  reveal() {
    this.#hidden();
  }
}

const prototypes = [
  ...Reflect.ownKeys(Object.prototype),
  ...Reflect.ownKeys(Function.prototype),
].filter((key) => typeof key === "string" && key !== "bind") as string[];
const others = [
  "secret",
  "_private",
  "#hidden",
  "initHost",
  "createRpcDispatcher",
  "contract",
  "contract.topic",
  "a.b",
  "bind.bind",
  "then",
  "",
  " bind",
  "bind ",
  "BIND",
  "b\u0456nd", // a Cyrillic i
  "bi\u0300nd",
  "bind\u200b",
  "bind\0",
  "bind\n",
  "__proto__",
  "constructor",
  "x".repeat(65_536),
];

Deno.test("dispatch runs nothing that a contract does not list", async () => {
  const manager = new Tempting();
  const dispatcher = new RpcDispatcher([manager]);
  for (const name of [...prototypes, ...others]) {
    const error = await failureOf(asked(dispatcher, "1.0", name));
    assert.ok(error instanceof NoSuchMethodError, name.slice(0, 40));
    assert.ok(error.message.length < 400, "the name is cut");
    assert.ok(!/[\n\0]/.test(error.message));
  }
  assert.equal(manager.ran, 0);
  await asked(dispatcher, "1.0", "bind");
  assert.equal(manager.ran, 1);
});

Deno.test("dispatch names a method that is no text on one short line", async () => {
  const dispatcher = new RpcDispatcher([answering("1.0")]);
  const evil = "x\r\n\x1b[2J\u2028\u202e" + "y".repeat(100_000);
  const texts = [
    (await failureOf(asked(dispatcher, "1.0", evil))).message,
    (await failureOf(asked(dispatcher, evil, evil, evil))).message,
  ];
  for (const text of texts) {
    assert.ok(!/[\p{Cc}\u2028]/u.test(text), JSON.stringify(text));
    assert.ok(text.length < 1_000);
  }
});

Deno.test("RpcDispatcher refuses an endpoint that lacks a method of its contract, and names it", () => {
  const api: Contract = contract({
    topic: "t",
    version: "1.0",
    procedures: { there: {}, missing: {} },
  });
  const endpoints = [{ contract: api, there() {} }, {
    contract: api,
    there() {},
    missing: "not a function",
  }];
  for (const endpoint of endpoints) {
    assert.throws(() => new RpcDispatcher([endpoint]), (error) => {
      assert.ok(error instanceof InvalidValueError);
      assert.equal(error.data.path, "missing");
      return true;
    });
  }
  const inherited = {
    topic: "t",
    version: "1.0",
    procedures: { toString: {} },
  };
  assert.throws(
    () => new RpcDispatcher([{ contract: inherited as unknown as Contract }]),
    InvalidValueError,
  );
});

Deno.test("a manager that is itself a promise's look-alike does not hang the dispatcher", async () => {
  const manager = Object.assign(answering("1.0"), {
    then: () => assert.fail("not called"),
  });
  assert.equal(await asked(new RpcDispatcher([manager]), "1.0"), "none 1.0");
});

Deno.test("dispatch strips unknown keys from arguments and results, and hands over what the schema made of them", async () => {
  const api = contract({
    topic: "t",
    version: "1.0",
    procedures: {
      echo: {
        args: z.object({ n: z.string().transform(Number) }),
        result: z.object({ n: z.number() }),
      },
      bare: {},
    },
  });
  const seen: unknown[] = [];
  const dispatcher = new RpcDispatcher([implement(api, {
    echo: (args) => (seen.push(args), { ...args, secret: 1 }),
    bare: (args) => void seen.push(args),
  })]);
  const call = (method: string, args: Record<string, unknown>) =>
    dispatcher.dispatch(requestContext(), "1.0", method, args);
  assert.deepEqual(await call("echo", { n: "5", x: 1 }), { n: 5 });
  assert.equal(await call("bare", { x: 1 }), undefined);
  assert.deepEqual(seen, [{ n: 5 }, {}]);
  const wrong = await failureOf(call("echo", { n: 5 }));
  assert.ok(wrong instanceof InvalidValueError);
  assert.equal(wrong.data.path, "n");
  assert.equal(seen.length, 2);
});

Deno.test("dispatch refuses arguments above maxArgsSize before a schema looks at them", async () => {
  let parsed = 0;
  const args = z.object({ text: z.string() }).refine(() => ++parsed > 0);
  const maxArgsSize = JSON.stringify({ text: "" }).length + 8;
  const api = contract({
    topic: "t",
    version: "1.0",
    procedures: { take: { args, maxArgsSize } },
  });
  const dispatcher = new RpcDispatcher([implement(api, { take: () => {} })]);
  const take = (text: string) =>
    dispatcher.dispatch(requestContext(), "1.0", "take", { text });
  await take("éééé"); // 8 bytes of UTF-8
  await take('""""'); // each with a backslash before it
  assert.equal(parsed, 2);
  for (const text of ["ééééé", "123456789"]) {
    const error = await failureOf(take(text));
    assert.ok(error instanceof InvalidValueError);
    assert.equal(error.data.limit, maxArgsSize);
    assert.ok(Number(error.data.bytes) > maxArgsSize);
    assert.match(
      error.message,
      new RegExp(`t.take: ${error.data.bytes} bytes.* ${maxArgsSize}$`),
    );
  }
  assert.equal(parsed, 2);
});

Deno.test("dispatch of a stream gives an async iterable of parsed items", async () => {
  const api = contract({
    topic: "t",
    version: "1.0",
    procedures: { list: { yields: z.object({ n: z.number() }) } },
  });
  const dispatcher = new RpcDispatcher([implement(api, {
    async *list() {
      yield { n: 1, secret: 1 };
      yield { n: "2" } as never;
    },
  })]);
  const items = await asked(dispatcher, "1.0", "list") as AsyncIterable<
    unknown
  >;
  const seen: unknown[] = [];
  const read = async () => {
    for await (const item of items) seen.push(item);
  };
  assert.ok(await failureOf(read()) instanceof InvalidResultError);
  assert.deepEqual(seen, [{ n: 1 }]);
});

Deno.test("dispatch does not start a handler whose request is over", async () => {
  const manager = new Tempting();
  const context = { ...requestContext(), signal: AbortSignal.abort("over") };
  const dispatched = new RpcDispatcher([manager])
    .dispatch(context, "1.0", "bind", {});
  await assert.rejects(dispatched, (error) => error === "over");
  assert.equal(manager.ran, 0);
});

Deno.test("a manager's handler sees its context and its own object", async () => {
  class Counter extends Manager {
    readonly contract = contract({
      topic: "t",
      version: "1.0",
      procedures: { next: { result: z.number() }, all: { yields: z.number() } },
    });
    #count = 0;
    next() {
      return ++this.#count;
    }
    async *all() {
      yield this.#count;
    }
  }
  const dispatcher = new Counter().createRpcDispatcher([answering("1.0")]);
  assert.equal(await asked(dispatcher as RpcDispatcher, "1.0", "next"), 1);
  const items = await asked(dispatcher as RpcDispatcher, "1.0", "all");
  assert.deepEqual(await all(items as AsyncIterable<unknown>), [1]);
  assert.equal(await asked(dispatcher as RpcDispatcher, "1.0"), "none 1.0");
});
