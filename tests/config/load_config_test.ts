/** The configuration: which level wins, and what is refused and how. */
import assert from "node:assert/strict";
import fc from "npm:fast-check@^4.10.2";
import {
  type Config,
  type ConfigOptions,
  createConnection,
  describeConfig,
  implement,
  InvalidValueError,
  loadConfig,
  Service,
} from "../../mod.ts";
import { busProfile } from "../../src/connection/bus_profile.ts";
import { transportKey } from "../../src/connection/transport_registry.ts";
import { sumHandlers, sums } from "../rpc/support.ts";
import { type Environment, temporary, within, write } from "./support.ts";

/** The error that a configuration is refused with. */
function refusal(
  environment: Environment,
  options?: ConfigOptions,
): InvalidValueError {
  try {
    within(environment, () => loadConfig(options));
  } catch (error) {
    assert.ok(error instanceof InvalidValueError, String(error));
    return error;
  }
  throw new Error("It was taken");
}

/** For what the types forbid. */
const untyped = (options: unknown) => options as ConfigOptions;

Deno.test("Without anything given, the defaults hold", () => {
  const config = within({}, () => loadConfig());
  assert.deepEqual({ ...config }, {
    url: ["amqp://localhost"],
    cells: {},
    cell: undefined,
    host: undefined,
    concurrency: 64,
    prefetch: undefined,
    profile: "warren",
    dialect: "grizzly",
    queueType: "auto",
    timeout: 60_000,
    grace: 30_000,
    heartbeat: 10,
    consumerTimeout: 1_800_000,
    longRunning: 600_000,
    maxMessageSize: 1_048_576,
    tracebacks: false,
    deadLetterStacks: false,
    traceCasts: "link",
    waitForRoute: false,
    pooled: false,
    signals: true,
    remoteControl: false,
    publisherId: undefined,
    reportInterval: 10_000,
    binary: undefined,
    zone: undefined,
    healthPort: undefined,
    healthHostname: "127.0.0.1",
    taskIntervals: {},
    tls: undefined,
    logLevel: "info",
  });
  assert.ok(Object.isFrozen(config) && Object.isFrozen(config.url));
});

/** For each key: three right values as an option, a variable and in the file, and where the variable differs from it. */
const LEVELS: readonly [
  key: keyof Config,
  variable: string,
  option: unknown,
  text: string,
  fromText: unknown,
  inFile: unknown,
][] = [
  [
    "cells",
    "WARREN_CELLS",
    { a: ["memory:a"] },
    "a=amqp://b,amqp://c  d=memory:d",
    { a: ["amqp://b", "amqp://c"], d: ["memory:d"] },
    { a: ["memory:c"] },
  ],
  ["cell", "WARREN_CELL", "a", "b", "b", "c"],
  ["host", "WARREN_HOST", "a", "b", "b", "c"],
  ["concurrency", "WARREN_CONCURRENCY", 1, "2", 2, 3],
  ["prefetch", "WARREN_PREFETCH", 1, " 2\n", 2, 3],
  ["profile", "WARREN_PROFILE", { durable: true }, "nova", "nova", "nova"],
  ["dialect", "WARREN_DIALECT", "grizzly", "oslo", "oslo", "folsom"],
  ["queueType", "WARREN_QUEUE_TYPE", "classic", "quorum", "quorum", "auto"],
  ["timeout", "WARREN_TIMEOUT", Infinity, "2.5", 2.5, 3],
  ["grace", "WARREN_GRACE", 1, "0", 0, 3],
  ["heartbeat", "WARREN_HEARTBEAT", 1, "2", 2, 3],
  ["consumerTimeout", "WARREN_CONSUMER_TIMEOUT", 1, "2", 2, 3],
  ["longRunning", "WARREN_LONG_RUNNING", Infinity, "2", 2, 3],
  ["maxMessageSize", "WARREN_MAX_MESSAGE_SIZE", 1, "2", 2, 3],
  ["tracebacks", "WARREN_TRACEBACKS", false, "true", true, false],
  [
    "deadLetterStacks",
    "WARREN_DEAD_LETTER_STACKS",
    false,
    "true",
    true,
    false,
  ],
  ["traceCasts", "WARREN_TRACE_CASTS", "link", "child", "child", "link"],
  ["waitForRoute", "WARREN_WAIT_FOR_ROUTE", false, "true", true, false],
  ["pooled", "WARREN_POOLED", false, "true", true, false],
  ["signals", "WARREN_SIGNALS", true, "false", false, true],
  ["remoteControl", "WARREN_REMOTE_CONTROL", false, "true", true, false],
  ["publisherId", "WARREN_PUBLISHER_ID", "a", "b", "b", "c"],
  ["reportInterval", "WARREN_REPORT_INTERVAL", 0, "2", 2, 3],
  ["binary", "WARREN_BINARY", "a", "b c", "b c", "d"],
  ["zone", "WARREN_ZONE", "a", "b", "b", "c"],
  ["healthPort", "WARREN_HEALTH_PORT", 0, "2", 2, 3],
  ["healthHostname", "WARREN_HEALTH_HOSTNAME", "::", "::1", "::1", "127.0.0.1"],
  ["taskIntervals", "WARREN_TASK_INTERVALS", { a: 1 }, "b=2, c=3.5", {
    b: 2,
    c: 3.5,
  }, {}],
  ["logLevel", "WARREN_LOG_LEVEL", "trace", "error", "error", "fatal"],
  [
    "url",
    "AMQP_URL",
    ["memory:a"],
    "amqp://b, amqp://c",
    ["amqp://b", "amqp://c"],
    ["amqp://d", "amqp://e"],
  ],
];

