/** Streams whose worker stops: the caller is told, and never gets two runs spliced into one. */
import assert from "node:assert/strict";
import { implement, InterruptedError, Service } from "../../mod.ts";
import {
  aborted,
  failureOf,
  onEachBus,
  sumHandlers,
  sums,
} from "../rpc/support.ts";

/** Takes the first items of a stream, then the rest of it. */
async function halves(
  stream: AsyncGenerator<number>,
  first: number,
): Promise<{ items: number[]; rest: () => Promise<void> }> {
  const items: number[] = [];
  while (items.length < first) items.push((await stream.next()).value);
  return {
    items,
    rest: async () => {
      for await (const item of stream) items.push(item);
    },
  };
}

onEachBus(
  "a stream that outlasts the grace time fails with InterruptedError, and is not begun anew",
  async (bus) => {
    const contract = sums(bus.topic);
    const begun: string[] = [];
    const start = (host: string, grace: number) =>
      Service.start({
        url: bus.url,
        host,
        grace,
        signals: false,
        manager: implement(
          contract,
          sumHandlers({
            async *count({ to }, { signal }) {
              begun.push(host);
              for (let i = 1; i <= to; i++) yield i;
              await aborted(signal);
            },
          }),
        ),
      });
    await using connection = await bus.connect();
    const first = await start("one", 50);
    const stream = connection.client(contract).multicall("count", { to: 3 });
    const { items, rest } = await halves(stream, 3);
    await using _second = await start("two", 50);
    const failed = failureOf(rest());
    await first.stop();
    const error = await failed;
    assert.ok(error instanceof InterruptedError, String(error));
    assert.equal(error.code, "INTERRUPTED");
    assert.deepEqual(items, [1, 2, 3]);
    assert.deepEqual(error.data, { sequence: 3 });
    assert.match(error.message, /after item 3: the worker stops$/);
    // The second worker has had its turn at whatever waits.
    await connection.client(contract).call("add", { a: 1, b: 2 });
    assert.deepEqual(begun, ["one"]);
  },
);

onEachBus(
  "stopping lets a manager end a stream by itself, at once",
  async (bus) => {
    const contract = sums(bus.topic);
    let stopping: AbortSignal | undefined;
    const manager = implement(
      contract,
      sumHandlers({
        async *count({ to }) {
          for (let i = 1; i <= to; i++) yield i;
          if (stopping) await aborted(stopping);
          yield 0;
        },
      }),
      { initHost: (environment) => void (stopping = environment.stopping) },
    );
    const service = await Service.start({
      url: bus.url,
      host: "one",
      signals: false,
      manager,
    });
    await using connection = await bus.connect();
    const stream = connection.client(contract).multicall("count", { to: 2 });
    const { items, rest } = await halves(stream, 2);
    const whole = rest();
    await service.stop();
    await whole;
    assert.deepEqual(items, [1, 2, 0]);
  },
);
