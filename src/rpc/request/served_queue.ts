/** One consumer of a server. @module */
import type { Address, QueueAddress } from "../../transport/address.ts";
import type { Addressee } from "./addressee.ts";
import type { Dispatcher } from "../dispatch/dispatcher.ts";
import { RecentRequests } from "./recent_requests.ts";
import type { ReplyCache } from "../cache/reply_cache.ts";

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