Deno.test("Options come before the environment, that before the file, that before defaults", () => {
  const defaults = within({}, () => loadConfig());
  for (const [key, variable, option, text, fromText, inFile] of LEVELS) {
    using file = temporary({ [key]: inFile });
    const options = untyped({ [key]: option });
    const named = { WARREN_CONFIG: file.path };
    const set = { [variable]: text };
    const value = (environment: Environment, given?: ConfigOptions) => {
      const config = within(environment, () => loadConfig(given));
      const others = { ...config, [key]: defaults[key] };
      assert.deepEqual(others, { ...defaults }, `${key} changes nothing else`);
      const line = describeConfig(config).split("\n")
        .find((row) => row.startsWith(`${key} `));
      return [config[key], line?.split(/ {2,}/).at(-1)];
    };
    assert.deepEqual(value({ ...named, ...set }, options), [
      option,
      `option ${key}`,
    ]);
    assert.deepEqual(value({ ...named, ...set }), [
      fromText,
      `variable ${variable}`,
    ]);
    assert.deepEqual(value(named), [inFile, `file ${file.path}`]);
    assert.deepEqual(value({ [variable]: "" }), [defaults[key], "default"]);
    assert.deepEqual(value({}, untyped({ [key]: undefined })), [
      defaults[key],
      "default",
    ]);
  }
});

Deno.test("A URL may be a text, a URL object, or a list of both", () => {
  const url = (given: ConfigOptions["url"]) =>
    within({}, () => loadConfig({ url: given })).url;
  assert.deepEqual(url("amqp://a"), ["amqp://a"]);
  assert.deepEqual(url(new URL("amqp://a/v")), ["amqp://a/v"]);
  assert.deepEqual(url(["amqp://a", new URL("amqp://b")]), [
    "amqp://a",
    "amqp://b",
  ]);
  using file = temporary({ url: "amqp://one" });
  assert.deepEqual(within({}, () => loadConfig({ file: file.path })).url, [
    "amqp://one",
  ]);
});

const PEM = "-----BEGIN CERTIFICATE-----\nMII\n-----END CERTIFICATE-----\n";

