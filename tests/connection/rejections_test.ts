/** A verb fails to its caller alone, however its connection ends meanwhile: a rejection that nobody handles ends the process. */
import assert from "node:assert/strict";
import type { ConnectionContext } from "../../mod.ts";
import { withoutPauses } from "../transport/support.ts";
import { until } from "../setup/probe.ts";
import { proxyTo } from "../setup/proxy.ts";
import { Bus, onEachBus, onRabbit, sumHandlers, sums } from "../rpc/support.ts";

/** Rejections that nobody handled, which would end a process. */
class Unhandled implements Disposable {
  /** Their reasons. */
  readonly reasons: unknown[] = [];

  /** Collects from now on. */
  constructor() {
    addEventListener("unhandledrejection", this);
  }

  handleEvent(event: PromiseRejectionEvent): void {
    event.preventDefault();
    this.reasons.push(event.reason);
  }

  [Symbol.dispose](): void {
    removeEventListener("unhandledrejection", this);
  }
}

/** Something of each verb, with a caller who handles what it throws. */
function useAll(
  connection: ConnectionContext,
  bus: Bus,
): Promise<PromiseSettledResult<unknown>[]> {
  const client = connection.client(sums(bus.topic), { timeout: 10_000 });
  const target = { topic: bus.topic };
  const add = { a: 1, b: 2 };
  const uses: (() => unknown)[] = [
    () => connection.services({ topic: bus.topic, timeout: 10_000 }).next(),
    () => connection.services({ topic: bus.topic, watch: true }).next(),
    () => client.call("add", add),
    () => client.call("add", add, { idempotent: true }),
    () => client.cast("wait"),
    () => client.fanoutCast("wait"),
    () => client.multicall("count", { to: 1 }).next(),
    () => connection.call(target, "wait"),
    () => connection.cast(target, "wait"),
    () => connection.fanoutCast(target, "wait"),
    () => connection.multicall(target, "wait").next(),
    () => connection.notify("a", 1),
  ];
  return Promise.allSettled(uses.map((use) => Promise.try(use)));
}

/** Lets the event loop report what it has found unhandled. */
const aTurn = () => new Promise((resolve) => setTimeout(resolve, 0));

onEachBus("no verb leaves a rejection to nobody at disposal", async (bus) => {
  using unhandled = new Unhandled();
  const notifications = { topics: [bus.topic] };
  bus.owns(`${bus.topic}.info`);
  await using _worker = await bus.serve(sums(bus.topic), sumHandlers());
  // At each of the steps that a verb takes before it waits for its answer.
  for (let steps = 0; steps < 24; steps++) {
    const connection = await bus.connect({ grace: 0, notifications });
    await connection.call({ topic: bus.topic }, "wait");
    const used = useAll(connection, bus);
    for (let step = 0; step < steps; step++) await undefined;
    await connection[Symbol.asyncDispose]();
    await used;
    await aTurn();
    assert.deepEqual(unhandled.reasons, [], `after ${steps} steps`);
  }
});

onRabbit(
  "no verb leaves a rejection to nobody while the broker is away",
  async (bus) => {
    using _eager = withoutPauses();
    using unhandled = new Unhandled();
    await using proxy = proxyTo(bus.url);
    await using through = new Bus(proxy.url(bus.url));
    const notifications = { topics: [bus.topic] };
    for (const read of [false, true]) {
      const connection = await through.connect({ grace: 0, notifications });
      if (read) await connection.consume();
      proxy.refuse(true);
      proxy.reset();
      const lost = () => connection.health().publishing.state !== "up";
      await until("the loss is noticed", lost);
      const used = useAll(connection, bus);
      await aTurn();
      await connection[Symbol.asyncDispose]();
      const outcomes = await used;
      await aTurn();
      assert.deepEqual(unhandled.reasons, []);
      assert.deepEqual(
        new Set(outcomes.map(({ status }) => status)),
        new Set(["rejected"]),
      );
      proxy.refuse(false);
    }
  },
);
