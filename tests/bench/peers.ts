/** Who is measured, how each is started, and what it promises of a message. */
import type { Command } from "./peer.ts";

/** What is promised of a message. */
export interface Delivery {
  /** When the receiver acknowledges it, relative to its handler; `never`: the broker forgets it as it sends it. */
  readonly acknowledges: "after" | "before" | "never";
  /** Whether the broker confirms it to the sender: of a call, its answer to the server. */
  readonly confirms: boolean;
}

/** What is promised of the messages of each verb; a stream is a call. */
export interface Promises {
  readonly call: Delivery;
  readonly cast: Delivery;
  readonly fanout: Delivery;
}

/** A library, in one of the ways in which it is set up. */
export interface PeerPlan {
  /** In the table. */
  readonly name: string;
  /** Warren, a framework, whose best is what Warren is measured by, or a program without one. */
  readonly kind: "Warren" | "framework" | "program";
  /** What its messages and queues are. */
  readonly terms: string;
  readonly promises: Promises;
  /** Whether client and server are one process, which can do no more than call and stream. */
  readonly alone?: boolean;
  /** Why it cannot be run here; undefined if it can. */
  missing(): Promise<string | undefined>;
  /** Starts one of its processes. */
  command(role: "server" | "client", topic: string, url: string): Command;
}

const here = (path: string) => new URL(path, import.meta.url).pathname;
const peers = (path: string) => here(`peers/${path}`);

const present = () => Promise.resolve(undefined);

async function exists(path: string): Promise<boolean> {
  return await Deno.stat(path).then(() => true, () => false);
}

async function run(program: string, ...args: string[]): Promise<string> {
  try {
    const command = new Deno.Command(program, { args, cwd: peers("") });
    const { success, stderr } = await command.output();
    return success ? "" : new TextDecoder().decode(stderr).slice(-300);
  } catch (error) {
    return String(error);
  }
}

function onDeno(script: string, ...more: string[]): PeerPlan["command"] {
  return (role, topic, url) => ({
    program: Deno.execPath(),
    args: ["run", "-A", here(script), role, topic, ...more],
    env: { AMQP_URL: url },
  });
}

let installed: Promise<string | undefined> | undefined;

/** Installs the packages of the peers, once. */
function packages(): Promise<string | undefined> {
  return installed ??= (async () => {
    if (await exists(peers("node_modules/node/bin/node"))) return undefined;
    console.error("Installing the peers' packages in tests/bench/peers …");
    const failed = await run(
      "npm",
      ...["install", "--no-package-lock", "--no-audit", "--no-fund"],
    );
    return failed && `npm install in tests/bench/peers: ${failed}`;
  })();
}

function onNode(script: string, variant: string): PeerPlan["command"] {
  return (role, topic, url) => ({
    program: peers("node_modules/node/bin/node"),
    args: [peers(script), role, topic, variant],
    env: { AMQP_URL: url, NODE_ENV: "production" },
  });
}

let compiled: Promise<string | undefined> | undefined;
const limit = await Deno.makeTempDir({ prefix: "warren-bench-" });

/** Compiles the limit, once. */
function compile(): Promise<string | undefined> {
  return compiled ??= run(
    "cc",
    ...["-O2", "-o", `${limit}/limit`],
    ...["", "_client", "_server", "_wire", "_message"].map((part) =>
      peers(`limit${part}.c`)
    ),
    "-lrabbitmq",
  ).then((failed) =>
    failed ? `cc with librabbitmq (librabbitmq-dev): ${failed}` : undefined
  );
}

/** Removes what was compiled. */
export async function forgetLimit(): Promise<void> {
  await Deno.remove(limit, { recursive: true });
}

function inC(variant: string): PeerPlan["command"] {
  return (role, topic, url) => ({
    program: `${limit}/limit`,
    args: [role, topic, variant],
    env: { AMQP_URL: url },
  });
}

async function oslo(): Promise<string | undefined> {
  const failed = await run("/usr/bin/python3", "-c", "import oslo_messaging");
  return failed ? "python3-oslo.messaging is not installed" : undefined;
}

/** The same for all verbs. */
const always = (
  acknowledges: Delivery["acknowledges"],
  confirms: boolean,
): Promises => {
  const delivery = { acknowledges, confirms };
  return { call: delivery, cast: delivery, fanout: delivery };
};
const all = always("after", true);
const none = always("never", false);