Deno.test("TLS: PEM, or the path of its file; each part has its own level", () => {
  using ca = temporary(PEM);
  using file = temporary({ tls: { cert: PEM, servername: "broker" } });
  const config = within(
    { WARREN_TLS_CA: ca.path, WARREN_CONFIG: file.path },
    () => loadConfig({ tls: { key: PEM } }),
  );
  assert.deepEqual(config.tls, {
    ca: PEM,
    cert: PEM,
    key: PEM,
    servername: "broker",
  });
  assert.doesNotMatch(describeConfig(config), /MII/);
  assert.doesNotMatch(JSON.stringify(config), /MII/);

  const missing = refusal({ WARREN_TLS_KEY: "MIIsecret" });
  assert.equal(
    missing.message,
    "Invalid variable WARREN_TLS_KEY (hidden): give PEM, or the path of a file with it; there is no such file",
  );
  using empty = temporary("{}");
  assert.match(
    refusal({}, { tls: { ca: empty.path } }).message,
    /^Invalid option tls\.ca \(hidden\): .*there is no PEM in it$/,
  );
  assert.match(
    refusal({}, untyped({ tls: "on" })).message,
    /^Invalid option tls "on": give an object: tls\.ca, tls\.cert/,
  );
});

const WRONG: readonly (readonly [Environment, unknown, expected: string])[] = [
  [
    { WARREN_CONCURRENCY: "many" },
    {},
    'variable WARREN_CONCURRENCY "many": give a whole number from 1 to 65535',
  ],
  [
    { WARREN_PREFETCH: "0" },
    {},
    'variable WARREN_PREFETCH "0": give a whole number from 1 to 65535',
  ],
  [
    { WARREN_QUEUE_TYPE: "Quorum" },
    {},
    'variable WARREN_QUEUE_TYPE "Quorum": give auto, classic or quorum',
  ],
  [
    { WARREN_TRACEBACKS: "yes\n2" },
    {},
    'variable WARREN_TRACEBACKS "yes\\n2": give true or false',
  ],
  [
    { WARREN_LOG_LEVEL: "warn" },
    {},
    'variable WARREN_LOG_LEVEL "warn": give one of trace, debug, info, warning, error, fatal',
  ],
  [
    { WARREN_GRACE: "-1" },
    {},
    'variable WARREN_GRACE "-1": give milliseconds, 0 or more',
  ],
  [
    { WARREN_TIMEOUT: "1e3" },
    {},
    'variable WARREN_TIMEOUT "1e3": give milliseconds above 0',
  ],
  [
    { WARREN_HEALTH_PORT: "tcp://10.0.0.1:80" },
    {},
    'variable WARREN_HEALTH_PORT "tcp://10.0.0.1:80": give a whole number from 0 to 65535',
  ],
  [
    { WARREN_ZONE: "a\n" },
    { zone: "b\nc" },
    'option zone "b\\nc": give 1 to 200 printable ASCII characters',
  ],
  [
    { WARREN_PROFILE: "cloud" },
    {},
    'variable WARREN_PROFILE "cloud": give warren, nova, or an object',
  ],
  [{}, { profile: { durabel: true } }, "option profile {…}: give warren, nova"],
  ...["a", "a=", "a=0", "=1", "a=1,", "a=1=2", "a=x"].map((text) =>
    [
      { WARREN_TASK_INTERVALS: text },
      {},
      `variable WARREN_TASK_INTERVALS "${text}": give milliseconds above 0 by the name of a task`,
    ] as const
  ),
  [
    {},
    { taskIntervals: 5 },
    "option taskIntervals 5: give milliseconds above 0 by the",
  ],
  [
    {},
    { taskIntervals: { a: -1 } },
    "option taskIntervals {…}: give milliseconds above",
  ],
  [
    { AMQP_URL: "http://ada:pw@broker/x" },
    {},
    'variable AMQP_URL "http://ada:***@broker/x": give amqp://user:password@host:port/vhost, amqps://… or memory:name, or several of one cluster',
  ],
  [
    { AMQP_URL: "amqp:secret" },
    {},
    "variable AMQP_URL (hidden: it may hold a password): give amqp://",
  ],
  [
    { AMQP_URL: "amqp://ada:100%@broker" }, // no login can be read from it
    {},
    'variable AMQP_URL "amqp://ada:***@broker": give amqp://',
  ],
  // What is wrong in one level is refused, whatever the levels above it say.
  [{ WARREN_HOST: "a b" }, { host: "a" }, 'variable WARREN_HOST "a b": give 1'],
  [{}, { host: "*" }, 'option host "*": give 1 to 200 of the characters'],
  [{}, { concurrency: 1.5 }, "option concurrency 1.5: give a whole number"],
  [{}, { timeout: NaN }, "option timeout NaN: give milliseconds above 0"],
  [{}, { heartbeat: "10" }, 'option heartbeat "10": give whole seconds'],
  [{}, { publisherId: "" }, 'option publisherId "": give a text'],
  [{}, { url: [] }, "option url []: give amqp://"],
  [{}, { url: ["memory:a", "memory:b"] }, 'option url "memory:a,memory:b": g'],
  [{}, { signals: null }, "option signals null: give true or false"],
  [{}, { signals: { on: 1 } }, "option signals {…}: give true or false"],
  [{}, { file: 7 }, "option file 7: give the path of a JSON file"],
];

