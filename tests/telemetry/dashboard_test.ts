/** The dashboard of `examples/` asks for metrics and labels that there are. */
import assert from "node:assert/strict";
import dashboard from "../../examples/grafana.json" with { type: "json" };
import { instruments } from "../../src/telemetry/instruments.ts";

const translated = (name: string) => name.replaceAll(".", "_");

Deno.test("the dashboard uses names of metrics and labels that Warren has", () => {
  const names = Object.values(instruments).flatMap(({ options }) => {
    const name = translated(options.name);
    if (options.kind === "counter") return [`${name}_total`];
    if (options.kind === "gauge") return [name];
    return ["bucket", "count"].map((suffix) => `${name}_seconds_${suffix}`);
  });
  const metrics = new Set([...names, "warren_worker_up"]);
  const labels = new Set([
    ...Object.values(instruments).flatMap(({ options }) =>
      Object.keys(options.attributesOf([])).map(translated)
    ),
    ...["instance", "worker", "le"],
  ]);
  const used = dashboard.panels.flatMap(({ targets }) =>
    targets.map(({ expr }) => expr)
  );
  const seen = new Set<string>();
  for (const expr of used) {
    for (const [name] of expr.matchAll(/(rpc|messaging|warren)_[a-z_]+/g)) {
      assert.ok(metrics.has(name) || labels.has(name), `${name} in ${expr}`);
      seen.add(name);
    }
    for (const [, list = ""] of expr.matchAll(/by \(([^)]+)\)/g)) {
      for (const label of list.split(", ")) assert.ok(labels.has(label), label);
    }
  }
  for (const { options } of Object.values(instruments)) {
    const name = translated(options.name);
    const isUsed = [...seen].some((each) => each.startsWith(name));
    const bySends = options.name === "messaging.client.operation.duration" ||
      options.name === "warren.client.active_requests";
    assert.ok(isUsed || bySends, `no panel shows ${name}`);
  }
});
