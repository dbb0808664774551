/** The guides of `examples/` as their readers run them. */
import assert from "node:assert/strict";
import { Buffer } from "node:buffer";
import {
  contract,
  createConnection,
  implement,
  InvalidValueError,
  requestContext,
  Service,
  type ServiceInterceptor,
  type ServiceRequest,
} from "../../mod.ts";
import {
  type AuditRecord,
  auditRequests,
  auditTasks,
} from "../../examples/audit.ts";
import { TokenBuckets } from "../../examples/rate_limit.ts";
import { resizer } from "../../examples/container_worker.ts";
import {
  compute,
  Forbidden,
  InstanceNotFound,
  Unauthenticated,
} from "../../examples/compute/contract.ts";
import { gateway } from "../../examples/http_gateway.ts";
import { Raw } from "../rpc/support.ts";
import { brokerUrl } from "../setup/broker.ts";
import { freePort, until } from "../setup/probe.ts";

const ROOT = new URL("../../", import.meta.url).pathname;

/** A program of `examples/`, without an `AMQP_URL` but the given one. */
function example(
  args: readonly string[],
  env: Readonly<Record<string, string>> = {},
): Deno.Command {
  const { AMQP_URL: _, ...inherited } = Deno.env.toObject();
  return new Deno.Command(Deno.execPath(), {
    args: [...args],
    cwd: ROOT,
    clearEnv: true,
    env: { ...inherited, NO_COLOR: "1", ...env },
    stdin: "null",
    stdout: "piped",
    stderr: "piped",
  });
}

/** Exit code and output of a program. */
async function program(...words: readonly string[]) {
  const args = ["run", "-A", "--no-prompt", ...words];
  const { code, stdout, stderr } = await example(args).output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, stdout: text(stdout), stderr: text(stderr) };
}

/** Lines that a program printed; it must end well and write no error. */
async function linesOf(...words: readonly string[]): Promise<string[]> {
  const { code, stdout, stderr } = await program(...words);
  assert.equal(stderr, "");
  assert.equal(code, 0);
  return stdout.trimEnd().split("\n");
}

Deno.test("rolling_deployment.ts serves old and new callers all the time", async () => {
  assert.deepEqual(await linesOf("examples/rolling_deployment.ts"), [
    "1 a 1.0",
    "1 Hello Ada",
    "1 UNSUPPORTED",
    '1 [ "en" ]',
    "2 a 1.0, b 1.1",
    "2 Hello Ada",
    "2 Hello Ada",
    '3 [ "en" ]',
    "3 UNSUPPORTED",
    "3 UNSUPPORTED",
    "4 b 1.1",
    "4 Hello ALAN",
    "4 Goodbye Alan",
  ]);
});

Deno.test("authentication.ts knows its users and its senders, and refuses what they may not do", async () => {
  const { code, stdout, stderr } = await program("examples/authentication.ts");
  assert.equal(code, 0, stderr);
  assert.deepEqual(stdout.trimEnd().split("\n"), [
    "v1, for Ada",
    "Forbidden: Ada may not remove a vault",
    "done",
    "Unauthenticated: There is no valid token",
    "Unauthenticated: There is no valid token",
    "v1 opened, says Ada",
    "vault.opened refused: Unauthenticated: There is no valid token",
    "vault.opened refused: Unauthenticated: There is no valid token",
  ]);
  assert.match(stderr, /handler of "vault\.opened" failed: Unauthenticated/);
});

Deno.test("audit.ts records who did what, with result and duration, and no secret", async () => {
  const lines = await linesOf("examples/audit.ts");
  const records = lines.map((line) => {
    const { at, who, kind, what, subject, result, ms } = JSON.parse(line);
    assert.ok(Math.abs(Date.now() - Date.parse(at)) < 60_000);
    assert.ok(Number.isInteger(ms) && ms >= 0);
    return [who, kind, what, subject, result].join(" ");
  });
  assert.deepEqual(records.toSorted(), [
    "Ada call accounts.close a2 NoSuchAccount",
    "Ada call accounts.open a1 done",
    "Ada multicall accounts.statement a1 done",
    "Ada multicall accounts.watch a1 cancelled",
    "Ada notification notifications.account.opened a1 done",
    "accounts on gb07 task accounts.interest  done",
    "unknown call accounts.close a1 Unauthenticated",
  ]);
  // Neither the PIN of `open`, nor a token, nor the message of an error.
  assert.ok(!/1234|authorization|There is no/.test(lines.join("\n")));
});

