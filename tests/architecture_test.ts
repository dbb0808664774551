/**
 * The shape of the sources, held by the module graph (`deno info`, type imports included) and the
 * syntax tree. Every rule is also shown an invented breach, so that none passes by being blind.
 */
import assert from "node:assert/strict";
import * as rules from "./setup/architecture.ts";
import * as classes from "./setup/architecture_classes.ts";
import * as names from "./setup/architecture_names.ts";
import { readSources } from "./setup/architecture_sources.ts";
import { functions, type Source } from "./setup/architecture_tree.ts";

const { floors, circles, folderSizes, specifiers, runtime, schemas } = rules;
const { anyTypes, fileSizes, functionSizes } = rules;

Deno.test("The sources keep the rules of the architecture", async (t) => {
  const all = await readSources();
  for (
    const [name, rule] of Object.entries({ ...rules, ...classes, ...names })
  ) {
    await t.step(name, () => {
      const breaches = rule(all);
      assert.ok(breaches.length === 0, `\n${breaches.join("\n")}`);
    });
  }
});

/** An invented file: its imports lead to files when they begin with src or mod. */
function file(path: string, text: string, ...to: string[]): Source {
  const seen = to.map((name) =>
    /^(src|mod)/.test(name)
      ? { specifier: `./${name}`, path: name }
      : { specifier: name }
  );
  return { path, text, imports: seen };
}

const FORBIDDEN: [from: string, to: string][] = [
  ["src/errors.ts", "src/wire/json.ts"],
  ["src/names.ts", "src/transport/routes.ts"],
  ["src/wire/codec.ts", "src/logging.ts"],
  ["src/wire/codec.ts", "src/transport/routes.ts"],
  ["src/transport/memory/transport.ts", "src/wire/mod.ts"],
  ["src/transport/memory/transport.ts", "src/rpc/client/client.ts"],
  ["src/rpc/inbox.ts", "src/rpc/client/client.ts"],
  ["src/rpc/server/server.ts", "src/wire/failure.ts"],
  ["mod.ts", "src/wire/rpc_message.ts"],
  ["src/rpc/client/client.ts", "src/rpc/server/server.ts"],
  ["src/rpc/server/server.ts", "src/transport/memory/transport.ts"],
  ["src/rpc/server/server.ts", "src/transport/rabbitmq/transport.ts"],
  ["src/rpc/server/server.ts", "src/service/service.ts"],
  ["src/connection/connection_context.ts", "src/transport/memory/session.ts"],
  ["src/connection/connect.ts", "src/config/types.ts"],
  ["src/service/service.ts", "src/transport/memory/transport.ts"],
  ["src/service/health/readiness.ts", "src/service/service_options.ts"],
  ["src/service/service.ts", "mod.ts"],
  ["mod.ts", "src/transport/memory/transport.ts"],
];

const ALLOWED: [from: string, to: string][] = [
  ["src/async/deadline.ts", "src/errors.ts"],
  ["src/wire/codec.ts", "src/errors.ts"],
  ["src/transport/rabbitmq/transport.ts", "src/transport/transport.ts"],
  ["src/transport/memory/transport.ts", "src/logging.ts"],
  ["src/rpc/server/server.ts", "src/wire/mod.ts"],
  ["mod.ts", "src/wire/mod.ts"],
  ["src/rpc/server/server.ts", "src/rpc/replies/responder.ts"],
  ["src/connection/connect.ts", "src/transport/rabbitmq/transport.ts"],
  ["src/service/service.ts", "src/connection/connect.ts"],
  ["mod.ts", "src/errors.ts"],
];

Deno.test("floors() knows every forbidden way and every allowed one", () => {
  for (const [from, to] of FORBIDDEN) {
    assert.deepEqual(floors([file(from, "", to)]), [
      `${from}: may not import ${to}`,
    ]);
  }
  for (const [from, to] of ALLOWED) {
    assert.deepEqual(floors([file(from, "", to)]), []);
  }
  assert.deepEqual(floors([file("lib/a.ts", "")]), [
    "lib/a.ts: stands on no floor",
  ]);
});

