/** `launch` with workers: how they start, end, die, and follow each other. */
import assert from "node:assert/strict";
import { type Client, InvalidValueError, launch } from "../../../mod.ts";
import { type Bus, failureOf, onRabbit } from "../../rpc/support.ts";
import { Load } from "../../setup/load.ts";
import { freePorts, until } from "../../setup/probe.ts";
import { launched as api } from "./launched_contract.ts";
import { Launched, type Launching, runs } from "./launched_process.ts";

type Api = Client<ReturnType<typeof api>>;

/** A launcher whose workers have all started. */
async function start(bus: Bus, launching: Launching): Promise<Launched> {
  const launched = new Launched(bus, launching);
  await launched.heard("serving", launching.workers);
  return launched;
}

/** Calls that take so long; resolves when each of them is in a handler, and gives the promise of their outcome. */
async function hold(launched: Launched, client: Api, ms: number, count = 20) {
  const before = launched.said("holding").length;
  const calls = Array.from(
    { length: count },
    () => client.call("hold", { ms }),
  );
  const settled = Promise.allSettled(calls);
  await launched.heard("holding", before + count);
  return { settled };
}

/** Who answered; fails if a call did. */
function answers(settled: readonly PromiseSettledResult<number>[]): number[] {
  return settled.map((outcome) => {
    if (outcome.status === "rejected") throw outcome.reason;
    return outcome.value;
  });
}

const sum = (counts: readonly number[]) =>
  counts.reduce((all, count) => all + count, 0);
const sorted = (pids: Iterable<number>) => [...new Set(pids)].sort();

const draining = [
  ["SIGTERM to the launcher", "SIGTERM", false],
  ["SIGINT to the launcher", "SIGINT", false],
  ["SIGINT to the whole group", "SIGINT", true],
  ["SIGTERM to the whole group", "SIGTERM", true],
] as const;

for (const [what, signal, group] of draining) {
  onRabbit(`${what} drains all workers`, async (bus) => {
    await using launched = await start(bus, { workers: 2, group });
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    const { settled } = await hold(launched, client, 1_000);
    if (group) Deno.kill(-launched.pid, signal);
    else launched.kill(signal);
    const workers = sorted(launched.said("born"));
    assert.deepEqual(sorted(answers(await settled)), workers);
    assert.equal(await launched.exit(), 0);
    assert.equal(workers.some(runs), false);
    const said = launched.lines;
    assert.equal(said.filter((line) => line === "ended").length, 1);
    assert.ok(said.includes("[worker 1] ended"));
    assert.ok(said.includes("[worker 2] ended"));
    const others = said.filter((line) =>
      !/^\[worker [12]\] (born|serving|holding|handled|redelivered) \d+$/
        .test(line)
    );
    assert.equal(others.length, 3, others.join("\n"));
  });
}

/** Resolves when another process of a worker serves. */
async function successor(
  launched: Launched,
  worker: number,
  ms: number,
): Promise<number | undefined> {
  const before = launched.said("serving", worker).length;
  const next = () => launched.said("serving", worker)[before];
  return await until(`another worker ${worker}`, next, ms);
}

onRabbit("A second signal ends launcher and workers at once", async (bus) => {
  await using launched = await start(bus, { workers: 2 });
  await using connection = await bus.connect({ grace: 0 });
  const client = connection.client(api(bus.topic));
  const { settled } = await hold(launched, client, 60_000, 4);
  launched.kill("SIGTERM");
  launched.kill("SIGINT"); // another, since the system merges equal ones
  assert.ok([130, 143].includes(await launched.exit()));
  const workers = launched.said("born");
  await until("the workers are gone", () => !workers.some(runs), 2_000);
  assert.equal(launched.lines.some((line) => line.endsWith("ended")), false);
  await connection[Symbol.asyncDispose]();
  await settled;
});

onRabbit("kill -9 of a worker: another within 2 s", async (bus) => {
  await using launched = await start(bus, { workers: 2 });
  const [victim] = launched.said("serving", 2);
  const next = successor(launched, 2, 2_000);
  Deno.kill(victim!, "SIGKILL");
  assert.notEqual(await next, victim);
  assert.equal(launched.said("born", 1).length, 1, "the other one goes on");
  launched.kill("SIGTERM");
  assert.equal(await launched.exit(), 0);
});

onRabbit("SIGTERM to a worker drains it, and another follows", async (bus) => {
  await using launched = await start(bus, { workers: 1 });
  await using connection = await bus.connect();
  const client = connection.client(api(bus.topic));
  const { settled } = await hold(launched, client, 300);
  const [old] = launched.said("serving");
  const next = successor(launched, 1, 10_000);
  Deno.kill(old!, "SIGTERM");
  assert.deepEqual(sorted(answers(await settled)), [old]);
  await next;
  assert.ok(launched.lines.includes("[worker 1] ended"));
  launched.kill("SIGTERM");
  assert.equal(await launched.exit(), 0);
  assert.equal(launched.said("born").length, 2);
});

onRabbit("kill -9 of the launcher: its workers drain and end", async (bus) => {
  await using launched = await start(bus, { workers: 4 });
  await using connection = await bus.connect({ grace: 0 });
  const client = connection.client(api(bus.topic));
  const workers = launched.said("born");
  // Some end in time. Others never would, and their workers end all the same.
  const short = await hold(launched, client, 500, 8);
  const long = await hold(launched, client, 60_000, 2);
  launched.kill("SIGKILL");
  await until("no worker is left", () => !workers.some(runs), 5_000);
  assert.equal(answers(await short.settled).length, 8);
  await connection[Symbol.asyncDispose]();
  await long.settled;
});

