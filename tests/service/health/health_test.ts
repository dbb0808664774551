/** Liveness and readiness: what they answer in each part of a service's life. */
import assert from "node:assert/strict";
import { implement, InvalidValueError, Service } from "../../../mod.ts";
import type {
  ConnectionState,
  TransportHealth,
} from "../../../src/transport/transport_health.ts";
import { ConnectionEvents } from "../../../src/connection/connection_events.ts";
import { HealthServer } from "../../../src/service/health/health_server.ts";
import {
  type MonitoredConnection,
  ReadinessMonitor,
  serveReadiness,
} from "../../../src/service/health/readiness.ts";
import type { ServiceOptions } from "../../../src/service/service_options.ts";
import {
  Endless,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../../rpc/support.ts";
import { privateBroker, rabbitmqServer } from "../../setup/broker.ts";
import { freePort, until } from "../../setup/probe.ts";

const healthHostname = "127.0.0.1";

/** Status and body of both paths. */
async function asked(url: string | undefined) {
  const answers = await Promise.all(
    ["livez", "readyz"].map(async (path) => {
      const response = await fetch(`${url}/${path}`);
      return [response.status, await response.json()] as const;
    }),
  );
  const [[live, { state, link }], [ready]] = answers as [
    readonly [number, { state: string; link: string }],
    readonly [number, unknown],
  ];
  return { live, ready, state, link };
}

onEachBus(
  "a service is ready when it has started, and until it stops",
  async (bus) => {
    const endless = new Endless();
    const port = await freePort();
    const url = `http://${healthHostname}:${port}`;
    const seen: unknown[] = [];
    const manager = implement(
      sums(bus.topic),
      sumHandlers({ wait: (_, { signal }) => endless.run(signal) }),
      { initHost: async () => void seen.push(await asked(url)) },
    );
    const service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      grace: 300,
      manager,
      healthPort: port,
      healthHostname,
    });
    assert.equal(service.healthUrl, url);
    seen.push(await asked(url));
    await using connection = await bus.connect();
    const call = failureOf(
      connection.client(sums(bus.topic)).call("wait", {}, { timeout: 2_000 }),
    );
    await endless.began;
    const stopped = service.stop();
    seen.push(await asked(url));
    await stopped;
    await connection[Symbol.asyncDispose]();
    await call;
    assert.deepEqual(seen, [
      { live: 200, ready: 503, state: "starting", link: "up" },
      { live: 200, ready: 200, state: "up", link: "up" },
      { live: 200, ready: 503, state: "stopping", link: "up" },
    ]);
    await assert.rejects(fetch(`${url}/livez`), TypeError);
  },
);

Deno.test("health answers GET and HEAD of two paths, and nothing else", async () => {
  const options = { port: 0, hostname: healthHostname };
  const check = () => ({ live: true, ready: false, detail: { state: "up" } });
  await using health = HealthServer.start(options, { check });
  const status = async (path: string, method: string) => {
    const response = await fetch(`${health.url}${path}`, { method });
    const body = await response.text();
    return [response.status, body && JSON.parse(body).status];
  };
  assert.deepEqual(await status("/livez", "GET"), [200, "ok"]);
  assert.deepEqual(await status("/livez", "HEAD"), [200, ""]);
  assert.deepEqual(await status("/readyz", "GET"), [503, "unavailable"]);
  assert.deepEqual(await status("/livez", "POST"), [405, "GET only"]);
  assert.deepEqual(await status("/", "GET"), [404, "unknown path"]);
});

onEachBus(
  "services of one process may share a port, which answers for all",
  async (bus) => {
    const port = freePort();
    const health = { healthPort: port, healthHostname };
    const start = (host: string) =>
      Service.start({
        url: bus.url,
        host,
        signals: false,
        manager: implement(sums(bus.topic), sumHandlers()),
        ...health,
      });
    await using _one = await start("one");
    const two = await start("two");
    const url = `http://${healthHostname}:${port}/readyz`;
    const up = { state: "up", link: "up" };
    const body = async () => await (await fetch(url)).json();
    const { status, services, ...more } = await body();
    assert.deepEqual([status, more], ["ok", {}]);
    assert.deepEqual(services.map(withoutSides), [up, up]);
    await two.stop();
    assert.deepEqual(withoutSides(await body()), { status: "ok", ...up });
  },
);

const withoutSides = (
  { publishing, consuming, ...rest }: Record<string, { state: string }>,
) => {
  assert.deepEqual([publishing?.state, consuming?.state], ["up", "up"]);
  return rest;
};

/** A connection whose link is as the test says. */
class Told extends ConnectionEvents implements MonitoredConnection {
  sides: Record<"publishing" | "consuming", ConnectionState> = {
    publishing: "up",
    consuming: "up",
  };
  health(): TransportHealth {
    const since = new Date(0);
    const side = (state: ConnectionState) => ({
      ...{ state, since, lastProof: undefined, losses: 3 },
    });
    const consumers = { wanted: 2, consuming: 1 };
    return {
      publishing: side(this.sides.publishing),
      consuming: { ...side(this.sides.consuming), consumers },
      stale: 0,
    };
  }
}

