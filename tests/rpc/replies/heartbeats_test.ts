/** Signs of life come in time, also where others keep the event loop. */
import assert from "node:assert/strict";
import type { ReplyPublisher } from "../../../src/rpc/replies/reply_publisher.ts";
import { Heartbeats } from "../../../src/rpc/replies/heartbeats.ts";
import type { IncomingRequest } from "../../../src/rpc/request/incoming_request.ts";
import { until } from "../../setup/probe.ts";

/** As much of a call as signs of life look at. */
const call = (more: object): IncomingRequest =>
  ({
    request: { reply: { call: "c", queue: "q", form: "oneMessage" }, ...more },
    replies: [],
    cancellation: { cancelled: false, heartbeatSent: () => {} },
  }) as unknown as IncomingRequest;

/** Signs of life, and when each came and may be sent until. */
function watched() {
  const came: { readonly at: number; readonly deadline: number }[] = [];
  const answers = {
    sendHeartbeat: (_: unknown, { at: deadline }: { readonly at: number }) => {
      came.push({ at: performance.now(), deadline });
      return Promise.resolve();
    },
  };
  return { came, beats: new Heartbeats(answers as unknown as ReplyPublisher) };
}

const turn = () => new Promise((resolve) => setTimeout(resolve));

function compute(ms: number): void {
  const end = performance.now() + ms;
  while (performance.now() < end);
}

Deno.test("a caller that wants a sign of life each second has two, whoever keeps the event loop", async () => {
  const { came, beats } = watched();
  using _ = beats;
  const began = performance.now();
  beats.start(call({ monitor: 1_000 }));
  while (performance.now() < began + 2_000) {
    compute(180);
    await turn();
  }
  assert.ok(came.length >= 2, `${came.length} in two seconds`);
  for (const [n, { at }] of came.entries()) {
    const before = came[n - 1]?.at ?? began;
    assert.ok(at - before < 1_000, `${at - before} ms of silence`);
  }
});

Deno.test("a sign of life has time to be sent, however often it is wanted", async () => {
  const { came, beats } = watched();
  using _ = beats;
  beats.start(call({ monitor: 40 }));
  await until("one has come", () => came.length > 0);
  assert.ok(came.every(({ at, deadline }) => deadline > at));
});

Deno.test("who has been answered needs no sign of life, and what has ended gives none", async () => {
  const { came, beats } = watched();
  using _ = beats;
  const answered = call({ warren: true, answer: true });
  Object.assign(answered, { replies: [{}] });
  const ended = call({ warren: true });
  const open = call({ warren: true });
  const [, handle] = [answered, ended, open].map((each) => beats.start(each));
  beats.stop(handle);
  await until("the open one has given one", () => came.length > 0);
  assert.equal(came.length, 1); // all were looked at together
});
