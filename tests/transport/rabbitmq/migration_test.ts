/**
 * The steps of `src/transport/rabbitmq/MIGRATION.md`, followed under load: casts and idempotent calls go on while a system
 * moves from classic to quorum queues on one broker, and from RabbitMQ 3.10 to 4.3.
 */
import assert from "node:assert/strict";
import { isAll, ONLY_ALL } from "../../setup/all.ts";
import { z } from "npm:zod@^4.6.7";
import {
  type Client,
  type ConnectionOptions,
  contract,
  createConnection,
  implement,
  Service,
} from "../../../mod.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { findVersion, versionOf } from "../../setup/rabbitmq/versions.ts";

const shop = contract({
  topic: "shop",
  version: "1.0",
  procedures: {
    order: { args: z.object({ n: z.int() }) },
    later: {
      args: z.object({ n: z.int() }),
      retry: { attempts: 2, backoff: [1_000] },
    },
    refuse: { args: z.object({ n: z.int() }) },
    price: {
      args: z.object({ n: z.int() }),
      result: z.int(),
      idempotent: true,
    },
  },
});

type Verbs = Pick<Client<typeof shop>, "call" | "cast">;

type QueueType = NonNullable<ConnectionOptions["queueType"]>;

/** A place of the system: a virtual host of a broker. */
interface Place {
  readonly url: string;
  readonly broker: PrivateBroker;
  readonly vhost: string;
  readonly queueType: QueueType;
}

/** What all workers did. */
class Work {
  /** How often each cast was handled to its end, by its number. */
  readonly handled = new Map<number, number>();
  /** URLs of the places whose workers ran the periodic task, in order. */
  readonly tasks: string[] = [];

  /** Starts a worker; `periodic: false` leaves out the periodic tasks. */
  start({ url, queueType }: Place, periodic = true): Promise<Service> {
    const done = (n: number) =>
      void this.handled.set(n, (this.handled.get(n) ?? 0) + 1);
    const sweep = {
      name: "sweep",
      every: 100,
      leader: true,
      run: () => void this.tasks.push(url),
    };
    const manager = implement(shop, {
      order: ({ n }) => done(n),
      later({ n }, { attempt }) {
        if (attempt === 1) throw new Error("not yet");
        done(n);
      },
      refuse: () => {
        throw new Error("never");
      },
      price: ({ n }) => 2 * n,
    }, { periodic: periodic ? [sweep] : [] });
    return Service.start({ url, queueType, manager, signals: false });
  }
}

/** A caller that sends without a pause, through the client that it has at the moment. */
class Caller {
  readonly errors: unknown[] = [];
  readonly sent: Promise<void>[] = [];
  readonly refused: number[] = [];
  #client: Verbs;
  readonly #timer: ReturnType<typeof setInterval>;

  constructor(client: Verbs) {
    this.#client = client;
    this.#timer = setInterval(() => this.#send(this.sent.length), 5);
  }

  /** Sends through another client from now on; resolves when all earlier requests have settled. */
  async use(client: Verbs): Promise<void> {
    this.#client = client;
    await Promise.all(this.sent.slice());
  }

  /** Resolves when so many more requests have been sent. */
  async goOn(count: number): Promise<void> {
    const goal = this.sent.length + count;
    await until(`${goal} requests are sent`, () => this.sent.length >= goal);
  }

  async end(): Promise<void> {
    clearInterval(this.#timer);
    await Promise.all(this.sent);
  }

  /** Of ten requests, three are calls; the others are casts, of which one fails at first, and one in forty always. */
  #send(n: number): void {
    const client = this.#client;
    const send = async () => {
      if (n % 10 < 3) {
        assert.equal(await client.call("price", { n }), 2 * n);
      } else if (n % 10 === 3) await client.cast("later", { n });
      else if (n % 40 === 4) {
        this.refused.push(n);
        await client.cast("refuse", { n });
      } else await client.cast("order", { n });
    };
    this.sent.push(send().catch((error) => void this.errors.push(error)));
  }

