/** The log: what strangers send cannot forge its lines, and what is secret is never in it. */
import assert from "node:assert/strict";
import { configure, reset } from "npm:@logtape/logtape@^2.4.2";
import { z } from "npm:zod@^4.6.7";
import {
  ConnectionFailedError,
  contract,
  createConnection,
  type RpcErrorOptions,
} from "../../../mod.ts";
import { newId } from "../../../src/ids.ts";
import { logger } from "../../../src/logging.ts";
import { logged } from "../../setup/logged.ts";
import { brokerUrl } from "../../setup/broker.ts";
import { type Bus, failureOf, onEachBus } from "../support.ts";

class Refused extends Error {
  constructor(message: string, { data }: RpcErrorOptions = {}) {
    super(message, { cause: data });
  }
}

const api = (topic: string) =>
  contract({
    topic,
    version: "1.0",
    errors: { Refused },
    procedures: {
      map: { args: z.object({ map: z.record(z.string(), z.number()) }) },
      exact: { args: z.strictObject({}) },
      fail: {},
      say: {
        args: z.object({ name: z.string(), cause: z.boolean() }).partial(),
      },
    },
  });

async function serve(bus: Bus) {
  return await bus.serve(api(bus.topic), {
    map: () => {},
    exact: () => {},
    fail: () => {
      throw new Refused("no");
    },
    say: ({ name, cause }) => {
      throw new Error(`the handler's own ${name}`, { cause: cause && name });
    },
  });
}

const EVIL = "\r\nFAKE line\n\x1b[2J\u2028\u0085\u007f" + "y".repeat(100_000);

onEachBus(
  "names and keys of a stranger are one short line in the log and in errors",
  async (bus) => {
    await using _worker = await serve(bus);
    await using connection = await bus.connect();
    const target = { topic: bus.topic };
    const context = { [EVIL]: EVIL };
    const texts: string[] = [];
    for (
      const fail of [
        () => connection.call(target, EVIL),
        () => connection.call({ ...target, version: EVIL }, "map"),
        () => connection.call(target, "map", { map: { [EVIL]: "x" } }),
        () => connection.call(target, "exact", { [EVIL]: 1 }),
        () => connection.call(target, "map", { map: 1 }, { context }),
        () => connection.call(target, "say", { name: EVIL }),
        () => connection.call(target, "say", { name: EVIL, cause: true }),
      ]
    ) {
      await using log = await logged();
      const { message } = await failureOf(fail());
      if (!message.includes("handler's own")) texts.push(message);
      assert.ok(log.lines.length > 0);
      texts.push(...log.lines);
    }
    for (const text of texts) {
      assert.ok(!/^FAKE/m.test(text), text.slice(0, 500));
      const found = /(?!\n)[\p{Cc}\u2028]/u.exec(text)?.index;
      const around = text.slice((found ?? 0) - 100, (found ?? 0) + 20);
      assert.equal(found, undefined, JSON.stringify(around));
      assert.ok(text.length < 4_096, `${text.length} characters`);
    }
  },
);

const MOD = new URL("../../../mod.ts", import.meta.url).href;
const CANARY = "s3cret-canary";

onEachBus(
  "arguments, results and context values are never logged",
  async (bus) => {
    await using log = await logged();
    await using _worker = await serve(bus);
    await using connection = await bus.connect();
    const client = connection.client(api(bus.topic), {
      context: { auth_token: CANARY },
    });
    await client.call("map", { map: { [CANARY]: 1 } });
    const target = { topic: bus.topic };
    const errors = [
      await failureOf(client.call("fail")),
      await failureOf(connection.call(target, "map", { map: { a: CANARY } })),
      await failureOf(connection.call(target, "nothing", { a: CANARY })),
    ];
    assert.ok(log.lines.length > 0);
    const all = [...log.lines, ...errors.map((error) => Deno.inspect(error))];
    for (const text of all) assert.ok(!text.includes(CANARY), text);
  },
);