Deno.test("A wrong value is one sentence: the name, the value, what is allowed", () => {
  for (const [environment, options, expected] of WRONG) {
    const { message, data } = refusal(environment, untyped(options));
    assert.ok(message.startsWith(`Invalid ${expected}`), message);
    assert.doesNotMatch(message, /\n/);
    assert.equal(data.path, expected.split(" ")[1]);
  }
});

Deno.test("A wrong value in the file is named by its path and the file", () => {
  for (
    const [content, expected] of [
      [{ grace: "30s" }, 'grace "30s"'],
      [{ url: ["amqp://a", 5] }, "url […]"],
      [{ host: null }, "host null"],
      [{ tls: { servername: 1 } }, "tls.servername 1"],
      [{ tls: [] }, "tls […]"],
    ] as const
  ) {
    using file = temporary(content);
    const { message, data } = refusal({ WARREN_CONFIG: file.path });
    const start = `Invalid key ${expected} in ${file.path}: give `;
    assert.ok(message.startsWith(start), message);
    assert.equal(data.path, expected.split(" ")[0]);
  }
});

Deno.test("An unknown name is refused wherever it stands, with those that are known", () => {
  const variable = refusal({ WARREN_CONCURENCY: "8" });
  assert.match(
    variable.message,
    /^Unknown variable WARREN_CONCURENCY: give some of WARREN_CONFIG, AMQP_URL, .*WARREN_CONCURRENCY/,
  );
  assert.equal(variable.data.path, "WARREN_CONCURENCY");
  const option = refusal({}, untyped({ concurency: 8 }));
  assert.match(option.message, /^Unknown option concurency: give some of url,/);
  for (
    const [content, name] of [
      [{ concurency: 8 }, "concurency"],
      [{ tls: { pem: "x" } }, "tls.pem"],
      ['{ "__proto__": 1 }', "__proto__"],
      [{ constructor: 1 }, "constructor"],
      [{ "amqp://ada:pw@broker": 1 }, "(hidden: it may hold a password)"],
    ] as const
  ) {
    using file = temporary(content);
    const { message } = refusal({ WARREN_CONFIG: file.path });
    const start =
      `Unknown key ${name} in ${file.path}: give some of url, cells`;
    assert.ok(message.startsWith(start), message);
  }
});

Deno.test("Variables that Kubernetes sets for a service of that name are not Warren's", () => {
  const names = [
    "WARREN_SERVICE_HOST",
    "WARREN_SERVICE_PORT_AMQP",
    "WARREN_PORT",
    "WARREN_API_PORT_5672_TCP_ADDR",
  ];
  const set = Object.fromEntries(names.map((name) => [name, "10.0.0.1"]));
  assert.equal(within(set, () => loadConfig()).host, undefined);
});

