/** Warren's own headers; no peer needs them. @module */
import type { Spoken } from "./dialect.ts";
import type { Fields, Reply, Request } from "./envelope.ts";

/** Values of the headers that Warren sends. */
export type WireHeaders = Readonly<Record<string, string | number | boolean>>;

/** Names of Warren's headers. */
export const header = {
  warren: "warren",
  timeout: "warren-timeout",
  sequence: "warren-sequence",
  run: "warren-run",
  inbox: "warren-inbox",
  parsed: "warren-parsed",
  beat: "warren-beat",
  control: "warren-control",
  call: "warren-call",
} as const;

/** Version of Warren's headers. */
const PROTOCOL = 1;

/** Headers of a request: only one that wants Warren's own kind of answer has any. */
export function requestHeaders(request: Request): WireHeaders {
  if (!request.reply || !request.warren) return {};
  return request.timeout === undefined
    ? { [header.warren]: PROTOCOL }
    : { [header.warren]: PROTOCOL, [header.timeout]: request.timeout };
}

/** Headers of a reply. */
export function replyHeaders(reply: Reply): WireHeaders {
  const headers: Record<string, string | number | boolean> = {
    [header.warren]: PROTOCOL,
  };
  if (reply.sequence !== undefined) headers[header.sequence] = reply.sequence;
  if (reply.run !== undefined) headers[header.run] = reply.run;
  if (reply.inbox !== undefined) headers[header.inbox] = reply.inbox;
  if (reply.parsed) headers[header.parsed] = true;
  if (reply.beat) headers[header.beat] = true;
  return headers;
}

/** What Warren's headers add to the raw neutral form of a message. */
export function ownHeaders(kind: Spoken["kind"], headers: Fields): Fields {
  if (kind === "request") {
    return {
      warren: header.warren in headers,
      timeout: headers[header.timeout],
    };
  }
  if (kind !== "reply") return {};
  return {
    sequence: headers[header.sequence],
    run: headers[header.run],
    inbox: headers[header.inbox],
    parsed: headers[header.parsed],
    beat: headers[header.beat],
  };
}
