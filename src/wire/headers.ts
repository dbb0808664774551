/**
 * Warren's own headers, which no other peer needs. All values are strings, the only type of header value that every
 * AMQP client reads alike: py-amqp misreads the 16-bit integers of other clients as strings, and loses its connection.
 *
 * @module
 */
import { Buffer } from "node:buffer";
import type {
  DeadLetterDetails,
  JsonObject,
  Reply,
  Request,
} from "./rpc_message.ts";
import { isShortString } from "./rpc_message_schema.ts";

/** Headers as Warren sends them. */
export type WireHeaders = Readonly<Record<string, string>>;

/** Names of Warren's headers. They never change, even if the corresponding members are renamed. */
export const header = {
  warren: "warren",
  timeout: "warren-timeout",
  sequence: "warren-sequence",
  runId: "warren-run",
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
  read: "warren-read",
  window: "warren-window",
  batch: "warren-batch",
  to: "warren-to",
  deferred: "warren-deferred",
  host: "warren-host",
  deadAt: "warren-dead-at",
  stack: "warren-stack",
  sent: "warren-sent",
} as const;

/**
 * Version of Warren's headers: 1 has heartbeats and control commands, 2 adds batches of replies, 3 adds items of streams
 * without headers of their own in a batch.
 */
export const PROTOCOL_VERSION = 3;
const TRUE = "true";

/** Returns the version of Warren's headers that a peer understands; undefined if the peer is not Warren. */
export function versionOf(headers: JsonObject): number | undefined {
  if (!(header.warren in headers)) return undefined;
  const version = numberFrom(headers[header.warren]);
  return Number.isSafeInteger(version) && Number(version) > 0
    ? Number(version)
    : 1;
}

/** Returns the headers of a request: its address, and further headers if the caller accepts Warren's own replies. */
export function requestHeaders(request: Request): WireHeaders {
  const { to, timeout, credit, sent } = request;
  const headers: Record<string, string> = {};
  if (to !== undefined) headers[header.to] = to;
  if (sent !== undefined) headers[header.sent] = `${sent}`;
  if (!request.reply || !request.warren) return headers;
  headers[header.warren] = `${request.warren}`;
  if (timeout !== undefined) headers[header.timeout] = `${timeout}`;
  if (credit !== undefined) headers[header.credit] = `${credit}`;
  return headers;
}

/** Headers of most replies. */
const PLAIN_REPLY: WireHeaders = Object.freeze({
  [header.warren]: `${PROTOCOL_VERSION}`,
});
const PARSED_REPLY: WireHeaders = Object.freeze({
  ...PLAIN_REPLY,
  [header.parsed]: TRUE,
});

/** Returns the headers of a reply to Warren. */
export function replyHeaders(reply: Reply): WireHeaders {
  const { sequence, runId, inbox, heartbeat, window } = reply;
  const hasExtra = sequence !== undefined || runId !== undefined ||
    inbox !== undefined || heartbeat;
  if (!hasExtra) return reply.parsed ? PARSED_REPLY : PLAIN_REPLY;
  const headers: Record<string, string> = { ...PLAIN_REPLY };
  if (sequence !== undefined) headers[header.sequence] = `${sequence}`;
  if (runId !== undefined) headers[header.runId] = runId;
  if (inbox !== undefined) headers[header.inbox] = inbox;
  if (reply.parsed) headers[header.parsed] = TRUE;
  if (heartbeat) headers[header.heartbeat] = TRUE;
  if (window !== undefined) headers[header.window] = `${window}`;
  return headers;
}

/** Returns the headers of a batch of replies. */
export function batchHeaders(replies: number): WireHeaders {
  return { ...PLAIN_REPLY, [header.batch]: `${replies}` };
}

/** True for a text of 1 to 15 digits, which most headers with a number are. */
function isWholeNumber(text: string): boolean {
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i);
    if (code < 0x30 || code > 0x39) return false;
  }
  return text.length > 0 && text.length < 16;
}

/** Converts a header to a number. Other values stay as they are, for the schema to reject. */
export function numberFrom(value: unknown): unknown {
  if (typeof value !== "string") return value;
  if (isWholeNumber(value)) return Number(value);
  return /^\d{1,16}(\.\d+)?(e[+-]?\d{1,3})?$/.test(value)
    ? Number(value)
    : value;
}

/** Converts a header to a flag. Other values stay as they are, for the schema to reject. */
export const flagFrom = (value: unknown): unknown =>
  value === TRUE ? true : value;

/** Returns the headers for the next attempt; `expires` is in epoch milliseconds. */
export function retryHeaders(attempt: number, expires?: number): WireHeaders {
  return {
    [header.attempt]: `${attempt}`,
    ...(expires !== undefined && { [header.expires]: `${expires}` }),
  };
}

/**
 * Returns the headers of a dead letter. If an operator moves the message to its queue unchanged, its attempts start
 * again at 1.
 */
export function deadLetterHeaders(details: DeadLetterDetails): WireHeaders {
  const given = Object.entries(details).filter(([, value]) =>
    value !== undefined
  );
  return Object.fromEntries(
    given.map((
      [name, value],
    ) => [header[name as keyof DeadLetterDetails], `${value}`]),
  );
}

const textFrom = (value: unknown) =>
  typeof value === "string" ? value : undefined;

/** Returns what the headers of a dead letter say: details, and when it was first sent, in epoch milliseconds. */
export const deadLetterDetailsOf = (headers: JsonObject) => ({
  attempts: countFrom(headers[header.attempts]),
  deadLetterCount: deadLetterCountOf(headers),
  reason: textFrom(headers[header.reason]),
  queue: textFrom(headers[header.queue]),
  host: textFrom(headers[header.host]),
  deadAt: countFrom(headers[header.deadAt]) || undefined,
  stack: textFrom(headers[header.stack]),
  sentAt: countFrom(headers[header.sent]) || undefined,
});

