/** While a service drains, its handlers can still use its connection. */
import assert from "node:assert/strict";
import { ConnectionDisposedError, implement, Service } from "../../mod.ts";
import { Endless, onEachBus, sumHandlers, sums } from "../rpc/support.ts";

onEachBus(
  "a handler that finishes while the service stops can call, cast and notify",
  async (bus) => {
    const api = sums(bus.topic);
    const other = sums(bus.name("other"));
    const casts: string[] = [];
    await using _other = await bus.serve(
      other,
      sumHandlers({ wait: ({ tag }) => void casts.push(`${tag}`) }),
    );
    const begun = Promise.withResolvers<void>();
    const told = Promise.withResolvers<void>();
    const manager = implement(
      api,
      sumHandlers({
        add: async ({ a, b }): Promise<number> => {
          begun.resolve();
          await told.promise;
          const client = manager.connection.client(other);
          await client.cast("wait", { tag: "while stopping" });
          await manager.connection.notify("drain.test", { a });
          return await client.call("add", { a, b });
        },
      }),
    );
    const service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      manager,
    });
    const { connection: its } = manager;
    await using connection = await bus.connect();
    const answer = connection.client(api).call("add", { a: 1, b: 2 });
    await begun.promise;
    const stopped = service.stop();
    await assert.rejects(
      () => its.createListener(() => {}),
      ConnectionDisposedError,
    );
    told.resolve();
    assert.equal(await answer, 3);
    await stopped;
    assert.deepEqual(casts, ["while stopping"]);
    await assert.rejects(
      () => its.cast({ topic: bus.topic }, "wait"),
      ConnectionDisposedError,
    );
  },
);

onEachBus(
  "a periodic task that ignores its signal is left behind when the grace time is over",
  async (bus) => {
    const endless = new Endless();
    const manager = implement(sums(bus.topic), sumHandlers(), {
      periodic: [{
        every: 1,
        run: async () => {
          await endless.run(new AbortController().signal);
        },
      }],
    });
    const service = await Service.start({
      url: bus.url,
      host: "one",
      grace: 100,
      signals: false,
      manager,
    });
    await endless.began;
    await service.stop();
    assert.equal(service.tasks[0]?.running, true);
  },
);
