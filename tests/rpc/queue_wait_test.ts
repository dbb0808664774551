/** Requests that reach no queue are sent again while their queue is expected back. */
import assert from "node:assert/strict";
import { NoRouteError } from "../../src/errors.ts";
import { QueueWait } from "../../src/rpc/queue_wait.ts";
import type { OutgoingRequest } from "../../src/rpc/client/request_encoder.ts";

const request = (
  queue: string,
  { ms = 30_000, confirm }: { ms?: number; confirm?: boolean } = {},
): OutgoingRequest => ({
  id: `request to ${queue}`,
  kind: "cast",
  target: { topic: queue },
  destination: { address: { kind: "topic", topic: queue }, queue },
  method: "m",
  args: {},
  limits: { deadline: { at: performance.now() + ms }, timeout: ms },
  hints: { confirm },
} as unknown as OutgoingRequest);

/** A sender that reaches no queue so many times. */
function sender(failures: number) {
  const ids: string[] = [];
  const send = ({ id }: OutgoingRequest) => {
    ids.push(id);
    return ids.length > failures
      ? Promise.resolve("taken")
      : Promise.reject(new NoRouteError("no queue"));
  };
  return { ids, send };
}

const queueWait = (waitForRoute = false) => {
  const disposal = new AbortController();
  const { signal } = disposal;
  return {
    disposal,
    wait: new QueueWait({ waitForRoute, disposal: signal }),
  };
};

Deno.test("a queue that has never taken a request is an error at once", async () => {
  const { wait } = queueWait();
  const { ids, send } = sender(1);
  await assert.rejects(wait.send(request("q"), send), /start a worker/);
  assert.equal(ids.length, 1);
});

Deno.test("a request waits, with its id, for a queue that has taken one before", async () => {
  const { wait } = queueWait();
  await wait.send(request("q"), sender(0).send);
  const { ids, send } = sender(3);
  assert.equal(await wait.send(request("q"), send), "taken");
  assert.deepEqual([...new Set(ids)], ["request to q"]);
  assert.equal(ids.length, 4);
});

Deno.test("a queue that stays away is an error at the deadline that says so", async () => {
  const { wait } = queueWait();
  await wait.send(request("q"), sender(0).send);
  await assert.rejects(
    wait.send(request("q", { ms: 400 }), sender(Infinity).send),
    (error) =>
      error instanceof NoRouteError && error.code === "NO_ROUTE" &&
      /queue q has taken requests before, and was missing for \d+ ms/.test(
        error.message,
      ),
  );
});

Deno.test("other queues, other errors and a disposed connection are not waited for", async () => {
  const { wait, disposal } = queueWait();
  await wait.send(request("q"), sender(0).send);
  await assert.rejects(wait.send(request("r"), sender(1).send), NoRouteError);
  const other = () => Promise.reject(new Error("other"));
  await assert.rejects(wait.send(request("q"), other), /other/);
  disposal.abort();
  await assert.rejects(wait.send(request("q"), sender(1).send), NoRouteError);
});

Deno.test("an unconfirmed cast does not show that its queue exists", async () => {
  const { wait } = queueWait();
  await wait.send(request("q", { confirm: false }), sender(0).send);
  await assert.rejects(wait.send(request("q"), sender(1).send), NoRouteError);
});

Deno.test("of more than 10 000 queues, the first are forgotten", async () => {
  const { wait } = queueWait();
  const { send } = sender(0);
  for (let i = 0; i <= 10_000; i++) await wait.send(request(`q${i}`), send);
  await assert.rejects(wait.send(request("q0"), sender(1).send), NoRouteError);
  const last = sender(1);
  assert.equal(await wait.send(request("q10000"), last.send), "taken");
});
