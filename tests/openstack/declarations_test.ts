/** What Warren declares on an OpenStack bus, read back from the broker. */
import assert from "node:assert/strict";
import {
  type ConnectionOptions,
  createConnection,
  implement,
  type NovaProfile,
  Service,
  TopologyError,
} from "../../mod.ts";
import { failureOf, Raw, sumHandlers, sums } from "../rpc/support.ts";
import type { VirtualHost } from "../setup/broker.ts";
import { until } from "../setup/probe.ts";
import { node, onVirtualHost } from "../transport/node.ts";

/** One row of what rabbitmqctl lists. */
type Row = Readonly<Record<string, unknown>>;

async function list(
  host: VirtualHost,
  what: "exchanges" | "queues",
  columns: readonly string[],
): Promise<Row[]> {
  const command = [`list_${what}`, "--silent", "--formatter", "json"];
  const place = ["--vhost", host.name];
  const rows: Row[] = JSON.parse(
    await node.ctl(...command, ...place, ...columns),
  );
  return rows.map(plainRow);
}

/**
 * Arguments come as name, type, value; what a kind of queue cannot be comes as an empty text. RabbitMQ 4 adds the type of a
 * classic queue, which nobody has sent.
 */
function plainRow({ exclusive, arguments: list, ...row }: Row): Row {
  if (!Array.isArray(list)) return row;
  const args = list.map(([name, , value]) => [name, value])
    .filter(([name, value]) => name !== "x-queue-type" || value !== "classic");
  return {
    ...row,
    exclusive: exclusive === true,
    arguments: Object.fromEntries(args),
  };
}

const TRANSIENT = "reply_<hex>";

/** As a table of rows, without what is random in names; Warren's own registry and RabbitMQ's exchanges are left out. */
async function declared(host: VirtualHost) {
  const shown = (name: string) => name.replaceAll(/_[0-9a-f]{32}$/g, "_<hex>");
  const ours = (name: string) => !/^$|^amq\.|^warren\./.test(name);
  const queues = await list(host, "queues", [
    ...["name", "durable", "auto_delete", "exclusive", "arguments"],
  ]);
  const exchanges = await list(host, "exchanges", [
    ...["name", "type", "durable", "auto_delete"],
  ]);
  const rows = (all: Row[]) =>
    all.filter(({ name }) => ours(String(name)))
      .map(({ name, ...rest }) => [shown(String(name)), rest] as const)
      .sort(([a], [b]) => a < b ? -1 : 1);
  return {
    queues: Object.fromEntries(rows(queues)),
    exchanges: Object.fromEntries(rows(exchanges)),
  };
}

/** A service and a caller, who have called, cast to all, and notified. */
async function live(
  { url }: VirtualHost,
  options: ConnectionOptions,
): Promise<AsyncDisposableStack> {
  const stack = new AsyncDisposableStack();
  const topic = "compute";
  const manager = implement(sums(topic), sumHandlers());
  const common = { ...options, url, signals: false };
  const service = stack.use(
    await Service.start({ ...common, host: "gb07", manager }),
  );
  const connection = stack.use(await createConnection(url, options));
  const client = connection.client(sums(topic));
  assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
  await client.fanoutCast("wait");
  await until("the fanout came", () => service.stats.handled === 2);
  await connection.notify("compute.up", null);
  return stack;
}

const queue = (durable: boolean, args: object = {}, auto_delete = false) => ({
  durable,
  auto_delete,
  exclusive: false,
  arguments: args,
});
const exchange = (type: string, durable: boolean, auto_delete: boolean) => ({
  type,
  durable,
  auto_delete,
});

const TTL = { "x-expires": 1_800_000 };
const QUORUM = { "x-queue-type": "quorum" };

/** By the options: the control exchange, the shared queues, and those of one process. */
const cases: readonly [
  name: string,
  options: ConnectionOptions,
  shared: object,
  control: object,
  own: object,
  fanout: object,
][] = [
  [
    "by default",
    { profile: "nova" },
    queue(false),
    exchange("topic", false, false),
    queue(false, TTL),
    exchange("fanout", false, true),
  ],
  [
    "durable",
    { profile: { durable: true } },
    queue(true),
    exchange("topic", true, false),
    queue(false, TTL),
    exchange("fanout", false, true),
  ],
  [
    "quorum",
    { profile: "nova", queueType: "quorum" },
    queue(true, QUORUM),
    exchange("topic", true, false),
    queue(false, TTL),
    exchange("fanout", false, true),
  ],
  [
    "auto-delete",
    { profile: { autoDelete: true } },
    queue(false, {}, true),
    exchange("topic", false, true),
    queue(false, TTL),
    exchange("fanout", false, true),
  ],
  [
    "transient quorum queues",
    { profile: { transientQuorum: true } },
    queue(false),
    exchange("topic", false, false),
    queue(true, { ...TTL, ...QUORUM }),
    exchange("fanout", true, true),
  ],
];

