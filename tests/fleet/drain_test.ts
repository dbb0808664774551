/** Workers that are told to stop under load, one after the other, and one that dies without a word. */
import assert from "node:assert/strict";
import { createConnection } from "../../mod.ts";
import { isAll } from "../setup/all.ts";
import { Load } from "../setup/load.ts";
import { until } from "../setup/probe.ts";
import { onVirtualHost } from "../transport/node.ts";
import { fleet } from "./contract.ts";
import { type FleetProcess, startWorker } from "./process.ts";

const ROUNDS = isAll ? 50 : 12;
const RATE = 300;

onVirtualHost(
  `Fleet: ${ROUNDS} × SIGTERM under ${RATE} calls/s: none failed, lost or redelivered`,
  async ({ url }) => {
    await using connection = await createConnection(url);
    const client = connection.client(fleet);
    await using workers = new AsyncDisposableStack();
    const start = async (n: number) =>
      workers.use(await startWorker(`w${n}`, url));
    const ended: FleetProcess[] = [];
    let oldest = await start(0);
    let next = start(1);
    const load = new Load(RATE, async (n) => {
      // Longer than the time between two calls, so that there are always some in hand.
      await client.call("work", { id: `${n}`, ms: 20 }, { timeout: 20_000 });
    });
    for (let round = 1; round <= ROUNDS; round++) {
      const younger = await next;
      if (round < ROUNDS) next = start(round + 1);
      await load.answered(30);
      oldest.kill("SIGTERM");
      ended.push(oldest);
      oldest = younger;
    }
    await load.answered(100);
    const { sent, failed, answered, seconds } = await load.end();
    oldest.kill("SIGTERM");
    ended.push(oldest);
    for (const worker of ended) assert.equal(await worker.exit(), 0);
    const count = (word: string) =>
      ended.flatMap((worker) => worker.numbers(word))
        .reduce((sum, each) => sum + each, 0);
    assert.deepEqual(failed, []);
    assert.equal(answered, sent);
    assert.equal(count("handled "), sent, "each was handled once");
    assert.equal(count("redelivered "), 0);
    assert.equal(ended.length, ROUNDS + 1);
    const rate = sent / seconds;
    assert.ok(rate > 0.8 * RATE, `${rate} calls/s`);
  },
);

onVirtualHost(
  `Fleet: a service that is killed is told as down, its successor as up`,
  async ({ url }) => {
    await using connection = await createConnection(url);
    const told: string[] = [];
    const stop = new AbortController();
    const options = { topic: "fleet", watch: true, signal: stop.signal };
    const watching = (async () => {
      for await (const status of connection.services(options)) {
        told.push(`${status.host} ${status.state}`);
      }
    })().catch(() => {});
    await using a = await startWorker("a", url);
    await using _b = await startWorker("b", url);
    const heard = (line: string) =>
      until(`${line} in ${told}`, () => told.includes(line));
    await heard("a up");
    await heard("b up");
    a.kill("SIGKILL");
    const killed = performance.now();
    await heard("a down");
    const ms = performance.now() - killed;
    assert.ok(ms > 300, `not before it missed some reports: ${ms} ms`);
    told.length = 0;
    await using again = await startWorker("a", url);
    await heard("a up");
    again.kill("SIGTERM");
    await heard("a stopped");
    assert.ok(!told.includes("b down") && !told.includes("a down"));
    stop.abort();
    await watching;
  },
);
