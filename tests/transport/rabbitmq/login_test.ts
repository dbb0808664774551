/** Logins that change while a link is up: passwords that are rotated, tokens that expire, and refusals that do not end. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  type ConnectionEventMap,
  ConnectionFailedError,
  createConnection,
  type Credentials,
  implement,
  RpcDispatcher,
  Service,
} from "../../../mod.ts";
import { busProfile } from "../../../src/connection/bus_profile.ts";
import {
  sharedTransport,
  transportKey,
} from "../../../src/connection/transport_registry.ts";
import {
  inRandomOrder,
  LOGIN_REJECTION_LIMITS,
  LoginRejections,
} from "../../../src/transport/rabbitmq/connection/login.ts";
import {
  type DialSettings,
  pauseAfterLoss,
  settingsOf,
} from "../../../src/transport/rabbitmq/connection/dial.ts";
import { renewalDelay } from "../../../src/transport/rabbitmq/connection/credential_renewal.ts";
import { RabbitTransport } from "../../../src/transport/rabbitmq/transport.ts";
import { MemoryTransport } from "../../../src/transport/memory/transport.ts";
import type { TransportEvent } from "../../../src/transport/transport.ts";
import { Inbox } from "../../../src/rpc/inbox.ts";
import { withDeadline } from "../../../src/async/deadline.ts";
import { defaultLimits } from "../../../src/wire/json.ts";
import { Endless, failureOf, sumHandlers, sums } from "../../rpc/support.ts";
import {
  type PrivateBroker,
  privateBroker,
  rabbitmqServer,
} from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { freePort, until } from "../../setup/probe.ts";
import { proxyTo } from "../../setup/proxy.ts";
import { eventsOf, soon, told } from "../support.ts";
import { Issuer } from "./tokens.ts";

let node: PrivateBroker;
let issuer: Issuer;

Deno.test.beforeAll(async () => {
  if (!rabbitmqServer) return;
  issuer = await Issuer.make();
  node = await privateBroker({
    plugins: ["rabbitmq_auth_backend_oauth2"],
    config: `auth_backends.1 = internal\n${issuer.config("auth_backends.2")}`,
  });
});
Deno.test.afterAll(async () => {
  await node?.[Symbol.asyncDispose]();
  await issuer?.[Symbol.asyncDispose]();
});

function onNode(name: string, fn: () => Promise<void>): void {
  const ignore = rabbitmqServer === undefined;
  Deno.test({ name: `${name} (needs rabbitmq-server)`, ignore, fn });
}

/** A user of the node who may do all; returns the name. */
async function userWith(password: string): Promise<string> {
  const user = `user-${crypto.randomUUID().slice(0, 8)}`;
  await node.ctl("add_user", user, password);
  await node.ctl("set_permissions", user, ".*", ".*", ".*");
  return user;
}

/** From now on the broker takes only that password, and the connections of the user are cut. */
async function rotate(user: string, password: string): Promise<void> {
  await node.ctl("change_password", user, password);
  await node.ctl("close_all_user_connections", user, "rotated");
}

/** The next event of a type that a connection tells. */
function heard<K extends keyof ConnectionEventMap>(
  connection: ConnectionContext,
  type: K,
): Promise<ConnectionEventMap[K]> {
  const event = Promise.withResolvers<ConnectionEventMap[K]>();
  connection.addEventListener(type, event.resolve, { once: true });
  const late = () => new Error(`No event "${type}" came`);
  return withDeadline(event.promise, soon(30_000), late);
}

/** The node with another login in its URL. */
const as = (login: string) => `amqp://${login}@127.0.0.1:${node.port}`;

onNode(
  "a rotated password is asked for at each attempt, for every URL of a list",
  async () => {
    await using log = await logged();
    const passwords = ["first s3cret", "second/s3cret%2F@"];
    const [first = "", second = ""] = passwords;
    const username = await userWith(first);
    let password = first;
    let asked = 0;
    const credentials = async () => {
      asked++;
      return await Promise.resolve({ username, password });
    };
    const urls = [
      as("nobody:wrong"),
      as("guest:guest"),
      as("").replace("@", ""),
    ];
    await using connection = await createConnection(urls, { credentials });
    const back = heard(connection, "connected");
    password = second;
    await rotate(username, second);
    await back;
    await connection.notify("login.rotated", { at: 1 });
    assert.ok(asked >= 4, `${asked} times asked`);
    const said = [
      ...log.lines,
      ...log.records.map((one) => JSON.stringify(one)),
    ];
    assert.doesNotMatch(said.join("\n"), /s3cret/);
  },
);

