/** Answers that are ready together, in one message. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { InvalidResultError } from "../../../mod.ts";
import type { Deadline, Message } from "../../../src/transport/transport.ts";
import { type Address, queueName } from "../../../src/transport/address.ts";
import {
  ReplyBatcher,
  type ReplyChannel,
  withoutConfirms,
} from "../../../src/rpc/replies/reply_batcher.ts";
import {
  type BatchEntry,
  decodeBatch,
  ReplyBatch,
} from "../../../src/wire/reply_batch.ts";
import { defaultLimits } from "../../../src/wire/json.ts";
import { until } from "../../setup/probe.ts";
import {
  type Bus,
  onEachBus,
  onRabbit,
  type Raw,
  sumHandlers,
  sums,
} from "../support.ts";

/** Asks as another Warren would, of some version. */
function ask(
  { channel }: Raw,
  topic: string,
  { method, args, call, queue, version }: {
    method: string;
    args: object;
    call: string;
    queue: string;
    version: string;
  },
) {
  const ids = { _msg_id: call, _unique_id: call, _reply_q: queue };
  const body = { method, args, _timeout: null, ...ids };
  const headers = { warren: version, "warren-timeout": "60000" };
  const bytes = Buffer.from(JSON.stringify(body));
  channel.publish("warren", topic, bytes, { headers });
}

/** Asks five times with one version of Warren's headers, has all answered in one turn, and gives what comes. */
async function five(bus: Bus, version: string) {
  const gate = Promise.withResolvers<void>();
  let begun = 0;
  await using _worker = await bus.serve(
    sums(bus.topic),
    sumHandlers({
      wait: () => {
        if (++begun === 5) gate.resolve();
        return gate.promise;
      },
    }),
  );
  await using raw = await bus.raw() as Raw;
  const { channel } = raw;
  const { queue } = await channel.assertQueue("", { exclusive: true });
  const calls = ["a", "b", "c", "d", "e"].map((id) => `${id}${bus.topic}`);
  for (const call of calls) {
    ask(raw, bus.topic, { method: "wait", args: {}, call, queue, version });
  }
  const messages: BatchEntry[] = [];
  await until("five answers", async () => {
    const message = await channel.get(queue, { noAck: true });
    if (!message) return false;
    const { headers = {}, correlationId } = message.properties;
    messages.push({ body: message.content, headers, correlationId });
    return Number(headers["warren-batch"] ?? messages.length) === 5;
  });
  return { calls, messages };
}

onRabbit(
  "answers that are ready together come in one message, in their order",
  async (bus) => {
    const { calls, messages } = await five(bus, "2");
    const [message] = messages;
    assert.ok(message && messages.length === 1);
    const parts = decodeBatch(message);
    assert.deepEqual(parts?.map(({ correlationId }) => correlationId), calls);
    const bodies = parts?.map(({ body }) => JSON.parse(`${Buffer.from(body)}`));
    assert.deepEqual(bodies?.map(({ _msg_id }) => _msg_id), calls);
  },
);

onRabbit(
  "a caller that does not say that it takes several in one message gets one in each",
  async (bus) => {
    const { calls, messages } = await five(bus, "1");
    const seen = messages.map(({ correlationId }) => correlationId);
    assert.deepEqual(seen, calls);
    assert.ok(messages.every(({ headers }) => !("warren-batch" in headers)));
  },
);

