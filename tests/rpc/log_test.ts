/** The log: what strangers send cannot forge its lines, and what is secret is never in it. */
import assert from "node:assert/strict";
import { z } from "npm:zod@^4.6.7";
import {
  ConnectionFailedError,
  contract,
  createConnection,
  type RpcErrorOptions,
} from "../../mod.ts";
import { logged } from "../setup/logged.ts";
import { brokerUrl } from "../setup/broker.ts";
import { type Bus, failureOf, onEachBus } from "./bus.ts";

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