  /** Numbers of the casts that have to be handled. */
  get casts(): number[] {
    return this.sent.map((_, n) => n)
      .filter((n) => n % 10 >= 3 && n % 40 !== 4);
  }
}

/** Names, messages and types of the queues of a place, as an operator lists them. */
async function queuesOf({ broker, vhost }: Place) {
  const columns = ["name", "messages", "type"];
  const listed = await broker.ctl("list_queues", "-q", "-p", vhost, ...columns);
  return listed.trim().split("\n").slice(1).map((line) => {
    const [name = "", messages, type = ""] = line.split("\t");
    return { name, messages: Number(messages), type };
  });
}

const isDead = ({ name }: { name: string }) => name.endsWith(".dead");

/** The queue of an election has a token, which is of no use to another place. */
const isElection = ({ name }: { name: string }) => name.includes(".leader.");

/** Queues of a place, but those of dead letters and elections, that have messages. */
async function leftIn(old: Place) {
  const queues = await queuesOf(old);
  return queues.filter((each) =>
    each.messages > 0 && !isDead(each) && !isElection(each)
  );
}

/** Step 4: the old place is drained when it is empty twice in a row, since a message may move while queues are listed. */
async function drain(old: Place): Promise<void> {
  let empty = 0;
  await until("the old place is drained", async () => {
    empty = (await leftIn(old)).length === 0 ? empty + 1 : 0;
    return empty === 2;
  }, 30_000);
}

/** Step 5: a shovel in the new place takes the dead letters over, and ends. */
async function moveDeadLetters(old: Place, next: Place): Promise<void> {
  const name = "shop.dead";
  const shovel = {
    "src-protocol": "amqp091",
    "src-uri": old.url,
    "src-queue": name,
    "src-delete-after": "queue-length",
    "dest-protocol": "amqp091",
    "dest-uri": next.url,
    "dest-queue": name,
    "dest-queue-args": {
      "x-queue-type": "quorum",
      "x-queue-leader-locator": "balanced",
    },
  };
  await next.broker.ctl(
    ...["set_parameter", "-p", next.vhost, "shovel", name],
    JSON.stringify(shovel),
  );
  await until("the dead letters are in the new place", async () => {
    const queues = await queuesOf(old);
    return queues.every((each) => isElection(each) || each.messages === 0);
  }, 30_000);
}

/** How callers are switched; resolves when all requests go to the new place, and those to the old one have settled. */
type Switch = (caller: Caller, old: Place, next: Place) => Promise<void>;

/** Moves a system in the steps of the page. `create` makes the new place, and `remove` deletes the old one. */
async function move(
  old: Place,
  create: () => Promise<Place>,
  switchCallers: Switch,
  remove: () => Promise<unknown>,
): Promise<void> {
  await using _log = await logged();
  await using stack = new AsyncDisposableStack();
  const work = new Work();
  const before = stack.use(await work.start(old));
  const first = stack.use(await createConnection(old.url));
  const caller = new Caller(first.client(shop));
  await caller.goOn(50);
  const next = await create(); // 1
  const interim = stack.use(await work.start(next, false)); // 2
  await caller.goOn(50);
  await switchCallers(caller, old, next); // 3
  await first[Symbol.asyncDispose]();
  const refusedBefore = caller.refused.length;
  await drain(old); // 4
  await moveDeadLetters(old, next); // 5
  await before.stop(); // 6
  stack.use(await work.start(next));
  await interim.stop();
  assert.deepEqual(await leftIn(old), []); // 7
  await remove();
  const tasks = work.tasks.length;
  await until("tasks run", () => work.tasks.length > tasks + 2);
  await caller.goOn(50);
  await caller.end();

  await until(
    "the last casts are handled",
    () => caller.casts.every((n) => work.handled.has(n)),
  );
  assert.deepEqual(caller.errors, []);
  assert.deepEqual(
    caller.casts.filter((n) => work.handled.get(n) !== 1),
    [],
    "each cast was handled once",
  );
  assert.ok(refusedBefore > 0);
  let queues: Awaited<ReturnType<typeof queuesOf>> = [];
  await until("all dead letters are kept", async () => {
    queues = await queuesOf(next);
    const dead = queues.find(({ name }) => name === "shop.dead");
    return dead?.messages === caller.refused.length;
  });
  const types = queues.filter(({ name }) =>
    /^shop([.]|$)/.test(name) && !name.endsWith(".leader.warren.host")
  ).map(({ type }) => type);
  assert.deepEqual(new Set(types), new Set(["quorum"]));
  const places = work.tasks.filter((url, n) => url !== work.tasks[n - 1]);
  assert.deepEqual(places, [old.url, next.url], "tasks never ran in both");
}

