/** Calls that are under way when the broker is lost. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  type ConnectionContext,
  contract,
  createConnection,
  type Handlers,
  TimeoutError,
} from "../../../mod.ts";
import { until } from "../../setup/probe.ts";
import { proxyTo, type TcpProxy } from "../../setup/proxy.ts";
import {
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
  type Raw,
} from "../support.ts";

function places(topic: string) {
  const procedures = {
    find: { result: z.number(), idempotent: true },
    take: { result: z.number() },
  };
  return contract({ topic, version: "1.0", procedures });
}
type Places = ReturnType<typeof places>;

/** A caller that can be cut off, and a queue that nobody serves yet. */
async function open(bus: Bus) {
  const api = places(bus.topic);
  const none: Handlers<Places> = { find: () => 0, take: () => 0 };
  await using _earlier = await bus.serve(api, none);
  const proxy = proxyTo(bus.url);
  const connection = await createConnection(proxy.url(bus.url));
  const raw = await bus.raw() as Raw;
  return { api, proxy, connection, raw, client: connection.client(api) };
}

/** Cuts it off; resolves when it is back. */
async function cut(
  connection: ConnectionContext,
  proxy: TcpProxy,
): Promise<void> {
  const back = new Promise((resolve) =>
    connection.addEventListener("connected", resolve, { once: true })
  );
  proxy.reset();
  await back;
}

async function waits(bus: Bus, raw: Raw, messages: number): Promise<void> {
  let found = -1;
  const look = async () => {
    found = (await raw.channel.checkQueue(bus.topic)).messageCount;
  };
  while (found !== messages) await look();
}

onRabbit(
  "a request that was lost is asked again if it is idempotent, and only then",
  async (bus) => {
    const { api, proxy, connection, raw, client } = await open(bus);
    const limit = { timeout: 5_000 };
    const found = client.call("find", {}, limit);
    const taken = failureOf(client.call("take", {}, { timeout: 2_000 }));
    await waits(bus, raw, 2);
    await raw.channel.purgeQueue(bus.topic);
    await cut(connection, proxy);
    await waits(bus, raw, 1);
    const handlers = { find: () => 7, take: () => 8 };
    await using worker = await bus.serve(api, handlers);
    assert.equal(await found, 7);
    assert.ok(await taken instanceof TimeoutError);
    assert.equal(worker.stats.handled, 1);
    await connection[Symbol.asyncDispose]();
    await proxy[Symbol.asyncDispose]();
    await raw[Symbol.asyncDispose]();
  },
);

onRabbit("it waits for a queue that is not made anew yet", async (bus) => {
  const { api, proxy, connection, raw, client } = await open(bus);
  const found = client.call("find");
  await waits(bus, raw, 1);
  await raw.channel.deleteQueue(bus.topic);
  await cut(connection, proxy);
  // Without a queue another call fails at once: the first is still waiting.
  const other = await failureOf(client.call("take"));
  assert.equal(Reflect.get(other, "code"), "NO_ROUTE");
  await using _worker = await bus.serve(api, { find: () => 7, take: () => 8 });
  assert.equal(await found, 7);
  await connection[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
  await raw[Symbol.asyncDispose]();
});

onRabbit("a worker that has it in hand does not run it again", async (bus) => {
  const { api, proxy, connection, raw, client } = await open(bus);
  const over = Promise.withResolvers<void>();
  let runs = 0;
  const find = async () => {
    runs++;
    await over.promise;
    return 7;
  };
  await using worker = await bus.serve(api, { find, take: () => 8 });
  const found = client.call("find");
  await until("it is in hand", () => worker.stats.active === 1);
  await cut(connection, proxy);
  await until("it came again", () => worker.stats.repeated === 1);
  over.resolve();
  assert.equal(await found, 7);
  assert.equal(runs, 1);
  await connection[Symbol.asyncDispose]();
  await proxy[Symbol.asyncDispose]();
  await raw[Symbol.asyncDispose]();
});

onEachBus("idempotent is true or false, and for calls", async (bus) => {
  const { topic } = bus;
  const define = (procedure: object) => () =>
    contract({ topic, version: "1.0", procedures: { p: procedure } });
  const wrong = /\.idempotent must be true or false, and is not for streams/;
  assert.throws(define({ idempotent: "yes" }), wrong);
  assert.throws(define({ idempotent: true, yields: z.number() }), wrong);
  await using connection = await bus.connect();
  const code = async (idempotent: unknown) => {
    const options = { idempotent: idempotent as boolean };
    const call = connection.call({ topic }, "p", {}, options);
    return Reflect.get(await failureOf(call), "code");
  };
  assert.equal(await code(true), "NO_ROUTE");
  assert.equal(await code("yes"), "INVALID");
});

onRabbit(
  "what is asked while the broker is away is asked once",
  async (bus) => {
    const api = places(bus.topic);
    await using worker = await bus.serve(api, { find: () => 1, take: () => 2 });
    await using proxy = proxyTo(bus.url);
    await using connection = await createConnection(proxy.url(bus.url));
    const client = connection.client(api);
    const told = (event: "disconnected" | "connected") =>
      new Promise((resolve) =>
        connection.addEventListener(event, resolve, { once: true })
      );
    for (let round = 1; round <= 4; round++) {
      proxy.refuse(true);
      const away = told("disconnected");
      proxy.reset();
      await away;
      await until("both sides are away", () => {
        const { publishing, consuming } = connection.health();
        const states = [publishing.state, consuming.state];
        return states.every((state) => state === "recovering");
      });
      const back = told("connected");
      const answer = client.call("find", {});
      proxy.refuse(false);
      assert.equal(await answer, 1);
      await back;
      assert.equal(await client.call("take", {}), 2); // what was sent before it has come
    }
    const { handled, repeated } = worker.stats;
    assert.deepEqual([handled, repeated], [8, 0]);
  },
);
