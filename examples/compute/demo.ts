/** Two hosts and a caller in one process that use every verb, in memory or on RabbitMQ. @module */
import { once } from "node:events";
import {
  type Client,
  type ConnectionContext,
  createConnection,
  queueFor,
  RpcError,
  Service,
} from "../../mod.ts";
import { compute, InstanceNotFound } from "./contract.ts";
import { byHost, logToConsole, spoken } from "./log.ts";
import { ComputeManager } from "./manager.ts";

const HOSTS = ["gb07", "gb08"];
const CALLER = "show.caller";
const { topic } = compute;
/** Time limit of every step, in milliseconds. */
const TIMEOUT_MS = 10_000;

const title = (text: string) => console.log(`\n%c${text}`, "font-weight: bold");
const say = (line: string) => console.log(spoken("caller", line));

/** An instance as callers receive it. */
type Instance = Awaited<ReturnType<typeof start>>;

/** The caller's connection, typed client and listener. */
interface Caller {
  readonly connection: ConnectionContext;
  readonly client: Client<typeof compute>;
  /** Resolves at the next event of that type from that sender, or after one second. */
  heard(eventType: string, publisherId: string): Promise<void>;
}

function serve(url: readonly string[], host: string): Promise<Service> {
  return Service.start({
    url,
    host,
    manager: new ComputeManager(),
    timeout: TIMEOUT_MS,
    signals: false, // Ctrl-C ends the whole process at once
  });
}

const event = (line: string) => console.log(spoken("event", line));

/** Prints each event, and returns a function that waits for one. */
async function listen(connection: ConnectionContext): Promise<Caller["heard"]> {
  const events = new EventTarget();
  const options = { eventType: "instance.*", priority: "info" } as const;
  await connection.createListener(({ eventType, publisherId, payload }) => {
    event(`${eventType} from ${publisherId} ${JSON.stringify(payload)}`);
    events.dispatchEvent(new Event(`${eventType} ${publisherId}`));
  }, options);
  return async (eventType, publisherId) => {
    try {
      const signal = AbortSignal.timeout(1_000);
      await once(events, `${eventType} ${publisherId}`, { signal });
    } catch { // another listener without a pool may have taken the event
      event(`${eventType} did not come: has another listener taken it?`);
    }
  };
}

async function start({ client }: Caller, name: string, upTo?: number) {
  const instance = await client.call("runInstance", { name, upTo });
  const { id, host, state, at } = instance;
  const time = at.toLocaleTimeString("en-GB"); // the schema has parsed the text into a Date
  say(`runInstance ${name}: ${host} answers ${id}, ${state} since ${time}`);
  return instance;
}

function consumers(): void {
  title("Each host consumes three queues");
  for (const host of HOSTS) {
    const [any, own] = [queueFor(topic), queueFor(topic, host)];
    const all = `${topic}_fanout_…`;
    const line = `${any} (any host), ${own} (this host), ${all} (every host)`;
    console.log(spoken(host, line));
  }
}

async function call(caller: Caller): Promise<Instance[]> {
  title("call: one answer, from any worker");
  const instances: Instance[] = [];
  for (const name of ["web-1", "web-2", "web-3", "web-4"]) {
    instances.push(await start(caller, name));
  }
  title("call, to one host: the answer of that host");
  for (const host of HOSTS) {
    const list = await caller.client.call("list", {}, { host });
    say(`list on ${host}: ${list.map(({ name }) => name).join(", ")}`);
  }
  return instances;
}

async function cast({ client, heard }: Caller, { id, name, host }: Instance) {
  title("cast: no answer; done now or later, the broker keeps it until then");
  const rebooted = heard("instance.reboot.end", queueFor(topic, host));
  await client.cast("reboot", { id }, { host });
  say(`cast reboot ${name} to ${host}: the broker has it`);
  await rebooted;
}

