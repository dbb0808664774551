/**
 * Warren as someone without npm, JSR or an import map takes it: by the URL of `mod.ts`. What only a
 * configuration file resolves breaks here and nowhere else.
 */
import assert from "node:assert/strict";

const ROOT = new URL("../", import.meta.url);

const program = (base: string) => `
import { contract, createConnection, implement, Service } from "${base}/mod.ts";
import { z } from "npm:zod@^4";

const greeter = contract({
  topic: "greeter",
  version: "1.0",
  procedures: { greet: { args: z.object({ name: z.string() }), result: z.string() } },
});
const manager = implement(greeter, { greet: ({ name }) => "Hello, " + name });
await using _service = await Service.start({ url: "memory:by-url", host: "one", manager });
await using connection = await createConnection("memory:by-url");
const greeting: string = await connection.client(greeter).call("greet", { name: "URL" });
console.log(greeting);
`;

/** Serves the repository's modules, and nothing outside of it. */
async function serve(request: Request): Promise<Response> {
  const { pathname } = new URL(request.url); // already without dot segments
  if (!/^\/[\w/.-]+\.ts$/.test(pathname)) {
    return new Response("Not found", { status: 404 });
  }
  try {
    const text = await Deno.readTextFile(new URL(`.${pathname}`, ROOT));
    return new Response(text, {
      headers: { "content-type": "application/typescript" },
    });
  } catch {
    return new Response("Not found", { status: 404 });
  }
}

/** Runs Deno in a folder and returns its standard output. */
async function deno(cwd: string, ...args: string[]): Promise<string> {
  const command = new Deno.Command(Deno.execPath(), {
    args,
    cwd,
    env: { NO_COLOR: "1" },
  });
  const { success, stdout, stderr } = await command.output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout);
}

/** Removes what Deno's cache kept of a host that will never exist again. */
async function forget(host: string): Promise<void> {
  const { modulesCache, typescriptCache } = JSON.parse(
    await deno(".", "info", "--json"),
  );
  for (const cache of [modulesCache, typescriptCache]) {
    await Deno.remove(`${cache}/http/${host}`, { recursive: true }).catch(
      () => {},
    );
  }
}

Deno.test("mod.ts works when it is imported by URL, types included", async () => {
  const folder = await Deno.makeTempDir({ prefix: "warren-url-" });
  await using server = Deno.serve({
    hostname: "127.0.0.1",
    port: 0,
    onListen() {},
  }, serve);
  const { port } = server.addr;
  const base = `http://127.0.0.1:${port}`;
  try {
    await Deno.writeTextFile(`${folder}/main.ts`, program(base));
    const flags = [
      "--check",
      `--reload=${base}`,
      "--no-config",
      "--no-lock",
      "-A",
    ];
    assert.equal(
      await deno(folder, "run", ...flags, "main.ts"),
      "Hello, URL\n",
    );
  } finally {
    await Deno.remove(folder, { recursive: true });
    await forget(`127.0.0.1_PORT${port}`);
  }
});
