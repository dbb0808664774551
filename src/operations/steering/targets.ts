/** Targets of operations, and the checks of their names. @module */
import { InvalidValueError } from "../../errors.ts";
import { checkHost, checkTopic } from "../../names.ts";
import { checkNames, namesOf } from "../../option_names.ts";

/**
 * Queue of a topic, or of one host of it.
 * @category Operations
 */
export interface SteeredTarget {
  /** Topic. */
  readonly topic: string;
  /** Host; default: the queue of the topic, or all its services. */
  readonly host?: string | undefined;
}

/**
 * Services of a topic, of a host, or all.
 * @category Operations
 */
export type SteeredServices = Partial<SteeredTarget>;

const targetNames = namesOf<SteeredTarget>({ topic: true, host: true });

/**
 * Checks the names of services.
 *
 * @throws {InvalidValueError} a name is not allowed, or a member is unknown.
 */
export function checkServices(services: SteeredServices): void {
  checkNames(services, targetNames);
  const { topic, host } = services;
  if (topic !== undefined) checkTopic(topic);
  if (host !== undefined) checkHost(host);
}

/**
 * Checks the names of a queue.
 *
 * @throws {InvalidValueError} the topic is missing, a name is not allowed, or a member is unknown.
 */
export function checkTarget(target: SteeredTarget): void {
  checkServices(target);
  checkTopic(target.topic);
}

/**
 * Checks a text of 1 to `max` characters.
 *
 * @throws {InvalidValueError} the value is none.
 */
export function checkText(path: string, text: unknown, max: number): void {
  if (typeof text === "string" && text !== "" && text.length <= max) return;
  throw new InvalidValueError(
    `Invalid ${path}: give a text of 1 to ${max} characters`,
    { data: { path } },
  );
}
