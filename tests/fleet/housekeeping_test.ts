/** What dies without a word leaves nothing at the broker that a clean stop would have taken away. */
import assert from "node:assert/strict";
import { isAll } from "../setup/all.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { type FleetProcess, startWorker } from "./process.ts";

const ROUNDS = isAll ? 10 : 2;
const SERVICES = isAll ? 20 : 8;

const start = (broker: PrivateBroker) =>
  startWorker("c", broker.url, [`${SERVICES}`], "./crowd.ts");

/** The lines that rabbitmqctl prints. */
async function list(broker: PrivateBroker, ...what: string[]) {
  const out = await broker.ctl(...what, "--silent", "--no-table-headers");
  return out.split("\n").filter((line) => line !== "").sort();
}

/** All that a broker holds but messages: they are the work of others. */
async function inventory(broker: PrivateBroker) {
  return {
    queues: await list(broker, "list_queues", "name"),
    exchanges: await list(broker, "list_exchanges", "name", "type"),
    bindings: await list(broker, "list_bindings"),
    connections: await list(broker, "list_connections", "pid"),
    channels: await list(broker, "list_channels", "pid"),
  };
}

/** Resolves when every service of a crowd is at work. */
async function busy(broker: PrivateBroker, crowd: FleetProcess) {
  const what = ["name", "consumers", "arguments"];
  const queues = await until("every service has all its queues", async () => {
    const queues = await list(broker, "list_queues", ...what);
    const own = queues.filter((line) => /^(reply_|crowd_fanout_)/.test(line));
    return own.length >= 2 * SERVICES && queues;
  }, 60_000);
  const found = (line: RegExp) => queues.filter((each) => line.test(each));
  assert.equal(found(new RegExp(`^crowd\\t${SERVICES}\\t`)).length, 1);
  // The policy of the test must not stand in for this.
  const passing = found(/^reply_|\.leader\./);
  for (const queue of passing) assert.match(queue, /"x-expires",\s*60000/);
  assert.ok(passing.length > SERVICES);
  return crowd;
}

Deno.test({
  name: `Fleet: nothing is left of ${
    ROUNDS * SERVICES
  } services that were killed (needs rabbitmq-server)`,
  ignore: rabbitmqServer === undefined,
  async fn() {
    await using broker = await privateBroker();
    // What expires does so a minute after its owner's death: the shorter of two times holds, so here it does in two seconds.
    await broker.ctl(
      "set_policy",
      "soon",
      String.raw`^reply_|\.leader\.`,
      '{"expires":2000}',
      "--apply-to",
      "queues",
    );
    await using first = await start(broker);
    await busy(broker, first);
    await until(
      "a cast has failed for good",
      async () =>
        (await list(broker, "list_queues", "name")).includes("crowd.dead"),
    );
    first.kill("SIGTERM");
    assert.equal(await first.exit(), 0);
    const gone = async () =>
      !(await list(broker, "list_queues", "name")).some((name) =>
        /^reply_|_fanout_|\.leader\./.test(name)
      );
    await until("the queues of one process are gone", gone, 20_000, 200);
    const before = await inventory(broker);
    assert.ok(before.queues.includes("crowd.delay.100"));

    for (let round = 0; round < ROUNDS; round++) {
      await using crowd = await start(broker);
      if (round % 5 === 0) await busy(broker, crowd);
      crowd.kill("SIGKILL");
      await crowd.exit();
    }
    await until("the queues of the dead are gone", gone, 20_000, 200);
    assert.deepEqual(await inventory(broker), before);
    assert.deepEqual([before.connections, before.channels], [[], []]);
  },
});
