/** Virtual hosts that the broker does not open: those that are down or full are tried again, all others are given up. */
import assert from "node:assert/strict";
import * as amqp from "npm:amqplib@2.3.1";
import { ConnectionFailedError } from "../../../src/errors.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { eventsOf, rabbitLink, soon } from "../support.ts";

let node: PrivateBroker;

/** A user whose name and password are in no reason that the broker gives. */
const LOGIN = "operator:s3cret-word";

Deno.test.beforeAll(async () => {
  if (!rabbitmqServer) return;
  node = await privateBroker();
  await node.ctl("add_user", ...LOGIN.split(":"));
});
Deno.test.afterAll(async () => await node?.[Symbol.asyncDispose]());

function onNode(name: string, fn: () => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn });
}

/** Creates a virtual host that the user may use. */
async function addVirtualHost(name: string): Promise<void> {
  await node.ctl("add_vhost", name);
  await node.ctl("set_permissions", "-p", name, "operator", ".*", ".*", ".*");
}

const urlOf = (virtualHost: string, login = LOGIN) =>
  `amqp://${login}@127.0.0.1:${node.port}/${encodeURIComponent(virtualHost)}`;

/** Connects to a virtual host that is not available, makes it available once that was refused, and is connected. */
async function retries(
  virtualHost: string,
  reason: RegExp,
  recover: () => Promise<unknown>,
): Promise<void> {
  await using log = await logged();
  await using link = rabbitLink(urlOf(virtualHost));
  const events = eventsOf(link);
  await until("it is refused", () => log.times(reason) > 0);
  await assert.rejects(link.openSession(soon(300)), (error) => {
    assert.ok(error instanceof ConnectionFailedError, `${error}`);
    assert.match(error.message, reason);
    assert.doesNotMatch(error.message, /check/);
    return true;
  });
  const opening = link.openSession(soon(60_000));
  await recover();
  await opening;
  assert.deepEqual(events.map(({ type }) => type), ["connected"]);
}

onNode(
  "a virtual host with all connections that it may have is tried again until one is closed",
  async () => {
    await addVirtualHost("full");
    const limits = '{"max-connections": 2}';
    await node.ctl("set_vhost_limits", "-p", "full", limits);
    const others = await Promise.all(
      [0, 1].map(() => amqp.connect(urlOf("full"))),
    );
    const close = () => Promise.all(others.map((other) => other.close()));
    await retries("full", /connection limit \(2\) is reached/, close);
  },
);

onNode(
  "a virtual host that is down is tried again until it is up",
  async () => {
    await addVirtualHost("down");
    const stop = 'rabbit_vhost_sup_sup:stop_and_delete_vhost(<<"down">>).';
    await node.ctl("eval", stop);
    const start = () => node.ctl("restart_vhost", "--vhost", "down");
    await retries("down", /vhost 'down' is down/, start);
  },
);

onNode(
  "a virtual host that does not exist, or that the user may not use, is given up at once, whatever its name",
  async () => {
    await node.ctl("add_vhost", "forbidden");
    const name = "user connection limit";
    await node.ctl("add_user", name, "s3cret-word");
    const limited = `${encodeURIComponent(name)}:s3cret-word`;
    const urls = [
      urlOf("unknown"),
      urlOf("it is down"),
      urlOf("forbidden"),
      urlOf("forbidden", limited),
    ];
    for (const url of urls) {
      await using link = rabbitLink(url);
      const events = eventsOf(link);
      await assert.rejects(link.openSession({ at: Infinity }), (error) => {
        assert.ok(error instanceof ConnectionFailedError, `${error}`);
        assert.match(error.message, /NOT_ALLOWED .*check that it exists/);
        return true;
      });
      assert.ok(events.every(({ type }) => type === "failed"));
    }
  },
);
