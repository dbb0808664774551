/** Queues that a process creates on a cluster: found out by a check of each queue, and waited for once. */
import assert from "node:assert/strict";
import { TimeoutError } from "../../../src/errors.ts";
import { defaultProfile } from "../../../src/transport/profile.ts";
import { RabbitTransport } from "../../../src/transport/rabbitmq/transport.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { queue, removeNames, soon } from "../support.ts";

const url = await brokerUrl();

/** A session of a process that knows so many nodes. */
async function sessionOn(
  nodes: number,
  queueType: "classic" | "quorum" = "quorum",
) {
  await using stack = new AsyncDisposableStack();
  const link = stack.use(
    new RabbitTransport({
      urls: Array.from({ length: nodes }, () => new URL(url)),
      profile: { ...defaultProfile, queueType },
    }),
  );
  const session = stack.use(await link.openSession(soon()));
  const disposal = stack.move();
  return {
    session,
    [Symbol.asyncDispose]: () => disposal.disposeAsync(),
  };
}

/** Runs a test with queues of its own. */
async function withQueues(
  count: number,
  work: (queues: readonly ReturnType<typeof queue>[]) => Promise<void>,
): Promise<void> {
  const names = Array.from(
    { length: count },
    () => `new-${crypto.randomUUID()}`,
  );
  await using stack = new AsyncDisposableStack();
  stack.defer(() => removeNames(url, names));
  await work(names.map(queue));
}

const isTimeout = (error: unknown) =>
  error instanceof TimeoutError && !error.inDoubt &&
  /new queues/.test(error.message);

Deno.test("a process waits for quorum queues that it has created on a cluster, and no other does", () =>
  withQueues(40, async (queues) => {
    await using creator = await sessionOn(2);
    await using other = await sessionOn(2);
    await using single = await sessionOn(1);
    const declared = queues.map((each) =>
      creator.session.declare(each, soon())
    );
    await Promise.all(declared);
    await assert.rejects(creator.session.waitForNewQueues(soon(20)), isTimeout);
    for (const { session } of [other, single]) {
      await Promise.all(queues.map((each) => session.declare(each, soon())));
      await session.waitForNewQueues(soon(20));
    }
    const stop = AbortSignal.abort(new Error("stopped"));
    const stopped = { ...soon(), signal: stop };
    await assert.rejects(creator.session.waitForNewQueues(stopped), /stopped/);
  }));

Deno.test("a process with one URL does not wait for new queues", () =>
  withQueues(1, async ([first]) => {
    assert.ok(first);
    await using creator = await sessionOn(1);
    await creator.session.declare(first, soon());
    await creator.session.waitForNewQueues(soon(20));
  }));

Deno.test("a queue that is declared again while it is new is waited for once", () =>
  withQueues(1, async ([first]) => {
    assert.ok(first);
    await using creator = await sessionOn(2);
    await creator.session.declare(first, soon());
    const began = performance.now();
    const again = setInterval(() => {
      creator.session.declare(first, soon()).catch(() => {});
    }, 500);
    try {
      await creator.session.waitForNewQueues(soon());
      await creator.session.declare(first, soon());
      await creator.session.waitForNewQueues(soon(20));
      const ms = performance.now() - began;
      assert.ok(ms > 3_000 && ms < 6_000, `waited for ${ms} ms`);
    } finally {
      clearInterval(again);
    }
  }));

Deno.test("a queue that exists in the other type is used as it is, and not waited for", () =>
  withQueues(1, async ([first]) => {
    assert.ok(first);
    await using creator = await sessionOn(1, "classic");
    await creator.session.declare(first, soon());
    await using other = await sessionOn(2);
    await other.session.declare(first, soon());
    await other.session.waitForNewQueues(soon(20));
  }));
