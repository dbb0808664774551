/** The form of every queue, through the public interface, read back from the broker and compared with the table of the page. */
import assert from "node:assert/strict";
import {
  type ConnectionOptions,
  contract,
  createConnection,
  implement,
  memoryServiceStore,
  operations,
  Service,
  TopologyError,
  type UnaryProcedure,
} from "../../../mod.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { versionOf } from "../../setup/rabbitmq/versions.ts";
import { until } from "../../setup/probe.ts";
import { plain, rabbitLink, soon } from "../support.ts";

const PAGE = new URL(
  "../../../src/transport/rabbitmq/README.md",
  import.meta.url,
);
const TYPES = ["classic", "quorum"] as const;
type Type = typeof TYPES[number];

/** A queue with its flags and its arguments. */
interface Form {
  readonly flags: readonly string[];
  readonly arguments: Readonly<Record<string, string>>;
}

/** The codes in a cell of a table. */
const codesIn = (cell: string) =>
  [...cell.matchAll(/`([^`]*)`/g)].map(([, code = ""]) => code);

/** The rows of the table: what a queue is for, the pattern of its name, and its form for each type. */
async function tableOf(page: URL) {
  const text = await Deno.readTextFile(page);
  const lines = text.split("\n").filter((line) => line.startsWith("| "));
  const end = lines.findIndex((line) => line.startsWith("| Folder"));
  return lines.slice(2, end).map((line) => {
    const cells = line.split("|").slice(1, -1).map((cell) => cell.trim());
    const [purpose = "", name = "", flags = "", ...args] = cells;
    const formOf = (type: Type): Form => ({
      flags: codesIn(flags).flatMap((code) => code.split(", ")).sort(),
      arguments: Object.fromEntries(
        codesIn(args[TYPES.indexOf(type)] ?? "").map((code) => {
          const [argument = "", value = ""] = code.split(/: ?/);
          return [argument, value];
        }),
      ),
    });
    return { purpose, name: codesIn(name)[0] ?? "", formOf };
  });
}

/** A value as rabbitmqctl prints it: an empty text is an empty list. */
const textOf = (value: unknown) =>
  Array.isArray(value) ? value.join("") : String(value);

/** The form of each queue of the broker, by its name without what is random. */
async function formsOn(broker: PrivateBroker, virtualHost = "/") {
  const columns = ["name", "durable", "auto_delete", "exclusive", "arguments"];
  const command = ["list_queues", "-p", virtualHost, "--silent"];
  const printed = await broker.ctl(
    ...[...command, "--formatter", "json", ...columns],
  );
  const rows: Record<string, unknown>[] = JSON.parse(printed);
  return new Map(rows.map((row): [string, Form] => {
    const list = row.arguments as [string, string, unknown][];
    const flags = ["durable", "auto_delete", "exclusive"]
      .filter((flag) => row[flag] === true)
      .map((flag) => flag.replace("_", "-")).sort();
    const values = list.map(([name, , value]) => [name, textOf(value)]);
    const form = { flags, arguments: Object.fromEntries(values) };
    const shown = String(row.name).replace(/_[0-9a-f]{32}$/, "_<id>")
      .replace(/^[0-9a-f]{32}$/, "<call>");
    return [shown, form];
  }));
}

const policy = (attempts: number) => ({
  retry: { attempts, backoff: [3_600_000] },
} as const satisfies UnaryProcedure);

const works = contract({
  topic: "compute",
  version: "1.0",
  procedures: { echo: {}, held: {}, later: policy(2), never: policy(1) },
});

/** The handlers of a service. */
const serving = (held: Promise<void>) =>
  implement(works, {
    echo: () => {},
    held: () => held,
    later: () => Promise.reject(new Error("a test")),
    never: () => Promise.reject(new Error("a test")),
  });

/** Uses everything that needs a queue, until all queues exist; resolves to what keeps them there. */
async function useAll(url: string, options: ConnectionOptions) {
  await using stack = new AsyncDisposableStack();
  const store = memoryServiceStore();
  const { promise: held, resolve: release } = Promise.withResolvers<void>();
  const remoteControl = true;
  const common = { ...options, url, signals: false, store, remoteControl };
  const manager = serving(held);
  stack.use(await Service.start({ ...common, host: "one", manager }));
  const connection = stack.use(await createConnection(url, options));
  const client = connection.client(works);
  await client.call("echo");
  await client.cast("later");
  await client.cast("never");
  const dialect = "folsom";
  const old = stack.use(await createConnection(url, { ...options, dialect }));
  const call = old.call({ topic: "compute", version: "1.0" }, "held", {});
  stack.defer(async () => void await call);
  stack.defer(release);
  const event = () => {};
  const some = { priority: "info" } as const;
  await connection.createListener(event, { ...some, pool: "audit" });
  await connection.createListener(event, some);
  await connection.createListener(event, { ...some, exclusive: true });
  stack.use(connection.lead("compute", "sweep"));
  const target = { topic: "compute", host: "one" };
  await operations(connection).pause(target, { reason: "a test" });
  return stack.move();
}

/** A queue of the broker for each row of the table. */
const EXAMPLES: Readonly<Record<string, string>> = {
  "of a topic": "compute",
  "of a host": "compute.one",
  "of a pool": "audit",
  "of events": "notifications.info",
  "dead letters": "compute.dead",
  quarantine: "compute.quarantine",
  "record of a pause": "compute.one.paused",
  "casts of a paused queue": "compute.one.parked",
  "casts that wait for a retry": "compute.delay.3600000",
  "replies to a process": "reply_<id>",
  "replies to a call of `folsom`": "<call>",
  "fanouts to a process": "compute_fanout_<id>",
  "events of an exclusive listener": "notifications.info_listener_<id>",
  "election of a leader": "compute.leader.sweep",
  "protection of the queues of a host": "compute.one.leader.warren.host",
};

/** RabbitMQ 4 refuses queues that are neither durable nor exclusive, as later versions do by default. */
const config = /^[4-9]/.test(rabbitmqServer ? versionOf(rabbitmqServer) : "")
  ? "deprecated_features.permit.transient_nonexcl_queues = false"
  : "";

let broker: PrivateBroker;
Deno.test.beforeAll(async () => {
  if (rabbitmqServer) broker = await privateBroker({ config });
});
Deno.test.afterAll(() => broker?.[Symbol.asyncDispose]());

function onBroker(
  name: string,
  test: (broker: PrivateBroker) => Promise<void>,
): void {
  Deno.test({
    name: `${name} (needs rabbitmq-server)`,
    ignore: rabbitmqServer === undefined,
    fn: () => test(broker),
  });
}

/** Fails unless all queues of a virtual host have the forms that the table says. */
async function assertForms(
  broker: PrivateBroker,
  queueType: Type,
  virtualHost: string,
): Promise<void> {
  const table = await tableOf(PAGE);
  const url = `${broker.url}/${encodeURIComponent(virtualHost)}`;
  await using _ = await useAll(url, { queueType });
  const names = Object.values(EXAMPLES);
  let forms = await formsOn(broker, virtualHost);
  await until(
    "all queues exist",
    async () => {
      forms = await formsOn(broker, virtualHost);
      return names.every((name) => forms.has(name));
    },
    20_000,
    100,
  ).catch(() => assert.deepEqual([...forms.keys()], names));
  const expected = (purpose: string) =>
    table.find((row) => row.purpose === purpose)?.formOf(queueType);
  for (const { purpose, name, formOf } of table) {
    const found = EXAMPLES[purpose] ?? assert.fail(`no example: ${purpose}`);
    const [queue = ""] = found.split(".delay.");
    const pattern = name.replace(/<\w+>/g, ".+");
    assert.match(found, new RegExp(`^${pattern}$`), purpose);
    const text = JSON.stringify(formOf(queueType))
      .replace("<ms>", "3600000").replace("<queue>", queue);
    assert.deepEqual(forms.get(found), JSON.parse(text), purpose);
  }
  // All others are queues of the same kinds.
  for (const [name, form] of forms) {
    if (names.includes(name)) continue;
    const isFanout = name.includes("_fanout_");
    const purpose = isFanout ? "fanouts to a process" : "of events";
    assert.deepEqual(form, expected(purpose), name);
  }
}

for (const queueType of TYPES) {
  onBroker(
    `every queue has the form that the table says, queueType ${queueType}`,
    async (broker) => {
      const { name } = await broker.addVirtualHost();
      await assertForms(broker, queueType, name);
    },
  );
}

/** Creates a virtual host whose default queue type is quorum. */
async function addQuorumHost(broker: PrivateBroker, name: string) {
  await broker.ctl("add_vhost", name, "--default-queue-type", "quorum");
  await broker.ctl(
    ...["set_permissions", "-p", name, "guest", ".*", ".*", ".*"],
  );
  return `${broker.url}/${name}`;
}

onBroker(
  "on a virtual host whose default queue type is quorum, the forms are the same, and one consumer has a lock",
  async (broker) => {
    const url = await addQuorumHost(broker, "other");
    await assertForms(broker, "classic", "other");
    await using one = rabbitLink(url);
    await using two = rabbitLink(url);
    const lock = { kind: "hostLock", topic: "t", host: "a" } as const;
    const options = { prefetch: 1, exclusive: true };
    const first = await one.openSession(soon());
    const second = await two.openSession(soon());
    await first.consume(lock, () => {}, options, soon());
    const next = second.consume(lock, () => {}, options, soon());
    await assert.rejects(next, (error) => {
      assert.ok(error instanceof TopologyError, String(error));
      assert.equal(error.data.reason, "inUse", error.message);
      return true;
    });
  },
);

onBroker(
  "a candidate says that the queue of its election has another form, and leads once the queue is gone",
  async (broker) => {
    await plain(
      broker.url,
      (channel) => channel.assertQueue("t.leader.a", { expires: 60_000 }),
    );
    await using log = await logged();
    await using connection = await createConnection(broker.url);
    await using leadership = connection.lead("t", "a");
    const refused =
      /Cannot stand for .* yet: .*Cannot declare queue t\.leader\.a/;
    await until("it is logged", () => log.times(refused) > 0);
    assert.equal(leadership.leading, undefined);
    await plain(broker.url, (channel) => channel.deleteQueue("t.leader.a"));
    const leads = () => leadership.leading !== undefined;
    await until("it leads once the queue is gone", leads, 20_000);
  },
);
