/** Telemetry stands what peers and handlers do to it: odd errors, many names, deferred versions, late SDKs. */
import assert from "node:assert/strict";
import { context, metrics, trace } from "npm:@opentelemetry/api@^1.9.0";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  createConnection,
  implement,
  operations,
  Service,
} from "../../mod.ts";
import { parseReady, readyMarker } from "../../src/config/worker_role.ts";
import { instruments } from "../../src/telemetry/instruments.ts";
import {
  isMetricFamily,
  metricFamilies,
} from "../../src/telemetry/prometheus.ts";
import { all, type Bus, failureOf, onEachBus } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { hasParser, scrape, total } from "./prometheus.ts";
import { assertChild, SpanRecorder } from "./span_recorder.ts";

/** Errors with a name that throws, is no text, is long, or has a secret in it. */
const ODD_ERRORS = [
  Object.defineProperty(new Error("a"), "name", {
    get: () => {
      throw new Error("no name");
    },
  }),
  Object.assign(new Error("b"), { name: 42 }),
  Object.assign(new Error("c"), { name: "x".repeat(100_000) }),
  Object.assign(new Error("d"), { name: "amqp://user:hunter2@host token=abc" }),
];

function api(topic: string) {
  const args = z.object({ n: z.number() });
  return contract({
    topic,
    version: "1.0",
    procedures: {
      odd: { args, result: z.number() },
      count: { yields: z.number() },
      note: { args, retry: { attempts: 1 } },
    },
  });
}

function serve(bus: Bus) {
  const odd = ({ n }: { n: number }): never => {
    throw ODD_ERRORS[n];
  };
  return Service.start({
    ...{ url: bus.url, host: "one", signals: false, reportInterval: 0 },
    healthPort: 0,
    manager: implement(api(bus.topic), {
      odd,
      note: odd,
      async *count() {
        yield* [1, 2];
      },
    }),
  });
}

onEachBus(
  "errors with odd names are replied, counted and listened to like others",
  async (bus) => {
    using recorder = new SpanRecorder();
    await using service = await serve(bus);
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    const eventType = `${bus.topic}.odd`;
    let seen = 0;
    await using listener = await bus.connect();
    await listener.createListener(() => {
      throw ODD_ERRORS[seen++];
    }, { eventType, exclusive: true, retry: { attempts: 1 } });
    for (const n of ODD_ERRORS.keys()) {
      const error = await failureOf(client.call("odd", { n }));
      assert.equal((error as { code?: string }).code, "REMOTE");
      await client.cast("note", { n });
      await connection.notify(eventType, {});
      await until("it was listened to", () => seen === n + 1);
    }
    await until("the casts are dead", () => service.stats.dead === 4);
    await until(
      "all spans have ended",
      () =>
        recorder.of(`process notifications/${eventType}`, "CONSUMER").length ===
          4,
    );
    const spans = JSON.stringify(
      recorder.ended.map((
        { attributes, events, status },
      ) => [attributes, events, status]),
    );
    assert.doesNotMatch(spans, /hunter2|x{9000}/);
    for (const { attributes } of recorder.ended) {
      assert.doesNotMatch(JSON.stringify(attributes), /x{200}/);
    }
    const response = await fetch(`${service.healthUrl}/metrics`);
    const text = await response.text();
    assert.equal(response.status, 200);
    assert.doesNotMatch(text, /hunter2|x{200}/);
  },
);

onEachBus(
  "event types beyond the first 50 of a topic are counted together",
  async (bus) => {
    const { topic } = bus;
    await using connection = await bus.connect({
      notifications: { topics: [topic] },
    });
    let seen = 0;
    await connection.createListener(() => void seen++, {
      topic,
      exclusive: true,
    });
    const types = Array.from({ length: 120 }, (_, n) => `${topic}.type${n}`);
    await Promise.all(types.map((type) => connection.notify(type, {})));
    await until("all are handled", () => seen === types.length);
    for (
      const name of [
        "messaging_process_duration_seconds",
        "messaging_client_operation_duration_seconds",
      ]
    ) {
      const family = metricFamilies().find((each) => each.name === name);
      const labels = family?.samples.filter(({ suffix, labels }) =>
        suffix === "_count" && labels.messaging_destination_name === topic
      ).map(({ labels }) => labels.warren_procedure);
      assert.equal(labels?.length, 51);
      assert.ok(labels?.includes("_OTHER"));
    }
  },
);

onEachBus(
  "retried and dead events have events of their spans, and incidents",
  async (bus) => {
    using recorder = new SpanRecorder();
    const { topic } = bus;
    await using connection = await bus.connect({
      notifications: { topics: [topic] },
    });
    for (
      const queue of [
        `${topic}.info`,
        `${topic}.info.dead`,
        `${topic}.info.delay.100`,
      ]
    ) bus.owns(queue);
    const retry = { attempts: 2, backoff: [100] } as const;
    await connection.createListener(() => {
      throw new Error("no");
    }, { topic, priority: "info", retry });
    await connection.notify("happened", {});
    const handled = () => recorder.of(`process ${topic}/happened`, "CONSUMER");
    await until("it is dead", () => handled().length === 2);
    const events = handled().flatMap(({ events }) =>
      events.map(({ name }) => name)
    );
    assert.deepEqual(events, [
      "exception",
      "warren.retried",
      "exception",
      "warren.dead_lettered",
    ]);
    const incidents = [...instruments.incidents.series()].filter((
      { attributes },
    ) => attributes["warren.topic"] === topic).map((
      { attributes, sum },
    ) => [attributes["warren.incident"], sum]);
    assert.deepEqual(incidents, [["retried", 1], ["dead_lettered", 1]]);
  },
);

