/** A worker of the fault matrix: `worker.ts <settings as JSON>`. Tells of every run; drains on SIGTERM. */
import { configure } from "npm:@logtape/logtape@^2.4.2";
import {
  type ConnectionContext,
  implement,
  type RequestContext,
  Service,
} from "../../mod.ts";
import { chaos, type Work } from "./contract.ts";
import { now, orders, tell, tellHealth } from "./history.ts";
import { type LedgerName, ledgerOf } from "./ledger.ts";

/** How a worker is set up. */
export interface WorkerSettings {
  readonly urls: string[];
  readonly topic: string;
  readonly host: string;
  readonly queueType: "classic" | "quorum";
  readonly ledger: LedgerName;
  /** The database of the ledger. */
  readonly storeUrl?: string | undefined;
  /** Seconds. */
  readonly heartbeat: number;
  /** Handlers at once, and messages in hand. */
  readonly concurrency: number;
  /** Milliseconds that the broker leaves a message unacknowledged, where workers with a shared ledger must know it. */
  readonly consumerTimeout?: number | undefined;
}

const settings: WorkerSettings = JSON.parse(Deno.args[0] ?? "{}");
const { urls: url, topic, ledger, storeUrl, consumerTimeout, ...options } =
  settings;

const { options: remembering, record } = ledgerOf(ledger, storeUrl);

/** Tells of a run's start and end. */
async function run<T>(
  id: string,
  { attempt }: RequestContext,
  handle: () => T | Promise<T>,
): Promise<T> {
  tell({ t: "start", id, attempt, at: now() });
  const result = await handle();
  tell({ t: "end", id, attempt, at: now() });
  return result;
}

const sleep = (ms: number) => new Promise((resolve) => setTimeout(resolve, ms));

function work({ id, ms, spin, poison }: Work, context: RequestContext) {
  return run(id, context, async () => {
    if (poison) Deno.kill(Deno.pid, "SIGKILL");
    await sleep(ms);
    const end = performance.now() + spin;
    while (performance.now() < end);
    await record(context, topic, id, id);
    return id;
  });
}

function flaky(args: Work, context: RequestContext) {
  if (context.attempt > 1) return work(args, context);
  tell({ t: "start", id: args.id, attempt: context.attempt, at: now() });
  throw new Error("The first attempt fails");
}

async function* count({ items }: { readonly items: number }) {
  for (let n = 0; n < items; n++) {
    yield n;
    await sleep(5);
  }
}

const manager = implement(chaos(topic), {
  work,
  again: work,
  long: work,
  flaky,
  tell: ({ id }, context) => run(id, context, () => {}),
  count,
});

Object.assign(manager, {
  initHost({ connection }: { readonly connection: ConnectionContext }) {
    for (const name of ["disconnected", "connected"] as const) {
      connection.addEventListener(name, () => {
        tell({ t: "event", at: now(), name });
      });
    }
  },
});

await configure({
  sinks: {
    lines: ({ level, message }) =>
      tell({ t: "log", text: `${level}: ${message.map(String).join("")}` }),
  },
  loggers: [
    { category: "warren", lowestLevel: "warning", sinks: ["lines"] },
    { category: ["logtape", "meta"], lowestLevel: "error" },
  ],
});
orders(() => {});
tellHealth();
await using service = await Service.start({
  ...options,
  ...remembering,
  url,
  consumerTimeout: remembering.ledger && consumerTimeout,
  manager,
});
tell({ t: "ready" });
await service.stopped;
Deno.exit(0);