Deno.test("A file that cannot be used is named, with the reason, and none of its text", () => {
  const reason = (path: string) => {
    const { message, data } = refusal({ WARREN_CONFIG: path });
    const start =
      `Invalid variable WARREN_CONFIG "${path}": give the path of a file with a JSON object; `;
    assert.ok(message.startsWith(start), message);
    assert.equal(data.path, "WARREN_CONFIG");
    return message.slice(start.length);
  };
  assert.equal(reason("/nowhere/warren.json"), "there is no such file");
  assert.match(reason("/"), /^reading it failed \(\w+\)$/);
  using broken = temporary('{ "url": "amqp://ada:secret@broker",\n  host: 1 }');
  assert.equal(reason(broken.path), "it is not JSON from line 2 column 3");
  using torn = temporary('{ "url": amqp://ada:secret@broker }');
  assert.equal(reason(torn.path), "it is not JSON");
  for (const content of ["[]", "null", '"amqp://ada:secret@broker"']) {
    using list = temporary(content);
    assert.equal(reason(list.path), "its content is not an object");
  }
});

/** A password that is in no other text: with all that a URL may and may not hold. */
const passwords = fc.tuple(
  fc.string({ minLength: 0, maxLength: 6, unit: "grapheme-ascii" }),
  fc.stringMatching(/^[0-9a-f]{8}$/),
  fc.string({ minLength: 0, maxLength: 6, unit: "grapheme-ascii" }),
).map(([before, middle, after]) => ({
  text: `${before}s3${middle}${after}`,
  core: `s3${middle}`,
}));

const templates = fc.constantFrom(
  (p: string) => `amqp://ada:${p}@broker`,
  (p: string) => `amqps://ada:${encodeURIComponent(p)}@broker:5671/vhost`,
  (p: string) => `amqp://:${p}@broker:1/`,
  (p: string) => `amqp://ada:1/${p}@broker`,
  (p: string) => `amqp://ada:1,${p}@broker`,
  (p: string) => `amqp://ada:1?${p}@broker`,
  (p: string) => `amqp://ada:1#${p}@broker`,
  (p: string) => `amqp:ada:${p}@broker`,
  (p: string) => `amqp:/ada:${p}@broker`,
  (p: string) => `memory:ada:${p}@broker`,
  (p: string) => `https://ada:${p}@broker`,
  (p: string) => `htp://ada:${p}@broker`,
  (p: string) => `ada:${p}@broker`,
  (p: string) => ` amqp://ada:${p}@broker , amqp://bob:${p}@other`,
  (p: string) => `amqp://fine,amqp://ada:${p}@broker,ftp://x`,
);

/** Where a URL may end up: in its place, or by mistake in another. */
const places: readonly ((url: string) => [Environment, unknown, string])[] = [
  (url) => [{ AMQP_URL: url }, {}, "{}"],
  (url) => [{}, { url }, "{}"],
  (url) => [{}, { url: ["amqp://fine", url] }, "{}"],
  (url) => [{}, {}, JSON.stringify({ url })],
  (url) => [{}, {}, JSON.stringify({ url: ["amqp://fine", url, 5] })],
  (url) => [{}, {}, `{ "url": ${url} }`],
  (url) => [{}, {}, `{ "url": ${JSON.stringify(url)} "host": "x" }`],
  (url) => [{}, {}, JSON.stringify({ [url]: 1 })],
  (url) => [{ WARREN_HOST: url }, {}, "{}"],
  (url) => [{ WARREN_GRACE: url }, {}, "{}"],
  (url) => [{ WARREN_TLS_KEY: url }, {}, "{}"],
  (url) => [{}, { queueType: url }, "{}"],
  (url) => [{}, { queueType: { url } }, "{}"],
  (url) => [{}, { [url]: url }, "{}"],
  (url) => [{}, { file: url }, "{}"],
];