onNode(
  "a function tells the URL at each attempt, and those who have it share a link",
  async () => {
    await using one = proxyTo(node.url);
    await using two = proxyTo(node.url);
    let here = one.url(node.url);
    const url = () => here;
    await using connection = await createConnection(url);
    await using _other = await createConnection(url);
    assert.equal(one.connections.accepted, 2, "to publish and to consume");
    here = two.url(node.url);
    const back = heard(connection, "connected");
    one.refuse(true);
    one.reset();
    await back;
    assert.deepEqual([one, two].map((each) => each.connections.accepted), [
      2,
      2,
    ]);
    await using _third = await createConnection(() => [here]);
    assert.equal(two.connections.accepted, 4, "another function, another link");
  },
);

/** Milliseconds that a token of these tests lasts, or up to a second less. */
const LIFE = 7_000;

onNode(
  "credentials that expire are renewed on the open connection",
  async () => {
    const given: Credentials[] = [];
    const credentials = async () => {
      const made = await issuer.credentials(LIFE);
      given.push(made);
      return made;
    };
    const contract = sums("renewed");
    await using connection = await createConnection(as("nobody:wrong"), {
      credentials,
    });
    const { expires = 0 } = given[1] ?? {};
    await until("both sides have renewed them", () => given.length >= 4, LIFE);
    assert.ok(Date.now() < expires, "before they expire");
    await until(
      "the first ones have expired",
      () => Date.now() > expires + 100,
    );
    const dispatcher = new RpcDispatcher([implement(contract, sumHandlers())]);
    await connection.createConsumer("renewed", dispatcher); // is forbidden to whom has an old token
    await connection.consume();
    const sum = await connection.client(contract).call("add", { a: 1, b: 2 });
    assert.equal(sum, 3);
    const { publishing, consuming } = connection.health();
    assert.deepEqual([publishing.losses, consuming.losses], [0, 0]);
    assert.match(await node.log(), /user 'compute' updated secret, reason: /);
  },
);

onNode(
  "a renewal that the broker refuses is said without the secret, and the link connects anew",
  async () => {
    await using log = await logged();
    const rubbish = "rubbish-s3cret";
    let asked = 0;
    const credentials = async (): Promise<Credentials> => {
      const bad = ++asked === 3 || asked === 4;
      const { expires, ...rest } = await issuer.credentials(
        bad ? 60_000 : 4_000,
      );
      return bad ? { ...rest, password: rubbish } : { ...rest, expires };
    };
    const link = new RabbitTransport({
      urls: [new URL(as("a:b"))],
      credentials,
    });
    await using _link = link;
    const events = eventsOf(link);
    await link.openSession(soon());
    const refused =
      /The broker refused the renewed credentials: .*530 NOT_ALLOWED/;
    await until("it is said", () => log.times(refused) > 0, 20_000);
    await told(events, "disconnected");
    await told(events, "connected", 2);
    assert.equal(events.some(({ type }) => type === "failed"), false);
    assert.doesNotMatch(log.lines.join("\n"), /s3cret/);
  },
);

onNode(
  "a renewal that fails is tried again; what has expired is used no more",
  async () => {
    await using log = await logged();
    const username = await userWith("here");
    let asked = 0;
    let away = true;
    const credentials = () => {
      if (++asked > 2 && away) {
        return Promise.reject(new Error("cannot read password=hunter2"));
      }
      const expires = Date.now() + (away ? 4_000 : 60_000);
      return Promise.resolve({ username, password: "here", expires });
    };
    await using link = new RabbitTransport({
      urls: [new URL(as("a:b"))],
      credentials,
    });
    const events = eventsOf(link);
    await link.openSession(soon());
    await told(events, "disconnected");
    away = false;
    await told(events, "connected", 2);
    const [lost] = events.filter(({ type }) => type === "disconnected");
    assert.match(
      `${lost && "reason" in lost && lost.reason}`,
      /expired before/,
    );
    assert.ok(log.times(/Cannot renew the credentials, which expire in/) >= 2);
    assert.doesNotMatch(log.lines.join("\n"), /hunter2/);
  },
);

onNode(
  "an open connection of another user is replaced by one of the new user",
  async () => {
    const users = [await userWith("one"), await userWith("two")];
    let asked = 0;
    const credentials = () => {
      const [username = "", password = ""] = ++asked <= 2
        ? [users[0], "one"]
        : [users[1], "two"];
      const expires = Date.now() + (asked <= 2 ? 2_000 : 60_000);
      return Promise.resolve({ username, password, expires });
    };
    await using link = new RabbitTransport({
      urls: [new URL(as("a:b"))],
      credentials,
    });
    const events = eventsOf(link);
    await link.openSession(soon());
    await told(events, "connected", 2);
    const connected = await node.ctl("list_connections", "user");
    assert.match(connected, new RegExp(`${users[1]}`));
    assert.doesNotMatch(connected, new RegExp(`${users[0]}`));
  },
);

