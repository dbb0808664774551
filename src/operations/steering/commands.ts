/** Commands to services, and the gathering of their answers. @module */
import { hostname } from "node:os";
import process from "node:process";
import {
  clientOf,
  type ConnectionContext,
  dependenciesOf,
} from "../../connection/connection_context.ts";
import { logger, oneLine } from "../../logging.ts";
import { ControlRefusedError } from "../../operator_errors.ts";
import {
  type ControlAnswer,
  controlAnswerIn,
  type ControlArguments,
  controlContract,
  type Operator,
} from "../../rpc/discovery/control_contract.ts";
import type { ServiceFilter } from "../../rpc/discovery/service_contract.ts";

/** Default of the milliseconds to wait for the answers of services. */
const DEFAULT_TIMEOUT_MS = 1_000;
/** Answers that are kept, at most. */
const MAX_ANSWERS = 20_000;

/**
 * Time for an operation.
 * @category Operations
 */
export interface OperationOptions {
  /** Milliseconds to wait for the answers of services; default 1000. */
  readonly timeout?: number | undefined;
}

/**
 * Worker that answered a command.
 * @category Operations
 */
export interface AnsweringWorker {
  /** Host. */
  readonly host: string;
  /** Number of the worker process, under `launch`. */
  readonly worker?: number | undefined;
}

/** Answers to a command. */
export interface Answers {
  /** Answers of the services that took it. */
  readonly taken: readonly ControlAnswer[];
  /** Hosts of the services that refused it. */
  readonly refused: readonly string[];
}

/** Command to all services that a filter matches. */
export interface Command<K extends keyof ControlArguments> {
  readonly name: K;
  /** Services, by topic and host; `service` is the id of one. */
  readonly to: ServiceFilter & { readonly service?: string | undefined };
  readonly args: ControlArguments[K];
  /** True for an answer after which no other is needed. */
  readonly isLast?: (answer: ControlAnswer) => boolean;
}

/** Returns the sender of commands on a connection. */
export function operatorOf(connection: ConnectionContext): Operator {
  const { user } = dependenciesOf(connection);
  return { user, host: hostname(), pid: process.pid };
}

/**
 * Sends a command, and gathers the answers until the timeout, or until the last one.
 *
 * @throws {ControlRefusedError} services refused the command, and none took it.
 */
export async function command<K extends keyof ControlArguments>(
  connection: ConnectionContext,
  { name, to, args, isLast = () => false }: Command<K>,
  { timeout = DEFAULT_TIMEOUT_MS }: OperationOptions = {},
): Promise<Answers> {
  const taken: ControlAnswer[] = [];
  const refused: ControlAnswer[] = [];
  const enough = new AbortController();
  const receive = (answer: ControlAnswer | undefined) => {
    const all = taken.length + refused.length;
    if (!answer || answer.skipped || all >= MAX_ANSWERS) return;
    (answer.refused === undefined ? taken : refused).push(answer);
    if (isLast(answer)) enough.abort();
  };
  const all = { ...to, ...args as object, by: operatorOf(connection) };
  const request = {
    target: controlContract,
    method: name,
    args: all,
    options: { timeout, signal: enough.signal },
  };
  try {
    await clientOf(connection).gather(request, ({ result, failure }) => {
      if (failure) warn(`${failure.type}: ${failure.message}`);
      receive(controlAnswerIn(result));
    });
  } catch (error) {
    if (!enough.signal.aborted) throw error;
  }
  if (taken.length === 0 && refused.length > 0) throw refusal(name, refused);
  return { taken, refused: hostsOf(refused) };
}

function warn(text: string): void {
  const reason = oneLine(text);
  logger("rpc").warn("A service cannot take a command: {reason}", { reason });
}

const hostsOf = (answers: readonly ControlAnswer[]) => [
  ...new Set(answers.map(({ host }) => host)),
];

function refusal(
  name: string,
  answers: readonly ControlAnswer[],
): ControlRefusedError {
  const hosts = hostsOf(answers);
  const reasons = [...new Set(answers.map(({ refused = "" }) => refused))];
  const text = `No service takes the command ${name}; refused by ${
    oneLine(hosts.join(", "), 200)
  }: ${oneLine(reasons.join("; "), 400)}`;
  return new ControlRefusedError(text, { data: { hosts, reasons } });
}