Deno.test("No password is ever in an error, a description, or what is printed", () => {
  using file = temporary("{}");
  let taken = 0;
  const holds = (
    password: { text: string; core: string },
    template: (password: string) => string,
    place: typeof places[number],
  ) => {
    const [set, options, content] = place(template(password.text));
    const nul = (text: string) => text.includes("\0");
    fc.pre(!Object.values(set).some(nul));
    write(file.path, content);
    const environment = { ...set, WARREN_CONFIG: file.path };
    const seen: string[] = [];
    within(environment, () => {
      try {
        const config = loadConfig(untyped(options));
        taken++;
        seen.push(describeConfig(config), Deno.inspect(config));
        seen.push(JSON.stringify(config), describeConfig({ ...config }));
      } catch (error) {
        assert.ok(error instanceof InvalidValueError, String(error));
        assert.doesNotMatch(error.message, /\n/);
        seen.push(Deno.inspect(error), JSON.stringify(error.data));
      }
    });
    for (const text of seen) assert.ok(!text.includes(password.core), text);
  };
  fc.assert(
    fc.property(passwords, templates, fc.constantFrom(...places), holds),
    { numRuns: 2_000 },
  );
  assert.ok(taken > 50, `only ${taken} were right`);
});

Deno.test("A configuration goes as it is into Service.start and createConnection", async () => {
  const url = `memory:${crypto.randomUUID()}`;
  const config = within(
    { AMQP_URL: url, WARREN_HOST: "gb07", WARREN_CONCURRENCY: "3" },
    () => loadConfig(),
  );
  const manager = implement(sums("sums"), sumHandlers());
  await using service = await Service.start({ ...config, manager });
  assert.deepEqual([service.host, service.concurrency], ["gb07", 3]);
  await using connection = await createConnection(config.url, config);
  const client = connection.client(sums("sums"));
  assert.equal(await client.call("add", { a: 1, b: 2 }, { host: "gb07" }), 3);
  const [broker, defaults] = [[new URL("amqp://a")], within({}, loadConfig)];
  const profile = busProfile();
  assert.equal(
    transportKey(broker, defaults, profile),
    transportKey(broker, {}, profile),
    "one link for both",
  );
  const another = implement(sums("sums"), sumHandlers());
  const own = { host: "x", manager: another };
  await using other = await Service.start({ ...config, ...own });
  assert.equal(other.host, "x", "what is said explicitly wins");
});

Deno.test("the URL of a process is that of its cell", () => {
  const variables = {
    WARREN_CELLS: "a=amqp://ada:secret@a b=amqp://b1,amqp://b2",
    WARREN_CELL: "b",
  };
  const config = within(variables, () => loadConfig());
  assert.deepEqual(config.url, ["amqp://b1", "amqp://b2"]);
  assert.ok(Object.isFrozen(config.cells));
  const text = describeConfig(config);
  assert.match(text, /^url +amqp:\/\/b1,amqp:\/\/b2 +variable WARREN_CELL$/m);
  assert.match(text, /^cells +a=amqp:\/\/ada:\*\*\*@a b=amqp/m);
  for (const shown of [text, JSON.stringify(config), Deno.inspect(config)]) {
    assert.doesNotMatch(shown, /secret/);
  }
  const same = { ...variables, AMQP_URL: "amqp://b2,amqp://b1" };
  assert.equal(within(same, () => loadConfig()).url.length, 2);
  const alone = within({ WARREN_CELL: "b" }, () => loadConfig());
  assert.deepEqual([alone.cell, alone.url], ["b", ["amqp://localhost"]]);
});

