/** What a caller gets back. @module */
import { NoRouteError } from "../errors.ts";
import { queueFor } from "../bus/routes.ts";
import type { ErrorClasses } from "../wire/failure.ts";
import type { Target } from "./options.ts";

/** One value that came back. */
export interface Returned {
  /** The value; undefined where there is none. */
  readonly value: unknown;
  /** True if the worker's schema has parsed it. */
  readonly parsed: boolean;
}

/** What becomes of the items of a stream. */
export interface StreamShape<T> {
  /** Error classes of the contract. */
  readonly errors?: ErrorClasses | undefined;
  /** Done before the request is sent. */
  prepare?(): Promise<unknown>;
  /** The item for a value that came. */
  item(returned: Returned): T | Promise<T>;
}

/** The items of an untyped stream, as they came. */
export const untyped: StreamShape<unknown> = { item: ({ value }) => value };

/** Says whom nobody serves. */
export function nobody(
  { topic, host }: Target,
  cause: NoRouteError,
  waited: number | undefined,
): NoRouteError {
  const whom = host === undefined ? topic : `${topic} on host ${host}`;
  const queue = queueFor(topic, host);
  const remedy = waited === undefined
    ? "start a worker, or connect with waitForRoute"
    : `none came within ${Math.round(waited)} ms; start a worker`;
  const text =
    `Nobody serves ${whom}: no queue is bound for it (${queue}, which its worker makes); ${remedy}`;
  return new NoRouteError(text, { cause, data: { topic, host } });
}