onRabbit(
  "an answer in a batch that cannot be read fails its own call alone",
  async (bus) => {
    await using raw = await bus.raw() as Raw;
    const { channel } = raw;
    await channel.assertExchange("warren", "topic");
    await channel.assertQueue(bus.topic);
    await channel.bindQueue(bus.topic, "warren", bus.topic);
    const asked: { call: string; queue: string }[] = [];
    await channel.consume(bus.topic, (message) => {
      const { _msg_id: call, _reply_q: queue } = JSON.parse(
        `${message?.content}`,
      );
      if (asked.push({ call, queue }) < 3) return;
      const batch = new ReplyBatch();
      for (const [n, { call }] of asked.entries()) {
        const said = { _msg_id: call, _unique_id: call, ending: true };
        const text = JSON.stringify({ ...said, result: n, failure: null });
        const body = Buffer.from(n === 1 ? text.slice(0, -1) : text);
        const part = { body, headers: { warren: "2" }, correlationId: call };
        assert.ok(batch.add(part, Infinity));
      }
      const { body, headers } = batch.encoded;
      channel.sendToQueue(queue, Buffer.from(body), { headers });
    }, { noAck: true });
    await using connection = await bus.connect();
    const client = connection.client(sums(bus.topic));
    const calls = [1, 2, 3].map((a) => client.call("add", { a, b: 0 }));
    const ends = await Promise.allSettled(calls);
    assert.deepEqual(
      ends.map((end) =>
        end.status === "fulfilled" ? end.value : end.reason.constructor
      ),
      [0, InvalidResultError, 2],
    );
  },
);

onEachBus(
  "a caller gets all answers that come together, however small the messages are that it takes",
  async (bus) => {
    const gate = Promise.withResolvers<void>();
    let begun = 0;
    await using _worker = await bus.serve(
      sums(bus.topic),
      sumHandlers({
        wait: () => {
          if (++begun === 60) gate.resolve();
          return gate.promise;
        },
      }),
    );
    await using connection = await bus.connect({ maxMessageSize: 2_000 });
    const client = connection.client(sums(bus.topic));
    const calls = Array.from({ length: 60 }, () => client.call("wait", {}));
    assert.equal((await Promise.all(calls)).length, 60);
  },
);

onRabbit(
  "each call in a batch notices that its caller is gone",
  async (bus) => {
    const gate = Promise.withResolvers<void>();
    const gone: unknown[] = [];
    let open = 0;
    await using _worker = await bus.serve(
      sums(bus.topic),
      sumHandlers({
        async *count(_args, { signal }) {
          signal.addEventListener("abort", () => gone.push(signal.reason));
          if (++open === 3) gate.resolve();
          await gate.promise;
          for (let n = 1;; n++) yield n;
        },
      }),
      { grace: 0 },
    );
    await using raw = await bus.raw() as Raw;
    const queue = `${bus.topic}-nobody`; // there is none
    for (const id of ["a", "b", "c"]) {
      ask(raw, bus.topic, {
        method: "count",
        args: { to: 0 },
        call: id,
        queue,
        version: "2",
      });
    }
    await until("three ends", () => Promise.resolve(gone.length === 3));
    for (const reason of gone) assert.match(`${reason}`, /the caller is gone/);
  },
);

/** Notes what is published; the test says what becomes of it. */
class Notes implements ReplyChannel {
  readonly sent: {
    readonly key: string;
    readonly ids: (string | undefined)[];
    readonly deadline: number;
    readonly end: PromiseWithResolvers<void>;
  }[] = [];

  publish(
    address: Address,
    message: Message,
    { at }: Deadline,
  ): Promise<void> {
    const batch = "warren-batch" in message.headers;
    assert.ok(!batch || message.mandatory && message.messageId);
    const parts = batch ? decodeBatch(message) ?? [] : [message];
    const ids = parts.map(({ correlationId }) => correlationId);
    const end = Promise.withResolvers<void>();
    this.sent.push({ key: queueName(address), ids, deadline: at, end });
    return end.promise;
  }
}

const answer = (correlationId: string, bytes = 100): Message => ({
  body: new Uint8Array(bytes).fill(0x78),
  headers: {},
  correlationId,
});

/** What is put together of answers, each with its queue and deadline, after the turn in which they were said. */
async function putTogether(
  answers: readonly (readonly [string, Message, number?])[],
  limits = defaultLimits,
) {
  const notes = new Notes();
  const batches = new ReplyBatcher(notes, limits);
  const told = answers.map(([queue, message, deadline = 1_000]) =>
    batches.publish(queue, { message, deadline, version: 2 })
  );
  await new Promise((resolve) => setTimeout(resolve, 0));
  return { told, sent: notes.sent };
}