/** All of them; the first is Warren. */
export const plans: readonly PeerPlan[] = [
  {
    name: "Warren",
    kind: "Warren",
    terms:
      "durable classic queue; calls transient, casts persistent; mandatory; casts and answers confirmed; acknowledged after the answer's confirm; schemas at both ends, ledger in memory, deadlines",
    promises: all,
    missing: present,
    command: onDeno("warren.ts"),
  },
  {
    name: "Warren, at-most-once",
    kind: "Warren",
    terms:
      "delivery at-most-once, casts with confirm: false; durable classic queue, transient; no confirms; acknowledged before the handler; schemas at both ends, ledger in memory, deadlines",
    promises: always("before", false),
    missing: present,
    command: onDeno("warren.ts", "1", "at-most-once"),
  },
  {
    name: "Warren, memory:",
    kind: "Warren",
    terms:
      "no broker: caller and worker in one process, on the transport for tests; the rest as Warren's first line",
    promises: all,
    alone: true,
    missing: present,
    command: (_role, topic) => ({
      program: Deno.execPath(),
      args: ["run", "-A", here("warren.ts"), "memory", topic],
      env: {},
    }),
  },
  {
    name: "limit, bare",
    kind: "program",
    promises: none,
    terms: "C; transient classic queue; no confirms, no acknowledgements",
    missing: compile,
    command: inC("bare"),
  },
  {
    name: "limit, frames",
    kind: "program",
    terms:
      "C; the frames that Warren sends, an answer in each message, without JSON; all of a read answered in one write",
    promises: all,
    missing: compile,
    command: inC("frames"),
  },
  {
    name: "amqplib, bare",
    kind: "program",
    promises: none,
    terms: "Deno; transient classic queue; no confirms, no acknowledgements",
    missing: present,
    command: onDeno("raw.ts", "bare"),
  },
  {
    name: "amqplib, frames",
    kind: "program",
    terms:
      "Deno; the frames that Warren sends, an answer in each message, each acknowledged by itself; JSON, and nothing else",
    promises: all,
    missing: present,
    command: onDeno("raw.ts", "frames"),
  },
  {
    name: "NestJS",
    kind: "framework",
    terms:
      "its defaults: durable classic queue, transient; casts confirmed; never acknowledged",
    promises: {
      call: { acknowledges: "never", confirms: false },
      cast: { acknowledges: "never", confirms: true },
      fanout: { acknowledges: "never", confirms: true },
    },
    missing: packages,
    command: onNode("nest.mjs", "default"),
  },
  {
    name: "NestJS, reliable",
    kind: "framework",
    terms:
      "durable classic queue, persistent; casts confirmed; acknowledged after the handler, before the answer",
    promises: {
      call: { acknowledges: "after", confirms: false },
      cast: { acknowledges: "after", confirms: true },
      fanout: { acknowledges: "after", confirms: true },
    },
    missing: packages,
    command: onNode("nest.mjs", "reliable"),
  },
  {
    name: "Moleculer",
    kind: "framework",
    terms:
      "its own balancer, durable classic queues, transient; no confirms; requests acknowledged after the answer was written, events never",
    promises: {
      call: { acknowledges: "after", confirms: false },
      cast: { acknowledges: "never", confirms: false },
      fanout: { acknowledges: "never", confirms: false },
    },
    missing: packages,
    command: onNode("moleculer.mjs", "fast"),
  },
  {
    name: "Moleculer, reliable",
    kind: "framework",
    terms:
      "durable classic queues, persistent; no confirms; acknowledged after the handler, broadcasts never",
    promises: {
      call: { acknowledges: "after", confirms: false },
      cast: { acknowledges: "after", confirms: false },
      fanout: { acknowledges: "never", confirms: false },
    },
    missing: packages,
    command: onNode("moleculer.mjs", "reliable"),
  },
  {
    name: "oslo.messaging",
    kind: "framework",
    terms:
      "transient classic queue; every message confirmed; acknowledged before the handler; threads",
    promises: always("before", true),
    missing: oslo,
    command: (role, topic, url) => ({
      program: "/usr/bin/python3",
      args: [peers("oslo.py"), role, topic],
      env: { AMQP_URL: url },
    }),
  },
];
