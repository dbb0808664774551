/** The example as its reader runs it: in one process, on RabbitMQ, and as processes with the rights that the README names. */
import assert from "node:assert/strict";
import { isAll, ONLY_ALL } from "../setup/all.ts";
import { Raw } from "../rpc/support.ts";
import { brokerUrl, rabbitmqServer } from "../setup/broker.ts";
import { privateCluster } from "../setup/cluster.ts";
import { until } from "../setup/probe.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

interface Outcome {
  readonly code: number;
  readonly out: string;
  readonly err: string;
}

/** `examples/compute.ts`, with no `AMQP_URL` but the one that is given. */
function compute(
  rights: readonly string[],
  words: readonly string[],
  url?: string,
): Deno.Command {
  const { AMQP_URL: _, ...env } = Deno.env.toObject();
  return new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-prompt", ...rights, "examples/compute.ts", ...words],
    cwd: ROOT,
    clearEnv: true,
    env: { ...env, NO_COLOR: "1", ...(url && { AMQP_URL: url }) },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);

async function run(words: readonly string[], url?: string): Promise<Outcome> {
  const { code, stdout, stderr } = await compute(["-A"], words, url).output();
  return { code, out: text(stdout), err: text(stderr) };
}

/** What a show must have shown, one after the other, wherever it ran. */
const SHOWN = [
  /gb07 {3}│ compute \(any host\), compute\.gb07 \(this host\)/,
  /gb08 {3}│ compute \(any host\), compute\.gb08 \(this host\)/,
  /call: one answer/,
  /runInstance web-1: gb0[78] answers/,
  /list on gb07: .*web-/,
  /list on gb08: .*web-/,
  /cast: no answer/,
  /rebooted web-1/,
  /multicall: a stream/,
  /web-1: 9592 primes below 100000/,
  /closed the console of web-1: .*cancelled/,
  /batch-1: 25997 primes below 300000/,
  /closed the console of batch-1: it has ended/,
  /fanoutCast: no answer/,
  /event {2}│ instance\.prune\.end/,
  /event {2}│ instance\.audit/,
  /no such instance: InstanceNotFound: No instance .*"host":"gb07"/,
  /wrong arguments: .*\(INVALID\)/,
  /no such host: .*\(NO_ROUTE\)/,
  /no such topic: .*\(NO_ROUTE\)/,
  /no such method: .*\(NO_SUCH_METHOD\)/,
  /gb08 {3}│ ended with \d instances/,
  /Done in \d/,
];

function assertShown({ code, out, err }: Outcome): void {
  assert.equal(err, "");
  assert.equal(code, 0);
  for (const line of SHOWN) assert.match(out, line);
  for (const host of ["gb07", "gb08"]) {
    assert.match(out, new RegExp(`${host} {3}│ pruned`));
    assert.match(out, new RegExp(`web-\\d: ${host} answers`), "calls spread");
  }
}

Deno.test("compute.ts shows every verb in memory, within ten seconds", async () => {
  const started = performance.now();
  const outcome = await run([]);
  assertShown(outcome);
  // On a broker that others use as well, their listeners may take them.
  for (const sender of ["compute.gb07", "compute.gb08", "show.caller"]) {
    assert.match(outcome.out, new RegExp(`│ instance\\.\\w+.* from ${sender}`));
  }
  assert.ok(performance.now() - started < 10_000);
});

Deno.test("compute.ts shows the same on RabbitMQ", async () => {
  const url = await brokerUrl();
  const names = ["compute", "compute.gb07", "compute.gb08"];
  await using _ = removing(url, names);
  const outcome = await run([], url);
  assertShown(outcome);
  assert.match(outcome.out, /on RabbitMQ at /);
});

Deno.test("compute.ts explains itself, and what it did not understand", async () => {
  const help = await run(["--help"]);
  assert.equal(help.code, 0);
  const named = /worker .*call .*cast .*fanout .*runInstance .*AMQP_URL/s;
  assert.match(help.out, named);
  const wrong: [words: string[], said: RegExp][] = [
    [["wroker"], /^Unknown word "wroker"/],
    [["call", "list"], /^No broker: set AMQP_URL or give --url/],
    [["--bogus"], /^Unknown option '--bogus'/],
    [["--host", "x"], /^Unknown option --host without worker or /],
    [["cast", "--url", "amqp://x"], /^Nothing to cast: give a procedure/],
    [["call", "list", "x", "--url", "amqp://x"], /^Unknown word "x": give key/],
  ];
  for (const [words, said] of wrong) {
    const { code, out, err } = await run(words);
    assert.deepEqual([code, out], [2, ""]);
    assert.match(err, said);
    assert.match(err, /^[^\n]*; see --help\n$/);
  }
});

/** A running `compute.ts`, and what it has printed. */
class Program implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #reading: Promise<unknown>;
  out = "";
  err = "";

  constructor(...command: Parameters<typeof compute>) {
    this.#child = compute(...command).spawn();
    const { stdout, stderr } = this.#child;
    this.#reading = Promise.all([
      gather(stdout, (chunk) => this.out += chunk),
      gather(stderr, (chunk) => this.err += chunk),
    ]);
  }

  says(words: string): Promise<unknown> {
    return until(words, () => this.out.includes(words) || this.err !== "");
  }

  async end(signal: Deno.Signal): Promise<number> {
    this.#child.kill(signal);
    await this.#reading;
    return (await this.#child.status).code;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#reading;
    await this.#child.status;
  }
}

