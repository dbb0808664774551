/** What a service does that the broker does not let be seen. */
import assert from "node:assert/strict";
import { createConnection, implement, Service } from "../../../mod.ts";
import { sumHandlers, sums } from "../../rpc/support.ts";
import { privateBroker, rabbitmqServer } from "../../setup/broker.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";

Deno.test({
  name:
    "a service that may not use the registry's exchanges serves all the same (needs rabbitmq-server)",
  ignore: rabbitmqServer === undefined,
  fn: async () => {
    await using broker = await privateBroker();
    const all = "^(?!warren\\.(services|reports)_fanout$).*";
    await broker.ctl("add_user", "worker", "secret");
    await broker.ctl("set_permissions", "worker", all, all, all);
    const url = broker.url.replace(/\/\/[^@/]*@|\/\//, "//worker:secret@");
    await using log = await logged();
    await using service = await Service.start({
      url,
      host: "one",
      signals: false,
      reportInterval: 100,
      manager: implement(sums("sums"), sumHandlers()),
    });
    await using connection = await createConnection(url);
    const client = connection.client(sums("sums"));
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    const lines = () => log.lines.filter((line) => /_fanout/.test(line));
    await until("it is in the log", () => lines().length > 0);
    assert.equal(await client.call("add", { a: 1, b: 2 }), 3);
    await until("both are counted", () => service.stats.handled === 2);
    assert.ok(!/secret/.test(log.lines.join("")));
    assert.ok(lines().length < 10, lines().join(""));
  },
});
