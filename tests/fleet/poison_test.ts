/** A message that kills whoever handles it: it takes none of the others with it, and no more than five workers. */
import assert from "node:assert/strict";
import { createConnection } from "../../mod.ts";
import { Raw } from "../rpc/support.ts";
import { rabbitmqServer, type VirtualHost } from "../setup/broker.ts";
import { postgresServer, privatePostgres } from "../setup/postgres.ts";
import { until } from "../setup/probe.ts";
import { node, onVirtualHost } from "../transport/node.ts";
import { poisonable } from "./poison.ts";
import { FleetProcess } from "./process.ts";

const INNOCENTS = 50;

/** A worker that is started again each time it dies. */
class Restarted implements AsyncDisposable {
  readonly #flags: readonly [host: string, url: string, ...string[]];
  readonly #all: FleetProcess[] = [];
  readonly #running: Promise<void>;
  #stopping = false;

  constructor(host: string, url: string, type: string, database?: string) {
    this.#flags = [host, url, type, ...(database ? [database] : [])];
    this.#running = this.#run();
  }

  /** Times that it died. */
  get deaths(): number {
    return this.#all.length - 1;
  }

  /** Ids that it has done. */
  get done(): number[] {
    return this.#all.flatMap((worker) => worker.numbers("done "));
  }

  /** Resolves when it consumes. */
  async ready(): Promise<void> {
    await this.#all.at(-1)?.printed("ready");
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#stopping = true;
    await this.#all.at(-1)?.[Symbol.asyncDispose]();
    await this.#running;
  }

  async #run(): Promise<void> {
    const [host, url, ...flags] = this.#flags;
    while (!this.#stopping) {
      const file = "./poison_worker.ts";
      const worker = new FleetProcess(host, url, flags, file);
      this.#all.push(worker);
      await worker.exit();
    }
  }
}

/** Messages in queues of a virtual host. */
async function depths({ name }: VirtualHost): Promise<Map<string, number>> {
  const columns = ["name", "messages", "--quiet", "--no-table-headers"];
  const lines = await node.ctl("list_queues", "-p", name, ...columns);
  const rows = lines.trim().split("\n").map((line) => line.split("\t"));
  return new Map(rows.map(([name = "", depth]) => [name, Number(depth)]));
}

/** What the broker itself would take from the queues goes to one that must stay empty. */
async function limitDeliveries(host: VirtualHost, raw: Raw, limit: number) {
  await raw.channel.assertQueue("by-the-broker");
  const policy = {
    "delivery-limit": limit,
    "dead-letter-exchange": "",
    "dead-letter-routing-key": "by-the-broker",
  };
  const name = ["set_policy", "-p", host.name, "--apply-to", "queues"];
  const pattern = ["limit", "^poisonable", JSON.stringify(policy)];
  await node.ctl(...name, ...pattern);
}

for (
  const [type, workers] of [
    ["classic", 1],
    ["classic", 2],
    ["quorum", 2],
  ] as const
) {
  onVirtualHost(
    `poison among ${INNOCENTS} innocents kills five workers of a ${type} queue, ${workers} at once, and harms nobody else`,
    async (host) => {
      const { url } = host;
      await using raw = await Raw.open(url);
      if (type === "quorum") await limitDeliveries(host, raw, 3);
      await using stack = new AsyncDisposableStack();
      const fleet = Array.from(
        { length: workers },
        (_, n) => stack.use(new Restarted(`host${n}`, url, type)),
      );
      await Promise.all(fleet.map((worker) => worker.ready()));
      const caller = stack.use(await createConnection(url));
      const client = caller.client(poisonable);
      const args = { id: INNOCENTS / 2, poison: true };
      for (let id = 0; id <= INNOCENTS; id++) {
        await client.cast("work", { id, poison: id === args.id });
      }
      const dead = async () => (await depths(host)).get("poisonable.dead");
      await until("it is a dead letter", dead, 120_000, 200);
      const done = () => new Set(fleet.flatMap((worker) => worker.done));
      await until("all others are done", () => done().size === INNOCENTS);
      await Promise.all(fleet.map((worker) => worker.ready()));
      const deaths = fleet.reduce((sum, { deaths }) => sum + deaths, 0);
      assert.equal(deaths, 5);
      const letter = await raw.channel.get("poisonable.dead", { noAck: true });
      assert.ok(letter);
      assert.deepEqual(JSON.parse(letter.content.toString()).args, args);
      const reason = letter.properties.headers?.["warren-reason"];
      assert.match(reason, /^Interrupted 5 times: /);
      await until("nothing is left", async () => {
        const all = await depths(host);
        return [...all.values()].every((depth) => depth === 0);
      });
    },
  );
}

Deno.test({
  name:
    "poison that takes long, and is kept by a ledger, kills five workers too (needs rabbitmq-server, PostgreSQL)",
  ignore: rabbitmqServer === undefined || postgresServer === undefined,
  fn: async () => {
    const host = await node.addVirtualHost();
    await using database = await privatePostgres();
    const { url } = host;
    await using worker = new Restarted("host", url, "classic", database.url);
    await worker.ready();
    await using caller = await createConnection(url);
    const client = caller.client(poisonable);
    await client.cast("long", { id: 1, poison: true });
    await client.cast("long", { id: 2, poison: false });
    const dead = async () => (await depths(host)).get("poisonable.dead");
    await until("it is a dead letter", dead, 120_000, 200);
    await until("the other is done", () => worker.done.length === 1);
    assert.equal(worker.deaths, 5);
    await using raw = await Raw.open(url);
    const letter = await raw.channel.get("poisonable.dead", { noAck: true });
    assert.ok(letter);
    const reason = letter.properties.headers?.["warren-reason"];
    assert.match(reason, /^Interrupted 5 times: /);
  },
});