Deno.test("folderSizes() counts the files of a folder, and not those below it", () => {
  const names = Array.from({ length: 12 }, (_, n) => `src/a/${n}.ts`);
  const files = [...names, "src/a/b/c.ts"].map((name) => file(name, ""));
  assert.deepEqual(folderSizes(files), []);
  assert.deepEqual(folderSizes([...files, file("src/a/d.ts", "")]), [
    "src/a: 13 files, over 12",
  ]);
});

Deno.test("circles() names the way round, and not a file that is met twice", () => {
  const a = file("src/a.ts", "", "src/b.ts", "src/c.ts");
  const b = file("src/b.ts", "", "src/c.ts");
  assert.deepEqual(circles([a, b, file("src/c.ts", "")]), []);
  assert.deepEqual(circles([a, b, file("src/c.ts", "", "src/a.ts")]), [
    "src/a.ts: circle src/a.ts -> src/b.ts -> src/c.ts -> src/a.ts",
  ]);
});

Deno.test("specifiers() refuses what only an import map or another registry resolves", () => {
  const good = [
    "./a.ts",
    "../a.ts",
    "node:net",
    "npm:zod@^4",
    "npm:@a/b@1.2/c",
  ];
  assert.deepEqual(specifiers([file("src/a.ts", "", ...good)]), []);
  for (
    const bad of [
      "zod",
      "npm:zod",
      "npm:@a/b",
      "jsr:@std/log@1",
      "https://deno.land/x/a@1/a.ts",
    ]
  ) {
    assert.equal(specifiers([file("src/a.ts", "", bad)]).length, 1, bad);
  }
});

Deno.test("runtime() finds Deno in code and types, not in comments and strings", () => {
  const text =
    "// Deno.exit\n/** Deno.env */\nlet s = 'Deno.env';\nlet c: Deno.Conn;\nDeno.exit();\n";
  const found = ["src/rpc/a.ts:4: uses Deno", "src/rpc/a.ts:5: uses Deno"];
  assert.deepEqual(runtime([file("src/rpc/a.ts", text)]), found);
  assert.deepEqual(
    runtime([
      file("src/service/a.ts", text),
      file("src/transport/rabbitmq/a.ts", text),
    ]),
    [],
  );
  assert.equal(
    runtime([file("src/transport/memory/queue.ts", text)]).length,
    2,
  );
});

Deno.test("schemas() refuses Zod where no data from outside is read", () => {
  const zod = "npm:zod@^4";
  assert.deepEqual(schemas([file("src/rpc/a.ts", "", zod)]), [
    `src/rpc/a.ts: may not import ${zod}`,
  ]);
  const free = ["src/wire/a.ts", "src/service/openstack_api.ts"];
  assert.deepEqual(schemas(free.map((path) => file(path, "", zod))), []);
});

Deno.test("anyTypes() finds any, and not the word", () => {
  const text =
    "// any\nconst any = 'any';\nlet a: any;\nconst b = c as Map<string, any[]>;\n";
  assert.deepEqual(anyTypes([file("src/a.ts", text)]), [
    "src/a.ts:3: has the type any",
    "src/a.ts:4: has the type any",
  ]);
});

Deno.test("commentStarts() finds doc comments without a subject", () => {
  const text = `/** Where it is. @module */
/**
 * Whether it is so.
 */
const a = 1; /** Whatever it is, this is a noun. */
interface B {
  /** How. */
  readonly b: number;
}
// What is no doc comment.
const c = "/** When */";
`;
  assert.deepEqual(names.commentStarts([file("src/async/a.ts", text)]), [
    'src/async/a.ts:1: the comment begins with "Where"',
    'src/async/a.ts:2: the comment begins with "Whether"',
    'src/async/a.ts:7: the comment begins with "How"',
  ]);
});

const lines = (count: number) => "x;\n".repeat(count);

