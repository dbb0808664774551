/**
 * Warren's own headers; no peer needs them. All are texts: that is the one type of a header's value which every AMQP client
 * reads alike. py-amqp takes the 16-bit integers of others for texts, and loses its connection over them.
 *
 * @module
 */
import type { Spoken } from "./dialect.ts";
import type { Fields, Reply, Request } from "./envelope.ts";

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
  beat: "warren-beat",
  attempt: "warren-attempt",
  attempts: "warren-attempts",
  burials: "warren-burials",
  interrupted: "warren-interrupted",
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
export function versionOf(headers: Fields): number | undefined {
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
  const { sequence, run, inbox, beat } = reply;
  const more = sequence !== undefined || run !== undefined ||
    inbox !== undefined || beat;
  if (!more) return reply.parsed ? PARSED : PLAIN;
  const headers: Record<string, string> = { ...PLAIN };
  if (sequence !== undefined) headers[header.sequence] = `${sequence}`;
  if (run !== undefined) headers[header.run] = run;
  if (inbox !== undefined) headers[header.inbox] = inbox;
  if (reply.parsed) headers[header.parsed] = YES;
  if (beat) headers[header.beat] = YES;
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
export function ownHeaders(kind: Spoken["kind"], headers: Fields): Fields {
  if (kind === "request") {
    return {
      warren: versionOf(headers),
      to: headers[header.to],
      timeout: number(headers[header.timeout]),
      attempt: number(headers[header.attempt]),
      burials: number(headers[header.burials]),
      interrupted: number(headers[header.interrupted]),
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
    beat: flag(headers[header.beat]),
  };
}
