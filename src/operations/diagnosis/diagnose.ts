/** Says why calls to a target fail or wait. @module */
import type { ConnectionContext } from "../../connection/connection_context.ts";
import { parseVersion } from "../../contract/version.ts";
import { InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
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
 * @throws {ConnectionDisposedError} the connection was disposed.
 */
export async function diagnose(
  connection: ConnectionContext,
  target: Target,
  procedure?: string,
  options: DiagnoseOptions = {},
): Promise<Diagnosis> {
  checkDiagnosed(target, procedure);
  checkNames(options, names);
  const { timeout = DEFAULT_TIMEOUT_MS } = options;
  checkDuration("timeout", timeout);
  const facts = await factsOn(connection, target, procedure, timeout);
  const { queue, state, services } = facts;
  return { queue, state, services, findings: findingsFrom(facts) };
}

/** Checks a target and a procedure. */
function checkDiagnosed(target: Target, procedure: string | undefined): void {
  if (typeof target !== "object" || target === null) {
    throw new InvalidValueError(
      `Invalid target ${
        oneLine(target, 40)
      }: give { topic } or { topic, host }`,
      { data: { path: "target" } },
    );
  }
  checkTarget(target);
  const { version } = target;
  if (version !== undefined && parseVersion(version) === undefined) {
    throw new InvalidValueError(
      `Invalid version ${oneLine(version, 40)} of the target: give major.minor`,
      { data: { path: "target.version" } },
    );
  }
  if (procedure === undefined || typeof procedure === "string") return;
  throw new InvalidValueError(
    `Invalid procedure ${oneLine(procedure, 40)}: give its name`,
    { data: { path: "procedure" } },
  );
}
