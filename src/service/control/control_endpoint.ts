/** Endpoint of the commands of operators: checks for whom a command is, performs it, and logs who sent it. @module */
import {
  type ConnectionContext,
  serverOf,
} from "../../connection/connection_context.ts";
import { logger, oneLine } from "../../logging.ts";
import { redactText } from "../../redaction.ts";
import { textOf } from "../../text.ts";
import {
  type ControlAnswer,
  type ControlArguments,
  type ControlCommand,
  controlContract,
  type Operator,
} from "../../rpc/discovery/control_contract.ts";
import { matchesFilter } from "../../rpc/discovery/service_contract.ts";
import type { PausableQueue } from "../../rpc/steering/paused_queues.ts";
import type { PeriodicTasks } from "../periodic/periodic_tasks.ts";

/** Service that operators steer. */
export interface ControlledService {
  /** Names by which the service is found. */
  readonly identity: Pick<ControlAnswer, "id" | "host" | "worker">;
  /** Topics that it serves. */
  readonly topics: readonly string[];
  /** Context on which its managers serve. */
  readonly connection: ConnectionContext;
  /** True if it takes commands. */
  readonly allowed: boolean;
  /** Periodic tasks of the managers of a topic. */
  tasksOf(topic: string): readonly PeriodicTasks[];
}

/** Facts that a command adds to an answer. */
type Facts = Partial<ControlAnswer>;
/** Arguments of a command. */
type Args<K extends keyof ControlArguments> =
  & ControlCommand
  & ControlArguments[K];
/** Handlers of the commands, by name. */
type Commands = {
  readonly [K in keyof ControlArguments]: (
    args: Args<K>,
  ) => Facts | Promise<Facts>;
};

const NOT_ALLOWED =
  "it takes no commands; start it with the option remoteControl, or WARREN_REMOTE_CONTROL=true";

/** Creates the endpoint of a service. One that takes no commands answers that it does not. */
export function controlEndpoint(service: ControlledService) {
  const commands = commandsOf(service);
  const handler = <K extends keyof ControlArguments>(name: K) => [
    name,
    (args: Args<K>) => answer(service, name, args, () => commands[name](args)),
  ];
  const names = Object.keys(commands) as (keyof ControlArguments)[];
  const handlers = Object.fromEntries(names.map(handler));
  return { contract: controlContract, ...handlers };
}

/** Performs a command that is for this service, and logs it. An error of the command is a refusal. */
async function answer(
  { identity, topics, allowed }: ControlledService,
  name: string,
  args: ControlCommand,
  perform: () => Facts | Promise<Facts>,
): Promise<ControlAnswer> {
  const { id, host, worker } = identity;
  const own: ControlAnswer = { id, host, worker };
  const { service = id } = args;
  const isMeant = service === id &&
    topics.some((topic) => matchesFilter(args, { topic, host }));
  if (!isMeant) return { ...own, skipped: true };
  let facts: Facts;
  try {
    facts = allowed ? await perform() : { refused: NOT_ALLOWED };
  } catch (error) {
    facts = { refused: oneLine(redactText(textOf(error)), 500) };
  }
  log(name, args, facts);
  return { ...own, ...facts };
}

/** Lists are logged by their length. */
function log(name: string, args: ControlCommand, facts: Facts): void {
  const { by, ...rest } = args;
  const { requests, paused, ...others } = facts;
  const lists = { requests: requests?.length, paused: paused?.length };
  const level = name === "findTask" ? "debug" : "info";
  logger("service")[level](
    "Command {command} {args} of {operator}: {result}",
    {
      command: name,
      args: oneLine(redactText(JSON.stringify(rest)), 300),
      operator: operatorText(by),
      result: oneLine(JSON.stringify({ ...others, ...lists }), 300),
    },
  );
}

/** Describes the sender of a command, as far as it is known. */
export function operatorText({ user, host, pid }: Operator): string {
  const where = `process ${pid} on ${oneLine(host, 100)}`;
  return user === undefined ? where : `${oneLine(user, 100)}, ${where}`;
}

/** Creates the handlers of the commands. */
function commandsOf(service: ControlledService): Commands {
  const { connection } = service;
  const { inHand, paused } = serverOf(connection);
  return {
    running: ({ topic }) => inHand.list(topic),
    cancel: async ({ request, by }) =>
      await inHand.cancel(request, operatorText(by)) ?? {},
    setConcurrency: ({ handlers }) => {
      const before = connection.concurrency;
      connection.concurrency = handlers;
      return { before, concurrency: connection.concurrency };
    },
    findTask: ({ topic, task }) => ({
      task: taskOf(service, topic, task)?.readiness(task),
    }),
    runTask: ({ topic, task }) => runTask(service, topic, task),
    look: async ({ topic, host, pause }) => {
      const matches = (queue: PausableQueue) =>
        queue.topic === topic &&
        (queue.kind === "host" ? queue.host === host : host === undefined);
      await paused.look(matches, pause);
      return { paused: paused.paused };
    },
    pauses: () => ({ paused: paused.paused }),
  };
}

function taskOf(
  { tasksOf, topics }: ControlledService,
  topic: string | undefined,
  task: string,
): PeriodicTasks | undefined {
  const all = topic === undefined ? topics : [topic];
  return all.flatMap(tasksOf).find((tasks) => tasks.names.includes(task));
}

/** Runs a task now, unless it runs already or another service is its leader. */
async function runTask(
  service: ControlledService,
  topic: string | undefined,
  name: string,
): Promise<Facts> {
  const tasks = taskOf(service, topic, name);
  const task = tasks?.readiness(name);
  if (!tasks || task !== "ready") return { task };
  const startedAt = performance.now();
  const ms = () => Math.round(performance.now() - startedAt);
  try {
    await tasks.runNow(name);
    return { task, duration: ms() };
  } catch (error) {
    const text = oneLine(redactText(textOf(error)), 500);
    return { task, duration: ms(), error: text };
  }
}
