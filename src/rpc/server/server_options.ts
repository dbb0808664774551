/** Collaborators and settings of a server. @module */
import type { LedgerStore } from "../../ledger/ledger_store.ts";
import type { DeadLetterSettings } from "../letters/dead_letter_listener.ts";
import type { RpcClient } from "../client/rpc_client.ts";
import type { ReplyEncoderOptions } from "../replies/reply_encoder.ts";
import type { ReplyPublisherOptions } from "../replies/reply_publisher.ts";

/** Collaborators of a `Server`. */
export interface ServerResources extends ReplyPublisherOptions {
  /** Queries the versions that other services serve. */
  readonly caller: Pick<RpcClient, "gather">;
  /** Store of the requests that all workers have claimed and done; undefined without one. */
  readonly ledger?: LedgerStore | undefined;
}

/** Settings of a `Server`. */
export interface ServerSettings extends ReplyEncoderOptions {
  /** Maximum number of handlers that run at once. */
  readonly concurrency: number;
  /** True on OpenStack's bus, where no queues of Warren's own are declared. */
  readonly openstack: boolean;
  /** Milliseconds after which the broker requeues an unacknowledged message. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is logged. */
  readonly longRunning: number;
  /** True if the spans of casts have traces of their own, with links to their senders. */
  readonly linksCasts: boolean;
  /** Host, stacks and listener of dead letters. */
  readonly deadLetters: DeadLetterSettings;
}