const wrongCells: Record<string, [Record<string, string>, RegExp]> = {
  "an unknown cell": [
    { WARREN_CELLS: "a=memory:a b=memory:b", WARREN_CELL: "c" },
    /^Invalid variable WARREN_CELL "c": give one of a, b$/,
  ],
  "the URL of another broker": [
    { WARREN_CELLS: "a=memory:a", WARREN_CELL: "a", AMQP_URL: "memory:b" },
    /^Invalid variable AMQP_URL memory:b: give the broker of the cell a, or/,
  ],
  "a URL that is none": [
    { WARREN_CELLS: "a=secret" },
    /^Invalid variable WARREN_CELLS \(hidden.*a: Invalid broker URL/,
  ],
  "one cell twice": [
    { WARREN_CELLS: "a=memory:secret a=memory:b" },
    /^Invalid variable WARREN_CELLS \(hidden/,
  ],
  "a name that is none": [
    { WARREN_CELLS: "a/b=memory:secret" },
    /^Invalid variable WARREN_CELLS \(hidden/,
  ],
};

for (const [what, [variables, text]] of Object.entries(wrongCells)) {
  Deno.test(`cells with ${what} are one sentence without secrets`, () => {
    assert.throws(() => within(variables, () => loadConfig()), (error) => {
      assert.ok(error instanceof InvalidValueError);
      assert.match(error.message, text);
      assert.doesNotMatch(error.message, /secret/);
      return true;
    });
  });
}

const ROOT = new URL("../../", import.meta.url);

/** Runs a program that imports Warren, with these permissions and variables alone. */
async function run(
  permissions: readonly string[],
  env: Environment,
  body: string,
) {
  const program = `import * as warren from ${
    JSON.stringify(new URL("mod.ts", ROOT))
  };${body}`;
  const { PATH = "", HOME = "", DENO_DIR } = Deno.env.toObject();
  const base = { PATH, HOME, NO_COLOR: "1", ...(DENO_DIR && { DENO_DIR }) };
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "--ext=ts", "--no-prompt", ...permissions, "-"],
    clearEnv: true,
    env: { ...base, ...env },
    cwd: ROOT,
    stdin: "piped",
    stdout: "piped",
    stderr: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(program));
  await writer.close();
  const { code, stdout, stderr } = await child.output();
  const text = (bytes: Uint8Array) => new TextDecoder().decode(bytes);
  return { code, out: text(stdout), err: text(stderr) };
}

const SHOW = `
const { url, host, grace } = warren.loadConfig();
console.log(JSON.stringify({ url, host, grace }));`;

Deno.test("Without permissions there are defaults; each variable needs its own alone", async () => {
  const env = { AMQP_URL: "memory:a", WARREN_HOST: "b", WARREN_GRACE: "7" };
  const none = await run([], { ...env, WARREN_TYPO: "1" }, SHOW);
  assert.deepEqual(none, {
    code: 0,
    out: '{"url":["amqp://localhost"],"grace":30000}\n',
    err: "",
  });
  const two = ["--allow-env=AMQP_URL,WARREN_HOST"];
  assert.deepEqual(await run(two, env, SHOW), {
    code: 0,
    out: '{"url":["memory:a"],"host":"b","grace":30000}\n',
    err: "",
  });
  const denied = ["--allow-env", "--deny-env=WARREN_HOST"];
  assert.deepEqual(await run(denied, env, SHOW), {
    code: 0,
    out: '{"url":["memory:a"],"grace":7}\n',
    err: "",
  });
  const all = ["--allow-env=AMQP_URL,WARREN_*"];
  assert.deepEqual(await run(all, env, SHOW), {
    code: 0,
    out: '{"url":["memory:a"],"host":"b","grace":7}\n',
    err: "",
  });
});

Deno.test("The file needs its own permission, and its lack is named", async () => {
  using file = temporary({ host: "in-file" });
  const env = { WARREN_CONFIG: file.path };
  const rights = ["--allow-env=WARREN_CONFIG"];
  const allowed = [...rights, `--allow-read=${file.path}`];
  const { out, err } = await run(allowed, env, SHOW);
  assert.equal(err, "");
  assert.equal(JSON.parse(out).host, "in-file");
  const without = await run(rights, env, SHOW);
  assert.equal(without.code, 1);
  assert.ok(
    without.err.includes(
      `Invalid variable WARREN_CONFIG "${file.path}": give the path of a file with a JSON object; this program may not read it without --allow-read`,
    ),
    without.err,
  );
});

Deno.test("Importing and serving read no environment", async () => {
  const body = `
await using service = await warren.Service.start({
  url: "memory:", host: "one",
  manager: warren.implement(warren.contract({ topic: "t", version: "1.0", procedures: {} }), {}),
});
console.log(service.host);`;
  const env = { WARREN_HOST: "other", WARREN_TYPO: "1" };
  const expected = { code: 0, out: "one\n", err: "" };
  assert.deepEqual(await run(["--allow-env"], env, body), expected);
  assert.deepEqual(await run([], env, body), expected);
});