Deno.test("audit.ts records failures of tasks and of streams, and what fails to be written fails", async () => {
  const records: AuditRecord[] = [];
  const write = (record: AuditRecord) => void records.push(record);
  const run = {
    ...{ topic: "t", host: "h", task: "sweep", leader: false, due: 0 },
    signal: new AbortController().signal,
  };
  const fails = () => Promise.reject(new RangeError("secret"));
  await assert.rejects(async () => await auditTasks(write)(run, fails));
  const request: ServiceRequest = {
    ...{ kind: "multicall", topic: "t", procedure: "p", version: "1.0" },
    ...{ args: { id: "x".repeat(1_000) }, headers: {}, attempt: 1 },
    context: requestContext(),
  };
  const audit = auditRequests(write, ({ id }) => id);
  const stream = await audit(
    request,
    () =>
      Promise.resolve((async function* () {
        yield 1;
        throw new TypeError("secret");
      })()),
  );
  const items: unknown[] = [];
  await assert.rejects(async () => {
    for await (const item of stream as AsyncIterable<unknown>) items.push(item);
  }, TypeError);
  assert.deepEqual(items, [1]);
  const seen = records.map(({ who, result, subject }) => [
    who,
    result,
    subject?.length,
  ]);
  assert.deepEqual(seen, [
    ["t on h", "RangeError", undefined],
    ["unknown", "TypeError", 100],
  ]);
  const full = auditRequests(() => Promise.reject(new Error("disk full")));
  const audited = async () => await full(request, () => Promise.resolve(1));
  await assert.rejects(audited, /disk full/);
});

Deno.test("rate_limit.ts refuses a user without tokens, says for how long, and no other user", async () => {
  const lines = await linesOf("examples/rate_limit.ts");
  const rounded = lines.map((line) => {
    const [, ms] = /after (\d+) ms$/.exec(line) ?? [];
    assert.ok(ms === undefined || (Number(ms) > 0 && Number(ms) <= 1_000));
    return line.replace(/\d+ ms$/, "… ms");
  });
  const again = (name: string) => `${name} may try again after … ms`;
  assert.deepEqual(rounded, [
    ...["Ada: 3 sent, 2 not", again("Ada"), again("Ada")],
    ...["Grace: 3 sent, 2 not", again("Grace"), again("Grace")],
    "sent to a patient friend",
  ]);
});

Deno.test("rate_limit.ts: a bucket refills at its rate up to its burst, and the time it says is right", () => {
  const buckets = new TokenBuckets({ perSecond: 3, burst: 2 });
  assert.deepEqual([buckets.take("a", 0), buckets.take("a", 0)], [0, 0]);
  const wait = buckets.take("a", 0);
  assert.equal(wait, 334);
  assert.ok(buckets.take("a", wait - 2) > 0);
  assert.equal(buckets.take("a", wait), 0);
  assert.equal(buckets.take("b", wait), 0, "another user has his own");
  // After a long time there are no more tokens than the burst.
  const later = 1e9;
  const taken = [1, 2, 3].map(() => buckets.take("a", later));
  assert.deepEqual(taken.map((ms) => ms > 0), [false, false, true]);
  // In the long run the rate holds, however often somebody asks.
  let granted = 0;
  for (let at = later; at < later + 10_000; at++) {
    if (buckets.take("a", at) === 0) granted++;
  }
  assert.ok(granted >= 28 && granted <= 30, `${granted}`);
});

Deno.test("rate_limit.ts remembers a bounded number of users, the latest ones", () => {
  const buckets = new TokenBuckets({ perSecond: 1, burst: 1, maxUsers: 100 });
  assert.equal(buckets.take("first", 0), 0);
  for (let n = 0; n < 1_000; n++) {
    buckets.take(`user ${n}`, n);
    if (n < 900) assert.ok(buckets.take("first", 0.5) > 0, "it asks often");
  }
  assert.equal(buckets.size, 100);
  assert.ok(buckets.take("user 999", 999) > 0);
  assert.equal(buckets.take("user 100", 999), 0, "it was forgotten");
  for (const rate of [{ perSecond: 0 }, { burst: 0 }, { maxUsers: 0 }]) {
    const wrong = { perSecond: 1, burst: 1, ...rate };
    assert.throws(() => new TokenBuckets(wrong), InvalidValueError);
  }
});

Deno.test("events.ts gives each pool every event once", async () => {
  const lines = await linesOf("examples/events.ts");
  assert.deepEqual(lines.slice(-2), [
    "billing 4 in all",
    "audit 4, screen 4",
  ]);
});

Deno.test("background_work.ts answers quick calls while slow work waits", async () => {
  const [first, second, last] = await linesOf("examples/background_work.ts");
  assert.match(`${first}`, /^0 encoded; the answer took \d+ ms$/);
  assert.match(`${second}`, /^[1-6] casts at the worker$/);
  assert.equal(last, "6 encoded");
});