Deno.test("fileSizes() holds the longest file", () => {
  const small = file("src/a.ts", lines(110));
  assert.deepEqual(fileSizes([small, file("src/b.ts", lines(300))]), []);
  assert.deepEqual(fileSizes([small, file("src/b.ts", lines(301))]), [
    "src/b.ts: 301 lines, over 300",
  ]);
});

Deno.test("functionSizes() holds the longest function", () => {
  const sized = (count: number) => `function f() {\n${lines(count - 2)}}\n`;
  const of = (...counts: number[]) =>
    functionSizes([file("src/a.ts", counts.map(sized).join(""))]);
  assert.deepEqual(of(9, 40), []);
  assert.deepEqual(of(9, 41), ["src/a.ts:10: f has 41 lines, over 40"]);
});

Deno.test("functions() counts what has a name, without its comment", () => {
  const text = `/** Why. */
export function a() {
}
class B {
  // why
  constructor() {}
  get c() { return 1; }
  #d = () => {
    list.map((x) => {
      return x;
    });
  };
  over(x: string): void;
  over(x: number): void;
  over() {}
}
const e = async function* () {};
const f = { g: () => 1, h() {} };
`;
  const found = functions(file("src/a.ts", text)).map((
    { name, line, lines },
  ) => [name, line, lines]);
  assert.deepEqual(found, [
    ...[["a", 2, 2], ["constructor", 6, 1], ["c", 7, 1], ["#d", 8, 5], [
      "over",
      15,
      1,
    ]],
    ...[["e", 17, 1], ["g", 18, 1], ["h", 18, 1]],
  ]);
});

Deno.test("parameterCounts() counts those of functions, methods and function types", () => {
  const text = `function a(this: X, b: 1, c: 1, d: 1, e: 1) {}
class B {
  constructor(a: 1, b: 1, c: 1, d: 1, e: 1) {}
}
interface C {
  d(a: 1, b: 1, c: 1, d: 1, e: 1, f: 1): void;
}
const e = ([a, b, c]: X, { d, e, f }: Y) => {};
const f = { dispatch: (a: 1, b: 1, c: 1, d: 1, e: 1) => {} };
`;
  assert.deepEqual(classes.parameterCounts([file("src/a.ts", text)]), [
    "src/a.ts:3: 5 parameters, over 4",
    "src/a.ts:6: 6 parameters, over 4",
  ]);
});

Deno.test("dependencyRecords() counts what constructors take by name, and not data or options of users", () => {
  const members = (count: number) =>
    Array.from({ length: count }, (_, n) => `readonly m${n}: number;`).join("");
  const text = `interface Large { readonly session: Session; ${members(8)} }
interface Half { readonly onLoss: () => void; ${members(4)} }
interface Whole extends Half { ${members(4)} }
type Joined = Whole & { readonly more: string };
interface Small { readonly session: Session; ${members(7)} }
interface Message { ${members(20)} }
interface Session { close(): void; ${members(20)} }
interface Options { readonly store: Session; ${members(20)} }
class A { constructor({ session, m1 }: Large) {} }
class B { constructor(parts: Whole) {} }
class C { constructor(parts: Joined) {} }
class D { constructor(small: Small, message: Message, session: Session, options: Options) {} }
function f(large: Large) {}
`;
  const face = file("mod.ts", 'export type { Options } from "./src/a.ts";');
  assert.deepEqual(classes.dependencyRecords([file("src/a.ts", text), face]), [
    "src/a.ts:9: Large has 9 members, over 8",
    "src/a.ts:10: Whole has 9 members, over 8",
    "src/a.ts:11: Joined has 10 members, over 8",
  ]);
  assert.equal(classes.dependencyRecords([file("src/a.ts", text)]).length, 4);
});

Deno.test("writableFields() finds fields of exported classes that others may write", () => {
  const text = `export class A {
  static s = 1;
  readonly a = 1;
  private b = 1;
  protected c = 1;
  #d = 1;
  e = 1;
  public f: string | undefined;
  get g() { return this.#d; }
}
class B { a = 1; }
`;
  assert.deepEqual(classes.writableFields([file("src/a.ts", text)]), [
    "src/a.ts:7: A.e is public and writable",
    "src/a.ts:8: A.f is public and writable",
  ]);
});

