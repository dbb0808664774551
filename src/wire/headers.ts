/**
 * Warren's own headers; no peer needs them. All are texts: that is the one type of a header's value which every AMQP client
 * reads alike. py-amqp takes the 16-bit integers of others for texts, and loses its connection over them.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type { JsonObject, Reply, Request } from "./rpc_message.ts";
import type { BodyMessage } from "./dialect.ts";

/** Headers as Warren sends them. */
export type WireHeaders = Readonly<Record<string, string>>;

/** Names of Warren's headers. */
export const header = {
  warren: "warren",
  timeout: "warren-timeout",
  sequence: "warren-sequence",
  run: "warren-run",
  inbox: "warren-inbox",
  parsed: "warren-parsed",
  heartbeat: "warren-beat",
  attempt: "warren-attempt",
  attempts: "warren-attempts",
  deadLetterCount: "warren-burials",
  interruptions: "warren-interrupted",
  expires: "warren-expires",
  reason: "warren-reason",
  queue: "warren-queue",
  properties: "warren-properties",
  control: "warren-control",
  call: "warren-call",
  credit: "warren-credit",
  batch: "warren-batch",
  to: "warren-to",
  deferred: "warren-deferred",
} as const;

/** Version of Warren's headers: 1 knows of beats and controls, 2 takes several answers in one message. */
export const PROTOCOL = 2;
/** The version from which on that is so. */
export const BATCHES = 2;
const YES = "true";

/** The version that a peer says; undefined if it is not Warren. */
export function versionOf(headers: JsonObject): number | undefined {
  if (!(header.warren in headers)) return undefined;
  const said = number(headers[header.warren]);
  return Number.isSafeInteger(said) && Number(said) > 0 ? Number(said) : 1;
}

/** Headers of a request: to whom it goes, and more where it wants Warren's own kind of answer. */
export function requestHeaders(request: Request): WireHeaders {
  const { to, timeout, credit } = request;
  const headers: Record<string, string> = {};
  if (to !== undefined) headers[header.to] = to;
  if (!request.reply || !request.warren) return headers;
  headers[header.warren] = `${request.warren}`;
  if (timeout !== undefined) headers[header.timeout] = `${timeout}`;
  if (credit !== undefined) headers[header.credit] = `${credit}`;
  return headers;
}

/** Those of most replies. */
const PLAIN: WireHeaders = Object.freeze({ [header.warren]: `${PROTOCOL}` });
const PARSED: WireHeaders = Object.freeze({ ...PLAIN, [header.parsed]: YES });

/** Headers of a reply to Warren. */
export function replyHeaders(reply: Reply): WireHeaders {
  const { sequence, run, inbox, heartbeat } = reply;
  const more = sequence !== undefined || run !== undefined ||
    inbox !== undefined || heartbeat;
  if (!more) return reply.parsed ? PARSED : PLAIN;
  const headers: Record<string, string> = { ...PLAIN };
  if (sequence !== undefined) headers[header.sequence] = `${sequence}`;
  if (run !== undefined) headers[header.run] = run;
  if (inbox !== undefined) headers[header.inbox] = inbox;
  if (reply.parsed) headers[header.parsed] = YES;
  if (heartbeat) headers[header.heartbeat] = YES;
  return headers;
}

/** Headers of so many answers in one message. */
export function batchHeaders(answers: number): WireHeaders {
  return { ...PLAIN, [header.batch]: `${answers}` };
}

/** What is no number is left for the schema to refuse. */
export function number(said: unknown): unknown {
  if (typeof said !== "string") return said;
  return /^\d{1,16}(\.\d+)?(e[+-]?\d{1,3})?$/.test(said) ? Number(said) : said;
}

const flag = (said: unknown) => said === YES ? true : said;

/** What Warren's headers add to the raw neutral form of a message. */
export function ownHeaders(
  kind: BodyMessage["kind"],
  headers: JsonObject,
): JsonObject {
  if (kind === "request") {
    return {
      warren: versionOf(headers),
      to: headers[header.to],
      timeout: number(headers[header.timeout]),
      attempt: number(headers[header.attempt]),
      deadLetterCount: number(headers[header.deadLetterCount]),
      interruptions: number(headers[header.interruptions]),
      expires: number(headers[header.expires]),
      deferred: number(headers[header.deferred]),
      credit: number(headers[header.credit]),
    };
  }
  if (kind !== "reply") return {};
  return {
    sequence: number(headers[header.sequence]),
    run: headers[header.run],
    inbox: headers[header.inbox],
    parsed: flag(headers[header.parsed]),
    heartbeat: flag(headers[header.heartbeat]),
  };
}

