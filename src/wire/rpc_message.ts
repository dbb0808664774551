/** What is said, whatever the dialect: the neutral form of a message. @module */
import type { Failure } from "../errors.ts";

/** A JSON object. */
export type JsonObject = Readonly<Record<string, unknown>>;

/**
 * How the caller wants its answer.
 *
 * `single`: one message with `ending: true` (oslo.messaging ≥ 4, Warren). `parts`: each result, then an ending
 * (Folsom, Grizzly). `bare`: as `parts`, without the id of the call inside, since the queue serves one call (Folsom).
 */
export type ReplyForm = "single" | "parts" | "bare";

/** Where the answer goes. */
export interface ReplyAddress {
  /** Id of the call (`_msg_id`). */
  readonly call: string;
  /** Queue of the caller (`_reply_q`, or the call's id in Folsom). */
  readonly queue: string;
  /** Form of the answer. */
  readonly form: ReplyForm;
  /** False for a caller whose messages have no ids (Folsom): its answers have none either. */
  readonly ids?: boolean | undefined;
}

/** Someone wants something done. */
export interface Request {
  /** Which of the messages this is. */
  readonly kind: "request";
  /** `_unique_id`: made once, kept over all retries; undefined from Folsom, which has none. */
  readonly id?: string | undefined;
  /** Procedure. */
  readonly method: string;
  /** Keyword arguments. */
  readonly args: JsonObject;
  /** Values that travel with the request. */
  readonly context: JsonObject;
  /** `major.minor` that the caller needs; undefined counts as 1.0. */
  readonly version?: string | undefined;
  /** Namespace of the contract. */
  readonly namespace?: string | undefined;
  /** The address that it is for, `topic` or `topic/host`, since two of them may have one queue; undefined = not said. Warren's own. */
  readonly to?: string | undefined;
  /** Where the answer goes; undefined for a cast. */
  readonly reply?: ReplyAddress | undefined;
  /** Milliseconds that the caller still waits, from when it sent; undefined = not said. */
  readonly timeout?: number | undefined;
  /** Milliseconds within which the caller wants a sign of life, again and again (`_timeout`); undefined = none. */
  readonly monitor?: number | undefined;
  /** Which attempt it is; undefined = the first. Warren's own. */
  readonly attempt?: number | undefined;
  /** How many times it was a dead letter that somebody put back; undefined = never. Warren's own. */
  readonly deadLetterCount?: number | undefined;
  /** How many times a worker had it in hand and did not finish; undefined = never. Warren's own. */
  readonly interruptions?: number | undefined;
  /** Number of times that it went back for a worker that serves its version; undefined = never. Warren's own. */
  readonly deferred?: number | undefined;
  /** When its sender would have it dropped, by the clock of the worker that failed first: epoch ms. Warren's own. */
  readonly expires?: number | undefined;
  /** Items of a stream that may come before the caller has said that it read any; undefined = all. Warren's own. */
  readonly credit?: number | undefined;
  /** The version of Warren's headers that the sender understands; undefined = it is not Warren. */
  readonly warren?: number | undefined;
}

/** An answer, or a part of one. */
export interface Reply {
  /** Which of the messages this is. */
  readonly kind: "reply";
  /** `_unique_id` of this message. */
  readonly id?: string | undefined;
  /** Id of the call; undefined in the `bare` form. */
  readonly call?: string | undefined;
  /** What came back. */
  readonly result?: unknown;
  /** True if there is no result, and the receiver is to see none in place of null; not read. Warren's own. */
  readonly empty?: boolean | undefined;
  /** What went wrong; ends the answer. */
  readonly failure?: Failure | undefined;
  /** True on the last message. */
  readonly ending: boolean;
  /** Position in a stream, from 1; Warren's own. */
  readonly sequence?: number | undefined;
  /** Which run of the handler an item of a stream is from: two runs are never mixed; Warren's own. */
  readonly run?: string | undefined;
  /** Inbox of the worker, for controls; Warren's own. */
  readonly inbox?: string | undefined;
  /** True if the result is the output of the worker's schema; Warren's own. */
  readonly parsed?: boolean | undefined;
  /** True for a sign of life that carries no result; Warren's own. */
  readonly heartbeat?: boolean | undefined;
}

/** An event for whoever listens. */
export interface Notification {
  /** Which of the messages this is. */
  readonly kind: "notification";
  /** `_unique_id`. */
  readonly id?: string | undefined;
  /** `message_id`: a uuid with dashes. */
  readonly messageId: string;
  /** Who says it: `service.host`. */
  readonly publisherId: string;
  /** What happened, e.g. `instance.create.end`. */
  readonly eventType: string;
  /** Priority in capitals, e.g. `INFO`. */
  readonly priority: string;
  /** About what. */
  readonly payload: unknown;
  /** `YYYY-MM-DD HH:MM:SS.ffffff`, UTC. */
  readonly timestamp: string;
  /** Values that travel with it. */
  readonly context: Readonly<Record<string, unknown>>;
}

/** A word to the worker about a call that it has. Warren's own; sent only to a peer that showed its inbox. */
export interface Control {
  /** Which of the messages this is. */
  readonly kind: "control";
  /** `cancel`: the caller wants no more of it. `credit`: it has read items of a stream. `resume`: it has missed some. */
  readonly command: "cancel" | "credit" | "resume";
  /** Id of the call. */
  readonly call: string;
  /** With `credit` and `resume`: items up to that number may come. */
  readonly credit?: number | undefined;
  /** With `resume`: the first item that is missing. */
  readonly sequence?: number | undefined;
  /** With `resume`: of which run, once that is known. */
  readonly run?: string | undefined;
}

/** Whatever travels. */
export type RpcMessage = Request | Reply | Notification | Control;
