/** The least rights on the broker, as the page on connections tells them. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import { contract, createConnection, implement, Service } from "../../mod.ts";
import { privateBroker, rabbitmqServer } from "../setup/broker.ts";
import { logged } from "../setup/logged.ts";
import { until } from "../setup/probe.ts";

const PAGE = new URL("../../src/connection/README.md", import.meta.url);

/** Patterns of a user in the table of the page: configure, write, read. */
async function patternsOf(user: string): Promise<string[]> {
  const page = await Deno.readTextFile(PAGE);
  const rows = page.matchAll(/^\| (\w+) +\| (\w+) +\| `(.*)` +\|$/gm);
  const patterns = Array.from(rows).filter(([, name]) => name === user)
    .map(([, , , pattern = ""]) => pattern.replaceAll("\\|", "|"));
  assert.equal(patterns.length, 3);
  return patterns;
}

const volumes = contract({
  topic: "volumes",
  version: "1.0",
  procedures: {
    grow: {
      args: z.object({ id: z.string() }),
      result: z.string(),
      retry: { attempts: 2, backoff: [100] },
    },
    scrub: { yields: z.string() },
  },
});

Deno.test({
  name:
    "a worker and a caller need no more rights than the page tells (needs rabbitmq-server)",
  ignore: rabbitmqServer === undefined,
  fn: async () => {
    await using node = await privateBroker();
    for (const user of ["worker", "caller"]) {
      await node.ctl("add_user", user, "secret");
      await node.ctl("set_permissions", user, ...await patternsOf(user));
    }
    const as = (user: string) =>
      node.url.replace(/\/\/[^@/]*@|\/\//, `//${user}:secret@`);
    await using log = await logged();
    let broadcasts = 0;
    const manager = implement(volumes, {
      grow({ id }) {
        if (id === "bad") throw new Error("it cannot grow");
        if (id === "all") broadcasts++;
        return id;
      },
      async *scrub() {
        yield "a";
      },
    });
    await using service = await Service.start({
      url: as("worker"),
      host: "gb07",
      manager,
      signals: false,
    });
    await using connection = await createConnection(as("caller"));
    const client = connection.client(volumes);
    assert.equal(await client.call("grow", { id: "any" }), "any");
    const host = "gb07";
    assert.equal(await client.call("grow", { id: "one" }, { host }), "one");
    for await (const item of client.multicall("scrub")) {
      assert.equal(item, "a");
    }
    await client.fanoutCast("grow", { id: "all" });
    await until("the broadcast came", () => broadcasts === 1);
    await client.cast("grow", { id: "bad" }); // its wait and its dead letter have queues as well
    await until("it is dead", () => service.stats.dead === 1);
    const found: string[] = [];
    for await (const { host } of connection.services({ timeout: 500 })) {
      found.push(host);
    }
    assert.deepEqual(found, [host]);
    const refused = log.lines.filter((line) => /ACCESS_REFUSED/.test(line));
    assert.deepEqual(refused, []);
  },
});
