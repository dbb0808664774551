/** One consumer of a server, and what tells the requests that come there from each other. @module */
import { createHash } from "node:crypto";
import type { Address, QueueAddress } from "../../transport/address.ts";
import type { Request } from "../../wire/rpc_message.ts";
import type { Addressee } from "./addressee.ts";
import type { Dispatcher } from "../dispatch/dispatcher.ts";
import type { IncomingRequest } from "./incoming_request.ts";
import { RecentRequests, type ReplyCache } from "./recent_requests.ts";

/** One consumer: who serves what comes there, what came before, and its queue, unless that holds copies of what all get. */
export interface ServedQueue {
  /** Serves its requests. */
  readonly dispatcher: Dispatcher;
  /** The address whose requests those are. */
  readonly addressee: Addressee;
  /** What came there before. */
  readonly recent: RecentRequests;
  /** Undefined where all workers get a copy. */
  readonly queue: QueueAddress | undefined;
  /** Where what workers do not finish is handled apart; undefined where that is not done. */
  quarantine?: Address | undefined;
  /** Whether this is that place: `queue` is then the one beside which it is. */
  readonly quarantined?: boolean;
}

/** A lane on its own; `queue` is its queue, unless all workers get a copy. */
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

/** A job as far as it says what is asked, and in which words. */
type Asked = Pick<IncomingRequest, "request" | "dialect">;

/** Characters of a request's content that are kept as they are; of more, their digest. */
const MAX_KEY = 128;

/**
 * What tells one request from another: a stranger may have made up its id. Warren's requests are told by the id, and
 * calls by their address, which costs nothing; all else by its content, so that one which is sent again for another answer is the same.
 */
export function requestKey({ request, dialect }: Asked): string | undefined {
  const { id, attempt = 1, deadLetterCount = 0, reply, warren, to } = request;
  if (id === undefined) return undefined;
  // With the lengths of what strangers say, no two requests have the same.
  const first = `${attempt} ${deadLetterCount} ${id.length}`;
  // A cast of Warren's says its address alone.
  if (!warren && to === undefined) {
    return `${first} = ${id}${contentOf({ request, dialect })}`;
  }
  const { call = "", queue = "" } = reply ?? {};
  // Most calls have the request's own id.
  const [length, more] = call === id ? ["", ""] : [call.length, call];
  return `${first} ${length} ${id}${more}${queue}`;
}

/** What is asked, and in which form it is to be answered. */
function contentOf({ request, dialect }: Asked): string {
  const { method, namespace, version, args, context, reply } = request;
  const form = reply && [dialect.name, reply.form, reply.ids];
  const content = [method, namespace, version, args, context, form];
  const text = JSON.stringify(content);
  return text.length > MAX_KEY
    ? createHash("sha256").update(text).digest("base64url")
    : text;
}

/** Where the answer goes, as far as the identity does not say it. */
export function readerOf({ reply, warren }: Request): string {
  return reply && !warren
    ? `${reply.call.length} ${reply.call}${reply.queue}`
    : "";
}

/** The identity with the reader: for what is kept of each request apart, such as its claim in the ledger of the fleet. */
export function fullRequestKey(asked: Asked): string | undefined {
  const identity = requestKey(asked);
  return identity && identity + readerOf(asked.request);
}
