/** RabbitMQ 4 may permit no queue that is neither durable nor exclusive: it closes the connection that declares one. */
import assert from "node:assert/strict";
import { TopologyError } from "../../../src/errors.ts";
import type { BusProfile } from "../../../src/transport/profile.ts";
import {
  createConnection,
  implement,
  type NovaProfile,
  Service,
} from "../../../mod.ts";
import { failureOf, sumHandlers, sums } from "../../rpc/support.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { findRabbitmq, versionOf } from "../../setup/rabbitmq/versions.ts";
import { queue, rabbitBus, Reader, soon } from "../support.ts";

/** RabbitMQ 3 knows no such setting. */
const isOld = rabbitmqServer === undefined ||
  /^3\./.test(versionOf(findRabbitmq() ?? ""));

let denying: PrivateBroker;
Deno.test.beforeAll(async () => {
  const config = "deprecated_features.permit.transient_nonexcl_queues = false";
  if (!isOld) denying = await privateBroker({ config });
});
Deno.test.afterAll(() => denying?.[Symbol.asyncDispose]());

function onDenying(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `${name} (needs RabbitMQ 4)`, ignore: isOld, fn });
}

/** All that a broker has logged until now: its file is behind, so that a mark is logged first. */
async function logOf(broker: PrivateBroker): Promise<string> {
  const mark = crypto.randomUUID();
  await broker.ctl("eval", `logger:error("${mark}").`);
  return await until("the log is written", async () => {
    const text = await broker.log();
    return text.includes(mark) && text;
  });
}

/** Number of connections that the broker has closed because of such a queue. */
async function denials(): Promise<number> {
  const text = "operation queue.declare caused a connection exception";
  return (await logOf(denying)).split(text).length - 1;
}

/** Fails unless an error names the queue and the remedies. */
function assertDenied(error: unknown, entity: RegExp): void {
  assert.ok(error instanceof TopologyError, String(error));
  assert.match(String(error.data.entity), entity);
  assert.equal(error.data.reason, "unsupported");
  assert.match(
    error.message,
    /^Cannot declare \S+ \S+: the broker permits no queue that is neither durable nor exclusive/,
  );
  assert.match(error.message, /`durable: true` and `transientQuorum: true`/);
  assert.match(
    error.message,
    /deprecated_features\.permit\.transient_nonexcl_queues = true/,
  );
  assert.doesNotMatch(error.message, /\n/);
}

const shared: Partial<BusProfile> = { durable: false };

onDenying(
  "each queue that the broker does not permit is an error, and one trial is made, on a connection of its own",
  async () => {
    const before = await denials();
    await using bus = await rabbitBus(denying.url, shared);
    const session = await bus.link.openSession(soon());
    const refused = await Promise.all(
      Array.from(
        { length: 5 },
        () => failureOf(session.declare(queue(bus.name()), soon())),
      ),
    );
    for (const error of refused) assertDenied(error, /^queue test_/);
    const { publishing, consuming } = bus.link.health();
    assert.deepEqual([publishing.losses, consuming.losses], [0, 0]);
    assert.equal(await denials() - before, 1);
    // What is permitted works beside it.
    await bus.link.startInbox(new Reader(), soon());
    const deadLetters = { kind: "deadLetter", of: queue(bus.name()) } as const;
    await session.declare(deadLetters, soon());
  },
);

onDenying("a permitted queue is tried once for a transport", async () => {
  await using permitting = await privateBroker();
  await using bus = await rabbitBus(permitting.url, shared);
  const session = await bus.link.openSession(soon());
  for (let times = 0; times < 3; times++) {
    await session.declare(queue(bus.name()), soon());
  }
  const left = await permitting.ctl("list_queues", "--silent", "name");
  assert.ok(!left.includes("trial"), left);
  const log = await logOf(permitting);
  assert.equal(
    log.match(/client-provided name: warren test trial/g)?.length,
    1,
  );
  const { publishing, consuming } = bus.link.health();
  assert.deepEqual([publishing.losses, consuming.losses], [0, 0]);
});

/** A service on a bus of its own. */
function start(profile: NovaProfile): Promise<Service> {
  const name = `x${crypto.randomUUID().slice(0, 8)}`;
  return Service.start({
    url: denying.url,
    profile: { exchange: name, ...profile },
    host: "one",
    signals: false,
    manager: implement(sums(profile.exchange ?? name), sumHandlers()),
  });
}

for (
  const [profile, entity] of [
    [{}, /^queue reply_/],
    [{ durable: true }, /^queue reply_/],
    [{ transientQuorum: true }, /^queue x/],
  ] as const
) {
  onDenying(
    `a service on an OpenStack bus does not start with ${
      JSON.stringify(profile)
    }, and says why`,
    async () => {
      await using log = await logged();
      const before = await denials();
      assertDenied(await failureOf(start(profile)), entity);
      assert.equal(log.times(/lost: /), 0, log.lines.join("\n"));
      // A service has two contexts on one transport.
      assert.equal(await denials() - before, 1);
    },
  );
}

onDenying(
  "an OpenStack bus works with `durable: true` and `transientQuorum: true`",
  async () => {
    await using log = await logged();
    const before = await denials();
    const exchange = `x${crypto.randomUUID().slice(0, 8)}`;
    const profile = { durable: true, transientQuorum: true, exchange };
    await using service = await start(profile);
    await using connection = await createConnection(denying.url, { profile });
    const client = connection.client(sums(exchange));
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    // The queue in which a server of Folsom would answer is left out.
    assert.equal(await client.call("add", { a: 2, b: 2 }), 4);
    await client.cast("wait");
    await client.fanoutCast("wait");
    assert.equal(service.state, "up");
    assert.equal(log.times(/lost: /), 0, log.lines.join("\n"));
    assert.equal(await denials() - before, 1);
    assert.equal(log.times(/Calls go on without a queue for answers/), 1);
  },
);

onDenying("a call to a server of Folsom is one error", async () => {
  const profile = { durable: true, transientQuorum: true };
  await using connection = await createConnection(denying.url, {
    profile,
    dialect: "folsom",
  });
  const call = connection.client(sums("compute")).call("add", { a: 1, b: 2 });
  const error = await failureOf(call);
  assert.ok(error instanceof TopologyError, String(error));
  assert.equal(error.data.reason, "unsupported");
  assert.match(
    error.message,
    /where servers of Folsom answer: the broker permits no queue that is neither durable nor exclusive/,
  );
});
