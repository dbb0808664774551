/** Spans of requests and events, at both ends. */
import assert from "node:assert/strict";
import { AsyncLocalStorage } from "node:async_hooks";
import { z } from "npm:zod@^4.6.7";
import { contract, implement, type RpcError, Service } from "../mod.ts";
import {
  setTracer,
  type Span,
  type SpanOptions,
  type TraceHeaders,
  type Tracer,
} from "../src/tracing.ts";
import { until } from "./setup/probe.ts";
import { aborted, all, type Bus, failureOf, onEachBus } from "./rpc/support.ts";

/** A span that was recorded. */
interface Recorded {
  readonly id: string;
  readonly options: SpanOptions;
  /** Id of the span in whose work it was started; undefined if it goes on with the trace of a message. */
  readonly within: string | undefined;
  readonly errors: unknown[];
  ended: number;
}

/** Records all spans; the id of a span travels as `traceparent`. */
class Recorder implements Tracer {
  readonly spans: Recorded[] = [];
  readonly #active = new AsyncLocalStorage<string>();

  startSpan(options: SpanOptions): Span {
    const id = crypto.randomUUID();
    const within = this.#active.getStore();
    const span: Recorded = { id, options, within, errors: [], ended: 0 };
    this.spans.push(span);
    return {
      inject: (headers) => void (headers.traceparent = id),
      run: (work) => this.#active.run(id, work),
      fail: (error) => void span.errors.push(error),
      end: () => void span.ended++,
    };
  }

  /** Spans of a method, of one kind; each has ended once. */
  of(method: string, kind: SpanOptions["kind"]): Recorded[] {
    const spans = this.spans.filter(({ options }) =>
      options.kind === kind && options.attributes["rpc.method"] === method
    );
    for (const { ended } of spans) assert.equal(ended, 1, method);
    return spans;
  }
}

const idIn = (headers: TraceHeaders | undefined) => headers?.traceparent;

function api(topic: string) {
  const result = z.number();
  const retry = { attempts: 2, backoff: [100] } as const;
  return contract({
    topic,
    version: "1.0",
    procedures: {
      outer: { result },
      inner: { result },
      fails: { result },
      note: {},
      tell: {},
      again: { retry },
      count: { yields: result },
      breaks: { yields: result },
      hangs: { yields: result },
    },
  });
}

/** A service that is traced, and a client. */
async function open(bus: Bus) {
  const tracer = new Recorder();
  setTracer(tracer);
  const served = api(bus.topic);
  let attempts = 0;
  const service = await Service.start({
    url: bus.url,
    host: "one",
    signals: false,
    reportInterval: 0,
    manager: implement(served, {
      outer: () => client.call("inner"),
      inner: () => 1,
      fails: () => {
        throw new Error("no");
      },
      note: () => {},
      tell: () => {},
      again: () => {
        if (++attempts === 1) throw new Error("not yet");
      },
      async *count() {
        yield* [1, 2];
      },
      async *breaks() {
        yield 1;
        throw new Error("broken");
      },
      async *hangs(_args, { signal }) {
        yield 1;
        await aborted(signal);
      },
    }),
  });
  const connection = await bus.connect();
  const client = connection.client(served);
  return {
    ...{ tracer, client, connection },
    async [Symbol.asyncDispose]() {
      setTracer(undefined);
      await connection[Symbol.asyncDispose]();
      await service.stop();
    },
  };
}

onEachBus(
  "every verb has a span at its sender, and one at its receiver that goes on with its trace",
  async (bus) => {
    await using opened = await open(bus);
    const { tracer, client } = opened;
    assert.equal(await client.call("outer"), 1);
    await client.cast("note");
    await client.fanoutCast("tell");
    assert.deepEqual(await all(client.multicall("count")), [1, 2]);
    const ended = (method: string) =>
      tracer.spans.filter(({ options, ended }) =>
        options.attributes["rpc.method"] === method && ended > 0
      ).length === 2;
    for (const method of ["outer", "inner", "note", "tell", "count"]) {
      await until(`${method} is over`, () => ended(method));
      const waits = method !== "note" && method !== "tell";
      const [sent] = tracer.of(method, waits ? "client" : "producer");
      const [served] = tracer.of(method, waits ? "server" : "consumer");
      assert.ok(sent && served, method);
      assert.equal(idIn(served.options.parent), sent.id);
      assert.equal(served.options.links, undefined);
      const { attributes } = sent.options;
      assert.equal(attributes["rpc.service"], bus.topic);
      assert.equal(attributes["messaging.destination.name"], bus.topic);
      assert.deepEqual([sent.errors, served.errors], [[], []]);
    }
    const [outer] = tracer.of("outer", "server");
    const [inner] = tracer.of("inner", "client");
    assert.equal(inner?.within, outer?.id, "the handler's call is a child");
  },
);

