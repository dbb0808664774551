/** A rolling deployment: a request in a version that one worker does not serve yet goes to another that does. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  contract,
  implement,
  Service,
  UnsupportedVersionError,
} from "../../../mod.ts";
import { logged } from "../../setup/logged.ts";
import { until } from "../../setup/probe.ts";
import { type Bus, failureOf, onEachBus } from "../support.ts";
import { deadOf, Stranger } from "../foreign_peer.ts";

const n = z.number();
const old = { double: { args: z.object({ n }), result: n } };

function v10(topic: string) {
  return contract({ topic, version: "1.0", procedures: old });
}
function v11(topic: string) {
  const triple = { args: z.object({ n }), result: n, since: "1.1" };
  return contract({ topic, version: "1.1", procedures: { ...old, triple } });
}

const double = ({ n }: { n: number }) => n * 2;

function own(bus: Bus): void {
  for (const queue of [bus.topic, `${bus.topic}.one`, `${bus.topic}.two`]) {
    for (const ms of [100, 1_000]) bus.owns(`${queue}.delay.${ms}`);
  }
}

/** A worker of the old version, on host `one`. */
function older(bus: Bus, more: { concurrency?: number } = {}) {
  own(bus);
  const manager = implement(v10(bus.topic), { double });
  const options = { url: bus.url, host: "one", signals: false, ...more };
  return Service.start({ ...options, manager });
}

/** A worker of the new version, and what it ran. */
async function newer(bus: Bus, host = "two") {
  const ran: { n: number; attempt: number; left: number }[] = [];
  const manager = implement(v11(bus.topic), {
    double,
    triple: ({ n }, { attempt, deadline }) => {
      ran.push({ n, attempt, left: deadline - Date.now() });
      return n * 3;
    },
  });
  const options = { url: bus.url, host, signals: false };
  const service = await Service.start({ ...options, manager });
  const dispose = () => service.stop();
  return { ran, service, [Symbol.asyncDispose]: dispose };
}

onEachBus(
  "calls and casts of a newer version are all served by the worker that has it",
  async (bus) => {
    await using _log = await logged();
    await using worker = await older(bus);
    await using other = await newer(bus);
    await using connection = await bus.connect();
    const client = connection.client(v11(bus.topic), { timeout: 20_000 });
    const all = Array.from({ length: 10 }, (_, i) => i);
    const calls = all.map((n) => client.call("triple", { n }));
    assert.deepEqual(await Promise.all(calls), all.map((n) => n * 3));
    for (const n of all) await client.cast("triple", { n: 100 + n });
    await until("the casts ran", () => other.ran.length === 20);
    assert.ok(other.ran.every(({ attempt }) => attempt === 1));
    const { failed, dead, retried, interrupted } = worker.stats;
    assert.deepEqual([failed, dead, retried, interrupted], [0, 0, 0, 0]);
    const { ran } = other;
    const lefts = ran.slice(0, 10).map(({ left }) => left);
    assert.ok(lefts.every((left) => left <= 20_000));
    assert.ok(lefts.some((left) => left < 19_905), `${lefts}: none shrank`);
  },
);

onEachBus(
  "while nobody else has the version, a call fails and a cast is a dead letter",
  async (bus) => {
    await using _log = await logged();
    await using worker = await older(bus);
    await using connection = await bus.connect();
    const client = connection.client(v11(bus.topic));
    const error = await failureOf(client.call("triple", { n: 1 }));
    assert.ok(error instanceof UnsupportedVersionError, Deno.inspect(error));
    await client.cast("triple", { n: 1 });
    await until("it is a dead letter", () => worker.stats.dead === 1);
  },
);

onEachBus(
  "what is asked of a host goes back only where that host has another worker",
  async (bus) => {
    await using _log = await logged();
    await using _worker = await older(bus);
    await using _elsewhere = await newer(bus);
    await using connection = await bus.connect();
    const client = connection.client(v11(bus.topic));
    const options = { host: "one", timeout: 10_000 };
    const error = await failureOf(client.call("triple", { n: 1 }, options));
    assert.ok(error instanceof UnsupportedVersionError, Deno.inspect(error));
  },
);

/** A request of the new version, as it is after it went back so often. */
async function put(bus: Bus, headers: Record<string, string>) {
  await using stranger = await Stranger.on(bus);
  const body = { method: "triple", args: { n: 1 }, version: "1.1" };
  const id = crypto.randomUUID();
  await stranger.put(
    bus.topic,
    JSON.stringify({ ...body, _unique_id: id }),
    { headers, messageId: id, persistent: true },
  );
}

onEachBus(
  "after twenty times a request is refused; its attempt and its interruptions are kept",
  async (bus) => {
    await using _log = await logged();
    await using worker = await older(bus);
    // It says that it serves the version, and takes nothing from the topic's queue.
    await using shown = await newer(bus);
    shown.service.concurrency = 1;
    const headers = {
      "warren-deferred": "20",
      "warren-attempt": "3",
      "warren-to": bus.topic,
    };
    for (let sent = 0; sent < 4; sent++) await put(bus, headers);
    await until(
      "some are dead letters, the others have run",
      () => worker.stats.dead + shown.ran.length === 4,
    );
    assert.ok(worker.stats.dead > 0);
    await using stranger = await Stranger.on(bus);
    const [letter] = await stranger.take(deadOf(bus.topic), 1);
    const said = letter!.message.headers;
    assert.equal(said["warren-attempts"], "3");
    assert.equal(
      said["warren-deferred"],
      undefined,
      "put back, it begins anew",
    );
    for (const { attempt } of shown.ran) assert.equal(attempt, 3);
  },
);

onEachBus(
  "a request whose time is over before its next try is refused at once",
  async (bus) => {
    await using _log = await logged();
    await using worker = await older(bus);
    await using shown = await newer(bus);
    const headers = { "warren-expires": `${Date.now() + 60}` };
    for (let sent = 0; sent < 4; sent++) await put(bus, headers);
    await until(
      "none waits",
      () =>
        worker.stats.dead + shown.ran.length + shown.service.stats.dead >= 4,
    );
  },
);
