/** One consumer of a server, and the keys that identify its requests. @module */
import { createHash } from "node:crypto";
import type { Address, QueueAddress } from "../../transport/address.ts";
import type { Request } from "../../wire/mod.ts";
import type { Addressee } from "./addressee.ts";
import type { Dispatcher } from "../dispatch/dispatcher.ts";
import type { IncomingRequest } from "./incoming_request.ts";
import { RecentRequests } from "./recent_requests.ts";
import type { ReplyCache } from "./reply_cache.ts";

/** One consumer: its dispatcher, its recent requests, and its queue. */
export interface ServedQueue {
  /** Dispatcher of the requests. */
  readonly dispatcher: Dispatcher;
  /** Topic and host whose requests are served. */
  readonly addressee: Addressee;
  /** Requests that arrived recently. */
  readonly recent: RecentRequests;
  /** Shared queue; undefined for a fanout, of which every worker gets a copy in its own queue. */
  readonly queue: QueueAddress | undefined;
  /** Quarantine queue for requests that workers did not finish; undefined if there is none. */
  quarantine?: Address | undefined;
  /** True for the consumer of the quarantine queue; `queue` is then the queue that it belongs to. */
  readonly quarantined?: boolean;
}

/** Creates a consumer without a quarantine; `queue` is undefined for a fanout. */
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

/** Maximum length of the content that a key contains as it is; of longer content it contains a digest. */
const MAX_CONTENT_LENGTH = 128;

/**
 * Returns the key of a request; undefined without an id. The id alone is not enough, since another peer may use the
 * same id. The key of Warren's requests has the id and the call's reply address, which costs nothing. The key of all
 * other requests has their content instead of the reply address, so that a request that is sent again as a new call has
 * the same key.
 */
export function requestKey(
  { request, dialect }: RequestContent,
): string | undefined {
  const { id, attempt = 1, deadLetterCount = 0, reply, warren, to } = request;
  if (id === undefined) return undefined;
  // The lengths of the peer's texts in the key ensure that no two different requests have the same key.
  const first = `${attempt} ${deadLetterCount} ${id.length}`;
  // A cast of Warren has no `warren` header, but an address.
  if (!warren && to === undefined) {
    return `${first} = ${id}${contentOf({ request, dialect })}`;
  }
  const { call = "", queue = "" } = reply ?? {};
  // Most calls have the same id as their request.
  const [length, more] = call === id ? ["", ""] : [call.length, call];
  return `${first} ${length} ${id}${more}${queue}`;
}

/** Returns the content of a request and the form of its reply, as a text or its digest. */
function contentOf({ request, dialect }: RequestContent): string {
  const { method, namespace, version, args, context, reply } = request;
  const form = reply && [dialect.name, reply.form, reply.ids];
  const content = [method, namespace, version, args, context, form];
  const text = JSON.stringify(content);
  return text.length > MAX_CONTENT_LENGTH
    ? createHash("sha256").update(text).digest("base64url")
    : text;
}

/** Returns the reply address of a request, unless its key contains it. */
export function readerOf({ reply, warren }: Request): string {
  return reply && !warren
    ? `${reply.call.length} ${reply.call}${reply.queue}`
    : "";
}

/**
 * Returns the key with the reply address, for claims in the shared ledger. It distinguishes two calls with the same
 * content.
 */
export function fullRequestKey(incoming: RequestContent): string | undefined {
  const identity = requestKey(incoming);
  return identity && identity + readerOf(incoming.request);
}
