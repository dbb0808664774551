/**
 * The shape of the sources, held by the module graph (`deno info`, type imports included) and the
 * syntax tree. Every rule is also shown an invented breach, so that none passes by being blind.
 */
import assert from "node:assert/strict";
import {
  anyTypes,
  circles,
  commentStarts,
  fileSizes,
  floors,
  folderSizes,
  functions,
  functionSizes,
  type Import,
  runtime,
  type Source,
  specifiers,
} from "./setup/architecture.ts";

const ROOT = new URL("../", import.meta.url);

const RULES = {
  floors,
  circles,
  folderSizes,
  specifiers,
  runtime,
  anyTypes,
  commentStarts,
  fileSizes,
  functionSizes,
};

interface Edge {
  specifier: string;
  code?: { specifier?: string };
  type?: { specifier?: string };
}

interface Graph {
  modules: { specifier: string; dependencies?: Edge[] }[];
}

async function paths(folder: string): Promise<string[]> {
  const found: string[] = [];
  for await (
    const { name, isDirectory } of Deno.readDir(new URL(folder, ROOT))
  ) {
    if (isDirectory) found.push(...await paths(`${folder}${name}/`));
    else if (name.endsWith(".ts")) found.push(folder + name);
  }
  return found.sort();
}

async function graph(path: string): Promise<Graph> {
  const { success, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["info", "--json", path],
    cwd: ROOT,
  }).output();
  if (!success) throw new Error(new TextDecoder().decode(stderr));
  return JSON.parse(new TextDecoder().decode(stdout));
}

/** The face and everything under src, also what the face does not reach. */
async function sources(): Promise<Source[]> {
  const read = new Map<string, Source>();
  for (const root of ["mod.ts", ...await paths("src/")]) {
    if (read.has(root)) continue;
    for (
      const { specifier, dependencies = [] } of (await graph(root)).modules
    ) {
      const path = local(specifier);
      if (path === undefined || read.has(path)) continue;
      const text = await Deno.readTextFile(new URL(path, ROOT));
      read.set(path, { path, text, imports: dependencies.flatMap(imports) });
    }
  }
  return [...read.values()];
}

function imports({ specifier, code, type }: Edge): Import[] {
  const targets = new Set(
    [code?.specifier, type?.specifier].filter((to) => to !== undefined),
  );
  return targets.size
    ? [...targets].map((to) => ({ specifier, path: local(to) }))
    : [{ specifier }];
}

function local(specifier: string): string | undefined {
  return specifier.startsWith(ROOT.href)
    ? specifier.slice(ROOT.href.length)
    : undefined;
}

Deno.test("The sources keep the rules of the house", async (t) => {
  const all = await sources();
  for (const [name, rule] of Object.entries(RULES)) {
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

Deno.test("anyTypes() finds any, and not the word", () => {
  const text =
    "// any\nconst any = 'any';\nlet a: any;\nconst b = c as Map<string, any[]>;\n";
  assert.deepEqual(anyTypes([file("src/a.ts", text)]), [
    "src/a.ts:3: has the type any",
    "src/a.ts:4: has the type any",
  ]);
});

Deno.test("commentStarts() finds doc comments without a subject, in finished folders alone", () => {
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
  assert.deepEqual(commentStarts([file("src/async/a.ts", text)]), [
    'src/async/a.ts:1: the comment begins with "Where"',
    'src/async/a.ts:2: the comment begins with "Whether"',
    'src/async/a.ts:7: the comment begins with "How"',
  ]);
  assert.deepEqual(commentStarts([file("src/unfinished/a.ts", text)]), []);
});

const lines = (count: number) => "x;\n".repeat(count);

Deno.test("fileSizes() holds the longest file", () => {
  const small = file("src/a.ts", lines(110));
  assert.deepEqual(fileSizes([small, file("src/b.ts", lines(380))]), []);
  assert.deepEqual(fileSizes([small, file("src/b.ts", lines(381))]), [
    "src/b.ts: 381 lines, over 380",
  ]);
});

Deno.test("functionSizes() holds the longest function, the ninth decile and the median", () => {
  const sized = (count: number) => `function f() {\n${lines(count - 2)}}\n`;
  const of = (...counts: number[]) =>
    functionSizes([file("src/a.ts", counts.map(sized).join(""))]);
  const short = new Array(8).fill(9);
  assert.deepEqual(of(...short, 30, 70), []);
  assert.deepEqual(of(...short, 30, 71), [
    "src/a.ts:103: f has 71 lines, over 70",
  ]);
  assert.deepEqual(of(...short, 31, 70), [
    "all functions: quantile 0.9 has 31 lines, over 30",
  ]);
  assert.deepEqual(of(10), [
    "all functions: quantile 0.5 has 10 lines, over 9",
  ]);
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
