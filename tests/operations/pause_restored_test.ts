/** A worker that could not be told of a pause sees it when its connection is back. */
import assert from "node:assert/strict";
import {
  createConnection,
  implement,
  operations,
  PausedError,
  Service,
} from "../../mod.ts";
import { dependenciesOf } from "../../src/connection/connection_context.ts";
import { writePause } from "../../src/rpc/steering/resumption.ts";
import { topicAddress } from "../../src/transport/address.ts";
import { failureOf, sumHandlers, sums } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { node, onVirtualHost } from "../transport/node.ts";

onVirtualHost(
  "a worker looks for pauses before it handles what arrives after a loss of its connection",
  async ({ url, name }) => {
    const done: string[] = [];
    const manager = implement(
      sums("sums"),
      sumHandlers({ wait: ({ tag = "" }) => void done.push(tag) }),
    );
    await using service = await Service.start({
      ...{ url, host: "one", manager, signals: false, remoteControl: true },
    });
    await using connection = await createConnection(url);
    const { session, transport } = dependenciesOf(connection).resources;
    const of = topicAddress("sums", undefined);
    const pause = { reason: "untold", since: 1 };
    await writePause({ session, transport }, of, pause);
    const client = connection.client(sums("sums"));
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await node.ctl("close_all_connections", "-p", name, "a test");
    // Until the first call arrives over the new connection, nothing tells the worker.
    const error = await failureOf(client.call("add", { a: 1, b: 2 }));
    assert.ok(error instanceof PausedError, `${error}`);
    assert.deepEqual([error.data.reason, error.data.since], ["untold", 1]);
    assert.deepEqual(service.stats.paused, ["sums"]);
    await client.cast("wait", { tag: "a" });
    const fleet = operations(connection);
    await until("it waits", async () => {
      const [queue] = await fleet.pauses({ topic: "sums" }, { timeout: 100 });
      return queue?.waiting === 1;
    });
    assert.deepEqual(done, []);
    await fleet.resume({ topic: "sums" });
    await until("it is handled", () => done.length === 1);
  },
);