onEachBus(
  "the span of a stream belongs to the code that called, not to the one that reads",
  async (bus) => {
    using recorder = new SpanRecorder();
    await using _service = await serve(bus);
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic));
    const tracer = trace.getTracer("test");
    const within = <T>(name: string, work: () => T): T => {
      const span = tracer.startSpan(name);
      const result = context.with(trace.setSpan(context.active(), span), work);
      span.end();
      return result;
    };
    const stream = within("calls", () => client.multicall("count"));
    await within("reads", () => all(stream));
    const [sent] = recorder.of(`${bus.topic}/count`, "CLIENT");
    assertChild(sent, recorder.of("calls", "INTERNAL")[0]);
  },
);

onEachBus("Warren's own messages have no spans and no series", async (bus) => {
  using recorder = new SpanRecorder();
  await using service = await serve(bus);
  await using connection = await bus.connect();
  await all(connection.services({ topic: bus.topic, timeout: 200 }));
  assert.deepEqual(recorder.ended.map(({ name }) => name), []);
  if (!hasParser) return;
  const samples = await scrape(String(service.healthUrl));
  const own = samples.filter(({ labels }) =>
    /warren\.(services|reports)/.test(JSON.stringify(labels))
  );
  assert.deepEqual(own, []);
});

Deno.test("the first dead letter of a procedure is an increase from 0", async () => {
  const topic = `t${crypto.randomUUID().slice(0, 8)}`;
  const url = `memory:${topic}`;
  await using service = await Service.start({
    ...{ url, host: "one", signals: false, reportInterval: 0, healthPort: 0 },
    manager: implement(api(topic), {
      odd: () => 1,
      note: () => {},
      async *count() {},
    }),
  });
  if (!hasParser) return;
  const samples = await scrape(String(service.healthUrl));
  const labels = {
    warren_topic: topic,
    warren_procedure: "note",
    warren_incident: "dead_lettered",
  };
  const found = samples.filter((sample) =>
    sample.name === "warren_server_incidents_total" &&
    Object.entries(labels).every(([name, value]) =>
      sample.labels[name] === value
    )
  );
  assert.deepEqual(found.map(({ value }) => value), [0]);
  assert.equal(total(samples, "warren_server_incidents_total", labels), 0);
});

Deno.test("gauges are read by a meter provider that is registered later", () => {
  const created: string[] = [];
  const gauge = { addCallback: () => {}, removeCallback: () => {} };
  const recorder = { record: () => {}, add: () => {} };
  const meter = new Proxy({}, {
    get: (_target, method) => (name: string) => {
      created.push(name);
      return method === "createObservableGauge" ? gauge : recorder;
    },
  });
  metrics.setGlobalMeterProvider({ getMeter: () => meter } as never);
  try {
    instruments.eventLoopBlocks.record(0, []);
  } finally {
    metrics.disable();
  }
  assert.ok(created.includes("warren.client.active_requests"), `${created}`);
  assert.ok(created.includes("warren.event_loop.blocks"));
});

Deno.test("only a line with the launcher's secret names the metrics of a worker", () => {
  const secret = crypto.randomUUID();
  const line = (secret: string, port: string) =>
    `text${readyMarker({ secret, port })}`;
  assert.deepEqual(parseReady(line(secret, "81"), secret), {
    output: "text",
    metricsPort: 81,
  });
  for (
    const [given, port] of [["other", "81"], [secret, "http://x/"], [
      secret,
      "1234567",
    ]] as const
  ) {
    assert.equal(parseReady(line(given, port), secret)?.metricsPort, undefined);
  }
  assert.deepEqual(parseReady(readyMarker(), secret), {
    output: "",
    metricsPort: undefined,
  });
  assert.equal(parseReady("text", secret), undefined);
});

Deno.test("metrics of another process are checked", () => {
  const sample = { suffix: "_count", labels: { a: "b" }, value: 1 };
  const family = { name: "x", type: "counter", help: "h", samples: [sample] };
  assert.ok(isMetricFamily(family));
  const wrong = [
    ...[5, null, { ...family, samples: null }, { ...family, name: "x y" }],
    { ...family, samples: [{ ...sample, labels: { "a\n": "b" } }] },
    { ...family, samples: [{ ...sample, value: "1" }] },
    { ...family, samples: [{ ...sample, suffix: "} 1\nx" }] },
  ];
  for (const each of wrong) {
    assert.ok(!isMetricFamily(each), JSON.stringify(each));
  }
});

Deno.test("a disposed connection diagnoses nothing", async () => {
  const connection = await createConnection(`memory:${crypto.randomUUID()}`);
  const { diagnose, queues } = operations(connection);
  await connection[Symbol.asyncDispose]();
  for (const work of [diagnose({ topic: "t" }), queues({ topic: "t" })]) {
    assert.match(`${await failureOf(work)}`, /ConnectionDisposedError/);
  }
  for (const target of [undefined, null, { topic: "t", version: "abc" }]) {
    await assert.rejects(diagnose(target as never), /Invalid/);
  }
});