Deno.test("the password of a broker is in no log and in no error", async () => {
  await using log = await logged();
  const url = new URL(await brokerUrl());
  url.password = CANARY;
  const error = await failureOf(createConnection(url, { timeout: 20_000 }));
  assert.ok(error instanceof ConnectionFailedError);
  assert.ok(log.lines.length > 0);
  const all = [...log.lines, Deno.inspect(error)];
  for (const text of all) assert.ok(!text.includes(CANARY), text);
});

onEachBus("the life of a request is told at level debug", async (bus) => {
  await using log = await logged();
  const worker = await serve(bus);
  await using connection = await bus.connect();
  await connection.client(api(bus.topic)).call("map", { map: {} });
  await worker[Symbol.asyncDispose]();
  const life = log.records.filter(({ properties }) => properties.request);
  const steps = life.map(({ rawMessage }) => `${rawMessage}`.split(": ")[1]);
  assert.deepEqual(steps, [
    "received from {key}",
    "started",
    "ended after {ms} ms",
    "answered",
    "acknowledged",
  ]);
  for (const { level } of life) assert.equal(level, "debug");
});

/** What is printed to standard error meanwhile. */
function printed(work: () => void): string[] {
  const { error } = console;
  const lines: string[] = [];
  console.error = (...said: unknown[]) => void lines.push(said.join(" "));
  try {
    work();
  } finally {
    console.error = error;
  }
  return lines;
}

Deno.test("without a configured log, warnings and errors are one line each on standard error", async () => {
  const say = () => {
    const bus = logger("bus");
    bus.debug("debug");
    bus.info("info");
    bus.warn(`warn {evil} ${newId()}`, { evil: EVIL });
    bus.error(`error ${newId()}`, { error: new Error(EVIL) });
  };
  await reset();
  const lines = printed(say);
  assert.match(`${lines[0]}`, /\[WRN\] warren·bus: warn ".*FAKE/);
  assert.match(`${lines[1]}`, /\[ERR\] warren·bus: error /);
  assert.equal(lines.length, 2);
  for (const line of lines) assert.doesNotMatch(line, /\p{Cc}/u);
  await configure({ sinks: {}, loggers: [] });
  assert.deepEqual(printed(say), []);
  await reset();
  assert.equal(printed(say).length, 2);
});

Deno.test("a program without a log says that its broker is away, and ends", async () => {
  const code = `
    import { createConnection } from ${JSON.stringify(MOD)};
    await createConnection("amqp://u:${CANARY}@127.0.0.1:1", { timeout: 300 })
      .catch((error) => console.log(error.name));
  `;
  const program = new Deno.Command(Deno.execPath(), {
    args: ["run", "--no-check", "--no-prompt", "--allow-net=127.0.0.1:1", "-"],
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
    env: { NO_COLOR: "1" },
  }).spawn();
  const writer = program.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  const { stdout, stderr, code: exit } = await program.output();
  const [said, printed] = [stdout, stderr].map((bytes) =>
    new TextDecoder().decode(bytes).trimEnd().split("\n")
  );
  assert.deepEqual([said, exit], [["ConnectionFailedError"], 0], `${printed}`);
  assert.equal(printed?.length, 1, `${printed}`);
  assert.match(`${printed}`, /\[WRN\] warren·bus: .*Cannot connect to amqp:/);
  assert.doesNotMatch(`${printed}`, new RegExp(CANARY));
});

Deno.test("kinds of lines are told apart up to a bound, and no line is lost to the count", async () => {
  await using logs = await logged();
  const bus = logger("bus");
  for (let n = 0; n < 3_000; n++) bus.warn("of {n}", { n }, `${n % 1_000}`);
  const { length } = logs.lines;
  assert.ok(length >= 256 && length <= 257, `${length} lines`);
  assert.equal(logs.times(/ of \d/), 3_000);
});