/** Returns a text that differs for each time that a message becomes a dead letter. */
export const deadLetterMark = (headers: JsonObject): string =>
  `${headers[header.deadLetterCount]} ${headers[header.deadAt]}`;

/** Returns the headers of a dead letter that is not a copy: the properties of the original message, in AMQP's encoding. */
export const propertyHeaders = (properties: Uint8Array): JsonObject => ({
  [header.properties]: properties,
});

const countFrom = (value: unknown): number => {
  const count = numberFrom(value);
  return Number.isSafeInteger(count) ? Number(count) : 0;
};

/** Returns how many times a message became a dead letter; also for a message that cannot be decoded. */
export const deadLetterCountOf = (headers: JsonObject): number =>
  countFrom(headers[header.deadLetterCount]);

/** Returns the time of the first sending in epoch milliseconds, by the sender's clock; undefined if it is not known. */
export function sentAt(headers: JsonObject): number | undefined {
  const sent = countFrom(headers[header.sent]);
  return sent > 0 ? sent : undefined;
}

/** Returns the number of the attempt, from 1. */
export const attemptOf = (headers: JsonObject): number =>
  Math.max(1, countFrom(headers[header.attempt]));

/** Returns how many times a worker received the message and did not finish it. */
export const interruptionsOf = (headers: JsonObject): number =>
  countFrom(headers[header.interruptions]);

const OWN_NAMES: ReadonlySet<string> = new Set(Object.values(header));
/**
 * Limits for forwarded headers: number of foreign headers, characters of each of Warren's own headers, and bytes of all
 * headers together.
 */
const MAX_FOREIGN_HEADERS = 72; // those of the application, and a few of traces and of brokers
const MAX_HEADER_CHARACTERS = 255;
const MAX_FORWARDED_BYTES = 16 * 1024;

/**
 * Headers by which RabbitMQ routes a message to further queues. A copy with these headers would be delivered several
 * times, or be refused.
 */
const ROUTING_HEADERS = new Set(["CC", "BCC"]);

/** Headers of a single attempt. */
const ATTEMPT_HEADERS: ReadonlySet<string> = new Set([
  ...[header.attempt, header.interruptions, header.attempts, header.expires],
  ...[header.deferred, header.reason, header.queue],
  ...[header.host, header.deadAt, header.stack],
]);

const isForwardable = ([name]: readonly [string, string]) =>
  !ATTEMPT_HEADERS.has(name) && !ROUTING_HEADERS.has(name) &&
  !name.startsWith("x-") && isShortString(name);

/**
 * Returns the headers that a copy of a message keeps: without those of a single attempt, and within the limits.
 * Warren's own headers come first, so that others cannot displace them. Of the others, those with names that an
 * application may give come first, and of these the shortest.
 */
export function forwardedHeaders(headers: JsonObject): WireHeaders {
  const entries = Object.entries(headers).filter(isTextEntry)
    .filter(isForwardable);
  const own = entries.filter(([name]) => OWN_NAMES.has(name))
    .filter(isShortEntry);
  const foreign = entries.filter(([name]) => !OWN_NAMES.has(name))
    .sort((a, b) => rankOf(a) - rankOf(b)).slice(0, MAX_FOREIGN_HEADERS);
  let room = MAX_FORWARDED_BYTES;
  return Object.fromEntries([...own, ...foreign].filter(([name, value]) => {
    const bytes = Buffer.byteLength(name) + Buffer.byteLength(value);
    return bytes <= room && (room -= bytes, true); // a header that is left out takes no room
  }));
}

/** Order of foreign headers: by length, and last those that no application can have set. */
const rankOf = ([name, value]: readonly [string, string]) =>
  value.length + (/^[\w.-]{1,128}$/.test(name) ? 0 : 2 ** 32);

/**
 * Returns the headers of a request that is requeued for a worker that serves its version: the number of its deferrals,
 * and the remaining time.
 */
export function deferralHeaders(
  times: number,
  { expires, timeout }: {
    /** Expiry in epoch milliseconds. */
    readonly expires: number | undefined;
    /** Remaining milliseconds of the caller's timeout. */
    readonly timeout: number | undefined;
  },
): WireHeaders {
  return {
    [header.deferred]: `${times}`,
    ...(expires !== undefined && { [header.expires]: `${expires}` }),
    ...(timeout !== undefined && { [header.timeout]: `${timeout}` }),
  };
}

const isTextEntry = (
  entry: readonly [string, unknown],
): entry is [string, string] => typeof entry[1] === "string";

const isShortEntry = (
  entry: readonly [string, unknown],
): entry is [string, string] =>
  isTextEntry(entry) && entry[1].length <= MAX_HEADER_CHARACTERS;

/**
 * Returns the headers of a request that is delivered again because a worker did not finish it: the attempt stays the
 * same, and the number of interruptions is added.
 */
export function redeliveryHeaders(
  headers: JsonObject,
  times: number,
): WireHeaders {
  const present = REQUEST_HEADERS.map((name) => [name, headers[name]] as const)
    .filter(isShortEntry);
  return {
    ...forwardedHeaders(headers),
    ...Object.fromEntries(present),
    ...(times > 0 && { [header.interruptions]: `${times}` }),
  };
}

/** Headers that describe a request and survive its redelivery. */
const REQUEST_HEADERS = [
  ...[header.warren, header.timeout, header.credit, header.to],
  ...[header.attempt, header.deadLetterCount, header.expires, header.deferred],
];
