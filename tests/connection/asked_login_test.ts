/** Functions that tell the broker or the credentials: their time, their faults, and what they may give. */
import assert from "node:assert/strict";
import {
  type AskedCredentials,
  type AskedUrls,
  ConnectionFailedError,
  createConnection,
  InvalidValueError,
} from "../../mod.ts";
import { resolveOption } from "../../src/connection/login_functions.ts";
import { aborted, failureOf } from "../rpc/support.ts";
import { freePort } from "../setup/probe.ts";

/** A function that gives nothing before its signal fires, and then tells so. */
function endless() {
  const fired = Promise.withResolvers<unknown>();
  const give = async (signal: AbortSignal): Promise<never> => {
    await aborted(signal);
    fired.resolve(signal.reason);
    return await new Promise<never>(() => {}); // it does not end even then
  };
  return { give, fired: fired.promise };
}

const never = new AbortController().signal;

Deno.test("a function that hangs is left at its bound, and its signal fires", async () => {
  const { give, fired } = endless();
  const error = await failureOf(resolveOption("credentials", give, never, 30));
  assert.ok(error instanceof ConnectionFailedError);
  assert.match(error.message, /option credentials gave nothing within 30 ms/);
  assert.equal(await fired, error);
});

Deno.test("connecting ends at its deadline while a function hangs, whose signal fires then", async () => {
  const dead = `amqp://127.0.0.1:${freePort()}`;
  const url = endless();
  const login = endless();
  const attempts: [AskedUrls | string, AskedCredentials | undefined][] = [
    [url.give, undefined],
    [dead, login.give],
  ];
  for (const [where, credentials] of attempts) {
    const connecting = createConnection(where, { credentials, timeout: 100 });
    const error = await failureOf(connecting);
    assert.ok(error instanceof ConnectionFailedError, `${error}`);
  }
  await Promise.all([url.fired, login.fired]);
});

Deno.test("what a function throws fails the attempt, is masked, and is tried again", async () => {
  let asked = 0;
  const credentials: AskedCredentials = () => {
    asked++;
    throw new Error("no answer from https://me:hunter2@vault, token=hunter2");
  };
  const dead = `amqp://127.0.0.1:${freePort()}`;
  const connecting = createConnection(dead, { credentials, timeout: 1_000 });
  const error = await failureOf(connecting);
  assert.ok(error instanceof ConnectionFailedError);
  assert.match(error.message, /function of the option credentials failed: no/);
  assert.doesNotMatch(Deno.inspect(error), /hunter2/);
  assert.ok(asked > 2, `${asked} times asked`);
});

/** What no function may give: with the reason. */
const WRONG: readonly [unknown, RegExp][] = [
  [undefined, /no username or no password/],
  [{ username: "me" }, /no username or no password/],
  [{ username: "me", password: 7 }, /no username or no password/],
  [{ username: "me", password: "hunter2\0" }, /texts without NUL/],
  [{ username: "me", password: "hunter2", expires: "x" }, /expires as string/],
  [{ username: "me", password: "hunter2", expires: NaN }, /expires as NaN/],
];

Deno.test("credentials of another form are an InvalidValueError at once, which does not show them", async () => {
  const dead = `amqp://127.0.0.1:${freePort()}`;
  for (const [given, reason] of WRONG) {
    const credentials = (() => given) as AskedCredentials;
    const error = await failureOf(createConnection(dead, { credentials }));
    assert.ok(error instanceof InvalidValueError, `${error}`);
    assert.match(error.message, reason);
    assert.equal(error.data.path, "credentials");
    assert.doesNotMatch(Deno.inspect(error), /hunter2/);
  }
  for (const credentials of [{ password: "hunter2" }, "hunter2", null]) {
    const options = { credentials } as unknown as Record<string, never>;
    for (const url of [dead, "memory:login"]) {
      const error = await failureOf(createConnection(url, options));
      assert.match(error.message, /^Invalid option credentials: give a funct/);
      assert.doesNotMatch(Deno.inspect(error), /hunter2/);
    }
  }
});

Deno.test("credentials that have expired, or are dated in seconds, are no login", async () => {
  const dead = `amqp://127.0.0.1:${freePort()}`;
  const now = Date.now();
  const failed = (expires: number) => {
    const credentials = () => ({
      username: "me",
      password: "hunter2",
      expires,
    });
    return failureOf(createConnection(dead, { credentials, timeout: 300 }));
  };
  const expired = await failed(now - 1);
  assert.ok(expired instanceof ConnectionFailedError);
  assert.match(expired.message, /have expired at \d+, in milliseconds/);
  const seconds = await failed(Math.floor(now / 1_000) + 600);
  assert.ok(seconds instanceof InvalidValueError);
  assert.match(seconds.message, /expires as \d+, which looks like seconds/);
});

Deno.test("a function tells AMQP URLs, and those are checked", async () => {
  for (
    const [url, reason] of [
      ["nonsense:hunter2", /^Invalid broker URL/],
      [[], /^Invalid broker URL/],
      ["memory:login", /a bus in memory; give that as a text/],
    ] as const
  ) {
    const error = await failureOf(createConnection(() => url));
    assert.ok(error instanceof InvalidValueError, `${error}`);
    assert.match(error.message, reason);
    assert.doesNotMatch(Deno.inspect(error), /hunter2/);
  }
});

Deno.test("a bus in memory takes credentials, and asks for none", async () => {
  const credentials = () => assert.fail("asked");
  await using connection = await createConnection("memory:login", {
    credentials,
  });
  await connection.notify("login.none", { at: 1 });
  const wrong = { credential: credentials } as object;
  const error = await failureOf(createConnection("memory:login", wrong));
  assert.match(error.message, /^Invalid option credential: .*\bcredentials\b/);
});