Deno.test("assignableFunctions() finds functions that can be assigned after construction", () => {
  const text = `type Listener = (x: number) => void;
interface A {
  onA: (() => void) | undefined;
  readonly onB: Listener;
  onC?: Listener;
  onD(): void;
  e: number;
}
class B {
  onF?: () => void;
  #onG: Listener = () => {};
  private onH: Listener = () => {};
}
`;
  assert.deepEqual(classes.assignableFunctions([file("src/a.ts", text)]), [
    "src/a.ts:3: others may assign the function onA",
    "src/a.ts:5: others may assign the function onC",
    "src/a.ts:10: others may assign the function onF",
  ]);
});

Deno.test("emptyEndings() refuses names of files and exports that say nothing", () => {
  const text = `export interface MessageParts {}
export class Database {}
export const parts = 1;
export { somethingElse as codecUtils } from "./b.ts";
class ServerImpl {}
`;
  assert.deepEqual(names.emptyEndings([file("src/test_helpers.ts", text)]), [
    "src/test_helpers.ts: the ending of test_helpers says nothing",
    "src/test_helpers.ts:1: the ending of MessageParts says nothing",
    "src/test_helpers.ts:3: the ending of parts says nothing",
  ]);
});

Deno.test("oldWords() refuses words alone, and not within longer names", () => {
  const text = `export class Job {}
export const kept = 1, givenBack = 1;
export function sightings(): void;
export function sightings() {}
export const serverSide = 1;
const hold = 1;
`;
  assert.deepEqual(names.oldWords([file("src/lane.ts", text)]), [
    "src/lane.ts: lane is no term of the glossary",
    "src/lane.ts:1: Job is no term of the glossary",
    "src/lane.ts:2: kept is no term of the glossary",
    "src/lane.ts:2: givenBack is no term of the glossary",
    "src/lane.ts:4: sightings is no term of the glossary",
  ]);
});

Deno.test("constantNames() asks for a limit and its unit", () => {
  const text = `const MOST = 1;
/** Milliseconds of a pause. */
const PAUSE = 1, /** Milliseconds of another one. */ OTHER = 1;
/** Milliseconds of a pause. */
const PAUSE_MS = 1;
/**
 * Milliseconds of one.
 */
export const WAIT = 1;
/** Bytes of a frame. */
const FRAME = 1;
/** Bytes that prolong a timeout by one. */
const BYTES_PER_MS = 1;
/** Bytes per message. */
const QUOTA = 1;
class A { static readonly RETRY = 1; }
const LATER = 1;
setTimeout(() => {}, LATER);
const END = performance.now() + LIFETIME;
const LIFETIME = 1, most = 1;
`;
  assert.deepEqual(names.constantNames([file("src/a.ts", text)]), [
    "src/a.ts:1: MOST does not say what it limits",
    "src/a.ts:9: WAIT does not end in _MS",
    "src/a.ts:11: FRAME does not end in _BYTES",
    "src/a.ts:16: RETRY does not say what it limits",
    "src/a.ts:17: LATER does not end in _MS",
    "src/a.ts:20: LIFETIME does not end in _MS",
  ]);
});

Deno.test("brokerWords() finds arguments of queues and reply codes outside of RabbitMQ's driver", () => {
  const text = `// x-expires
const a = { "x-expires": 1 };
const b = name.startsWith("x-");
if (error.replyCode === 404) throw error;
`;
  assert.deepEqual(names.brokerWords([file("src/rpc/a.ts", text)]), [
    "src/rpc/a.ts:2: x-expires is a word of RabbitMQ",
    "src/rpc/a.ts:4: replyCode is a word of RabbitMQ",
  ]);
  const free = [
    "src/transport/rabbitmq/a.ts",
    "src/amqp/a.ts",
    "src/connection/bus_profile.ts",
  ];
  assert.deepEqual(names.brokerWords(free.map((path) => file(path, text))), []);
});
