/** Requests that a server has in hand: their list, and the cancellation of one of them by an operator. @module */
import { CancelledError } from "../../operator_errors.ts";
import { withDeadline } from "../../async/deadline.ts";
import { markDispatchError } from "../dispatch/handler_result.ts";
import {
  type CancelOutcome,
  MAX_LISTED,
  type RequestInHand,
} from "../discovery/control_contract.ts";
import type { Responder } from "../replies/responder.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { type CastFailures, reasonOf } from "../retries/cast_failures.ts";

/** Request with the consumer that received it. */
export interface HeldRequest {
  readonly incoming: IncomingRequest;
  readonly served: ServedQueue;
}

/** Collaborators of `InHand`. */
export interface InHandOptions {
  /** Replies to calls. */
  readonly responder: Responder;
  /** Dead-letters casts. */
  readonly castFailures: CastFailures;
}

/** Cancelled request. */
export interface CancelledRequest {
  readonly outcome: CancelOutcome;
  readonly procedure: string;
}

/** Milliseconds for a reply, after which the request is cancelled all the same. */
const TIMEOUT_MS = 5_000;
/** Characters of an id or a name that are shown. */
const MAX_CHARACTERS = 255;

/** Requests that a server has in hand. */
export class InHand {
  readonly #requests: Iterable<HeldRequest>;
  readonly #responder: Responder;
  readonly #castFailures: CastFailures;

  /** `requests` are those of the server, at any time. */
  constructor(
    requests: Iterable<HeldRequest>,
    { responder, castFailures }: InHandOptions,
  ) {
    this.#requests = requests;
    this.#responder = responder;
    this.#castFailures = castFailures;
  }

  /** Lists the first requests of a topic, or of all; counts the others. */
  list(topic?: string): { requests: RequestInHand[]; more: number } {
    const all = [...this.#requests].filter(({ incoming }) =>
      !incoming.cancellation.cancelled &&
      (topic === undefined || topic === incoming.topic)
    );
    const requests = all.slice(0, MAX_LISTED).map(describe);
    return { requests, more: all.length - requests.length };
  }

  /**
   * Cancels the requests with an id: a call's caller gets a `CancelledError`, a cast becomes a dead letter. Resolves to
   * undefined if there is none.
   */
  async cancel(id: string, by: string): Promise<CancelledRequest | undefined> {
    const found = [...this.#requests].filter(({ incoming }) =>
      incoming.requestId === id && !incoming.cancellation.cancelled
    );
    const [first, ...repetitions] = found;
    if (!first) return undefined;
    const { incoming, served } = first;
    const procedure = incoming.request.method.slice(0, MAX_CHARACTERS);
    const text = `An operator cancelled ${procedure}: ${by}`;
    const error = markDispatchError(new CancelledError(text));
    const reply = incoming.request.reply !== undefined;
    for (const each of repetitions) {
      if (reply) await this.#cancelCall(each.incoming, error);
      else each.incoming.cancellation.cancel(error);
    }
    const outcome = reply
      ? await this.#cancelCall(incoming, error)
      : await this.#cancelCast(incoming, served, error);
    return { outcome, procedure };
  }

  async #cancelCall(
    incoming: IncomingRequest,
    error: CancelledError,
  ): Promise<CancelOutcome> {
    const sent = this.#responder.failure(incoming, error);
    await withDeadline(sent, deadline(), () => undefined).catch(() => {});
    incoming.cancellation.cancel(error);
    return "cancelled";
  }

  /**
   * Dead-letters a cast before it is acknowledged. From its abandonment on, the end of its handler changes nothing. A
   * request that is claimed in a ledger is abandoned only after that, since its claim would be released.
   */
  async #cancelCast(
    incoming: IncomingRequest,
    { queue }: ServedQueue,
    error: CancelledError,
  ): Promise<CancelOutcome> {
    const { settlement, cancellation } = incoming;
    const { lease } = settlement;
    if (!queue || !settlement.open) {
      cancellation.cancel(error); // a fanout, or a cast that runs at most once
      return "cancelled";
    }
    if (!lease) {
      settlement.abandon();
      cancellation.abort(error);
    }
    const failures = this.#castFailures;
    const reason = reasonOf(error);
    const became = await failures.cancelled(incoming, reason, queue);
    if (became === "requeued") {
      if (!lease) settlement.giveBack();
      return "unconfirmed";
    }
    await settlement.endClaim();
    settlement.handOver();
    cancellation.abort(error);
    return "deadLettered";
  }
}

const deadline = () => ({ at: performance.now() + TIMEOUT_MS });

/** Describes a request. */
function describe({ incoming, served }: HeldRequest): RequestInHand {
  const { request, requestId, topic, arrived, attempt, run } = incoming;
  const { reply, credit, method } = request;
  const called = credit === undefined ? "call" as const : "multicall" as const;
  const sent = served.queue ? "cast" as const : "fanout" as const;
  const epoch = Date.now() - performance.now();
  const { deadline: at } = incoming;
  return {
    id: requestId.slice(0, MAX_CHARACTERS),
    topic,
    procedure: method.slice(0, MAX_CHARACTERS),
    verb: reply ? called : sent,
    since: Math.round(epoch + arrived),
    attempt,
    ...(at < Infinity && { deadline: Math.round(epoch + at) }),
    state: run.startedAt === undefined ? "waiting" : "running",
  };
}
