/** The metrics of all workers of a launcher, in one scrape. */
import assert from "node:assert/strict";
import { onRabbit } from "../../rpc/support.ts";
import { freePorts, until } from "../../setup/probe.ts";
import { hasParser, scrape, total } from "../../telemetry/prometheus.ts";
import { launched as api } from "./launched_contract.ts";
import { Launched } from "./launched_process.ts";

onRabbit("one scrape of a launcher gives all its workers", async (bus) => {
  if (!hasParser) return;
  const port = freePorts(3);
  await using launched = new Launched(bus, { workers: 2, port });
  const url = `http://127.0.0.1:${port}`;
  const isUp = (worker: string) => async () => {
    const samples = await scrape(url).catch(() => []);
    return total(samples, "warren_worker_up", { worker }) === 1;
  };
  for (const worker of ["1", "2"]) await until("it is up", isUp(worker));
  await using connection = await bus.connect();
  const client = connection.client(api(bus.topic));
  const numbers = Array.from({ length: 60 }, (_, n) => n);
  await Promise.all(numbers.map((n) => client.call("echo", { n })));
  const samples = await scrape(url);
  const name = "rpc_server_call_duration_seconds_count";
  const method = { rpc_method: `${bus.topic}/echo` };
  assert.equal(total(samples, name, method), 60);
  for (const worker of ["1", "2"]) {
    assert.ok(total(samples, name, { ...method, worker }) > 0, worker);
  }
  const [victim = 0] = launched.said("serving", 1);
  Deno.kill(victim, "SIGKILL");
  await until("one is missing", async () => {
    const samples = await scrape(url);
    return total(samples, "warren_worker_up", { worker: "1" }) === 0 &&
      total(samples, "warren_worker_up", { worker: "2" }) === 1;
  });
  await until("it is back", isUp("1"));
  launched.kill("SIGTERM");
  assert.equal(await launched.exit(), 0);
});
