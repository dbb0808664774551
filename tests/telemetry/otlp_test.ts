/** A trace through every verb, as Deno exports it by OTLP to a collector. */
import assert from "node:assert/strict";
import { brokerUrl } from "../setup/broker.ts";

/** A span as OTLP carries it in JSON. */
interface OtlpSpan {
  readonly name: string;
  readonly kind: number;
  readonly traceId: string;
  readonly spanId: string;
  readonly parentSpanId?: string;
  readonly links?: readonly {
    readonly traceId: string;
    readonly spanId: string;
  }[];
  readonly events?: readonly { readonly name: string }[];
}

/** A metric as OTLP carries it in JSON. */
interface OtlpMetric {
  readonly name: string;
  readonly unit?: string;
  readonly histogram?: {
    readonly dataPoints: readonly { readonly count: string | number }[];
  };
}

interface TraceExport {
  readonly resourceSpans?: readonly {
    readonly scopeSpans: readonly { readonly spans: readonly OtlpSpan[] }[];
  }[];
}

interface MetricExport {
  readonly resourceMetrics?: readonly {
    readonly scopeMetrics: readonly {
      readonly metrics: readonly OtlpMetric[];
    }[];
  }[];
}

/** Receives what a program exports, while it runs. */
async function collect(program: string, args: readonly string[]) {
  const spans: OtlpSpan[] = [];
  const metrics: OtlpMetric[] = [];
  await using collector = Deno.serve(
    { port: 0, hostname: "127.0.0.1", onListen: () => {} },
    async (request) => {
      const body = await request.json() as TraceExport & MetricExport;
      spans.push(
        ...(body.resourceSpans ?? []).flatMap(({ scopeSpans }) =>
          scopeSpans.flatMap(({ spans }) => spans)
        ),
      );
      metrics.push(
        ...(body.resourceMetrics ?? []).flatMap(({ scopeMetrics }) =>
          scopeMetrics.flatMap(({ metrics }) => metrics)
        ),
      );
      return Response.json({});
    },
  );
  const { success, stderr } = await new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", program, ...args],
    env: {
      OTEL_DENO: "true",
      OTEL_EXPORTER_OTLP_PROTOCOL: "http/json",
      OTEL_EXPORTER_OTLP_ENDPOINT: `http://127.0.0.1:${collector.addr.port}`,
      OTEL_SERVICE_NAME: "traced",
    },
    stdout: "null",
    stderr: "piped",
  }).output();
  assert.ok(success, new TextDecoder().decode(stderr));
  return { spans, metrics };
}

const [SERVER, CLIENT, PRODUCER, CONSUMER] = [2, 3, 4, 5];

Deno.test("a trace goes from an HTTP request through calls, casts, retries and events", async () => {
  const topic = `t${crypto.randomUUID().slice(0, 8)}`;
  const program = new URL("traced_program.ts", import.meta.url).pathname;
  const { spans, metrics } = await collect(program, [await brokerUrl(), topic]);
  const find = (name: string, kind: number) => {
    const found = spans.filter((span) =>
      span.name.startsWith(name) && span.kind === kind
    );
    assert.ok(found.length > 0, `${name} in ${spans.map(({ name }) => name)}`);
    return found;
  };
  const one = (name: string, kind: number) => find(name, kind)[0] as OtlpSpan;
  const isChild = (child: OtlpSpan, parent: OtlpSpan) => {
    assert.equal(child.parentSpanId, parent.spanId, child.name);
    assert.equal(child.traceId, parent.traceId, child.name);
  };
  const isLinked = (span: OtlpSpan, cause: OtlpSpan) => {
    assert.equal(span.parentSpanId ?? "", "", span.name);
    assert.deepEqual(
      span.links?.map(({ traceId, spanId }) => [traceId, spanId]),
      [[cause.traceId, cause.spanId]],
    );
  };
  const outer = one(`${topic}/outer`, CLIENT);
  const page = spans.find(({ spanId }) => spanId === outer.parentSpanId);
  assert.equal(page?.kind, SERVER, "the call belongs to the HTTP request");
  const outerServed = one(`${topic}/outer`, SERVER);
  isChild(outerServed, outer);
  const inner = one(`${topic}/inner`, CLIENT);
  isChild(inner, outerServed);
  const innerServed = one(`${topic}/inner`, SERVER);
  isChild(innerServed, inner);
  const fetches = spans.filter(({ kind, parentSpanId }) =>
    kind === CLIENT && parentSpanId === innerServed.spanId
  );
  assert.equal(fetches.length, 1, "the handler's fetch hangs below it");
  const cast = one(`send ${topic}/again`, PRODUCER);
  isChild(cast, outerServed);
  const attempts = find(`process ${topic}/again`, CONSUMER);
  assert.equal(attempts.length, 2);
  for (const attempt of attempts) isLinked(attempt, cast);
  const events = attempts.flatMap(({ events = [] }) =>
    events.map(({ name }) => name)
  );
  assert.deepEqual(events, ["exception", "warren.retried"]);
  const event = one(`send notifications/${topic}.done`, PRODUCER);
  assert.ok(attempts.some(({ spanId }) => spanId === event.parentSpanId));
  isLinked(one(`process notifications/${topic}.done`, CONSUMER), event);
  const names = new Set(metrics.map(({ name }) => name));
  for (
    const name of [
      "rpc.client.call.duration",
      "rpc.server.call.duration",
      "messaging.client.operation.duration",
      "messaging.process.duration",
      "warren.request.completion_time",
      "warren.server.incidents",
    ]
  ) assert.ok(names.has(name), `${name} in ${[...names]}`);
  const calls = metrics.findLast(({ name }) =>
    name === "rpc.client.call.duration"
  );
  assert.equal(calls?.unit, "s");
  const counted = calls?.histogram?.dataPoints.map(({ count }) =>
    Number(count)
  );
  assert.equal(counted?.reduce((sum, count) => sum + count, 0), 2);
});
