/** Spans of requests and events, at both ends, as OpenTelemetry's SDK records them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import { z } from "npm:zod@^4.6.7";
import { context, propagation } from "npm:@opentelemetry/api@^1.9.0";
import {
  type ConnectionOptions,
  contract,
  createConnection,
  implement,
  Service,
} from "../../mod.ts";
import { until } from "../setup/probe.ts";
import {
  aborted,
  all,
  type Bus,
  failureOf,
  onEachBus,
  onRabbit,
} from "../rpc/support.ts";
import { assertChild, assertLinked, SpanRecorder } from "./span_recorder.ts";

const isRabbit = ({ url }: Bus) => !url.startsWith("memory:");

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
      dies: { retry: { attempts: 1 } },
      baggage: { result: z.string() },
      count: { yields: result },
      breaks: { yields: result },
      hangs: { yields: result },
    },
  });
}

/** A service that is traced, and a client. */
async function open(bus: Bus, options: Partial<ConnectionOptions> = {}) {
  const recorder = new SpanRecorder();
  const served = api(bus.topic);
  let attempts = 0;
  const service = await Service.start({
    url: bus.url,
    host: "one",
    signals: false,
    reportInterval: 0,
    ...options,
    manager: implement(served, {
      outer: () => client.call("inner"),
      inner: () => 1,
      fails: () => {
        throw new Error("no, the password=hunter2 is wrong");
      },
      note: () => {},
      tell: () => {},
      again: () => {
        if (++attempts === 1) throw new Error("not yet");
      },
      dies: () => {
        throw new Error("never");
      },
      baggage: () =>
        propagation.getActiveBaggage()?.getEntry("tenant")?.value ?? "",
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
    ...{ recorder, client, connection },
    named: (procedure: string) => `${bus.topic}/${procedure}`,
    async [Symbol.asyncDispose]() {
      await connection[Symbol.asyncDispose]();
      await service.stop();
      recorder[Symbol.dispose]();
    },
  };
}

onEachBus(
  "a call has a span at its caller, and one at its worker that continues the trace",
  async (bus) => {
    await using opened = await open(bus);
    const { recorder, client, named } = opened;
    assert.equal(await client.call("outer"), 1);
    assert.deepEqual(await all(client.multicall("count")), [1, 2]);
    for (const procedure of ["outer", "inner", "count"]) {
      const name = named(procedure);
      await until(
        `${procedure} is over`,
        () => recorder.of(name, "SERVER").length === 1,
      );
      const [sent] = recorder.of(name, "CLIENT");
      const [served] = recorder.of(name, "SERVER");
      assertChild(served, sent);
      assert.equal(sent?.attributes["rpc.system.name"], "warren");
      assert.equal(sent?.attributes["rpc.method"], name);
      assert.equal(sent?.attributes["rpc.response.status_code"], "OK");
      assert.equal(served?.attributes["rpc.response.status_code"], "OK");
      assert.equal(served?.attributes["warren.attempt"], 1);
      assert.equal(served?.attributes["warren.redelivered"], false);
      assert.equal(
        typeof sent?.attributes["server.address"],
        isRabbit(bus) ? "string" : "undefined",
      );
    }
    const [outer] = recorder.of(named("outer"), "SERVER");
    const [inner] = recorder.of(named("inner"), "CLIENT");
    assertChild(inner, outer);
  },
);

onEachBus(
  "a cast has a span at its sender, and one at its receiver with a link to it",
  async (bus) => {
    await using opened = await open(bus);
    const { recorder, client, named } = opened;
    await client.cast("note");
    await client.fanoutCast("tell");
    for (const procedure of ["note", "tell"]) {
      const handled = () =>
        recorder.of(`process ${named(procedure)}`, "CONSUMER");
      await until(`${procedure} is over`, () => handled().length === 1);
      const [sent] = recorder.of(`send ${named(procedure)}`, "PRODUCER");
      assertLinked(handled()[0], sent);
      const { attributes = {} } = sent ?? {};
      assert.equal(
        attributes["messaging.system"],
        isRabbit(bus) ? "rabbitmq" : "memory",
      );
      assert.equal(attributes["messaging.operation.type"], "send");
      assert.equal(attributes["messaging.destination.template"], bus.topic);
      assert.equal(attributes["warren.procedure"], procedure);
      assert.equal(typeof attributes["messaging.message.id"], "string");
      if (isRabbit(bus) && procedure === "note") {
        assert.equal(
          attributes["messaging.rabbitmq.destination.routing_key"],
          bus.topic,
        );
        assert.match(`${attributes["messaging.destination.name"]}`, /.:./);
      }
    }
  },
);

onEachBus(
  "with traceCasts child, a cast and its retries continue the trace of the sender",
  async (bus) => {
    await using opened = await open(bus, { traceCasts: "child" });
    const { recorder, client, named } = opened;
    await client.cast("again");
    const handled = () => recorder.of(`process ${named("again")}`, "CONSUMER");
    await until("both attempts are over", () => handled().length === 2);
    const [sent] = recorder.of(`send ${named("again")}`, "PRODUCER");
    for (const span of handled()) assertChild(span, sent);
  },
);

onEachBus("traceCasts has two values", async (bus) => {
  await assert.rejects(
    createConnection(bus.url, { traceCasts: "parent" as "link" }),
    /Invalid option traceCasts parent: give link or child/,
  );
});

onEachBus("spans record errors without secrets, at both ends", async (bus) => {
  await using opened = await open(bus);
  const { recorder, client, named } = opened;
  const error = await failureOf(client.call("fails"));
  const name = named("fails");
  await until("it is over", () => recorder.of(name, "SERVER").length === 1);
  const [sent] = recorder.of(name, "CLIENT");
  const [served] = recorder.of(name, "SERVER");
  assert.equal(
    sent?.attributes["error.type"],
    (error as { code?: string }).code,
  );
  assert.equal(sent?.status.code, 2);
  assert.equal(served?.attributes["error.type"], "Error");
  assert.equal(served?.events[0]?.name, "exception");
  const recorded = JSON.stringify([
    sent?.events,
    served?.events,
    sent?.status,
    served?.status,
  ]);
  assert.match(recorded, /no, the/);
  assert.doesNotMatch(recorded, /hunter2/);
});

onEachBus(
  "a retried cast has a span for each attempt with a link to its sender, and events tell of what followed",
  async (bus) => {
    await using opened = await open(bus);
    const { recorder, client, named } = opened;
    await client.cast("again");
    await client.cast("dies");
    const handled = (procedure: string) =>
      recorder.of(`process ${named(procedure)}`, "CONSUMER");
    await until("both attempts are over", () => handled("again").length === 2);
    await until("the other one is dead", () => handled("dies").length === 1);
    const [sent] = recorder.of(`send ${named("again")}`, "PRODUCER");
    const [first, second] = handled("again");
    for (const span of [first, second]) assertLinked(span, sent);
    const events = (span = first) => span?.events.map(({ name }) => name);
    assert.deepEqual(events(first), ["exception", "warren.retried"]);
    assert.deepEqual(events(second), []);
    assert.equal(second?.attributes["warren.attempt"], 2);
    const [dead] = handled("dies");
    assert.deepEqual(events(dead), ["exception", "warren.dead_lettered"]);
  },
);

onEachBus("baggage reaches the handler", async (bus) => {
  await using opened = await open(bus);
  const { client } = opened;
  const baggage = propagation.createBaggage({ tenant: { value: "acme" } });
  const active = propagation.setBaggage(context.active(), baggage);
  const tenant = await context.with(active, () => client.call("baggage"));
  assert.equal(tenant, "acme");
});

onRabbit(
  "the trace of a stranger is read, and a wrong one is ignored",
  async (bus) => {
    await using opened = await open(bus);
    const { recorder, named } = opened;
    await using raw = await bus.raw();
    const traceId = "0af7651916cd43dd8448eb211c80319c";
    const send = async (traceparent: unknown) => {
      recorder.clear();
      const body = { method: "note", args: {}, version: "1.0" };
      const bytes = Buffer.from(JSON.stringify(body));
      const headers = { traceparent };
      raw?.channel.sendToQueue(bus.topic, bytes, { headers });
      const handled = () => recorder.of(`process ${named("note")}`, "CONSUMER");
      await until("it is handled", () => handled().length === 1);
      return handled()[0]?.links.map(({ context }) => context.traceId);
    };
    assert.deepEqual(await send(`00-${traceId}-b7ad6b7169203331-01`), [
      traceId,
    ]);
    for (const wrong of ["", "00-zz", "x".repeat(10_000), 7, { a: 1 }]) {
      assert.deepEqual(await send(wrong), []);
    }
  },
);

onEachBus("the span of a stream lasts until its reader leaves", async (bus) => {
  await using opened = await open(bus);
  const { recorder, client, named } = opened;
  const stream = client.multicall("count");
  const sent = () => recorder.of(named("count"), "CLIENT");
  await stream.next();
  assert.equal(sent().length, 0);
  await stream.return();
  assert.equal(sent().length, 1);
});

onEachBus(
  "the span of a stream that fails ends with the error, also while nobody pulls",
  async (bus) => {
    await using opened = await open(bus);
    const { recorder, client, connection, named } = opened;
    const error = await failureOf(all(client.multicall("breaks")));
    const [broken] = recorder.of(named("breaks"), "CLIENT");
    assert.equal(
      broken?.attributes["error.type"],
      (error as { code?: string }).code,
    );
    const stopped = new Error("stopped");
    const stopping = new AbortController();
    const { signal } = stopping;
    const failures = [
      { options: { timeout: 200 }, end: () => {}, error: "TIMEOUT" },
      {
        options: { signal },
        end: () => stopping.abort(stopped),
        error: "Error",
      },
      {
        options: {},
        end: () => connection[Symbol.asyncDispose](),
        error: "DISPOSED",
      },
    ];
    for (const { options, end, error } of failures) {
      recorder.clear();
      const stream = client.multicall("hangs", {}, options);
      assert.equal((await stream.next()).value, 1);
      await end();
      const sent = () => recorder.of(named("hangs"), "CLIENT");
      await until("it has ended", () => sent().length === 1);
      assert.equal(sent()[0]?.attributes["error.type"], error);
      await stream.return();
      assert.equal(sent().length, 1);
    }
  },
);

onEachBus(
  "an event has a span at its sender and at each listener",
  async (bus) => {
    await using opened = await open(bus);
    const { recorder, connection } = opened;
    const eventType = `${bus.topic}.happened`;
    await using listener = await bus.connect();
    await listener.createListener(() => {}, { eventType, exclusive: true });
    await connection.notify(eventType, { id: 1 });
    const handled = () =>
      recorder.of(`process notifications/${eventType}`, "CONSUMER");
    await until("it is handled", () => handled().length === 1);
    const [sent] = recorder.of(`send notifications/${eventType}`, "PRODUCER");
    assertLinked(handled()[0], sent);
    assert.equal(
      handled()[0]?.attributes["messaging.operation.type"],
      "process",
    );
  },
);