Deno.test({
  name:
    "a system moves from classic to quorum queues under load, and nothing is lost (needs rabbitmq-server) " +
    ONLY_ALL,
  ignore: !rabbitmqServer || !isAll,
}, async () => {
  await using broker = await privateBroker({ plugins: ["rabbitmq_shovel"] });
  const old: Place = { url: broker.url, broker, vhost: "/", queueType: "auto" };
  const create = async (): Promise<Place> => {
    await broker.ctl("add_vhost", "quorum");
    await broker.ctl(
      "set_permissions",
      "-p",
      "quorum",
      "guest",
      ".*",
      ".*",
      ".*",
    );
    const url = `${broker.url}/quorum`;
    return { url, broker, vhost: "quorum", queueType: "quorum" };
  };
  /** One program that has both places as cells, and shifts its requests from one to the other. */
  const switchCallers: Switch = async (caller, { url: old }, { url: next }) => {
    let isMoved = false;
    await using both = await createConnection({
      cells: { old, next },
      route: () => isMoved ? "next" : "old",
      waitFor: ["old", "next"],
    });
    await caller.use(both.client(shop));
    await caller.goOn(50);
    isMoved = true;
    await caller.goOn(50);
    const last = await createConnection(next);
    connections.use(last);
    await caller.use(last.client(shop));
  };
  await using connections = new AsyncDisposableStack();
  await move(old, create, switchCallers, () => broker.ctl("delete_vhost", "/"));
});

/** The tests that run on 3.10 as a whole, by `--all` or `--rabbitmq 3.10`, have both. */
const isOld = rabbitmqServer && versionOf(rabbitmqServer).startsWith("3.10.");
const newest = findVersion("4.3");

Deno.test({
  name:
    "a system moves from RabbitMQ 3.10 to 4.3 under load, and nothing is lost (needs both)",
  ignore: !isOld || !newest,
}, async () => {
  await using stack = new AsyncDisposableStack();
  await using connections = new AsyncDisposableStack();
  const plugins = ["rabbitmq_shovel"];
  const [before, after] = await Promise.all([
    privateBroker(),
    privateBroker({ rabbitmq: newest, plugins }),
  ]);
  stack.use(before);
  stack.use(after);
  await before.ctl("add_user", "shop", "secret");
  await before.ctl("set_permissions", "shop", ".*", ".*", ".*");
  const place = (broker: PrivateBroker, queueType: QueueType): Place => ({
    ...{ broker, vhost: "/", queueType },
    url: broker.url.replace("guest:guest", "shop:secret"),
  });
  const create = async () => {
    const path = `${after.folder}/definitions.json`;
    await before.ctl("export_definitions", path);
    const { users, vhosts, permissions, topic_permissions } = JSON.parse(
      await Deno.readTextFile(path),
    );
    const kept = { users, vhosts, permissions, topic_permissions };
    await Deno.writeTextFile(path, JSON.stringify(kept));
    await after.ctl("import_definitions", path);
    return place(after, "quorum");
  };
  /** A caller that is replaced by one with the new URL, which starts before the first one ends. */
  const switchCallers: Switch = async (caller, _, { url }) => {
    const last = connections.use(await createConnection(url));
    await caller.use(last.client(shop));
  };
  await move(place(before, "auto"), create, switchCallers, () => before.stop());
});