Deno.test("A worker that dies at birth is started after 1, 2 and 4 s, on SIGHUP at once", async () => {
  const bus = { url: "memory:none", topic: "none" };
  const file = await Deno.makeTempFile({ prefix: "warren-launch-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(file).catch(() => {}));
  const began = performance.now();
  const launched = stack.use(new Launched(bus, { workers: 2, file }));
  await Promise.all([1, 2].map((worker) => launched.heard("born", 4, worker)));
  const took = performance.now() - began;
  assert.ok(took >= 7_000, `four starts in ${took} ms`);
  const reason =
    /Worker 1 \(process \d+\) ended: "code 1"; its last error: "Uncaught .*Error: expected"/;
  await until(
    "the log has the reason",
    () => launched.lines.some((line) => reason.test(line)),
  );
  await Deno.remove(file);
  launched.kill("SIGHUP");
  const asked = performance.now();
  await launched.heard("serving", 2);
  const waited = performance.now() - asked;
  assert.ok(waited < 6_000, `8 s of pause were over after ${waited} ms`);
  launched.kill("SIGTERM");
  assert.equal(await launched.exit(), 0);
});

onRabbit(
  "Four workers are replaced under 500 calls/s, no call fails",
  async (bus) => {
    await using launched = await start(bus, { workers: 4 });
    await using connection = await bus.connect();
    const old = launched.said("serving");
    const client = connection.client(api(bus.topic));
    const load = new Load(500, async (n) => {
      assert.equal(await client.call("echo", { n }, { timeout: 20_000 }), n);
    });
    await load.answered(500);
    launched.kill("SIGHUP");
    await launched.heard("serving", 8);
    await until("the old ones are gone", () => !old.some(runs), 20_000);
    await load.answered(500);
    const { sent, failed, answered, seconds } = await load.end();
    assert.equal(failed.length, 0, Deno.inspect(failed[0]));
    assert.equal(answered, sent);
    assert.ok(sent >= 450 * seconds, `${sent} calls in ${seconds} s`);
    // One after the other: a worker's successor serves before the next worker gets his.
    const births = launched.lines.filter((line) =>
      /(born|serving) \d+$/.test(line)
    ).slice(8);
    assert.deepEqual(
      births.map((line) => line.replace(/ \d+$/, "")),
      [1, 2, 3, 4].flatMap((
        k,
      ) => [`[worker ${k}] born`, `[worker ${k}] serving`]),
    );
    launched.kill("SIGTERM");
    assert.equal(await launched.exit(), 0);
    assert.equal(sum(launched.said("handled")), sent, "each was handled once");
    assert.equal(sum(launched.said("redelivered")), 0);
  },
);

/** Status and body of an answer for health; status 0 where nobody answers. */
async function health(port: number, path: string) {
  try {
    const response = await fetch(`http://127.0.0.1:${port}/${path}`);
    return { ...await response.json(), status: response.status };
  } catch {
    return { status: 0 };
  }
}

onRabbit(
  "The launcher answers for all workers, each worker for itself",
  async (bus) => {
    const port = freePorts(3);
    await using launched = await start(bus, { workers: 2, port });
    const all = { status: 200, workers: 2, serving: 2 };
    const own = { status: 200, state: "up", link: "up" };
    await until("all are ready", async () => {
      const answer = await health(port, "readyz");
      return answer.serving === 2 && answer;
    });
    const { status, workers, serving } = await health(port, "readyz");
    assert.deepEqual({ status, workers, serving }, all);
    for (const worker of [1, 2]) {
      const { status, state, link } = await health(port + worker, "readyz");
      assert.deepEqual({ status, state, link }, own);
    }
    const [victim] = launched.said("serving", 1);
    Deno.kill(victim!, "SIGKILL");
    await until("one is missing", async () => {
      const answer = await health(port, "readyz");
      return answer.status === 503 && answer.serving === 1;
    });
    assert.equal((await health(port, "livez")).status, 200);
    await until("all are back", async () => {
      return (await health(port, "readyz")).status === 200;
    });
    // A successor takes its predecessor's port over.
    launched.kill("SIGHUP");
    await launched.heard("serving", 5);
    for (const worker of [1, 2]) {
      await until(`worker ${worker} answers`, async () => {
        return (await health(port + worker, "readyz")).status === 200;
      });
    }
    launched.kill("SIGTERM");
    assert.equal(await launched.exit(), 0);
  },
);

onRabbit("A program that cannot start replaces no worker", async (bus) => {
  const file = await Deno.makeTempFile({ prefix: "warren-launch-" });
  await using stack = new AsyncDisposableStack();
  stack.defer(() => Deno.remove(file).catch(() => {}));
  await Deno.remove(file);
  const launched = stack.use(await start(bus, { workers: 1, file }));
  const connection = stack.use(await bus.connect());
  const client = connection.client(api(bus.topic));
  const [old] = launched.said("serving");
  await Deno.writeTextFile(file, "");
  const asked = performance.now();
  launched.kill("SIGHUP");
  await launched.heard("born", 4);
  const took = performance.now() - asked;
  assert.ok(took >= 3_000, `three starts in ${took} ms, not after 1 and 2 s`);
  assert.equal(await client.call("hold", { ms: 0 }), old);
  await Deno.remove(file);
  await launched.heard("serving", 2);
  await until("the old one is gone", () => !runs(old!));
  assert.equal(
    await client.call("hold", { ms: 0 }),
    launched.said("serving")[1],
  );
  launched.kill("SIGTERM");
  assert.equal(await launched.exit(), 0);
});

Deno.test("launch refuses a number of workers that is none", async () => {
  for (const workers of [0, 1.5, -1, NaN]) {
    const error = await failureOf(launch([], { workers }));
    assert.ok(error instanceof InvalidValueError);
    assert.deepEqual(error.data, { path: "workers" });
  }
});
