/** Declaration of events: their types, and the schemas of their payloads. @module */
import { InvalidValueError } from "../errors.ts";
import { oneLine } from "../logging.ts";
import { isPlain } from "../option_names.ts";
import type { Json, JsonTypeError } from "./json_types.ts";
import { type Input, isSchema, type Output, parse } from "./schema.ts";
import type { Schema } from "./schema.ts";

/**
 * Events that senders and listeners share: the schema of the payload by the type of the event. Created by `events`.
 * @category Events
 */
export type EventContract = Readonly<Record<string, Schema>>;

/**
 * Types of the events of a contract.
 * @category Events
 */
export type EventType<E extends EventContract> = keyof E & string;

/**
 * Payload that a sender gives: the input of the schema.
 * @category Events
 */
export type EventInput<E extends EventContract, K extends EventType<E>> = Input<
  E[K]
>;

/**
 * Payload that a listener gets: the output of the schema.
 * @category Events
 */
export type EventPayload<E extends EventContract, K extends EventType<E>> =
  Output<E[K]>;

/**
 * Events of the given payloads, to write the type of an exported contract by hand.
 * @category Events
 */
export type EventContractOf<T extends object> = {
  readonly [K in keyof T & string]: Schema<T[K], T[K]>;
};

/**
 * Rejects, at compile time, schemas whose input JSON cannot represent, in a sentence with the path and the reason.
 * @category Events
 */
export type JsonEvents<E extends EventContract> = {
  readonly [K in keyof E]: [Input<E[K]>] extends [Json<Input<E[K]>>] ? unknown
    : JsonTypeError<Input<E[K]>, K & string>;
};

/**
 * Checks an event type.
 *
 * @throws {InvalidValueError} the type is empty or too long, which no listener accepts.
 */
export function checkEventType(eventType: string): void {
  const { length } = new TextEncoder().encode(eventType);
  if (typeof eventType === "string" && length > 0 && length <= 255) return;
  throw new InvalidValueError(
    `Invalid event type ${oneLine(eventType, 40)}: give 1 to 255 bytes`,
    { data: { path: "eventType" } },
  );
}

/**
 * Checks the events of a contract, e.g. of one that was written by hand.
 *
 * @throws {InvalidValueError} they are no plain record of Standard Schemas by event types; `data.path` is the type.
 */
export function checkEvents(contract: EventContract): void {
  // Another prototype may come from a literal `{ __proto__: schema }`, which has no such event.
  if (typeof contract !== "object" || contract === null || !isPlain(contract)) {
    throw new InvalidValueError(
      "Invalid events: give a plain record with a schema for each event type",
      { data: { path: "" } },
    );
  }
  for (const [eventType, schema] of Object.entries(contract)) {
    checkEventType(eventType);
    if (isSchema(schema)) continue;
    const displayed = oneLine(eventType, 60);
    throw new InvalidValueError(
      `Invalid events: ${displayed} is not a Standard Schema (zod, valibot, arktype, …)`,
      { data: { path: displayed } },
    );
  }
}

/**
 * Returns the schema of an event.
 *
 * @throws {InvalidValueError} the contract has no such event.
 */
export function schemaOf(contract: EventContract, eventType: string): Schema {
  const schema = Object.hasOwn(contract, eventType)
    ? contract[eventType]
    : undefined;
  if (schema) return schema;
  const known = oneLine(Object.keys(contract).join(", "), 400);
  throw new InvalidValueError(
    `No event ${oneLine(eventType, 60)} in the contract; it has ${known}`,
    { data: { path: "eventType" } },
  );
}

/**
 * Checks a payload by its schema, and returns the schema's output.
 *
 * @throws {InvalidValueError} the payload does not fit; `data.path` and `data.issues` describe the error.
 */
export async function parsePayload(
  contract: EventContract,
  eventType: string,
  payload: unknown,
): Promise<unknown> {
  const schema = schemaOf(contract, eventType);
  const what = `payload of ${oneLine(eventType, 60)}`;
  try {
    return await parse(schema, payload, what);
  } catch (error) {
    // A missing payload is sent as null.
    if (payload !== null || !(error instanceof InvalidValueError)) throw error;
    const missing = await schema["~standard"].validate(undefined);
    if (missing.issues) throw error;
    return missing.value;
  }
}

/**
 * Declares events: a plain record that is checked once. Types of events have 1 to 255 bytes; a schema is any Standard
 * Schema whose input JSON can represent.
 *
 * @throws {InvalidValueError} an event type or a schema is invalid; `data.path` is the type.
 * @example
 * ```ts
 * import { z } from "npm:zod@4";
 * import { createConnection, events } from "@warren/runtime";
 *
 * const volumeEvents = events({
 *   "volume.grow": z.object({ id: z.string(), size: z.int().positive() }),
 *   "volume.delete": z.object({ id: z.string() }),
 * });
 *
 * await using connection = await createConnection("memory:volumes");
 * await connection.createListener(volumeEvents, {
 *   "volume.grow": ({ payload: { id, size } }) => console.log(id, size), // v1 20
 * }, { pool: "quota" });
 * await connection.notifier(volumeEvents).notify("volume.grow", { id: "v1", size: 20 });
 * ```
 * @category Events
 */
export function events<const E extends EventContract>(
  declared: E & JsonEvents<E>,
): E {
  checkEvents(declared);
  return declared;
}