/** A worker process under a name of its own, with the least rights. */
class Host extends Program {
  readonly name: string;

  constructor(url: string) {
    const name = `gb-${crypto.randomUUID().slice(0, 8)}`;
    const brokers = url.split(",").map((one) => new URL(one))
      .map(({ hostname, port }) => `${hostname}:${port || 5672}`);
    const rights = [
      `--allow-net=${brokers}`,
      "--allow-env=AMQP_URL",
      "--allow-sys=hostname",
      "--allow-read=examples/",
    ];
    super(rights, ["worker", "--host", name], url);
    this.name = name;
  }
}

async function gather(
  stream: ReadableStream<Uint8Array>,
  take: (chunk: string) => void,
): Promise<void> {
  const decoded = stream.pipeThrough(new TextDecoderStream());
  for await (const chunk of decoded) take(chunk);
}

/** Removes queues at the end: the broker may be everybody's. */
function removing(url: string, queues: readonly string[]): AsyncDisposable {
  return {
    async [Symbol.asyncDispose]() {
      await using raw = await Raw.open(url);
      for (const queue of queues) await raw.channel.deleteQueue(queue);
    },
  };
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  Deno.test(`compute.ts worker serves callers with the least rights, until ${signal}`, async () => {
    const url = await brokerUrl();
    await using host = new Host(url);
    await using _ = removing(url, [`compute.${host.name}`]);
    await host.says("Serving compute");
    const ask = (...words: string[]) =>
      run([...words, "--host", host.name], url);

    const made = await ask("call", "runInstance", "name=42", "upTo=200000");
    assert.equal(made.err, "");
    const { id, at, state, ...instance } = JSON.parse(made.out);
    assert.deepEqual(instance, { name: "42", host: host.name });
    assert.match(state, /^(running|finished)$/); // it is a short one
    assert.ok(Date.now() - Date.parse(at) < 60_000);

    const console = await ask("call", "console", `id=${id}`);
    const lines = "9592 primes below 100000\n17984 primes below 200000\n";
    assert.deepEqual(console, { code: 0, out: lines, err: "" });

    const cast = await ask("cast", "reboot", `id=${id}`);
    assert.deepEqual(cast, { code: 0, out: "The broker has it\n", err: "" });
    await host.says("rebooted 42");

    const missing = await ask("call", "terminate", "id=none");
    const said = `InstanceNotFound: No instance none on ${host.name}\n`;
    assert.deepEqual(missing, { code: 1, out: "", err: said });
    const invalid = await ask("call", "runInstance", "name=a", "upTo=many");
    assert.deepEqual([invalid.code, invalid.out], [1, ""]);
    assert.match(invalid.err, /^INVALID: .*upTo: [^\n]*\n$/);

    assert.equal(await host.end(signal), 0);
    assert.match(
      host.out,
      /ended with 1 instances\n.* stopped; 3 handled, 2 failed\n$/,
    );
    assert.equal(host.err, "");
  });
}

Deno.test({
  name:
    "compute.ts on a cluster: a node that is killed is one line, and nothing else is seen of it (needs rabbitmq-server) " +
    ONLY_ALL,
  ignore: rabbitmqServer === undefined || !isAll,
}, async () => {
  await using cluster = await privateCluster();
  const url = cluster.urls.join(",");
  await using host = new Host(url);
  await host.says("Serving compute");
  const pids = await cluster.running.ctl("list_connections", "-q", "pid");
  const node = cluster.nodes.find(({ name }) => pids.includes(name)); // a node to which the worker is connected
  const ask = (...words: string[]) =>
    run(["call", ...words, "--host", host.name], url);
  const made = await ask("runInstance", "name=web", "upTo=1000000000");
  const { id } = JSON.parse(made.out);
  const console = ["call", "console", `id=${id}`, "--host", host.name];
  await using reader = new Program(["-A"], console, url);
  await reader.says("primes below 300000");

  await node?.kill();
  await until("the worker notices", () => host.err !== "");
  const seen = reader.out.length;
  await until("the stream goes on", () => reader.out.length > seen + 1_000);
  const listed = await ask("list");
  assert.deepEqual([listed.code, listed.err], [0, ""]);
  assert.match(listed.out, /"state": "running"/);
  const [out, err] = [reader.out, reader.err];
  assert.equal(await host.end("SIGTERM"), 0);

  const lost = /^.*Connection to amqp:.* lost: .*\n$/;
  assert.match(host.err, lost);
  if (err !== "") assert.match(err, lost); // it may have been on other nodes
  const numbers = out.slice(0, out.lastIndexOf("\n")).split("\n").map((line) =>
    Number(/below (\d+)$/.exec(line)?.[1]) / 100_000
  );
  assert.deepEqual(numbers, numbers.map((_, n) => n + 1), "no line is missing");
});
