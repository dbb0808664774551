/** A pause outlives all workers, and a resumption that is killed is finished by the next one; no cast is lost. */
import assert from "node:assert/strict";
import { createConnection, operations, PausedError } from "../../mod.ts";
import { failureOf } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { onVirtualHost } from "../transport/node.ts";
import { poisonable } from "./poison.ts";
import { FleetProcess, startWorker } from "./process.ts";

const CASTS = 300;
const program = "./paused_worker.ts";
const { topic } = poisonable;

for (const queueType of ["classic", "quorum"] as const) {
  onVirtualHost(
    `a paused ${queueType} queue stays paused when all workers are killed, and loses no cast`,
    async ({ url }) => {
      await using stack = new AsyncDisposableStack();
      const workers: FleetProcess[] = [];
      const start = async (host: string) => {
        const worker = await startWorker(host, url, [queueType], program);
        workers.push(stack.use(worker));
        return worker;
      };
      const first = await Promise.all([start("one"), start("two")]);
      const connection = stack.use(await createConnection(url, { queueType }));
      const steering = operations(connection);
      const client = connection.client(poisonable);
      const paused = await steering.pause({ topic }, { reason: "a test" });
      assert.deepEqual([...paused.hosts].sort(), ["one", "two"]);
      const cast = async (from: number, to: number) => {
        for (let id = from; id < to; id++) {
          await client.cast("work", { id, poison: false });
        }
      };
      const casting = cast(0, CASTS / 2);
      await until("some wait", async () => {
        const [queue] = await steering.pauses({ topic }, { timeout: 100 });
        return (queue?.waiting ?? 0) > 0;
      });
      for (const worker of first) worker.kill("SIGKILL");
      await Promise.all(first.map((worker) => worker.exit()));
      await casting;
      await cast(CASTS / 2, CASTS);
      const [alone] = await steering.pauses({ topic });
      assert.deepEqual([alone?.state, alone?.reason], ["paused", "a test"]);
      await Promise.all([start("one"), start("two")]);
      for (let n = 0; n < 10; n++) {
        const error = await failureOf(
          client.call("work", { id: -1, poison: false }),
        );
        assert.ok(error instanceof PausedError, `${error}`);
        assert.equal(error.data.reason, "a test");
      }
      // A worker that was killed may have moved a cast, and not yet have acknowledged it.
      await until("all wait", async () => {
        const [queue] = await steering.pauses({ topic }, { timeout: 100 });
        return (queue?.waiting ?? 0) >= CASTS;
      }, 30_000);
      const done = () => workers.flatMap((each) => each.numbers("done "));
      assert.deepEqual(done(), []);
      const operator = stack.use(
        new FleetProcess("", url, [queueType, "--resume"], program),
      );
      await until("some are back", () => done().length > 20, 30_000, 1);
      operator.kill("SIGKILL");
      await operator.exit();
      await steering.resume({ topic });
      const all = () => new Set(done());
      await until("all are done", () => all().size === CASTS, 30_000);
      assert.deepEqual(
        [...all()].sort((a, b) => a - b),
        Array.from({ length: CASTS }, (_, id) => id),
      );
      assert.deepEqual(await steering.pauses({ topic }), []);
      await client.call("work", { id: CASTS, poison: false });
    },
  );
}