for (const [name, options, shared, control, own, fanout] of cases) {
  onVirtualHost(`OpenStack's declarations, ${name}`, async (host) => {
    await using stack = await live(host, options);
    const { queues, exchanges } = await declared(host);
    assert.deepEqual(queues, {
      compute: shared,
      "compute.gb07": shared,
      "compute_fanout_<hex>": own,
      "notifications.info": shared,
      [TRANSIENT]: own,
    });
    assert.deepEqual(exchanges, {
      compute_fanout: fanout,
      nova: control,
      // Where Grizzly's and older servers of oslo.messaging answer.
      [TRANSIENT]: exchange("direct", false, true),
    });
    await stack.disposeAsync();
    // Only what others may need is left.
    const left = await declared(host);
    const lasting = "autoDelete" in Object(options.profile)
      ? ["notifications.info"]
      : ["compute", "compute.gb07", "notifications.info"];
    assert.deepEqual(Object.keys(left.queues), lasting);
  });
}

onVirtualHost(
  "OpenStack's declarations, fanouts from a stream, and names of a queue manager",
  async (host) => {
    const profile: NovaProfile = {
      transientQuorum: true,
      streamFanout: true,
      member: "gb07:compute",
    };
    await using stack = await live(host, { profile });
    const { queues, exchanges } = await declared(host);
    const stream = { "x-queue-type": "stream", "x-max-age": "1800s" };
    assert.deepEqual(queues["compute_fanout"], queue(true, stream));
    assert.deepEqual(
      exchanges["compute_fanout"],
      exchange("fanout", true, true),
    );
    const [reply] = Object.keys(queues).filter((each) => /^reply/.test(each));
    assert.match(String(reply), /^reply_gb07:compute\.\d+:\d+$/);
    await stack.disposeAsync();
    const left = Object.keys((await declared(host)).queues);
    assert.ok(left.includes("compute_fanout"), "the stream stays");
  },
);

onVirtualHost(
  "Every process reads a stream of fanouts, from when it comes, over a lost connection",
  async ({ url }) => {
    const profile = { transientQuorum: true, streamFanout: true };
    const heard: Record<string, string[]> = { one: [], two: [] };
    const start = (host: "one" | "two") =>
      Service.start({
        url,
        profile,
        host,
        signals: false,
        manager: implement(
          sums("compute"),
          sumHandlers({ wait: ({ tag }) => void heard[host]?.push(`${tag}`) }),
        ),
      });
    await using _one = await start("one");
    await using connection = await createConnection(url, { profile });
    const client = connection.client(sums("compute"));
    await client.fanoutCast("wait", { tag: "a" });
    await until("one has it", () => heard.one?.length === 1);
    await using _two = await start("two");
    await client.fanoutCast("wait", { tag: "b" });
    const both = (count: number) => () =>
      heard.one?.length === count + 1 && heard.two?.length === count;
    await until("both have it", both(1));
    await node.ctl("close_all_connections", "a test");
    await client.fanoutCast("wait", { tag: "c" });
    await until("both have that", both(2), 20_000);
    await client.fanoutCast("wait", { tag: "d" });
    await until("and that", both(3));
    assert.deepEqual(heard, {
      one: ["a", "b", "c", "d"],
      two: ["b", "c", "d"],
    });
  },
);

onVirtualHost(
  "A bus of another form is one error that says what differs",
  async (host) => {
    await using raw = await Raw.open(host.url);
    const start = (profile: NovaProfile, queueType?: "quorum") =>
      failureOf(Service.start({
        url: host.url,
        profile,
        queueType,
        host: "one",
        signals: false,
        manager: implement(sums("compute"), sumHandlers()),
      }));
    const dataOf = (error: Error) => {
      assert.ok(error instanceof TopologyError, String(error));
      const { entity, argument, wanted, existing, replyCode } = error.data;
      const type = existing === "classic" ? "none" : existing; // of a queue without an argument, in RabbitMQ 4
      return [entity, argument, wanted, type, replyCode];
    };
    await raw.channel.assertExchange("nova", "topic", { durable: true });
    assert.deepEqual(dataOf(await start({})), [
      ...["exchange nova", "durable", "false", "true", 406],
    ]);
    await raw.channel.assertQueue("compute", {
      durable: true,
      arguments: { "x-max-length": 5 },
    });
    assert.deepEqual(dataOf(await start({ durable: true })), [
      ...["queue compute", "x-max-length", "none", "5", 406],
    ]);
    await raw.channel.deleteQueue("compute");
    await raw.channel.assertQueue("compute", { durable: true });
    assert.deepEqual(dataOf(await start({ durable: true }, "quorum")), [
      ...["queue compute", "x-queue-type", "quorum", "none", 406],
    ]);
  },
);
