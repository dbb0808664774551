/**
 * `deno task test [--rabbitmq version] [--all] [arguments of deno test]`: the tests, the JSDoc examples and the `ts` blocks of
 * every Markdown file against a broker. It takes the one that is there, else starts a private node of RabbitMQ 4.3. It brings
 * RabbitMQ, and oslo.messaging and PostgreSQL for the tests with the real ones. Without arguments, a part of the tests runs on
 * RabbitMQ 3.10 and 4.0 too; with `--all`, everything runs on each of them, or on the one of `--rabbitmq`. The nodes and their
 * data are gone when this ends, however it ends.
 */
import { ALL_VARIABLE, LEFT_OUT } from "./all.ts";
import { findBroker, privateBroker } from "./broker.ts";
import { installOpenssl } from "./install.ts";
import { findOslo, installOslo } from "./oslo.ts";
import { findPostgres, installPostgres } from "./postgres.ts";
import {
  availableRabbitmqs,
  provideRabbitmq,
  RABBITMQ_VARIABLE,
  versionOf,
  VERSIONS,
} from "./rabbitmq/versions.ts";

/** These run by themselves: the fault matrix has limits of time, the others change the environment of the process. */
const ALONE = [
  "tests/chaos",
  "tests/connection/broker_url_test.ts",
  "tests/config/load_config_test.ts",
  "tests/config/watch_config_test.ts",
];

/** Tests on one version of RabbitMQ. */
interface Plan {
  /** Arguments of `deno test`, one list for each time that it is run; the first failure ends the plan. */
  readonly tests: readonly (readonly string[])[];
  /** The RabbitMQ of private nodes, unless there is none: the folder of its scripts. */
  readonly sbin?: string;
  /** The broker that is there, for tests that need none of their own; default: a private node. */
  readonly url?: string | undefined;
}

/** Types are checked once, where nearly all files are, and by `deno task check`. */
const ALL: Plan["tests"] = [
  ["--parallel", `--ignore=${ALONE}`],
  ["--no-check", ...ALONE],
];

/** The part that runs on the other versions too: the transports, the AMQP client, calls, casts and services. */
const CORE: Plan["tests"] = [[
  "--parallel",
  "--no-check",
  "tests/transport/conformance_test.ts",
  "tests/amqp",
  "tests/rpc/client/call_test.ts",
  "tests/rpc/client/cast_test.ts",
  "tests/service/service_test.ts",
]];

/** The command line: what is meant for this program, and `rest` for `deno test`. */
function readArguments(args: readonly string[]) {
  const rest = [...args];
  const all = rest.includes("--all");
  if (all) rest.splice(rest.indexOf("--all"), 1);
  const at = rest.findIndex((arg) => /^--rabbitmq(=|$)/.test(arg));
  if (at < 0) return { all, rest };
  const [option = ""] = rest.splice(at, 1);
  const rabbitmq = option.includes("=")
    ? option.slice(option.indexOf("=") + 1)
    : rest.splice(at, 1)[0];
  if (!rabbitmq) throw new Error(`--rabbitmq: give ${VERSIONS} or a folder.`);
  return { all, rest, rabbitmq };
}

/** The plans that the command line asks for; brings the RabbitMQ of each. */
async function plansOf(args: readonly string[]): Promise<Plan[]> {
  const { all, rest, rabbitmq } = readArguments(args);
  const tests = rest.length > 0 ? [rest] : ALL;
  if (all) Deno.env.set(ALL_VARIABLE, "1");
  const asked = rabbitmq ? [rabbitmq] : all ? VERSIONS : [];
  const plans: Plan[] = [];
  for (const name of asked) {
    plans.push({ sbin: await provideRabbitmq(name), tests });
  }
  if (plans.length > 0) return plans;
  const url = await findBroker();
  for await (const sbin of availableRabbitmqs()) {
    const isFirst = plans.length === 0;
    plans.push(isFirst ? { sbin, tests, url } : { sbin, tests: CORE });
    if (rest.length > 0) break;
  }
  if (plans.length > 0) return plans;
  if (url) return [{ tests, url }];
  throw new Error("No AMQP broker found: set AMQP_URL.");
}

/** Names the broker and the RabbitMQ of the private nodes. */
function labelOf({ sbin, url }: Plan): string {
  const rabbitmq = sbin && `RabbitMQ ${versionOf(sbin)}`;
  if (url === undefined) return `${rabbitmq}`;
  const nodes = rabbitmq ?? "not possible, their tests are ignored";
  return `Broker ${new URL(url).host} (private nodes: ${nodes})`;
}

/** Runs a plan on its broker, or on a private node; returns the exit code. */
async function run({ sbin, tests, url }: Plan): Promise<number> {
  await using stack = new AsyncDisposableStack();
  if (sbin) Deno.env.set(RABBITMQ_VARIABLE, sbin);
  const broker = url ?? stack.use(await privateBroker()).url;
  for (const args of tests) {
    const code = await test(broker, args);
    if (code !== 0) return code;
  }
  return 0;
}

/** Runs `deno test`; an interrupted run ends its tests first and the broker after them. */
async function test(url: string, args: readonly string[]): Promise<number> {
  const child = new Deno.Command(Deno.execPath(), {
    args: ["test", "-A", "--doc", ...args],
    env: { AMQP_URL: url, DENO_JOBS: Deno.env.get("DENO_JOBS") ?? "2" },
  }).spawn();
  const interrupt = () => child.kill("SIGINT");
  const signals = ["SIGINT", "SIGTERM", "SIGHUP"] as const;
  for (const name of signals) Deno.addSignalListener(name, interrupt);
  const { code } = await child.status;
  for (const name of signals) Deno.removeSignalListener(name, interrupt);
  return code;
}

/** The exit code of `deno test` after SIGINT. */
const INTERRUPTED = 130;

/** Runs all plans, and says at the end which of them failed. */
async function main(): Promise<number> {
  const plans = await plansOf(Deno.args);
  await installOpenssl();
  if (!findOslo()) await installOslo();
  if (!findPostgres()) await installPostgres();
  const results: string[] = [];
  let worst = 0;
  for (const plan of plans) {
    const label = labelOf(plan);
    const part = plan.tests === CORE ? ", in part" : "";
    console.log(`${label}${part}`);
    const started = performance.now();
    const code = await run(plan);
    if (code === INTERRUPTED) return code;
    worst ||= code;
    const seconds = Math.round((performance.now() - started) / 1000);
    const result = code === 0 ? "passed" : "failed";
    results.push(`${label}${part}: ${result} in ${seconds} s`);
  }
  const isWhole = plans.some(({ tests }) => tests === ALL);
  if (isWhole && !Deno.env.has(ALL_VARIABLE)) results.push(LEFT_OUT);
  console.log(results.join("\n"));
  return worst;
}

const code = await main().catch((error) => {
  console.error(error instanceof Error ? error.message : error);
  return 1;
});
Deno.exit(code);
