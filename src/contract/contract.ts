/** Declaration of contracts, with checks at run time, since users of JavaScript have no types. @module */
import { InvalidValueError } from "../errors.ts";
import { textOf } from "../text.ts";
import type { Contract, Procedure, Procedures } from "./types.ts";
import { checkName, checkTopic } from "../names.ts";
import { isCompatible, parseVersion } from "./version.ts";
import { namesOf } from "../option_names.ts";
import { retryPolicyError } from "./retry_policy.ts";
import { isSchema } from "./schema.ts";
import type { Exact, JsonProcedures } from "./json_types.ts";

const CONTRACT_KEYS = namesOf<Contract>({
  topic: true,
  version: true,
  namespace: true,
  errors: true,
  procedures: true,
});
const PROCEDURE_KEYS = namesOf<Procedure>({
  args: true,
  result: true,
  yields: true,
  since: true,
  delivery: true,
  retry: true,
  idempotent: true,
  maxDuration: true,
  maxArgsSize: true,
});
const DELIVERIES = new Set<unknown>([
  undefined,
  "at-least-once",
  "at-most-once",
]);

/** Names of members that a manager uses itself. */
const reservedNames: ReadonlySet<string> = new Set([
  "contract",
  "host",
  "connection",
  "initHost",
  "postStartHook",
  "cleanupHost",
  "periodic",
  "createRpcDispatcher",
  "then",
]);

/** Names are ASCII, so that two different names never look alike. */
const METHOD_PATTERN = /^[A-Za-z][A-Za-z0-9_]{0,99}$/;

function throwInvalid(path: string, message: string): never {
  throw new InvalidValueError(`Invalid contract: ${message}`, {
    data: { path },
  });
}

function checkMethod(name: string): void {
  const path = `procedures.${name.slice(0, 60)}`;
  if (!METHOD_PATTERN.test(name)) {
    throwInvalid(
      path,
      `${path} is not a name of letters, digits and _, beginning with a letter`,
    );
  }
  if (reservedNames.has(name)) {
    throwInvalid(path, `${path} is a name that managers use themselves`);
  }
  // Only functions have members called bind, call, apply and name, so procedures may use these names.
  if (name in Object.prototype) {
    throwInvalid(path, `${path} is a name that every object has`);
  }
}

function checkKeys(
  path: string,
  record: object,
  allowed: ReadonlySet<string>,
): void {
  for (const key of Object.keys(record)) {
    if (!allowed.has(key)) {
      throwInvalid(
        `${path}${key}`,
        `${path}${key} is no option; allowed are ${[...allowed].join(", ")}`,
      );
    }
  }
}

function checkProcedure(
  name: string,
  procedure: Procedure,
  version: string,
): void {
  const path = `procedures.${name}`;
  if (typeof procedure !== "object" || procedure === null) {
    throwInvalid(path, `${path} is not an object`);
  }
  checkKeys(`${path}.`, procedure, PROCEDURE_KEYS);
  checkSchemas(path, procedure);
  if (!DELIVERIES.has(procedure.delivery)) {
    throwInvalid(
      `${path}.delivery`,
      `${path}.delivery must be "at-least-once" or "at-most-once"`,
    );
  }
  checkSince(path, procedure.since, version);
  const { idempotent = false, yields } = procedure;
  if (typeof idempotent !== "boolean" || (idempotent && yields)) {
    throwInvalid(
      `${path}.idempotent`,
      `${path}.idempotent must be true or false, and is not for streams`,
    );
  }
  checkLimits(path, procedure);
  const retryError = retryPolicyError(procedure);
  if (retryError) throwInvalid(`${path}.retry`, `${path}.retry${retryError}`);
}

function checkSchemas(path: string, procedure: Procedure): void {
  for (const member of ["args", "result", "yields"] as const) {
    if (procedure[member] !== undefined && !isSchema(procedure[member])) {
      throwInvalid(
        `${path}.${member}`,
        `${path}.${member} is not a Standard Schema (zod, valibot, arktype, …)`,
      );
    }
  }
  if (procedure.result && procedure.yields) {
    throwInvalid(
      path,
      `${path} has both a result and yields: give one of them`,
    );
  }
}

function checkLimits(
  path: string,
  { maxDuration: ms, maxArgsSize: bytes }: Procedure,
): void {
  const throwWrong = (name: string, value: unknown, expected: string) => {
    const displayed = typeof value === "string"
      ? JSON.stringify(value)
      : textOf(value);
    throwInvalid(
      `${path}.${name}`,
      `${path}.${name} is ${displayed}; give ${expected}`,
    );
  };
  if (ms !== undefined && !(typeof ms === "number" && ms > 0)) {
    throwWrong("maxDuration", ms, "milliseconds above 0");
  }
  if (bytes !== undefined && !(Number.isSafeInteger(bytes) && bytes >= 1)) {
    throwWrong("maxArgsSize", bytes, "a whole number of bytes above 0");
  }
}

function checkSince(
  path: string,
  since: string | undefined,
  version: string,
): void {
  if (since === undefined) return;
  const contractVersion = parseVersion(version);
  const sinceVersion = parseVersion(since);
  if (
    !contractVersion || !sinceVersion ||
    !isCompatible(contractVersion, sinceVersion)
  ) {
    throwInvalid(
      `${path}.since`,
      `${path}.since is ${
        JSON.stringify(since)
      }; give a version of the same major up to ${version}`,
    );
  }
}

/**
 * Checks a contract, e.g. one that was written by hand.
 *
 * @throws {InvalidValueError} the contract is invalid; the message names the error and the allowed values.
 */
export function checkContract(contract: Contract): void {
  if (typeof contract !== "object" || contract === null) {
    throwInvalid("", "it is not an object");
  }
  checkKeys("", contract, CONTRACT_KEYS);
  checkTopic(contract.topic);
  if (contract.namespace !== undefined) {
    checkName("namespace", contract.namespace);
  }
  if (typeof contract.version !== "string" || !parseVersion(contract.version)) {
    throwInvalid(
      "version",
      `version is ${
        JSON.stringify(contract.version)
      }; give "major.minor", e.g. "1.0"`,
    );
  }
  if (typeof contract.procedures !== "object" || contract.procedures === null) {
    throwInvalid("procedures", "it has no procedures");
  }
  for (const [name, procedure] of Object.entries(contract.procedures)) {
    checkMethod(name);
    checkProcedure(name, procedure, contract.version);
  }
  for (const [name, type] of Object.entries(contract.errors ?? {})) {
    if (typeof type !== "function") {
      throwInvalid(`errors.${name}`, `errors.${name} is not a class`);
    }
    if (name.startsWith("warren.")) {
      throwInvalid(
        `errors.${name}`,
        `errors.${name} is a name of Warren's own errors`,
      );
    }
  }
}

/**
 * Declares a contract: a plain record that is checked once.
 *
 * @throws {InvalidValueError} the contract is invalid; the message names the error and the allowed values.
 * @example
 * ```ts
 * import { z } from "npm:zod@4";
 * import { contract } from "@warren/runtime";
 *
 * const clock = contract({
 *   topic: "clock",
 *   version: "1.0",
 *   procedures: {
 *     now: { result: z.iso.datetime() },
 *     ticks: { args: z.object({ every: z.number() }), yields: z.number() },
 *   },
 * });
 * ```
 * @category Contracts
 */
export function contract<const P extends Procedures>(
  declared: Contract<P & Exact<P> & JsonProcedures<P>>,
): Contract<P> {
  checkContract(declared);
  return declared;
}