/** An HTTP gateway in front of handlers that a test controls. */
class Gateway implements AsyncDisposable {
  readonly #stack = new AsyncDisposableStack();
  /** Resolves when the handler of a stream, or of a call, is cancelled. */
  readonly cancelled = Promise.withResolvers<void>();
  /** Resolves when the handler of a call has begun. */
  readonly begun = Promise.withResolvers<void>();
  url = "";

  static async open(): Promise<Gateway> {
    const opened = new Gateway();
    const url = `memory:${crypto.randomUUID()}`;
    const { begun, cancelled } = opened;
    const manager = implement(compute, {
      runInstance: ({ name }) => ({
        id: "i-1",
        name,
        host: "gb07",
        state: "running" as const,
        at: new Date(0).toISOString(),
      }),
      list: (_args, { signal }) =>
        new Promise<[]>((_resolve, reject) => {
          begun.resolve();
          signal.addEventListener("abort", () => {
            cancelled.resolve();
            reject(signal.reason);
          });
        }),
      async *console({ id }, { signal }) {
        if (id === "none") throw new InstanceNotFound("No instance none");
        yield "first";
        yield "second";
        if (id === "short") return;
        if (id === "broken") throw new Error("a secret of the handler");
        await new Promise<void>((resolve) => {
          signal.addEventListener("abort", () => resolve());
        });
        cancelled.resolve();
      },
      reboot: () => {},
      terminate: () => {},
      prune: () => {},
    });
    const host = "gb07";
    const stack = opened.#stack;
    // Any other token, and none, may do anything.
    const authorize: ServiceInterceptor = (request, next) => {
      const { authorization } = request.headers;
      if (authorization === "Bearer stale") {
        throw new Unauthenticated("The token has expired");
      }
      if (authorization === "Bearer guest") {
        throw new Forbidden("A guest may not do this");
      }
      return next(request);
    };
    const interceptors = [authorize];
    const options = { url, host, manager, interceptors, signals: false };
    stack.use(await Service.start(options));
    const connection = stack.use(await createConnection(url));
    const server = Deno.serve(
      { port: 0, hostname: "127.0.0.1", onListen: () => {} },
      gateway(connection),
    );
    stack.defer(() => server.shutdown());
    opened.url = `http://127.0.0.1:${server.addr.port}`;
    return opened;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#stack.disposeAsync();
  }
}

Deno.test("http_gateway.ts answers calls, and refusals with a status for each code", async () => {
  await using opened = await Gateway.open();
  const post = (body: unknown) =>
    fetch(`${opened.url}/instances`, {
      method: "POST",
      body: JSON.stringify(body),
    });
  const made = await post({ name: "web" });
  assert.equal(made.status, 201);
  assert.equal((await made.json()).name, "web");

  const invalid = await post({ name: "" });
  assert.equal(invalid.status, 400);
  const { code, message } = await invalid.json();
  assert.equal(code, "INVALID");
  assert.match(message, /name/);
  const get = async (path: string) => {
    const response = await fetch(`${opened.url}${path}`);
    return [response.status, (await response.json()).code];
  };
  const nowhere = await fetch(`${opened.url}/hosts/gb99/instances`);
  assert.equal(nowhere.status, 404);
  // The message of the error names a queue of the broker.
  const body = { code: "NO_ROUTE", inDoubt: false };
  assert.deepEqual(await nowhere.json(), body);
  const missing = [404, "INSTANCE_NOT_FOUND"];
  assert.deepEqual(await get("/hosts/gb07/console/none"), missing);
  assert.deepEqual(await get("/nothing"), [404, "NOT_FOUND"]);
});

Deno.test("http_gateway.ts passes the token of each request on, and refusals become 401 and 403", async () => {
  await using opened = await Gateway.open();
  const get = async (authorization: string) => {
    const headers = { authorization };
    return await fetch(`${opened.url}/hosts/gb07/console/short`, { headers });
  };
  const stale = await get("Bearer stale");
  assert.equal(stale.status, 401);
  assert.equal(stale.headers.get("www-authenticate"), "Bearer");
  assert.deepEqual(await stale.json(), {
    code: "UNAUTHENTICATED",
    message: "The token has expired",
  });
  const guest = await get("Bearer guest");
  assert.equal(guest.status, 403);
  assert.equal((await guest.json()).code, "FORBIDDEN");
  const known = await get("Bearer ada");
  assert.equal(known.status, 200);
  await known.body?.cancel();
});