Deno.test("a service is ready while both sides are up, or blocked, and all consumers consume", async () => {
  const link = new ReadinessMonitor();
  const told = new Told();
  const options = { healthPort: 0, healthHostname } as ServiceOptions;
  const service = {
    ...{ host: "one", state: "up", concurrency: 1 } as const,
    stats: { longRunning: { count: 0, slots: 0, handlers: [] } },
  };
  await using health = serveReadiness(options, service, link);
  const is = async () => {
    const response = await fetch(`${health?.url}/readyz`);
    return [response.status, await response.json()] as const;
  };
  const unavailable = { status: "unavailable", state: "up" };
  assert.deepEqual(await is(), [503, { ...unavailable, link: "connecting" }]);
  link.monitor(told);
  const since = new Date(0).toISOString();
  assert.deepEqual(await is(), [200, {
    ...{ status: "ok", state: "up", link: "up" },
    publishing: { state: "up", since, losses: 3 },
    consuming: {
      ...{ state: "up", since, losses: 3 },
      consumers: { wanted: 2, consuming: 1 },
    },
  }]);
  const cases: [Told["sides"], number][] = [
    [{ publishing: "blocked", consuming: "up" }, 200],
    [{ publishing: "up", consuming: "recovering" }, 503],
    [{ publishing: "recovering", consuming: "up" }, 503],
    [{ publishing: "failed", consuming: "up" }, 503],
  ];
  for (const [sides, status] of cases) {
    told.sides = sides;
    const [came, { link, publishing, consuming }] = await is();
    assert.deepEqual([came, link], [status, "up"], JSON.stringify(sides));
    assert.deepEqual([publishing.state, consuming.state], Object.values(sides));
  }
});

Deno.test("health answers a request whose host is no host", async () => {
  const options = { port: 0, hostname: "::1" };
  const check = () => ({ live: true, ready: true, detail: {} });
  await using health = HealthServer.start(options, { check });
  assert.match(String(health.url), /^http:\/\/\[::1\]:\d+$/);
  assert.equal(
    await (await fetch(`${health.url}/livez`)).text(),
    '{"status":"ok"}',
  );
  const { port } = new URL(String(health.url));
  using socket = await Deno.connect({ hostname: "::1", port: Number(port) });
  const request =
    "GET /livez HTTP/1.1\r\nHost: [bad\r\nConnection: close\r\n\r\n";
  await socket.write(new TextEncoder().encode(request));
  const answer = await new Response(socket.readable).text();
  assert.match(answer, /^HTTP\/1\.1 400 /);
});

Deno.test("a port that is taken fails the start; a patient one waits for it", async () => {
  const check = () => ({ live: true, ready: true, detail: {} });
  const first = HealthServer.start(
    { port: 0, hostname: healthHostname },
    { check },
  );
  const port = Number(new URL(String(first.url)).port);
  const options = { port, hostname: healthHostname };
  const message = new RegExp(`^Cannot open the health port .*:${port}: `);
  const manager = implement(sums("health"), sumHandlers());
  const refused = await failureOf(
    Service.start({
      url: "memory:health",
      host: "one",
      manager,
      healthPort: port,
      healthHostname,
    }),
  );
  assert.ok(refused instanceof InvalidValueError);
  assert.match(refused.message, message);
  await using second = HealthServer.start(
    { ...options, waitForPort: true },
    { check },
  );
  assert.equal(second.url, undefined);
  await first[Symbol.asyncDispose]();
  await until("the second has the port", () => second.url);
  const response = await fetch(`${second.url}/readyz`);
  assert.equal((await response.json()).status, "ok");
});

Deno.test({
  name: "a lost broker makes a service unready, and leaves it alive",
  ignore: rabbitmqServer === undefined,
  async fn() {
    await using broker = await privateBroker();
    await using service = await Service.start({
      url: broker.url,
      host: "one",
      signals: false,
      manager: implement(sums("health"), sumHandlers()),
      healthPort: 0,
      healthHostname,
    });
    const is = async (live: number, ready: number, link: string) => {
      const now = await asked(service.healthUrl);
      return now.live === live && now.ready === ready && now.link === link;
    };
    assert.ok(await is(200, 200, "up"));
    await broker.kill();
    await until("it recovers", () => is(200, 503, "recovering"));
    await broker.start();
    await until("it is back", () => is(200, 200, "up"), 30_000);
    const { consuming } = await (await fetch(`${service.healthUrl}/readyz`))
      .json();
    assert.ok(consuming.losses >= 1);
    const { consumers } = consuming;
    assert.equal(consumers.consuming, consumers.wanted);
  },
});
