/** The port for health under connections that ask nothing, and in a process that has too many open files. */
import assert from "node:assert/strict";
import { HealthServer } from "../../../src/service/health/health_server.ts";
import { TextLineStream } from "../../fleet/lines.ts";
import { jumpingClock } from "../../setup/clock.ts";
import { closeQuietly, until } from "../../setup/probe.ts";

const hostname = "127.0.0.1";

/** A running `probed.ts` that may have 300 files open. */
async function start() {
  const program = new URL("probed.ts", import.meta.url).pathname;
  const child = new Deno.Command("sh", {
    args: [
      "-c",
      'ulimit -n 300 && exec "$@"',
      "sh",
      ...[Deno.execPath(), "run", "-A", "--no-check", program],
    ],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream()).values();
  const stdin = child.stdin.getWriter();
  const errors: string[] = [];
  // Deno warns of certificates that the environment names, and that it cannot open.
  const hear = (line: string) => {
    if (!line.startsWith("Warning: ")) errors.push(line);
  };
  const reading = child.stderr.pipeThrough(new TextDecoderStream())
    .pipeThrough(new TextLineStream())
    .pipeTo(new WritableStream({ write: (line) => hear(line) }));
  const heard = async () => (await lines.next()).value;
  const url = await heard();
  return {
    url: url!,
    port: Number(new URL(url!).port),
    /** Lines that it printed as errors. */
    errors,
    /** Sends a line, and gives what is said then. */
    tell: async () => {
      await stdin.write(new TextEncoder().encode("\n"));
      return await heard();
    },
    /** Ends the program, and gives its exit code. */
    end: async () => {
      await stdin.close();
      await reading;
      return (await child.status).code;
    },
    [Symbol.asyncDispose]: async () => {
      await stdin.close().catch(() => {});
      await child.status;
      await lines.return?.();
      await reading;
    },
  };
}

/** Connections that have each sent so much. */
async function connections(port: number, count: number, sent: string) {
  const bytes = new TextEncoder().encode(sent);
  const sockets: Deno.TcpConn[] = [];
  for (let n = 0; n < count; n++) {
    const socket = await Deno.connect({ hostname, port });
    sockets.push(socket);
    if (sent) await socket.write(bytes).catch(() => {});
  }
  return {
    sockets,
    [Symbol.dispose]: () => sockets.forEach(closeQuietly),
  };
}

/** Resolves when the other side has closed the connection. */
async function closed(socket: Deno.TcpConn): Promise<void> {
  const size = await socket.read(new Uint8Array(1)).catch(() => null);
  assert.equal(size, null);
}

/** Status of an answer, which must come soon. */
async function probe(url: string): Promise<number> {
  const signal = AbortSignal.timeout(2_000);
  const response = await fetch(`${url}/readyz`, { signal });
  await response.body?.cancel();
  return response.status;
}

for (
  const [what, sent] of [
    ["idle connections", ""],
    ["half requests", "GET /readyz HTTP/1.1\r\nHost: "],
  ] as const
) {
  Deno.test({
    name: `a process with 300 files survives 400 ${what}, and probes pass`,
    ignore: Deno.build.os === "windows",
    async fn() {
      await using program = await start();
      using many = await connections(program.port, 400, sent);
      assert.equal(await probe(program.url), 200);
      let gone = 0;
      const ends = many.sockets.map((socket) =>
        closed(socket).then(() => gone++)
      );
      await until("all but 64 are closed", () => gone >= 400 - 64);
      assert.equal(await probe(program.url), 200);
      many[Symbol.dispose]();
      await Promise.all(ends);
      assert.equal(await program.end(), 0);
      assert.deepEqual(program.errors, []);
    },
  });
}

Deno.test({
  name: "a process without a free file goes on, says so once, and answers then",
  ignore: Deno.build.os === "windows",
  async fn() {
    await using program = await start();
    assert.equal(await program.tell(), "full");
    using many = await connections(program.port, 10, "");
    const answer = probe(program.url);
    await until("it says so", () => program.errors.length > 0);
    assert.equal(await program.tell(), "free");
    assert.equal(await answer, 200);
    many[Symbol.dispose]();
    assert.equal(await program.end(), 0);
    assert.equal(program.errors.length, 1, program.errors.join("\n"));
    const said = /The health server cannot accept connections: "Too many open/;
    assert.match(program.errors.join(), said);
  },
});

Deno.test("a connection that asks nothing, or half, is closed after ten seconds", async () => {
  using clock = jumpingClock();
  const check = () => ({ live: true, ready: true, detail: {} });
  await using health = HealthServer.start({ port: 0, hostname }, { check });
  const port = Number(new URL(health.url!).port);
  using idle = await connections(port, 1, "");
  using half = await connections(port, 1, "GET /livez HTTP/1.1\r\n");
  let gone = 0;
  const ends = [...idle.sockets, ...half.sockets].map((socket) =>
    closed(socket).then(() => gone++)
  );
  assert.equal(await probe(health.url!), 200, "those before it are accepted");
  await clock.jump(9_000);
  assert.equal(await probe(health.url!), 200);
  assert.equal(gone, 0);
  await clock.jump(1_000);
  await Promise.all(ends);
});

/** All that is answered to this, until the connection ends. */
async function answered(port: number, request: string): Promise<string> {
  using socket = await Deno.connect({ hostname, port });
  const bytes = new TextEncoder().encode(request);
  for (const byte of bytes.subarray(0, 5)) {
    await socket.write(new Uint8Array([byte]));
  }
  await socket.write(bytes.subarray(5));
  return await new Response(socket.readable).text();
}

Deno.test("health reads HTTP as it is written, and refuses what is none", async () => {
  const check = () => ({ live: true, ready: true, detail: {} });
  await using health = HealthServer.start({ port: 0, hostname }, { check });
  const port = Number(new URL(health.url!).port);
  const cases: [request: string, status: number][] = [
    ["GET /livez HTTP/1.1\r\nHost: a\r\n\r\n", 200],
    ["GET /livez?verbose HTTP/1.1\r\nhost:a:8080\r\nAccept: */*\r\n\r\n", 200],
    ["GET http://a/livez HTTP/1.1\r\nHost: a\r\n\r\n", 200],
    ["GET /livez HTTP/1.0\n\n", 200],
    ["POST /livez HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\nbody", 405],
    ["GET /livez HTTP/1.1\r\n\r\n", 400],
    ["GET /livez HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400],
    ["GET /livez HTTP/1.1\r\nHost: [bad\r\n\r\n", 400],
    ["GET /livez HTTP/2.0\r\nHost: a\r\n\r\n", 400],
    ["\u0016\u0003\u0001\u0002\r\n\r\n", 400],
    [`GET /livez HTTP/1.1\r\nHost: a\r\nX: ${"x".repeat(9_000)}`, 431],
  ];
  for (const [request, status] of cases) {
    const answer = await answered(port, request);
    assert.match(answer, new RegExp(`^HTTP/1\\.1 ${status} `), request);
    const [head = "", body = ""] = answer.split("\r\n\r\n");
    assert.match(head, new RegExp(`content-length: ${body.length}\r\n`));
    assert.ok(JSON.parse(body).status);
  }
  const head = await answered(port, "HEAD /livez HTTP/1.0\r\n\r\n");
  assert.match(head, /^HTTP\/1\.1 200 OK\r\n[^]*: 15\r\n[^]*\r\n\r\n$/);
});
