/** Neutral form of messages, independent of the dialect. @module */
import type { Failure } from "../errors.ts";

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * Form of the reply that a caller requests.
 *
 * `oneMessage`: one message with `ending: true` (oslo.messaging ≥ 4, Warren). `twoMessages`: the result, or each item,
 * then an ending (Folsom, Grizzly). `perCallQueue`: same as `twoMessages`, but without the id of the call in the body,
 * since each call has a reply queue of its own (Folsom).
 */
export type ReplyForm = "oneMessage" | "twoMessages" | "perCallQueue";

/** Address of a reply. */
export interface ReplyAddress {
  /** Id of the call (`_msg_id`). */
  readonly call: string;
  /** Reply queue of the caller (`_reply_q`; in Folsom, the id of the call). */
  readonly queue: string;
  /** Reply form. */
  readonly form: ReplyForm;
  /** False for a caller whose messages have no ids (Folsom): replies to it have none either. */
  readonly ids?: boolean | undefined;
}

/** Request: a call, a cast or a multicall. */
export interface Request {
  /** Kind of message. */
  readonly kind: "request";
  /** `_unique_id`: the same in all retries; undefined from Folsom, which has no ids. */
  readonly id?: string | undefined;
  /** Name of the procedure. */
  readonly method: string;
  /** Keyword arguments. */
  readonly args: JsonObject;
  /** Context values. */
  readonly context: JsonObject;
  /** Version of the contract that the caller needs, `major.minor`; undefined counts as 1.0. */
  readonly version?: string | undefined;
  /** Namespace of the contract. */
  readonly namespace?: string | undefined;
  /**
   * Address of the request, `topic` or `topic/host`, since two of these may share one queue; undefined if unknown. Only
   * Warren sends it.
   */
  readonly to?: string | undefined;
  /** Address of the reply; undefined for a cast. */
  readonly reply?: ReplyAddress | undefined;
  /** Milliseconds that the caller waits, from the time of sending; undefined if unknown. */
  readonly timeout?: number | undefined;
  /** Milliseconds within which the caller expects each heartbeat (`_timeout`); undefined for no heartbeats. */
  readonly monitor?: number | undefined;
  /** Number of the attempt; undefined for the first. Only Warren sends it. */
  readonly attempt?: number | undefined;
  /**
   * Number of times that the request was a dead letter and was moved to its queue again; undefined for none. Only
   * Warren sends it.
   */
  readonly deadLetterCount?: number | undefined;
  /**
   * Number of times that a worker received the request and did not finish it; undefined for none. Only Warren sends it.
   */
  readonly interruptions?: number | undefined;
  /**
   * Number of times that the request was requeued for a worker that serves its version; undefined for none. Only Warren
   * sends it.
   */
  readonly deferred?: number | undefined;
  /**
   * Expiry of the request in epoch milliseconds, by the clock of the worker that failed first. Only Warren sends it.
   */
  readonly expires?: number | undefined;
  /**
   * Number of items of a stream that may be sent before the caller grants more credit; undefined for all. Only Warren
   * sends it.
   */
  readonly credit?: number | undefined;
  /** Version of Warren's headers that the sender understands; undefined if the sender is not Warren. */
  readonly warren?: number | undefined;
  /** Time of the first sending in epoch milliseconds, by the sender's clock. Only Warren sends it; it is not decoded. */
  readonly sent?: number | undefined;
}

/** Reply, or one message of a reply. */
export interface Reply {
  /** Kind of message. */
  readonly kind: "reply";
  /** `_unique_id` of this message. */
  readonly id?: string | undefined;
  /** Id of the call; undefined in the `perCallQueue` form. */
  readonly call?: string | undefined;
  /** Result, or an item of a stream. */
  readonly result?: unknown;
  /**
   * True if the reply has no result, and the receiver must not read that as null. Only Warren sends it; it is not
   * decoded.
   */
  readonly empty?: boolean | undefined;
  /** Error; it ends the reply. */
  readonly failure?: Failure | undefined;
  /** True in the last message of the reply. */
  readonly ending: boolean;
  /** Position in a stream, from 1. Only Warren sends it. */
  readonly sequence?: number | undefined;
  /**
   * Id of the handler's run that sent an item of a stream, so that items of two runs are never mixed. Only Warren sends
   * it.
   */
  readonly runId?: string | undefined;
  /** Inbox of the worker, for control commands. Only Warren sends it. */
  readonly inbox?: string | undefined;
  /** True if the result is the output of the worker's schema. Only Warren sends it. */
  readonly parsed?: boolean | undefined;
  /** True for a heartbeat, which has no result. Only Warren sends it. */
  readonly heartbeat?: boolean | undefined;
  /**
   * Set on an item of a stream that waited for credit: number of unread items that the worker can store, which is the
   * maximum for the reader's window. Only Warren sends it.
   */
  readonly window?: number | undefined;
}

/**
 * Notification of an event, for all listeners.
 * @category Events
 */
export interface Notification {
  /** Kind of message. */
  readonly kind: "notification";
  /** `_unique_id` of this message. */
  readonly id?: string | undefined;
  /** `message_id`: a UUID with dashes. */
  readonly messageId: string;
  /** Publisher, `service.host`. */
  readonly publisherId: string;
  /** Type of the event, e.g. `instance.create.end`. */
  readonly eventType: string;
  /** Priority in capitals, e.g. `INFO`. */
  readonly priority: string;
  /** Data of the event. */
  readonly payload: unknown;
  /** Time of the event, `YYYY-MM-DD HH:MM:SS.ffffff` in UTC. */
  readonly timestamp: string;
  /** Context values. */
  readonly context: Readonly<Record<string, unknown>>;
}

/** Control command to the worker that has a call. Only Warren sends it, and only to a peer that named its inbox. */
export interface Control {
  /** Kind of message. */
  readonly kind: "control";
  /**
   * `cancel`: the caller wants no further reply. `credit`: the caller grants credit for items of a stream. `resume`:
   * the caller requests lost items again.
   */
  readonly command: "cancel" | "credit" | "resume";
  /** Id of the call. */
  readonly call: string;
  /** With `credit` and `resume`: number of the last item that may be sent. */
  readonly credit?: number | undefined;
  /** With `credit` and `resume`: number of the last item that was read; undefined from readers with a fixed window. */
  readonly read?: number | undefined;
  /** With `resume`: number of the first item that is missing. */
  readonly sequence?: number | undefined;
  /** With `resume`: id of the run, if it is known. */
  readonly runId?: string | undefined;
}

/** Any message. */
export type RpcMessage = Request | Reply | Notification | Control;

/** Details that a dead letter carries in headers. */
export interface DeadLetterDetails {
  /** Number of attempts. */
  readonly attempts: number;
  /** Number of times that the message became a dead letter. */
  readonly deadLetterCount: number;
  /** Reason of the last failure. */
  readonly reason: string;
  /** Queue of the message before it became a dead letter. */
  readonly queue: string;
  /** Host of the worker that gave the message up. */
  readonly host?: string | undefined;
  /** Time of that in epoch milliseconds. */
  readonly deadAt: number;
  /** Stack of the last error. */
  readonly stack?: string | undefined;
}
