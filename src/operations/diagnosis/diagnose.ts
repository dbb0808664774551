/** Says why calls to a target fail or wait. @module */
import type { ConnectionContext } from "../../connection/connection_context.ts";
import { checkDuration } from "../../option_checks.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { checkTarget, type Target } from "../../rpc/client/call_options.ts";
import type { Diagnosis } from "./diagnosis.ts";
import { factsOn } from "./facts.ts";
import { findingsFrom } from "./findings.ts";

/**
 * Options of `diagnose`.
 * @category Operations
 */
export interface DiagnoseOptions {
  /** Milliseconds to wait for each answer of services and of the broker; default 1000. */
  readonly timeout?: number | undefined;
}

const names = namesOf<DiagnoseOptions>({ timeout: true });

const DEFAULT_TIMEOUT_MS = 1_000;

/**
 * Says why calls to a target fail or wait: whether there is a queue, who consumes it, how many messages wait, and whether
 * its workers are full, blocked or of another version. It changes nothing, and needs the right to read the queues.
 *
 * @throws {InvalidValueError} the target or an option is wrong.
 */
export async function diagnose(
  connection: ConnectionContext,
  target: Target,
  procedure?: string,
  options: DiagnoseOptions = {},
): Promise<Diagnosis> {
  checkTarget(target);
  checkNames(options, names);
  const { timeout = DEFAULT_TIMEOUT_MS } = options;
  checkDuration("timeout", timeout);
  const facts = await factsOn(connection, target, procedure, timeout);
  const { queue, state, services } = facts;
  return { queue, state, services, findings: findingsFrom(facts) };
}
