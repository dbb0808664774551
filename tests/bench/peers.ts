/** Who is measured, how each is started, and what it promises of a message. */
import type { Command } from "./peer.ts";

/** A library, in one of the ways in which it is set up. */
export interface PeerPlan {
  /** In the table. */
  readonly name: string;
  /** What its messages and queues are. */
  readonly terms: string;
  /** Whether it is a framework, whose best is what Warren is measured by. */
  readonly framework?: boolean;
  /** Whether it confirms casts to the sender. */
  readonly confirms?: boolean;
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

/** All of them; the first is Warren. */
export const plans: readonly PeerPlan[] = [
  {
    name: "Warren",
    terms:
      "durable classic queue; calls transient, casts persistent; mandatory; casts and answers confirmed; acknowledged after the answer's confirm; schemas at both ends, ledger in memory, deadlines",
    framework: true,
    confirms: true,
    missing: present,
    command: onDeno("warren.ts"),
  },
  {
    name: "Warren, memory:",
    terms:
      "no broker: caller and worker in one process, on the transport for tests; the rest as above",
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
    terms: "C; transient classic queue; no confirms, no acknowledgements",
    missing: compile,
    command: inC("bare"),
  },
  {
    name: "limit, frames",
    terms:
      "C; the frames that Warren sends, an answer in each message, without JSON; all of a read answered in one write",
    confirms: true,
    missing: compile,
    command: inC("frames"),
  },
  {
    name: "amqplib, bare",
    terms: "Deno; transient classic queue; no confirms, no acknowledgements",
    missing: present,
    command: onDeno("raw.ts", "bare"),
  },
  {
    name: "amqplib, frames",
    terms:
      "Deno; the frames that Warren sends, an answer in each message, each acknowledged by itself; JSON, and nothing else",
    confirms: true,
    missing: present,
    command: onDeno("raw.ts", "frames"),
  },
  {
    name: "NestJS",
    terms:
      "its defaults: durable classic queue, transient; sends confirmed; never acknowledged",
    framework: true,
    confirms: true,
    missing: packages,
    command: onNode("nest.mjs", "default"),
  },
  {
    name: "NestJS, reliable",
    terms:
      "durable classic queue, persistent; sends confirmed; acknowledged after the handler, before the answer",
    framework: true,
    confirms: true,
    missing: packages,
    command: onNode("nest.mjs", "reliable"),
  },
  {
    name: "Moleculer",
    terms:
      "its own balancer, durable classic queues, transient; no confirms; requests acknowledged after the answer was written, events never",
    framework: true,
    missing: packages,
    command: onNode("moleculer.mjs", "fast"),
  },
  {
    name: "Moleculer, reliable",
    terms:
      "durable classic queues, persistent; no confirms; acknowledged after the handler, broadcasts never",
    framework: true,
    missing: packages,
    command: onNode("moleculer.mjs", "reliable"),
  },
  {
    name: "oslo.messaging",
    terms:
      "transient classic queue; every message confirmed; acknowledged before the handler; threads",
    framework: true,
    confirms: true,
    missing: oslo,
    command: (role, topic, url) => ({
      program: "/usr/bin/python3",
      args: [peers("oslo.py"), role, topic],
      env: { AMQP_URL: url },
    }),
  },
];