onNode(
  "a login that stays refused ends the link: calls that wait, the service and /livez tell",
  async () => {
    const user = await userWith("old-s3cret");
    const url = as(`${user}:old-s3cret`);
    const urls = [new URL(url)];
    const limits = { ...defaultLimits, python: false };
    const { inbox } = sharedTransport(
      transportKey(urls, {}, busProfile("warren", "auto")),
      () =>
        new RabbitTransport({
          urls,
          loginRejectionLimits: { times: 3, ms: 200 },
        }),
      limits,
    );
    const endless = new Endless();
    const contract = sums("refused");
    const live: number[] = [];
    const port = freePort();
    const handlers = sumHandlers({
      wait: (_, { signal }) => endless.run(signal),
    });
    const manager = implement(contract, handlers, {
      cleanupHost: async () => {
        const response = await fetch(`http://127.0.0.1:${port}/livez`);
        await response.body?.cancel();
        live.push(response.status);
      },
    });
    const service = await Service.start({
      url,
      manager,
      signals: false,
      grace: 200,
      healthPort: port,
      healthHostname: "127.0.0.1",
    });
    await using connection = await createConnection(url);
    const failed = heard(connection, "failed");
    const began = performance.now();
    const client = connection.client(contract);
    const call = failureOf(client.call("wait", {}));
    const stream = connection.multicall({ topic: "refused" }, "wait", {});
    const item = failureOf(stream.next());
    await endless.began;
    await rotate(user, "new");
    const { detail } = await failed;
    const refused = /ACCESS_REFUSED.*; refused [3-9]\d* times in \d+ s$/;
    assert.match(detail.error.message, refused);
    const [error, other] = [await call, await item];
    for (const each of [error, other]) {
      assert.ok(each instanceof ConnectionFailedError);
      assert.ok(each.inDoubt, "it had been sent");
    }
    assert.ok(performance.now() - began < 55_000, "before its deadline");
    const later = await failureOf(client.call("add", { a: 1, b: 2 }));
    assert.ok(later instanceof ConnectionFailedError && !later.inDoubt);
    assert.equal(inbox.pending.size, 0);
    await assert.rejects(service.stopped, /lost its broker for good/);
    await service.stop();
    assert.deepEqual(live, [503]);
    for (const each of [detail.error, error, later]) {
      assert.doesNotMatch(Deno.inspect(each), /s3cret/);
    }
  },
);

onNode(
  "a virtual host that is away is no refusal of a login: it is tried until it is back",
  async () => {
    const name = `gone-${crypto.randomUUID().slice(0, 8)}`;
    const make = async () => {
      await node.ctl("add_vhost", name);
      await node.ctl("set_permissions", "-p", name, "guest", ".*", ".*", ".*");
    };
    await make();
    await using log = await logged();
    await using link = new RabbitTransport({
      urls: [new URL(`${node.url}/${name}`)],
      loginRejectionLimits: { times: 2, ms: 0 },
    });
    const events = eventsOf(link);
    await link.openSession(soon());
    await node.ctl("delete_vhost", name);
    const tried = /does not open the virtual host/;
    await until("it was tried", () => log.times(tried) > 3, 20_000);
    await make();
    await told(events, "connected", 2);
    assert.equal(events.some(({ type }) => type === "failed"), false);
    await node.ctl("delete_vhost", name);
  },
);

onNode("what the network does is no refusal", async () => {
  await using proxy = proxyTo(node.url);
  await using link = new RabbitTransport({
    urls: [new URL(proxy.url(node.url))],
    loginRejectionLimits: { times: 1, ms: 0 },
  });
  const events = eventsOf(link);
  await link.openSession(soon());
  proxy.refuse(true);
  proxy.reset();
  const { accepted } = proxy.connections;
  await until(
    "it was tried again",
    () => proxy.connections.accepted > accepted + 3,
  );
  proxy.refuse(false);
  await told(events, "connected", 2);
  assert.equal(events.some(({ type }) => type === "failed"), false);
});

