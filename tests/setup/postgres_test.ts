/** The private PostgreSQL of other tests: it takes queries, survives kill and start, and leaves nothing behind. */
import assert from "node:assert/strict";
// @ts-types="npm:@types/pg@^8"
import pg from "npm:pg@^8";
import { postgresServer, privatePostgres } from "./postgres.ts";
import { until } from "./probe.ts";

const ignore = !postgresServer;

Deno.test({
  name:
    "privatePostgres() survives kill and start with its data (needs a PostgreSQL server)",
  ignore,
}, async (t) => {
  const server = await privatePostgres();
  const first = server.pid;

  await t.step("takes queries, and a pool ends cleanly", async () => {
    const pool = new pg.Pool({ connectionString: server.url });
    await pool.query("create table kept (n integer)");
    await Promise.all(
      [1, 2, 3].map((n) => pool.query("insert into kept values ($1)", [n])),
    );
    await pool.end();
  });

  await t.step("kill() breaks its connections", async () => {
    const client = new pg.Client(server.url);
    await client.connect();
    const broken = new Promise((resolve) => client.on("error", resolve));
    await server.kill();
    await broken;
    assert.throws(() => server.pid, /is down/);
    await nothingRuns(`${server.folder}/data`);
    await client.end();
    await assert.rejects(sum(server.url));
  });

  await t.step("start() has the data of before", async () => {
    await server.start();
    assert.notEqual(server.pid, first);
    assert.equal(await sum(server.url), 6);
  });

  await t.step("stop() and start() are a clean restart", async () => {
    await server.stop();
    await server.stop();
    await nothingRuns(`${server.folder}/data`);
    await server.start();
    assert.equal(await sum(server.url), 6);
  });

  await t.step("disposal leaves no process and no folder", async () => {
    assert.notDeepEqual(await processes(server.folder), []);
    await server[Symbol.asyncDispose]();
    await assert.rejects(Deno.stat(server.folder), Deno.errors.NotFound);
    await nothingRuns(server.folder);
  });
});

for (
  const [state, end] of [["up", ""], ["down", "await server.stop();"]] as const
) {
  Deno.test({
    name:
      `privatePostgres() that is ${state} is gone with a test process that dies (needs a PostgreSQL server)`,
    ignore,
  }, async () => {
    const module = new URL("postgres.ts", import.meta.url).href;
    const code = `import { privatePostgres } from "${module}";
      const server = await privatePostgres();
      ${end}
      console.log(server.folder);
      Deno.kill(Deno.pid, "SIGKILL");`;
    const { stdout } = await new Deno.Command(Deno.execPath(), {
      args: ["eval", code],
    }).output();
    const folder = new TextDecoder().decode(stdout).trim();
    assert.match(folder, /warren-postgres-/);
    await nothingRuns(folder);
    await until(
      "the folder is gone",
      () => Deno.stat(folder).then(() => false, () => true),
    );
  });
}

async function sum(url: string): Promise<number> {
  const client = new pg.Client(url);
  try {
    await client.connect();
    const { rows } = await client.query(
      "select sum(n)::integer as n from kept",
    );
    return rows[0].n;
  } finally {
    await client.end();
  }
}

/** The guard too ends a moment after what it guards. */
async function nothingRuns(folder: string): Promise<void> {
  await until(
    `no process works in ${folder}`,
    async () => (await processes(folder)).length === 0,
  );
}

/** The processes that work in a server's folder, as Linux shows them in /proc. */
async function processes(folder: string): Promise<string[]> {
  const found: string[] = [];
  if (Deno.build.os !== "linux") return found;
  for await (const { name } of Deno.readDir("/proc")) {
    if (!/^\d+$/.test(name)) continue;
    const cwd = await Deno.readLink(`/proc/${name}/cwd`).catch(() => "");
    if (cwd.startsWith(folder)) found.push(name);
  }
  return found;
}