onEachBus("spans note errors, at both ends", async (bus) => {
  await using opened = await open(bus);
  const { tracer, client } = opened;
  const error = await failureOf(client.call("fails"));
  await until("it is over", () => tracer.spans.every(({ ended }) => ended > 0));
  assert.deepEqual(tracer.of("fails", "client")[0]?.errors, [error]);
  assert.match(`${tracer.of("fails", "server")[0]?.errors}`, /no/);
});

onEachBus(
  "a retried cast has a span for each attempt, later ones with a link to its sender",
  async (bus) => {
    await using opened = await open(bus);
    const { tracer, client } = opened;
    await client.cast("again");
    await until(
      "both attempts are over",
      () =>
        tracer.spans.filter(({ ended, options }) =>
          ended > 0 && options.kind === "consumer"
        ).length === 2,
    );
    const [sent] = tracer.of("again", "producer");
    const [first, second] = tracer.of("again", "consumer");
    assert.equal(idIn(first?.options.parent), sent?.id);
    assert.equal(first?.errors.length, 1);
    assert.equal(second?.options.parent, undefined);
    assert.deepEqual(second?.options.links?.map(idIn), [sent?.id]);
    assert.equal(second?.options.attributes["warren.attempt"], 2);
    assert.deepEqual(second?.errors, []);
  },
);

onEachBus("the span of a stream lasts until its reader leaves", async (bus) => {
  await using opened = await open(bus);
  const { tracer, client } = opened;
  const stream = client.multicall("count");
  const of = () =>
    tracer.spans.find(({ options }) =>
      options.kind === "client" && options.attributes["rpc.method"] === "count"
    );
  assert.equal(of(), undefined, "nothing is sent yet");
  await stream.next();
  const sent = of();
  assert.equal(sent?.ended, 0);
  await stream.return();
  assert.equal(sent?.ended, 1);
});

onEachBus(
  "the span of a stream that fails ends with the error, also while nobody pulls",
  async (bus) => {
    await using opened = await open(bus);
    const { tracer, client, connection } = opened;
    const error = await failureOf(all(client.multicall("breaks")));
    assert.deepEqual(tracer.of("breaks", "client")[0]?.errors, [error]);
    const stopped = new Error("stopped");
    const stopping = new AbortController();
    const { signal } = stopping;
    const failures = [
      { options: { timeout: 200 }, end: () => {}, error: /TIMEOUT/ },
      {
        options: { signal },
        end: () => stopping.abort(stopped),
        error: /stopped/,
      },
      {
        options: {},
        end: () => connection[Symbol.asyncDispose](),
        error: /DISPOSED/,
      },
    ];
    for (const { options, end, error } of failures) {
      tracer.spans.length = 0;
      const stream = client.multicall("hangs", {}, options);
      assert.equal((await stream.next()).value, 1);
      await end();
      const sent = () =>
        tracer.spans.find(({ options: { kind, attributes } }) =>
          kind === "client" && attributes["rpc.method"] === "hangs"
        );
      await until("it has ended", () => (sent()?.ended ?? 0) > 0);
      const [cause, ...others] = sent()?.errors ?? [];
      const { code = "", message } = cause as RpcError;
      assert.match(`${code} ${message}`, error);
      assert.deepEqual(others, []);
      await stream.return();
      assert.equal(sent()?.ended, 1);
    }
  },
);

onEachBus(
  "an event has a span at its sender and at each listener",
  async (bus) => {
    await using opened = await open(bus);
    const { tracer, connection } = opened;
    const eventType = `${bus.topic}.happened`;
    await using listener = await bus.connect();
    await listener.createListener(() => {}, { eventType, exclusive: true });
    await connection.notify(eventType, { id: 1 });
    await until(
      "it is handled",
      () =>
        tracer.spans.some(({ options, ended }) =>
          options.kind === "consumer" && ended > 0
        ),
    );
    const [sent] = tracer.of(eventType, "producer");
    const [handled] = tracer.of(eventType, "consumer");
    assert.equal(idIn(handled?.options.parent), sent?.id);
    assert.equal(
      handled?.options.attributes["messaging.operation.type"],
      "process",
    );
  },
);
