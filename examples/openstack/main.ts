/** Command line for an OpenStack bus: listens to notifications, pings services, serves as a host. @module */
import { parseArgs } from "node:util";
import { createConnection, type NovaProfile, RpcError } from "../../mod.ts";
import { type Bus, listen, ping, serve } from "./verbs.ts";

const HELP = `\
Joins the RabbitMQ of an OpenStack cloud, of any release since Folsom.

Usage:
  main.ts listen                      prints the cloud's notifications as they happen, until Ctrl-C;
                                      takes none from other listeners
  main.ts ping <topic> [<host>]       pings a service by Nova's base API, e.g. conductor, compute gb07
  main.ts serve                       poses as a host of nova-compute: answers ping and
                                      get_host_uptime, until Ctrl-C

Options:
  --url <url>           amqp://user:password@host:5672/vhost or rabbit://… (AMQP_URL, amqp://localhost)
  --exchange <name>     control exchange of the project (nova)
  --durable             the cloud runs with amqp_durable_queues
  --quorum              the cloud runs with rabbit_quorum_queue
  --topic <name>        listen: topic of the notifications (notifications)
  --event-type <text>   listen: only these, with * for any characters
  --host <name>         serve: its name (warren)
  --timeout <ms>        ping: longest wait (5000)
  --help                this

Exit codes: 0 done; 1 failed, with "CODE: message" on stderr; 2 not understood`;

const text = { type: "string" } as const;
const flag = { type: "boolean" } as const;

function parse(args: string[]) {
  return parseArgs({
    args,
    allowPositionals: true,
    options: {
      url: text,
      exchange: text,
      topic: text,
      host: text,
      timeout: text,
      "event-type": text,
      durable: flag,
      quorum: flag,
      help: flag,
    },
  });
}

type Typed = ReturnType<typeof parse>["values"];

function busOf(values: Typed): Bus {
  const { exchange, durable, quorum } = values;
  const profile: NovaProfile = { exchange, durable };
  const url = values.url ?? Deno.env.get("AMQP_URL") ?? "amqp://localhost";
  return { url, profile, queueType: quorum ? "quorum" : "classic" };
}

/** Runs the command line; resolves with the exit code. */
async function main(args: string[]): Promise<number> {
  const { values, positionals: [verb, topic, host] } = parse(args);
  const bus = busOf(values);
  if (values.help) return console.log(HELP), 0;
  if (verb === "serve") return await serve(bus, values.host ?? "warren"), 0;
  if (verb !== "listen" && !(verb === "ping" && topic)) {
    return console.error(HELP), 2;
  }
  await using connection = await createConnection(bus.url, {
    ...bus,
    timeout: 10_000,
  });
  if (verb === "listen") {
    const eventType = values["event-type"];
    await listen(connection, { topic: values.topic, eventType });
  } else {
    const timeout = Number(values.timeout ?? 5_000);
    await ping(connection, { topic: topic!, host }, timeout);
  }
  return 0;
}

if (import.meta.main) {
  try {
    Deno.exitCode = await main(Deno.args);
  } catch (error) {
    if (error instanceof TypeError) console.error(error.message); // thrown by parseArgs
    else if (error instanceof RpcError) {
      console.error(`${error.code}: ${error.message}`);
    } else throw error;
    Deno.exitCode = error instanceof TypeError ? 2 : 1;
  }
}