Deno.test("http_gateway.ts sends a stream as Server-Sent Events, and keeps the messages of other errors", async () => {
  await using opened = await Gateway.open();
  const read = async (id: string) =>
    await (await fetch(`${opened.url}/hosts/gb07/console/${id}`)).text();
  const items = 'event: item\ndata: "first"\n\nevent: item\ndata: "second"\n\n';
  assert.equal(await read("short"), `${items}event: end\ndata: null\n\n`);
  const error = 'event: error\ndata: {"code":"REMOTE","inDoubt":false}\n\n';
  assert.equal(await read("broken"), items + error);
});

for (const path of ["/hosts/gb07/instances", "/hosts/gb07/console/long"]) {
  Deno.test(`a client that leaves http_gateway.ts${path} cancels the handler`, async () => {
    await using opened = await Gateway.open();
    const abort = new AbortController();
    const { signal } = abort;
    const fetched = fetch(`${opened.url}${path}`, { signal });
    if (path.endsWith("long")) {
      const { body } = await fetched;
      const reader = body!.getReader();
      await reader.read();
      abort.abort();
      await reader.read().catch(() => {});
    } else {
      const rejected = assert.rejects(fetched);
      await opened.begun.promise;
      abort.abort();
      await rejected;
    }
    await opened.cancelled.promise;
  });
}

/** The command of the Dockerfile in `examples/README.md`, without `deno`. */
async function dockerCommand(): Promise<string[]> {
  const page = await Deno.readTextFile(`${ROOT}examples/README.md`);
  const [, command] = page.match(/^CMD (\[.*\])$/m) ?? [];
  const [program, ...args] = JSON.parse(`${command}`);
  assert.equal(program, "deno");
  return args;
}

