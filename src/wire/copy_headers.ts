/** What Warren's headers say of a message that is sent again as it came: its next attempt, a dead letter, an interruption. @module */
import { Buffer } from "node:buffer";
import type { Fields } from "./envelope.ts";
import { header, number, type WireHeaders } from "./headers.ts";

/** What the headers of a message say for its next attempt; `expires` is in epoch milliseconds. */
export function againHeaders(attempt: number, expires?: number): WireHeaders {
  return {
    [header.attempt]: `${attempt}`,
    ...(expires !== undefined && { [header.expires]: `${expires}` }),
  };
}

/** What is told of a dead letter. */
export interface Failed {
  /** Attempts that there were. */
  readonly attempts: number;
  /** How many times it has been one. */
  readonly burials: number;
  /** Why it is one. */
  readonly reason: string;
  /** In which queue it was. */
  readonly queue: string;
}

/** What the headers of a dead letter say. Put back into its queue as it is, it begins anew. */
export function deadHeaders(failed: Failed): WireHeaders {
  const { attempts, burials, reason, queue } = failed;
  return {
    [header.attempts]: `${attempts}`,
    [header.burials]: `${burials}`,
    [header.reason]: reason,
    [header.queue]: queue,
  };
}

/** Headers of a dead letter that is not a copy: the properties of the message, in AMQP's bytes. */
export const propertyHeaders = (properties: Uint8Array): Fields => ({
  [header.properties]: properties,
});

const counted = (said: unknown): number => {
  const count = number(said);
  return Number.isSafeInteger(count) ? Number(count) : 0;
};

/** How many times a message was a dead letter, also one that cannot be read. */
export const burialsOf = (headers: Fields): number =>
  counted(headers[header.burials]);

/** Which attempt at a message it is, from 1. */
export const attemptOf = (headers: Fields): number =>
  Math.max(1, counted(headers[header.attempt]));

/** How many times a worker had a message in hand and did not finish it. */
export const interruptedOf = (headers: Fields): number =>
  counted(headers[header.interrupted]);

const OWN: ReadonlySet<string> = new Set(Object.values(header));
/** Texts that are kept of what others say in headers: their number, the length of each, and the bytes of all. */
const OTHERS = 32;
const BRIEF = 255;
const BYTES = 16 * 1024;

/** RabbitMQ takes these headers for further queues of a message. A copy that kept them would multiply it, or be refused. */
const ROUTING = new Set(["CC", "BCC"]);

/** Bytes that AMQP allows for a name or a property. What came may have more, since it is written as UTF-8 anew. */
const SHORT = 255;

/** True if AMQP can carry a text as a name or as a property. */
export const fitsShort = (text: string): boolean =>
  text.length <= SHORT &&
  (text.length * 3 <= SHORT || Buffer.byteLength(text) <= SHORT);

/**
 * The headers of a message that is sent again: without what is said of one attempt, and no more than always fits. Warren's own
 * are kept however many others there are.
 */
export function keptHeaders(headers: Fields): WireHeaders {
  const { attempt, interrupted, attempts, expires, reason, queue } = header;
  const attempted = [attempt, interrupted, attempts, expires, header.deferred];
  const once = new Set<string>([...attempted, reason, queue]);
  const kept = Object.entries(headers).filter(short).filter(([name]) =>
    !once.has(name) && !ROUTING.has(name) && !name.startsWith("x-") &&
    fitsShort(name)
  );
  const own = kept.filter(([name]) => OWN.has(name));
  const others = kept.filter(([name]) => !OWN.has(name)).slice(0, OTHERS);
  let bytes = 0;
  const fitting = [...own, ...others].filter(([name, value]) =>
    (bytes += Buffer.byteLength(name + value)) <= BYTES
  );
  return Object.fromEntries(fitting);
}

/** Headers of a request that goes back for a worker which serves its version: the number of times, and the time that is left. */
export function deferredHeaders(
  times: number,
  { expires, timeout }: {
    /** Epoch milliseconds. */
    readonly expires: number | undefined;
    /** Milliseconds. */
    readonly timeout: number | undefined;
  },
): WireHeaders {
  return {
    [header.deferred]: `${times}`,
    ...(expires !== undefined && { [header.expires]: `${expires}` }),
    ...(timeout !== undefined && { [header.timeout]: `${timeout}` }),
  };
}

const short = (entry: readonly [string, unknown]): entry is [string, string] =>
  typeof entry[1] === "string" && entry[1].length <= BRIEF;

/** What the headers of a request say that a worker did not finish, so many times: it is in the same attempt still. */
export function interruptedHeaders(
  headers: Fields,
  times: number,
): WireHeaders {
  const own = REQUEST.map((name) => [name, headers[name]] as const);
  const said = own.filter(short);
  return {
    ...keptHeaders(headers),
    ...Object.fromEntries(said),
    ...(times > 0 && { [header.interrupted]: `${times}` }),
  };
}

/** What a request says of itself in headers. */
const REQUEST = [
  ...[header.warren, header.timeout, header.credit, header.to],
  ...[header.attempt, header.burials, header.expires, header.deferred],
];
