/** What can change while a service runs: concurrency and the log level, by hand and on SIGHUP. */
import assert from "node:assert/strict";
import {
  createConnection,
  implement,
  InvalidValueError,
  loadConfig,
  Service,
  watchConfig,
} from "../../mod.ts";
import { TextLineStream } from "../fleet/lines.ts";
import { sumHandlers, sums } from "../rpc/support.ts";
import { until } from "../setup/probe.ts";
import { temporary, within, write } from "./support.ts";

Deno.test("concurrency can be changed while handlers run", async () => {
  const url = `memory:${crypto.randomUUID()}`;
  let running = 0;
  const waiting: (() => void)[] = [];
  const changed: (() => void)[] = [];
  const count = async (expected: number) => {
    while (running !== expected) {
      await new Promise<void>((resolve) => changed.push(resolve));
    }
  };
  const tell = (by: number) => {
    running += by;
    for (const resolve of changed.splice(0)) resolve();
  };
  const handlers = sumHandlers({
    wait: async () => {
      tell(1);
      await new Promise<void>((resolve) => waiting.push(resolve));
      tell(-1);
    },
  });
  const manager = implement(sums("sums"), handlers);
  const options = { url, host: "one", manager, concurrency: 1, prefetch: 10 };
  await using service = await Service.start(options);
  await using connection = await createConnection(url);
  const client = connection.client(sums("sums"));
  const calls = Array.from({ length: 6 }, () => client.call("wait", {}));
  await count(1);
  service.concurrency = 3;
  await count(3);
  service.concurrency = 1;
  calls.push(client.call("wait", {}));
  await until("all have come", () => service.stats.active === 7);
  assert.equal(running, 3);
  for (const finish of waiting.splice(0, 2)) finish();
  await Promise.all(calls.slice(0, 2));
  await count(1);
  // Two have ended, and none of those that wait took their place.
  assert.equal(service.stats.handled, 2);
  assert.equal(running, 1);
  service.concurrency = 10;
  await count(5);
  for (const finish of waiting.splice(0)) finish();
  await Promise.all(calls);
  for (const wrong of [0, 1.5, NaN, 65_536]) {
    assert.throws(() => service.concurrency = wrong, InvalidValueError);
  }
  assert.equal(service.concurrency, 10);
});

Deno.test("watchConfig: reload() applies what is live and names the rest, against what runs", () => {
  using file = temporary({ concurrency: 8, logLevel: "info", prefetch: 20 });
  const spacings: unknown[] = [];
  const follower = {
    concurrency: 8,
    setTaskIntervals: (spacing: unknown) => void spacings.push(spacing),
  };
  const levels: string[] = [];
  const reloads: [readonly string[], readonly string[]][] = [];
  within({ WARREN_CONFIG: file.path }, () => {
    const config = loadConfig({ grace: 5 });
    using watcher = watchConfig(config, {
      services: [follower],
      logLevel: (level) => levels.push(level),
      reloaded: ({ applied, restart }) => reloads.push([applied, restart]),
    });
    const reload = (content: unknown) => {
      write(file.path, content);
      watcher.reload();
      return reloads.splice(0)[0];
    };
    const now = { concurrency: 4, logLevel: "debug", prefetch: 20, host: "x" };
    assert.deepEqual(reload(now), [["concurrency", "logLevel"], ["host"]]);
    assert.deepEqual([follower.concurrency, levels], [4, ["debug"]]);
    assert.deepEqual(watcher.config.host, "x");
    assert.deepEqual(reload(now), [[], ["host"]], "it still runs without");
    assert.deepEqual(reload({ ...now, host: undefined }), [[], []]);
    const { config: kept } = watcher;
    for (const bad of ["{", { concurrency: 0 }, { conc: 1 }]) {
      assert.equal(reload(bad), undefined);
    }
    assert.equal(watcher.config, kept);
    assert.equal(follower.concurrency, 4);
    // The consumers were started with 20 in hand; without a prefetch it would be the concurrency.
    const next = { concurrency: 20, logLevel: "debug" };
    assert.deepEqual(reload(next), [["concurrency"], []]);
    assert.deepEqual(reload({ ...next, concurrency: 21 }), [
      ["concurrency"],
      ["prefetch"],
    ]);
    assert.equal(watcher.config.grace, 5, "options still come first");
    const spaced = { ...next, concurrency: 21, taskIntervals: { sweep: 5 } };
    assert.deepEqual(reload(spaced), [["taskIntervals"], ["prefetch"]]);
    assert.deepEqual(reload(spaced), [[], ["prefetch"]]);
    assert.deepEqual(spacings, [{ sweep: 5 }]);
  });
});

