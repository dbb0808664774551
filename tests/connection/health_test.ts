/** What a connection tells of its link. */
import assert from "node:assert/strict";
import { onEachBus, sumHandlers, sums } from "../rpc/support.ts";

onEachBus(
  "health() is that of the link, and can be asked after disposal",
  async (bus) => {
    await using worker = await bus.serve(sums(bus.topic), sumHandlers());
    await using caller = await bus.connect();
    const { publishing, consuming } = caller.health();
    assert.deepEqual([publishing.state, consuming.state], ["up", "up"]);
    const { wanted, consuming: now } = worker.health().consuming.consumers;
    assert.ok(wanted >= 2, "its topic and its fanout");
    assert.equal(now, wanted);
    await caller[Symbol.asyncDispose]();
    assert.equal(caller.health().consuming.consumers.wanted, wanted);
  },
);
