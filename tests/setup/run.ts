/**
 * `deno task test [arguments of deno test]`: the tests, the JSDoc examples and the `ts` blocks
 * of every Markdown file against a broker. It takes the one that is there, else starts a private node, installing RabbitMQ
 * first if need be, and oslo.messaging and PostgreSQL for the tests with the real ones. The node and its data are gone when this ends, however it ends.
 */
import { findBroker, findRabbitmq, privateBroker } from "./broker.ts";
import { installRabbitmq } from "./install.ts";
import { findOslo, installOslo } from "./oslo.ts";
import { findPostgres, installPostgres } from "./postgres.ts";

/** A broker for this run, and how to end it if it is ours. */
async function setUp(stack: AsyncDisposableStack): Promise<string> {
  const started = performance.now();
  let how = "found";
  let url = await findBroker();
  if (!url) {
    if (!findRabbitmq()) await installRabbitmq();
    url = stack.use(await privateBroker()).url;
    how = "private node started";
  }
  if (!findOslo()) await installOslo();
  if (!findPostgres()) await installPostgres();
  const seconds = ((performance.now() - started) / 1000).toFixed(1);
  console.log(`Broker: ${new URL(url).host} (${how} in ${seconds} s)`);
  return url;
}

/** These run by themselves: the fault matrix has limits of time, the others change the environment of the process. */
const ALONE = [
  "tests/chaos",
  "tests/connection/broker_url_test.ts",
  "tests/config/load_config_test.ts",
  "tests/config/watch_config_test.ts",
];

/** Runs all tests, two files at once, then those that run alone if the others passed; or those that the arguments name. */
async function testAll(url: string): Promise<number> {
  if (Deno.args.length > 0) return await test(url, ...Deno.args);
  const code = await test(url, "--parallel", `--ignore=${ALONE}`);
  return code === 0 ? await test(url, ...ALONE) : code;
}

/** Runs `deno test`; an interrupted run ends its tests first and the broker after them. */
async function test(url: string, ...args: string[]): Promise<number> {
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

async function main(): Promise<number> {
  await using stack = new AsyncDisposableStack();
  try {
    return await testAll(await setUp(stack));
  } catch (error) {
    console.error(error instanceof Error ? error.message : error);
    return 1;
  }
}

Deno.exit(await main());
