/** Spans and durations of periodic tasks. */
import assert from "node:assert/strict";
import { implement, Service } from "../../mod.ts";
import { onEachBus, sumHandlers, sums } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { hasParser, scrape, total } from "./prometheus.ts";
import { assertChild, SpanRecorder } from "./span_recorder.ts";

onEachBus(
  "a run of a task begins a trace, in which its calls are",
  async (bus) => {
    using recorder = new SpanRecorder();
    const { topic } = bus;
    await using connection = await bus.connect();
    const client = connection.client(sums(topic));
    const failed = Promise.withResolvers<void>();
    const periodic = [
      {
        name: "sweep",
        every: 60_000,
        initialDelay: 0,
        run: async () => void await client.call("add", { a: 1, b: 2 }),
      },
      {
        name: "breaks",
        every: 60_000,
        initialDelay: 0,
        run: () => {
          failed.resolve();
          throw new TypeError("no");
        },
      },
    ];
    await using service = await Service.start({
      ...{ url: bus.url, host: "one", signals: false, reportInterval: 0 },
      healthPort: 0,
      manager: implement(sums(topic), sumHandlers(), { periodic }),
    });
    const sweep = () => recorder.of(`${topic}/sweep`, "INTERNAL");
    await until("it has run", () => sweep().length === 1);
    assert.equal(sweep()[0]?.parentSpanContext, undefined);
    assert.equal(sweep()[0]?.attributes["warren.host"], "one");
    assertChild(recorder.of(`${topic}/add`, "CLIENT")[0], sweep()[0]);
    const breaks = () => recorder.of(`${topic}/breaks`, "INTERNAL");
    await until("the other one has failed", () => breaks().length === 1);
    assert.equal(breaks()[0]?.attributes["error.type"], "TypeError");
    if (!hasParser) return;
    const samples = await scrape(String(service.healthUrl));
    const name = "warren_task_duration_seconds_count";
    const at = { warren_topic: topic };
    assert.equal(total(samples, name, { ...at, warren_task: "sweep" }), 1);
    assert.equal(total(samples, name, { ...at, error_type: "TypeError" }), 1);
  },
);