Deno.test("whoever waits for an answer when a link is given up is told, and nobody waits after that", async () => {
  const watchers: ((event: TransportEvent) => void)[] = [];
  await using link = Object.assign(new MemoryTransport(), {
    onEvent: (watcher: (event: TransportEvent) => void) => {
      watchers.push(watcher);
      return { [Symbol.dispose]: () => {} };
    },
  });
  const inbox = new Inbox(link, defaultLimits);
  const waiter = (call: string) => {
    const { promise, reject: fail } = Promise.withResolvers<never>();
    const pending = {
      worker: undefined,
      receive() {},
      onUnroutable() {},
      fail,
    };
    return { call, pending, owner: {}, promise };
  };
  const before = waiter("before");
  inbox.expect(before);
  const cause = new ConnectionFailedError("refused");
  for (const watcher of watchers) {
    watcher({ type: "failed", reason: cause.message, error: cause });
  }
  const error = await failureOf(before.promise);
  assert.ok(error instanceof ConnectionFailedError && error.inDoubt);
  assert.equal(error.cause, cause);
  assert.throws(
    () => inbox.expect(waiter("after")),
    (thrown) => thrown instanceof ConnectionFailedError && !thrown.inDoubt,
  );
});

Deno.test("refusals are too many by number and by time, since the last login that was accepted", () => {
  assert.deepEqual(LOGIN_REJECTION_LIMITS, { times: 5, ms: 60_000 });
  const few = new LoginRejections({ times: 3, ms: 0 });
  const add = () => few.add() !== undefined;
  assert.deepEqual([add(), add(), add(), add()], [false, false, true, true]);
  few.clear();
  assert.deepEqual([add(), add(), add()], [false, false, true]);
  const fast = new LoginRejections({ times: 1, ms: 60_000 });
  for (let at = 0; at < 100; at++) assert.equal(fast.add(), undefined);
});

Deno.test("credentials are renewed 30 s before their end, or after 80 % of what is left", () => {
  const seconds = [3_600, 150, 100, 60, 50, 20, 10, 0.1, 0, -5];
  assert.deepEqual(
    seconds.map((left) => renewalDelay(left * 1_000) / 1_000),
    [2_880, 120, 70, 30, 40, 16, 8, 0.5, 0.5, 0.5],
  );
  assert.equal(renewalDelay(Number.MAX_SAFE_INTEGER), 2 ** 31 - 1);
});

Deno.test("with other nodes to try, the first attempts at a node are short", () => {
  const settings = { connectTimeout: 10_000 } as DialSettings;
  const timeouts = (nodes: number) =>
    [0, 1, 2, 3, 6, 9].map((attempt) =>
      settingsOf(settings, { nodes }, attempt).connectTimeout
    );
  assert.deepEqual(timeouts(3), [3_000, 3_000, 3_000, 6_000, 10_000, 10_000]);
  assert.deepEqual(new Set(timeouts(1)), new Set([10_000]));
});

Deno.test("clients that lose a node together come back over 2 s, evenly, and to the nodes in turn", () => {
  const pauses = (code: string, nodes: number) =>
    Array.from({ length: 3_000 }, () => pauseAfterLoss({ code }, { nodes }));
  const counts = [0, 500, 1_000, 1_500].map((from) =>
    pauses("SOCKET_CLOSED", 3)
      .filter((ms) => ms >= from && ms < from + 500).length
  );
  for (const count of counts) {
    assert.ok(Math.abs(count - 750) < 150, `${count}`);
  }
  const alone = [
    ...pauses("SOCKET_CLOSED", 1),
    ...pauses("HEARTBEAT_TIMEOUT", 3),
    ...pauses("CLOSED", 3), // by this client
  ];
  assert.ok(Math.max(...alone) <= 100);
});

Deno.test("the order of nodes forgets those that are gone", () => {
  const url = (name: string) => new URL(`amqp://${name}`);
  const random = Math.random;
  try {
    const places = [0.5, 0.1, 0.9];
    Math.random = () => places.shift() ?? 0.5;
    const order = inRandomOrder();
    const names = (...urls: string[]) =>
      order(urls.map(url)).map(({ host }) => host);
    const [first = "", last = ""] = names("a", "b");
    assert.deepEqual(names(last), [last]);
    assert.deepEqual(names("a", "b"), [last, first], "it has a new place");
  } finally {
    Math.random = random;
  }
});

Deno.test("each client has a random order of the nodes, which stays", () => {
  const urls = [1, 2, 3].map((n) => new URL(`amqp://node${n}`));
  const firsts = new Map<string, number>();
  for (let client = 0; client < 3_000; client++) {
    const order = inRandomOrder();
    const names = order(urls).map(({ host }) => host);
    assert.deepEqual(
      order(urls.toReversed()).map(({ host }) => host),
      names,
    );
    const pair = names.slice(0, 2).join();
    firsts.set(pair, (firsts.get(pair) ?? 0) + 1);
  }
  assert.equal(firsts.size, 6); // those that prefer one node have different ones next
  for (const count of firsts.values()) {
    assert.ok(Math.abs(count - 500) < 150, `${count}`);
  }
});
