/** `GET /metrics`: the figures are those of the load that really ran. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import { contract, implement, Service } from "../../mod.ts";
import { Instrument } from "../../src/telemetry/instrument.ts";
import {
  joinFamilies,
  prometheusText,
} from "../../src/telemetry/prometheus.ts";
import { failureOf, onEachBus } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { hasParser, parse, scrape, total } from "./prometheus.ts";

const ignore = !hasParser;

function api(topic: string) {
  return contract({
    topic,
    version: "1.0",
    procedures: {
      add: { args: z.object({ ms: z.number() }), result: z.number() },
      fails: { result: z.number() },
      note: {},
      tell: {},
      again: { retry: { attempts: 2, backoff: [100] } },
      dies: { retry: { attempts: 1 } },
      holds: { result: z.number() },
    },
  });
}

async function open(url: string, topic: string) {
  let attempts = 0;
  const held = Promise.withResolvers<void>();
  const started = Promise.withResolvers<void>();
  const manager = implement(api(topic), {
    add: async ({ ms }) => {
      await new Promise((resolve) => setTimeout(resolve, ms));
      return ms;
    },
    fails: () => {
      throw new Error("no");
    },
    note: () => {},
    tell: () => {},
    again: () => {
      if (++attempts === 1) throw new Error("not yet");
    },
    dies: () => {
      throw new Error("never");
    },
    holds: async () => {
      started.resolve();
      await held.promise;
      return 1;
    },
  });
  const service = await Service.start({
    ...{ url, manager, host: "one", signals: false, reportInterval: 0 },
    ...{ healthPort: 0, concurrency: 1, prefetch: 4 },
  });
  return { service, held, started: started.promise };
}

onEachBus("the metrics have what the load did", async (bus) => {
  if (ignore) return;
  const { topic } = bus;
  const { service, held, started } = await open(bus.url, topic);
  await using _service = service;
  await using connection = await bus.connect();
  const client = connection.client(api(topic));
  for (let n = 0; n < 7; n++) await client.call("add", { ms: 20 });
  for (let n = 0; n < 2; n++) await failureOf(client.call("fails"));
  await failureOf(connection.call({ topic, version: "1.0" }, "no-such"));
  for (let n = 0; n < 3; n++) await client.cast("note");
  await client.fanoutCast("tell");
  await client.cast("again");
  await client.cast("dies");
  const url = String(service.healthUrl);
  const method = (procedure: string) => ({
    rpc_method: `${topic}/${procedure}`,
    rpc_system_name: "warren",
  });
  const destination = { messaging_destination_name: topic };
  const processed = "messaging_process_duration_seconds_count";
  const samples = await until("all is handled", async () => {
    const samples = await scrape(url);
    return total(samples, processed, destination) === 3 + 1 + 2 + 1 && samples;
  });
  for (const side of ["client", "server"]) {
    const name = `rpc_${side}_call_duration_seconds`;
    const ok = { ...method("add"), rpc_response_status_code: "OK" };
    assert.equal(total(samples, `${name}_count`, ok), 7);
    const sum = total(samples, `${name}_sum`, ok);
    assert.ok(sum >= 0.13 && sum < 10, `${sum} seconds`);
    assert.equal(total(samples, `${name}_bucket`, { ...ok, le: "0.005" }), 0);
    assert.equal(total(samples, `${name}_bucket`, { ...ok, le: "+Inf" }), 7);
    assert.equal(total(samples, `${name}_count`, method("fails")), 2);
  }
  const failed = { ...method("fails"), error_type: "REMOTE" };
  assert.equal(
    total(samples, "rpc_client_call_duration_seconds_count", failed),
    2,
  );
  const other = { rpc_method: `${topic}/_OTHER`, error_type: "NO_SUCH_METHOD" };
  assert.equal(
    total(samples, "rpc_server_call_duration_seconds_count", other),
    1,
  );
  const sent = "messaging_client_operation_duration_seconds_count";
  assert.equal(total(samples, sent, destination), 3 + 1 + 1 + 1);
  const again = { ...destination, warren_procedure: "again" };
  assert.equal(total(samples, processed, again), 2);
  assert.equal(total(samples, processed, { ...again, error_type: "Error" }), 1);
  const incidents = "warren_server_incidents_total";
  const at = { warren_topic: topic };
  assert.equal(
    total(samples, incidents, { ...at, warren_incident: "retried" }),
    1,
  );
  assert.equal(
    total(samples, incidents, { ...at, warren_incident: "dead_lettered" }),
    1,
  );
  const completed = "warren_request_completion_time_seconds";
  const done = { ...at, warren_procedure: "again" };
  assert.equal(total(samples, `${completed}_count`, done), 1);
  const seconds = total(samples, `${completed}_sum`, done);
  assert.ok(seconds >= 0.1 && seconds < 10, `both attempts: ${seconds} s`);

  const calls = [client.call("holds"), client.call("holds")];
  await started;
  const active = "warren_server_active_requests";
  await until("one runs, one waits", async () => {
    const samples = await scrape(url);
    const count = (state: string) =>
      total(samples, active, { ...at, warren_state: state });
    const inFlight = total(samples, "warren_client_active_requests", at);
    return count("running") === 1 && count("waiting") === 1 && inFlight === 2;
  });
  held.resolve();
  await Promise.all(calls);
  await until("none is left", async () => {
    const samples = await scrape(url);
    return total(samples, active, at) === 0 &&
      total(samples, "warren_client_active_requests", at) === 0;
  });
});

Deno.test("an instrument has at most 1000 series; further ones are counted together", () => {
  const instrument = new Instrument({
    ...{ name: "test.bound", kind: "counter", unit: "{one}" },
    description: "A test.",
    attributesOf: ([topic = "", procedure = ""]) => ({ topic, procedure }),
  });
  for (let n = 0; n < 5_000; n++) instrument.record(1, ["t", `p${n}`]);
  instrument.record(1, ["t", "p3"]);
  const series = [...instrument.series()];
  assert.equal(series.length, 1_001);
  assert.equal(series[3]?.sum, 2);
  const { attributes, sum } = series.at(-1) ?? {};
  assert.deepEqual(attributes, { topic: "_OTHER", procedure: "_OTHER" });
  assert.equal(sum, 4_000);
});

Deno.test("series without a value leave room for those with one", () => {
  const instrument = new Instrument({
    ...{ name: "test.prepared", kind: "counter", unit: "{one}" },
    description: "A test.",
    attributesOf: ([procedure = ""]) => ({ procedure }),
  });
  for (let n = 0; n < 5_000; n++) instrument.prepare([`p${n}`]);
  instrument.record(1, ["p4999"]);
  const { attributes, sum } = instrument.series().at(-1) ?? {};
  assert.deepEqual([attributes, sum], [{ procedure: "p4999" }, 1]);
});

Deno.test({
  name: "labels with any characters are read back, also of several processes",
  ignore,
  fn: async () => {
    const label = 'a"b\\c\nd😀{},=';
    const sample = { suffix: "", labels: { label }, value: 1.5 };
    const family = { name: "x", type: "gauge", help: "a\\b\nc" } as const;
    const families = [{ ...family, samples: [sample] }];
    const joined = joinFamilies([
      [{ worker: "1" }, families],
      [{ worker: "2" }, families],
    ]);
    const read = await parse(prometheusText(joined));
    assert.deepEqual(
      read.map(({ labels, value }) => [labels, value]),
      [[{ worker: "1", label }, 1.5], [{ worker: "2", label }, 1.5]],
    );
  },
});