Deno.test("container_worker.ts runs as its Dockerfile says, is ready, and SIGTERM drains it", async () => {
  const url = await brokerUrl();
  const host = `pod-${crypto.randomUUID().slice(0, 8)}`;
  const port = freePort();
  const child = example(await dockerCommand(), {
    AMQP_URL: url,
    WARREN_HOST: host,
    WARREN_GRACE: "10000",
    WARREN_HEALTH_PORT: `${port}`,
    WARREN_HEALTH_HOSTNAME: "0.0.0.0",
    WARREN_LOG_LEVEL: "info",
  }).spawn();
  const output = child.output();
  try {
    const probe = async () => {
      const response = await fetch(`http://127.0.0.1:${port}/readyz`)
        .catch(() => undefined);
      await response?.body?.cancel();
      return response?.status;
    };
    await until("it is ready", async () => await probe() === 200, 20_000);
    await using connection = await createConnection(url);
    const client = connection.client(resizer);
    const running = client.call("resize", { ms: 1_000 }, { host });
    await until("it runs", async () => {
      for await (
        const { host: at, stats } of connection.services({
          topic: "resizer",
          host,
          ask: "stats",
          timeout: 300,
        })
      ) if (at === host && stats?.active === 1) return true;
      return false;
    });
    child.kill("SIGTERM");
    assert.equal(await running, "resized");
    const { code, stdout } = await output;
    assert.equal(code, 0);
    const text = new TextDecoder().decode(stdout);
    assert.match(text, /Serving .*resizer/);
    assert.match(text, /drained after 1 requests\n$/);
  } finally {
    try {
      child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await output;
    await using raw = await Raw.open(url);
    for (const queue of ["resizer", `resizer.${host}`]) {
      await raw.channel.deleteQueue(queue);
      await raw.channel.deleteQueue(`${queue}.quarantine`);
    }
    await raw.channel.deleteExchange("resizer_fanout");
  }
});

Deno.test("dead_letters.ts lists the dead letters of a topic, and puts a chosen one or all of them back", async () => {
  const url = await brokerUrl();
  const topic = `t${crypto.randomUUID().slice(0, 8)}`;
  const letters = contract({
    topic,
    version: "1.0",
    procedures: { open: {}, fold: {} },
  });
  let fails = true;
  let handled = 0;
  const open = () => {
    if (fails) throw new Error("the envelope is torn");
    handled++;
  };
  {
    const manager = implement(letters, { open, fold: open });
    const host = "one";
    const signals = false;
    await using service = await Service.start({ url, host, manager, signals });
    await using connection = await createConnection(url);
    const words = [topic, "--url", url];
    const run = (verb: string, ...options: string[]) =>
      linesOf("examples/dead_letters.ts", verb, ...words, ...options);
    assert.deepEqual(await run("list"), ["Dead letters found: 0"]);
    const wrong = await program(
      "examples/dead_letters.ts",
      ...["list", "a b", "--url", url],
    );
    assert.equal(wrong.code, 2);
    assert.match(wrong.stderr, /^Invalid topic "a b"/);
    const client = connection.client(letters);
    for (const name of ["open", "open", "fold"] as const) {
      await client.cast(name);
    }
    await until("they are dead", () => service.stats.dead === 3);
    let id = "";
    for (const _ of ["list", "list again: nothing was taken"]) {
      const lines = await run("list", "--procedure", "open");
      const line = /^(\w+) open: 1 attempts, Error: the envelope is torn$/;
      id = line.exec(`${lines[0]}`)?.[1] ?? "";
      assert.notEqual(id, "");
      assert.equal(lines.at(-1), "Dead letters found: 2");
    }
    const error = "Error: the envelope is torn";
    assert.deepEqual(await run("groups"), [
      `2 × open: ${error}`,
      `1 × fold: ${error}`,
    ]);
    fails = false;
    const dry = await run("replay", "--dry-run");
    assert.equal(dry.at(-1), "Dead letters replayed: 3");
    assert.equal(
      (await run("replay", "--id", id)).at(-1),
      "Dead letters replayed: 1",
    );
    await until("the chosen one is handled", () => handled === 1);
    assert.equal((await run("list")).at(-1), "Dead letters found: 2");
    assert.deepEqual(await run("discard", "--procedure", "fold"), [
      "Dead letters discarded: 1",
    ]);
    await run("replay");
    await until("the last one is handled", () => handled === 2);
    assert.deepEqual(await run("list"), ["Dead letters found: 0"]);
    await service.kill();
  }
  await using raw = await Raw.open(url);
  for (const part of ["", ".quarantine", ".dead"]) {
    await raw.channel.deleteQueue(`${topic}${part}`);
  }
  await raw.channel.deleteExchange(`${topic}_fanout`);
});

Deno.test("dead_letters.ts keeps the ids and headers of a foreign letter, and leaves one whose queue is gone", async () => {
  const url = await brokerUrl();
  const name = `t${crypto.randomUUID().slice(0, 8)}`;
  const gone = `${name}-gone`;
  await using raw = await Raw.open(url);
  const { channel } = raw;
  for (const queue of [name, `${name}.dead`, `${gone}.dead`]) {
    await channel.assertQueue(queue);
  }
  const properties = {
    correlationId: "correlated",
    replyTo: "somewhere",
    messageId: "identified",
  };
  const body = Buffer.from("not JSON");
  // A letter returns to its own queue, whatever its headers name.
  const headers = {
    "warren-queue": "elsewhere",
    "warren-attempts": "3",
    own: "é",
  };
  for (const queue of [`${name}.dead`, `${gone}.dead`]) {
    channel.sendToQueue(queue, body, { ...properties, headers });
  }
  await channel.waitForConfirms();
  const replay = (topic: string) =>
    program("examples/dead_letters.ts", "replay", topic, "--url", url);
  const { code, stdout } = await replay(name);
  assert.equal(code, 0);
  assert.match(stdout, /^Dead letters replayed: 1$/m);
  const replayed = await channel.get(name, { noAck: true });
  assert.ok(replayed && replayed.content.equals(body));
  const { headers: kept, deliveryMode, ...rest } = replayed.properties;
  assert.equal(kept?.own, "é");
  assert.equal(deliveryMode, 2);
  for (const [key, value] of Object.entries(properties)) {
    assert.equal(rest[key as keyof typeof rest], value, key);
  }
  const failed = await replay(gone);
  assert.equal(failed.code, 1);
  assert.match(
    failed.stderr,
    new RegExp(`identified: No queue takes .*${gone}`),
  );
  const words = [gone, "--url", url];
  const list = await linesOf("examples/dead_letters.ts", "list", ...words);
  assert.match(`${list[0]}`, /^identified unreadable: 3 attempts/);
  assert.equal(list.at(-1), "Dead letters found: 1");
  for (const queue of [name, `${name}.dead`, `${gone}.dead`]) {
    await channel.deleteQueue(queue);
  }
});

Deno.test("cells.ts finds the hosts of two cells while a third one is down", async () => {
  const { code, stdout } = await program("examples/cells.ts");
  assert.equal(code, 0);
  assert.deepEqual(stdout.trimEnd().split("\n").toSorted(), [
    "The option route knows no cell for compute.uptime on host xx01; the cells are north, south, east",
    "east does not answer: ConnectionFailedError",
    "gb07 in north: up 1 day",
    "gb07 reloads flavors",
    "nd03 in south: up 1 day",
    "nd03 reloads flavors",
    "reload reached north and south",
  ]);
});
