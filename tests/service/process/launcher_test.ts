/** `launch`: several services in one process. */
import assert from "node:assert/strict";
import { implement, launch, NoRouteError, Service } from "../../../mod.ts";
import { failureOf, onEachBus, sumHandlers, sums } from "../../rpc/support.ts";
import { until } from "../../setup/probe.ts";

onEachBus(
  "launch serves all, and resolves when all have stopped",
  async (bus) => {
    await using connection = await bus.connect({ waitForRoute: true });
    const services: Service[] = [];
    const start = (host: string) => async () => {
      const manager = implement(sums(bus.topic), sumHandlers());
      const service = await Service.start({ url: bus.url, host, manager });
      services.push(service);
      return service;
    };
    let ended = false;
    const launched = launch([start("one"), start("two")])
      .then(() => ended = true);
    const client = connection.client(sums(bus.topic));
    const args = { a: 1, b: 2 };
    for (const host of ["one", "two"]) {
      assert.equal(await client.call("add", args, { host }), 3);
    }
    await until("both have started", () => services.length === 2);
    await services[0]?.stop();
    assert.equal(ended, false);
    assert.equal(await client.call("add", args, { host: "two" }), 3);
    await services[1]?.stop();
    await launched;
  },
);

onEachBus(
  "launch stops the others when one cannot start, and throws its error",
  async (bus) => {
    const started: Service[] = [];
    const good = async () => {
      const manager = implement(sums(bus.topic), sumHandlers());
      const options = { url: bus.url, host: "one", manager };
      const service = await Service.start(options);
      started.push(service);
      return service;
    };
    const bad = () => Promise.reject(new Error("expected"));
    const error = await failureOf(launch([good, bad, good]));
    assert.equal(error.message, "expected");
    assert.equal(started.length, 1);
    await started[0]?.stopped;
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    if (bus.url.startsWith("memory:")) {
      const call = failureOf(client.call("add", { a: 1, b: 2 }));
      assert.ok(await call instanceof NoRouteError);
    }
  },
);