/** What the headers of a message say for its next attempt; `expires` is in epoch milliseconds. */
export function retryHeaders(attempt: number, expires?: number): WireHeaders {
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
  readonly deadLetterCount: number;
  /** Why it is one. */
  readonly reason: string;
  /** In which queue it was. */
  readonly queue: string;
}

/** What the headers of a dead letter say. Put back into its queue as it is, it begins anew. */
export function deadLetterHeaders(failed: Failed): WireHeaders {
  const { attempts, deadLetterCount, reason, queue } = failed;
  return {
    [header.attempts]: `${attempts}`,
    [header.deadLetterCount]: `${deadLetterCount}`,
    [header.reason]: reason,
    [header.queue]: queue,
  };
}

/** Headers of a dead letter that is not a copy: the properties of the message, in AMQP's bytes. */
export const propertyHeaders = (properties: Uint8Array): JsonObject => ({
  [header.properties]: properties,
});

const counted = (said: unknown): number => {
  const count = number(said);
  return Number.isSafeInteger(count) ? Number(count) : 0;
};

/** How many times a message was a dead letter, also one that cannot be read. */
export const deadLetterCountOf = (headers: JsonObject): number =>
  counted(headers[header.deadLetterCount]);

/** Which attempt at a message it is, from 1. */
export const attemptOf = (headers: JsonObject): number =>
  Math.max(1, counted(headers[header.attempt]));

/** How many times a worker had a message in hand and did not finish it. */
export const interruptionsOf = (headers: JsonObject): number =>
  counted(headers[header.interruptions]);

const OWN: ReadonlySet<string> = new Set(Object.values(header));
/** Texts that are kept of what others say in headers: their number, the length of each, and the bytes of all. */
const MAX_FOREIGN_HEADERS = 32;
const MAX_HEADER_CHARACTERS = 255;
const MAX_FORWARDED_BYTES = 16 * 1024;

/** RabbitMQ takes these headers for further queues of a message. A copy that kept them would multiply it, or be refused. */
const ROUTING = new Set(["CC", "BCC"]);

/** Bytes that AMQP allows for a name or a property. What came may have more, since it is written as UTF-8 anew. */
const MAX_SHORT_STRING = 255;

/** True if AMQP can carry a text as a name or as a property. */
export const isShortString = (text: string): boolean =>
  text.length <= MAX_SHORT_STRING &&
  (text.length * 3 <= MAX_SHORT_STRING ||
    Buffer.byteLength(text) <= MAX_SHORT_STRING);

/**
 * The headers of a message that is sent again: without what is said of one attempt, and no more than always fits. Warren's own
 * are kept however many others there are.
 */
export function forwardedHeaders(headers: JsonObject): WireHeaders {
  const { attempt, interruptions, attempts, expires, reason, queue } = header;
  const attempted = [
    attempt,
    interruptions,
    attempts,
    expires,
    header.deferred,
  ];
  const once = new Set<string>([...attempted, reason, queue]);
  const kept = Object.entries(headers).filter(short).filter(([name]) =>
    !once.has(name) && !ROUTING.has(name) && !name.startsWith("x-") &&
    isShortString(name)
  );
  const own = kept.filter(([name]) => OWN.has(name));
  const others = kept.filter(([name]) => !OWN.has(name)).slice(
    0,
    MAX_FOREIGN_HEADERS,
  );
  let bytes = 0;
  const fitting = [...own, ...others].filter(([name, value]) =>
    (bytes += Buffer.byteLength(name + value)) <= MAX_FORWARDED_BYTES
  );
  return Object.fromEntries(fitting);
}

/** Headers of a request that goes back for a worker which serves its version: the number of times, and the time that is left. */
export function deferralHeaders(
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
  typeof entry[1] === "string" && entry[1].length <= MAX_HEADER_CHARACTERS;

/** What the headers of a request say that a worker did not finish, so many times: it is in the same attempt still. */
export function redeliveryHeaders(
  headers: JsonObject,
  times: number,
): WireHeaders {
  const own = REQUEST.map((name) => [name, headers[name]] as const);
  const said = own.filter(short);
  return {
    ...forwardedHeaders(headers),
    ...Object.fromEntries(said),
    ...(times > 0 && { [header.interruptions]: `${times}` }),
  };
}

/** What a request says of itself in headers. */
const REQUEST = [
  ...[header.warren, header.timeout, header.credit, header.to],
  ...[header.attempt, header.deadLetterCount, header.expires, header.deferred],
];
