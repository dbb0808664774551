/** One consumer of a server, and the keys that tell its requests apart. @module */
import { createHash } from "node:crypto";
import type { Address, QueueAddress } from "../../transport/address.ts";
import type { Request } from "../../wire/mod.ts";
import type { Addressee } from "./addressee.ts";
import type { Dispatcher } from "../dispatch/dispatcher.ts";
import type { IncomingRequest } from "./incoming_request.ts";
import { RecentRequests, type ReplyCache } from "./recent_requests.ts";

/** One consumer: its dispatcher, its recent requests, and its queue. */
export interface ServedQueue {
  /** Dispatcher of the requests. */
  readonly dispatcher: Dispatcher;
  /** Topic and host whose requests are served. */
  readonly addressee: Addressee;
  /** Requests that came before. */
  readonly recent: RecentRequests;
  /** Shared queue; undefined for a broadcast, of which every worker gets a copy in a queue of its own. */
  readonly queue: QueueAddress | undefined;
  /** Quarantine queue for requests that workers did not finish; undefined where there is none. */
  quarantine?: Address | undefined;
  /** True for the consumer of the quarantine queue; `queue` is then the queue that it belongs to. */
  readonly quarantined?: boolean;
}

/** Consumer without a quarantine; `queue` is undefined for a broadcast. */
export function servedQueue(
  dispatcher: Dispatcher,
  addressee: Addressee,
  queue: QueueAddress | undefined,
  replyCache: ReplyCache,
): ServedQueue {
  return {
    dispatcher,
    addressee,
    queue,
    recent: new RecentRequests(replyCache),
  };
}

/** Request and its dialect. */
type RequestContent = Pick<IncomingRequest, "request" | "dialect">;

/** Characters of a request's content that a key holds as they are; of longer content it holds a digest. */
const MAX_CONTENT_LENGTH = 128;

/**
 * Key of a request; undefined without an id. The id alone does not do, since another peer may use the same. The key of
 * Warren's requests has the id and the call's reply address, which costs nothing. All other requests are told apart by their
 * content, so that one that is sent again as another call has the same key.
 */
export function requestKey(
  { request, dialect }: RequestContent,
): string | undefined {
  const { id, attempt = 1, deadLetterCount = 0, reply, warren, to } = request;
  if (id === undefined) return undefined;
  // With the lengths of the peer's texts, no two requests have the same key.
  const first = `${attempt} ${deadLetterCount} ${id.length}`;
  // A cast of Warren's has no `warren` header, but an address.
  if (!warren && to === undefined) {
    return `${first} = ${id}${contentOf({ request, dialect })}`;
  }
  const { call = "", queue = "" } = reply ?? {};
  // Most calls have the request's own id.
  const [length, more] = call === id ? ["", ""] : [call.length, call];
  return `${first} ${length} ${id}${more}${queue}`;
}

/** Content of a request and the form of its reply, as a text or its digest. */
function contentOf({ request, dialect }: RequestContent): string {
  const { method, namespace, version, args, context, reply } = request;
  const form = reply && [dialect.name, reply.form, reply.ids];
  const content = [method, namespace, version, args, context, form];
  const text = JSON.stringify(content);
  return text.length > MAX_CONTENT_LENGTH
    ? createHash("sha256").update(text).digest("base64url")
    : text;
}

/** Reply address of a request, if its key does not have it. */
export function readerOf({ reply, warren }: Request): string {
  return reply && !warren
    ? `${reply.call.length} ${reply.call}${reply.queue}`
    : "";
}

/** Key with the reply address, which tells apart two calls with the same content: for claims in the shared ledger. */
export function fullRequestKey(incoming: RequestContent): string | undefined {
  const identity = requestKey(incoming);
  return identity && identity + readerOf(incoming.request);
}