Deno.test("watchConfig: without followers, a restart is needed; their errors stop nothing", () => {
  using file = temporary({});
  within({ WARREN_CONFIG: file.path }, () => {
    const config = loadConfig();
    const restarts: (readonly string[])[] = [];
    using alone = watchConfig(config, {
      reloaded: ({ restart }) => {
        restarts.push(restart);
        throw new Error("expected");
      },
    });
    using failing = watchConfig(config, {
      logLevel: () => {
        throw new Error("expected");
      },
    });
    write(file.path, { logLevel: "error", concurrency: 1, prefetch: 64 });
    alone.reload();
    failing.reload();
    assert.deepEqual(restarts, [["concurrency", "logLevel"]]);
    assert.equal(failing.config, config);
    assert.throws(() => watchConfig({ ...config }), InvalidValueError);
  });
});

/** The configured worker as a process with the least rights; disposal kills it. */
class Worker implements AsyncDisposable {
  readonly #child: Deno.ChildProcess;
  readonly #lines: ReadableStreamDefaultReader<string>;
  readonly #errors: Promise<string>;

  constructor(file: string) {
    const program = new URL("worker.ts", import.meta.url).pathname;
    this.#child = new Deno.Command(Deno.execPath(), {
      args: [
        "run",
        "--no-prompt",
        "--allow-env=AMQP_URL,WARREN_*",
        `--allow-read=${file}`,
        program,
      ],
      env: {
        AMQP_URL: "memory://ada:secret@bus",
        WARREN_CONFIG: file,
        WARREN_HOST: "gb07",
      },
      stdin: "null",
      stdout: "piped",
      stderr: "piped",
    }).spawn();
    this.#lines = this.#child.stdout.pipeThrough(new TextDecoderStream())
      .pipeThrough(new TextLineStream()).getReader();
    this.#errors = new Response(this.#child.stderr).text();
  }

  /** The lines up to one, that one included. */
  async until(last: (line: string) => boolean): Promise<string[]> {
    const lines: string[] = [];
    for (;;) {
      const { value, done } = await this.#lines.read();
      if (done) throw new Error(`Ended: ${lines} ${await this.#errors}`);
      lines.push(value);
      if (last(value)) return lines;
    }
  }

  signal(name: Deno.Signal): void {
    this.#child.kill(name);
  }

  /** What it says until it ends, and how it ends. */
  async end(): Promise<{ code: number; err: string }> {
    await this.until((line) => line === "stopped");
    const [{ code }, err] = [await this.#child.status, await this.#errors];
    return { code, err };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    try {
      this.#child.kill("SIGKILL");
    } catch {
      // It has ended.
    }
    await this.#lines.cancel();
    await Promise.all([this.#child.status, this.#errors]);
  }
}

Deno.test({
  name:
    "SIGHUP: a worker reads its file again, and says what changed and what cannot",
  ignore: Deno.build.os === "windows",
  timeout: 60_000,
  fn: async () => {
    using file = temporary({ concurrency: 2 });
    await using worker = new Worker(file.path);
    const started = await worker.until((line) => line === "ready");
    const table = started.map((line) => line.split(/ {2,}/));
    const row = (key: string) => table.find(([name]) => name === key);
    assert.deepEqual(row("host"), ["host", "gb07", "variable WARREN_HOST"]);
    assert.deepEqual(row("concurrency")?.[2], `file ${file.path}`);
    assert.deepEqual(row("url")?.[1], "(hidden: it may hold a password)");

    write(file.path, { concurrency: 1, logLevel: "debug", grace: 5 });
    worker.signal("SIGHUP");
    assert.deepEqual(await worker.until((line) => line.startsWith("{")), [
      "level debug",
      "log info The configuration was reloaded; changed: concurrency (1), logLevel (debug); needs a restart: prefetch (as concurrency), grace (5)",
      '{"applied":["concurrency","logLevel"],"restart":["prefetch","grace"],"concurrency":1}',
    ]);

    write(file.path, '{ "url": "amqp://ada:secret@broker"');
    worker.signal("SIGHUP");
    const [line = "", ...more] = await worker.until((line) =>
      line.startsWith("log error")
    );
    assert.match(
      line,
      /^log error The configuration was not reloaded: Invalid variable WARREN_CONFIG .*; it is not JSON/,
    );
    assert.doesNotMatch(line, /secret/);
    assert.deepEqual(more, []);

    write(file.path, {});
    worker.signal("SIGHUP");
    const healed = await worker.until((line) => line.startsWith("{"));
    assert.deepEqual(JSON.parse(healed.at(-1) ?? ""), {
      applied: ["concurrency", "logLevel"],
      restart: ["prefetch"],
      concurrency: 64,
    });
    worker.signal("SIGTERM");
    assert.deepEqual(await worker.end(), { code: 0, err: "" });
  },
});