Deno.test("answers to several queues go apart", async () => {
  const { sent } = await putTogether([
    ["q", answer("1")],
    ["r", answer("2")],
    ["q", answer("3")],
  ]);
  const seen = sent.map(({ key, ids }) => [key, ids]);
  assert.deepEqual(seen, [["q", ["1", "3"]], ["r", ["2"]]]);
});

Deno.test("a large answer goes alone, behind those before it, and before those behind it", async () => {
  const { sent } = await putTogether([
    ["q", answer("1")],
    ["q", answer("2")],
    ["q", answer("3", 10_000)],
    ["q", answer("4")],
    ["q", answer("5")],
  ]);
  assert.deepEqual(sent.map(({ ids }) => ids), [["1", "2"], ["3"], ["4", "5"]]);
});

Deno.test("a batch is no larger than 64 KiB, nor than a message may be", async () => {
  const many = Array.from(
    { length: 20 },
    (_, n) => ["q", answer(`${n}`, 8_000)] as const,
  );
  const order = many.map((_, n) => `${n}`);
  for (
    const [bytes, most] of [[1e6, [8, 8, 4]], [16_100, Array(10).fill(2)]]
  ) {
    const limits = { ...defaultLimits, bytes: Number(bytes) };
    const { sent } = await putTogether(many, limits);
    assert.deepEqual(sent.map(({ ids }) => ids.length), most);
    assert.deepEqual(sent.flatMap(({ ids }) => ids), order);
  }
});

Deno.test("a batch waits as long as the most patient in it, and those who wait much longer or shorter go apart", async () => {
  const deadlines = [1_000, 1_090, 1_050, 980, 1_080, 9_000];
  const more = [Infinity, Infinity, 1_000];
  const { sent } = await putTogether(
    [...deadlines, ...more].map((ms, n) => ["q", answer(`${n}`), ms] as const),
  );
  const seen = sent.map(({ ids, deadline }) => [deadline, ...ids]);
  assert.deepEqual(seen, [
    [1_090, "0", "1", "2"],
    [1_080, "3", "4"],
    [9_000, "5"],
    [Infinity, "6", "7"],
    [1_000, "8"],
  ]);
});

Deno.test("what becomes of a batch is told to all in it, and to no others", async () => {
  const { sent, told } = await putTogether([
    ["q", answer("1")],
    ["r", answer("2")],
    ["q", answer("3")],
  ]);
  const [q, r] = sent;
  const no = new Error("no");
  q?.end.reject(no);
  r?.end.resolve();
  const ends = await Promise.allSettled(told);
  const lost = { status: "rejected", reason: no };
  assert.deepEqual(ends, [
    lost,
    { status: "fulfilled", value: undefined },
    lost,
  ]);
});

Deno.test("answers without confirms are batched as well, and no message of them is mandatory", async () => {
  const sent: Message[] = [];
  const send = (_address: Address, message: Message) => {
    sent.push(message);
    return Promise.resolve();
  };
  const batches = new ReplyBatcher(withoutConfirms({ send }), defaultLimits);
  const mandatory = { mandatory: true };
  const common = { deadline: 1_000, version: 2 };
  await Promise.all([
    batches.publish("q", {
      ...common,
      message: { ...answer("1"), ...mandatory },
    }),
    batches.publish("q", {
      ...common,
      message: { ...answer("2"), ...mandatory },
    }),
    batches.publish("r", {
      ...common,
      message: { ...answer("3"), ...mandatory },
    }),
    batches.publishAlone("q", { ...answer("4"), ...mandatory }, { at: 1_000 }),
  ]);
  const ids = sent.map((message) =>
    (decodeBatch(message) ?? [message]).map((each) => each.correlationId)
  );
  assert.deepEqual(ids, [["4"], ["1", "2"], ["3"]]);
  assert.ok(sent.every(({ mandatory }) => mandatory === false));
});
