/** Declares contracts, and checks at run time what types cannot say, for JavaScript users too. @module */
import { InvalidValueError } from "../errors.ts";
import { textOf } from "../text.ts";
import type { Contract, Procedure, Procedures } from "./types.ts";
import { checkName, checkTopic } from "../names.ts";
import { isCompatible, parseVersion } from "./version.ts";
import { namesOf } from "../option_names.ts";
import { retryPolicyError } from "./retry_policy.ts";
import { isSchema } from "./schema.ts";
import type { Exact, JsonProcedures } from "./json_types.ts";

const KEYS = namesOf<Contract>({
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

/** Names that a manager uses itself. */
export const reserved: ReadonlySet<string> = new Set([
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

/** ASCII alone, so that no look-alike of another name is one. */
const METHOD = /^[A-Za-z][A-Za-z0-9_]{0,99}$/;

function fail(path: string, message: string): never {
  throw new InvalidValueError(`Invalid contract: ${message}`, {
    data: { path },
  });
}

function checkMethod(name: string): void {
  const path = `procedures.${name.slice(0, 60)}`;
  if (!METHOD.test(name)) {
    fail(
      path,
      `${path} is not a name of letters, digits and _, beginning with a letter`,
    );
  }
  if (reserved.has(name)) {
    fail(path, `${path} is a name that managers use themselves`);
  }
  // bind, call, apply and name belong to functions alone, and are fine words for a procedure of an object.
  if (name in Object.prototype) {
    fail(path, `${path} is a name that every object has`);
  }
}

function checkKeys(
  path: string,
  record: object,
  allowed: ReadonlySet<string>,
): void {
  for (const key of Object.keys(record)) {
    if (!allowed.has(key)) {
      fail(
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
    fail(path, `${path} is not an object`);
  }
  checkKeys(`${path}.`, procedure, PROCEDURE_KEYS);
  for (const part of ["args", "result", "yields"] as const) {
    if (procedure[part] !== undefined && !isSchema(procedure[part])) {
      fail(
        `${path}.${part}`,
        `${path}.${part} is not a Standard Schema (zod, valibot, arktype, …)`,
      );
    }
  }
  if (procedure.result && procedure.yields) {
    fail(path, `${path} has both a result and yields: give one of them`);
  }
  if (!DELIVERIES.has(procedure.delivery)) {
    fail(
      `${path}.delivery`,
      `${path}.delivery must be "at-least-once" or "at-most-once"`,
    );
  }
  checkSince(path, procedure.since, version);
  const { idempotent = false, yields } = procedure;
  if (typeof idempotent !== "boolean" || (idempotent && yields)) {
    fail(
      `${path}.idempotent`,
      `${path}.idempotent must be true or false, and is not for streams`,
    );
  }
  checkLimits(path, procedure);
  const wrong = retryPolicyError(procedure);
  if (wrong) fail(`${path}.retry`, `${path}.retry${wrong}`);
}

function checkLimits(
  path: string,
  { maxDuration: ms, maxArgsSize: bytes }: Procedure,
): void {
  const wrong = (name: string, value: unknown, right: string) => {
    const said = typeof value === "string"
      ? JSON.stringify(value)
      : textOf(value);
    fail(`${path}.${name}`, `${path}.${name} is ${said}; give ${right}`);
  };
  if (ms !== undefined && !(typeof ms === "number" && ms > 0)) {
    wrong("maxDuration", ms, "milliseconds above 0");
  }
  if (bytes !== undefined && !(Number.isSafeInteger(bytes) && bytes >= 1)) {
    wrong("maxArgsSize", bytes, "a whole number of bytes above 0");
  }
}

function checkSince(
  path: string,
  since: string | undefined,
  version: string,
): void {
  if (since === undefined) return;
  const have = parseVersion(version);
  const want = parseVersion(since);
  if (!have || !want || !isCompatible(have, want)) {
    fail(
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
 * @throws {InvalidValueError} naming what is wrong and what would be right.
 */
export function checkContract(contract: Contract): void {
  if (typeof contract !== "object" || contract === null) {
    fail("", "it is not an object");
  }
  checkKeys("", contract, KEYS);
  checkTopic(contract.topic);
  if (contract.namespace !== undefined) {
    checkName("namespace", contract.namespace);
  }
  if (typeof contract.version !== "string" || !parseVersion(contract.version)) {
    fail(
      "version",
      `version is ${
        JSON.stringify(contract.version)
      }; give "major.minor", e.g. "1.0"`,
    );
  }
  if (typeof contract.procedures !== "object" || contract.procedures === null) {
    fail("procedures", "it has no procedures");
  }
  for (const [name, procedure] of Object.entries(contract.procedures)) {
    checkMethod(name);
    checkProcedure(name, procedure, contract.version);
  }
  for (const [name, type] of Object.entries(contract.errors ?? {})) {
    if (typeof type !== "function") {
      fail(`errors.${name}`, `errors.${name} is not a class`);
    }
    if (name.startsWith("warren.")) {
      fail(`errors.${name}`, `errors.${name} is a name of Warren's own errors`);
    }
  }
}

/**
 * Declares a contract: a plain record, checked once.
 *
 * @throws {InvalidValueError} naming what is wrong and what would be right.
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
 */
export function contract<const P extends Procedures>(
  declared: Contract<P & Exact<P> & JsonProcedures<P>>,
): Contract<P> {
  checkContract(declared);
  return declared;
}