async function multicall(caller: Caller, { id, name, host }: Instance) {
  const { client } = caller;
  title("multicall: a stream; break ends it on the worker too");
  let lines = 0;
  for await (const line of client.multicall("console", { id }, { host })) {
    say(`${name}: ${line}`);
    if (++lines === 3) break;
  }
  say(`break after ${lines} lines of ${name}`);

  const batch = await start(caller, "batch-1", 300_000);
  const options = { host: batch.host };
  const items = client.multicall("console", { id: batch.id }, options);
  for await (const line of items) say(`${batch.name}: ${line}`);
  say(`${batch.name} has finished, and so has its stream`);
}

async function fanoutCast({ client, heard }: Caller) {
  title("fanoutCast: no answer, to every worker that runs now");
  const pruned = HOSTS.map((host) =>
    heard("instance.prune.end", queueFor(topic, host))
  );
  await client.fanoutCast("prune");
  say("fanoutCast prune: the broker has it");
  await Promise.all(pruned);
}

async function notify({ connection, heard }: Caller) {
  title("notify: an event to whoever listens; createListener is the other end");
  const came = heard("instance.audit", CALLER);
  await connection.notify("instance.audit", { hosts: HOSTS });
  say("notify instance.audit: the broker has it");
  await came;
}

/** Prints the error with which a request is refused. */
async function refused(what: string, asked: Promise<unknown>): Promise<void> {
  try {
    await asked;
  } catch (error) {
    if (error instanceof InstanceNotFound) {
      const data = JSON.stringify(error.data);
      return say(`${what}: InstanceNotFound: ${error.message} ${data}`);
    }
    if (!(error instanceof RpcError)) throw error;
    const { name, code, message } = error;
    return say(`${what}: ${name} (${code}): ${message}`);
  }
  throw new Error(`${what} was not refused`);
}

async function refusals({ connection, client }: Caller) {
  title("Refused calls: typed errors with codes");
  const [host] = HOSTS;
  const id = "i-00000000";
  await refused("no such instance", client.call("reboot", { id }, { host }));
  await refused("wrong arguments", client.call("runInstance", { name: "" }));
  await refused("no such host", client.call("list", {}, { host: "gb99" }));
  await refused("no such topic", connection.call({ topic: "nova" }, "list"));
  // Untyped verbs send any request; the worker refuses these two.
  await refused("no such method", connection.call({ topic }, "format"));
  const args = { name: 42 };
  await refused("wrong type", connection.call({ topic }, "runInstance", args));
}

async function show(caller: Caller): Promise<void> {
  consumers();
  const [web] = await call(caller);
  if (!web) return;
  await cast(caller, web);
  await multicall(caller, web);
  await fanoutCast(caller);
  await notify(caller);
  await refusals(caller);
}

/** Runs the demo. */
export async function demo(url: readonly string[]): Promise<void> {
  const started = performance.now();
  await logToConsole(byHost, "warning");
  await using running = new AsyncDisposableStack();
  const services: Service[] = [];
  for (const host of HOSTS) services.push(running.use(await serve(url, host)));
  const isMemory = url[0]?.startsWith("memory:");
  const hosts = url.map((one) => new URL(one).host).join(", ");
  const where = isMemory ? "in memory" : `on RabbitMQ at ${hosts}`;
  console.log(`Two hosts and a caller in one process, ${where}`);

  const options = { timeout: TIMEOUT_MS, publisherId: CALLER };
  const connection = running.use(await createConnection(url, options));
  const client = connection.client(compute, { timeout: TIMEOUT_MS });
  await show({ connection, client, heard: await listen(connection) });

  title("The end: a service that stops takes its instances with it");
  await running.disposeAsync();
  for (const { host, stats: { handled, failed } } of services) {
    console.log(spoken(host, `${handled} requests handled, ${failed} refused`));
  }
  const seconds = (performance.now() - started) / 1000;
  console.log(`\nDone in ${seconds.toFixed(1)} s`);
}
