/** The lifecycle of a service: order of the undo steps, their time limits, and a stop during the start. */
import assert from "node:assert/strict";
import { Lifecycle } from "../../src/service/lifecycle.ts";
import { logged } from "../setup/logged.ts";

const reason = new Error("stop");

Deno.test("a stop undoes the steps of the start in the reverse order", async () => {
  const order: string[] = [];
  const lifecycle = new Lifecycle(1_000, () => order.push("stopping"));
  lifecycle.stopping.addEventListener("abort", () => order.push("signal"));
  await lifecycle.start(async () => {
    lifecycle.defer(() => void order.push("first"));
    await lifecycle.step(() => lifecycle.use(disposable("second")));
    lifecycle.deferLimited("third", () => order.push("third"));
    await lifecycle.open(Promise.resolve(disposable("fourth")));
  });
  const stopping = lifecycle.stop(reason);
  assert.equal(lifecycle.stop(new Error("again")), stopping);
  await stopping;
  await lifecycle.ended;
  const undone = ["fourth", "third", "second", "first"];
  assert.deepEqual(order, ["stopping", "signal", ...undone]);
  assert.equal(lifecycle.stopping.reason, reason);

  function disposable(name: string): AsyncDisposable {
    return {
      [Symbol.asyncDispose]: () => Promise.resolve(void order.push(name)),
    };
  }
});

Deno.test("a step that fails or hangs is logged, and the next one follows", async () => {
  await using log = await logged();
  const order: string[] = [];
  const lifecycle = new Lifecycle(0, () => {});
  await lifecycle.start(() => {
    lifecycle.defer(() => void order.push("last"));
    lifecycle.deferLimited("hanging step", () => new Promise(() => {}));
    lifecycle.deferLimited("failing step", () => {
      throw new Error("expected");
    });
    return Promise.resolve();
  });
  await lifecycle.stop(reason);
  assert.deepEqual(order, ["last"]);
  const names = ["failing step", "hanging step"];
  for (const name of names) {
    assert.ok(log.lines.some((line) => line.includes(name)), name);
  }
});

Deno.test("a stop during the start waits for the current step, which is undone; no further step begins", async () => {
  const order: string[] = [];
  const step = Promise.withResolvers<void>();
  const lifecycle = new Lifecycle(5_000, () => {});
  const started = lifecycle.start(async () => {
    await lifecycle.step(() => step.promise);
    lifecycle.deferLimited("undo", () => order.push("undone"));
    await lifecycle.step(() => order.push("further step"));
  });
  const stopped = lifecycle.stop(reason);
  step.resolve();
  await assert.rejects(started, reason);
  await stopped;
  assert.deepEqual(order, ["undone"]);
});

Deno.test("a resource that opens after the stop has begun is disposed at once", async () => {
  const opening = Promise.withResolvers<AsyncDisposable>();
  let disposed = 0;
  const lifecycle = new Lifecycle(5_000, () => {});
  const started = lifecycle.start(async () => {
    await lifecycle.open(opening.promise);
  });
  const stopped = lifecycle.stop(reason);
  opening.resolve({
    [Symbol.asyncDispose]: () => Promise.resolve(void disposed++),
  });
  await assert.rejects(started, reason);
  await stopped;
  assert.equal(disposed, 1);
});

Deno.test("a failure undoes the start and is the error of its end", async () => {
  const order: string[] = [];
  const lifecycle = new Lifecycle(1_000, () => {});
  const undone = Promise.withResolvers<void>();
  lifecycle.defer(() => {
    order.push("undone");
    undone.resolve();
  });
  lifecycle.fail(reason);
  await assert.rejects(lifecycle.ended, reason);
  await undone.promise;
  assert.deepEqual(order, ["undone"]);
});
