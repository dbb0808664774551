/** Payloads of events as interceptors see them: as a record of arguments. @module */

type Args = Readonly<Record<string, unknown>>;

const isRecord = (value: unknown): value is Args =>
  typeof value === "object" && value !== null && !Array.isArray(value);

/** Returns a copy of a payload that is an object, and `{ payload }` for any other one. */
export const argsOfPayload = (payload: unknown): Args =>
  isRecord(payload) ? { ...payload } : { payload };

/** Returns the payload that an interceptor made of `payload`. */
export const payloadOfArgs = (payload: unknown, args: Args): unknown =>
  isRecord(payload) ? args : args.payload;
