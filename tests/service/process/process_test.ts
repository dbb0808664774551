/** A worker as a process: what it may do, and how a signal ends it. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import { contract } from "../../../mod.ts";
import { type Bus, onEachBus, onRabbit } from "../../rpc/support.ts";

const api = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    procedures: { hold: { result: z.string() }, who: { result: z.string() } },
  });

/** A worker process with the least rights, and the lines that it says. */
async function start(bus: Bus) {
  const { hostname, port } = new URL(bus.url);
  const program = new URL("worker.ts", import.meta.url).pathname;
  const child = new Deno.Command(Deno.execPath(), {
    args: [
      "run",
      "--no-prompt",
      `--allow-net=${hostname}:${port || 5672}`,
      "--allow-sys=hostname",
      program,
      bus.url,
      bus.topic,
    ],
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const lines = child.stdout.pipeThrough(new TextDecoderStream()).values();
  let heard = "";
  const says = async (word: string) => {
    while (!heard.includes(word)) {
      const { value, done } = await lines.next();
      if (done) throw new Error(`It ended before it said ${word}: ${heard}`);
      heard += value;
    }
  };
  const errors = new Response(child.stderr).text();
  await says("ready");
  return { child, says, errors };
}

for (const signal of ["SIGTERM", "SIGINT"] as const) {
  onRabbit(
    `${signal} drains a worker process that has the least rights`,
    async (bus) => {
      const { child, says, errors } = await start(bus);
      await using connection = await bus.connect();
      const client = connection.client(api(bus.topic));
      bus.owns(`${bus.topic}.${Deno.hostname()}`);
      const who = await client.call("who", {}, { host: Deno.hostname() });
      assert.equal(
        who,
        Deno.hostname(),
        "the machine's name is the default host",
      );
      const held = client.call("hold");
      await says("holding");
      child.kill(signal);
      assert.equal(await held, "finished");
      await says("stopped");
      assert.equal(await errors, "");
      const { code } = await child.status;
      assert.equal(code, 0);
    },
  );
}

onEachBus(
  "A stopped process ends by itself, although its handlers never do",
  async (bus) => {
    bus.owns(`${bus.topic}-events_listener`);
    const program = new URL("hung.ts", import.meta.url).pathname;
    const { code, signal, stdout, stderr } = await new Deno.Command(
      Deno.execPath(),
      {
        args: ["run", "-A", "--no-check", program, bus.url, bus.topic],
        signal: AbortSignal.timeout(30_000), // the calls have 60 seconds
      },
    ).output();
    const [said, errors] = [stdout, stderr].map((bytes) =>
      new TextDecoder().decode(bytes)
    );
    assert.deepEqual([code, signal, said], [0, null, "stopped\n"], `${errors}`);
  },
);

for (const [heartbeat, how] of [[60, "silent"], [10, "lost"]] as const) {
  onRabbit(
    `the grace time holds for all of a stop, also when the network is ${how}`,
    async (bus) => {
      bus.owns(`${bus.topic}.one`);
      const program = new URL("swallowed.ts", import.meta.url).pathname;
      const { code, stdout, stderr } = await new Deno.Command(Deno.execPath(), {
        args: ["run", "-A", program, bus.url, bus.topic, `${heartbeat}`, how],
        stdin: "null",
      }).output();
      const said = new TextDecoder().decode(stdout);
      const errors = new TextDecoder().decode(stderr);
      assert.equal(code, 0, errors);
      const times = (word: string) =>
        [...said.matchAll(new RegExp(`^${word} (\\d+)$`, "gm"))]
          .map(([, ms]) => Number(ms));
      const signals = times("signal");
      assert.equal(signals.length, 2);
      // Grace is 1000 ms; machines are slow.
      assert.ok(signals.every((ms) => ms >= 900 && ms < 2_500), said);
      assert.equal(times("stopped").length, 1);
      assert.ok(times("exit").every((ms) => ms < 6_000), said);
      assert.equal(times("exit").length, 1);
    },
  );
}
