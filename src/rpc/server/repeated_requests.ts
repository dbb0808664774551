/**
 * Repeated requests: the replies of the earlier request are repeated, also when it is still running. Each repetition is
 * answered in its own reply queue, which may be another one than that of the earlier request: a caller that has lost its
 * reply queue asks again with a new one.
 *
 * @module
 */
import type { ControlTargets } from "../control_targets.ts";
import type { Responder } from "../replies/responder.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type {
  ActiveRequest,
  KnownRequest,
} from "../request/recent_requests.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { waitOutsidePrefetch } from "../request/outside_prefetch.ts";
import type { ServerCounters } from "../telemetry/server_counters.ts";

/** Collaborators of `RepeatedRequests`. */
export interface RepeatedRequestsOptions {
  /** Repeats replies. */
  readonly responder: Responder;
  /** Running requests by call id. */
  readonly targets: ControlTargets;
  /** Statistics of the server. */
  readonly counters: ServerCounters;
  /** True if workers share a ledger, which may have replies that this process no longer has. */
  readonly ledger: boolean;
  /** Fires when the worker stops. */
  readonly stopping: AbortSignal;
}

/** Recognises and answers repeated requests of one server. */
export class RepeatedRequests {
  readonly #options: RepeatedRequestsOptions;

  /** Repeated requests are counted in `counters`. */
  constructor(options: RepeatedRequestsOptions) {
    this.#options = options;
  }

  /**
   * Finds the earlier request with the same key; undefined if the request has to run, and `conflict` if it has to be
   * refused, because the earlier one has another content. A ledger decides on conflicts by itself, since it knows the
   * requests of all workers.
   *
   * The reply cache expires before the id cache: if only the id is left, the shared ledger may still have the reply. An
   * earlier request of another call counts only if it has a reply to share, which a stream has not.
   */
  find(
    incoming: IncomingRequest,
    { recent, queue }: ServedQueue,
  ): KnownRequest | "conflict" | undefined {
    const known = recent.find(incoming);
    if (!known) return undefined;
    const { ledger } = this.#options;
    if (!known.hasContentOf(incoming)) {
      return ledger && queue ? undefined : "conflict";
    }
    if ("incoming" in known) {
      return known.hasCallOf(incoming) || !known.incoming.procedure?.yields
        ? known
        : undefined;
    }
    const forgotten = known.replies.length === 0 && incoming.request.reply;
    return forgotten && (ledger || !known.hasReaderOf(incoming))
      ? undefined
      : known;
  }

  /** Repeats the reply of an earlier request. Resolves to false if there is none, so that the request has to run. */
  async serve(
    incoming: IncomingRequest,
    known: KnownRequest,
  ): Promise<boolean> {
    if (!("incoming" in known)) {
      return await this.#repeat(incoming, known.replies), true;
    }
    if (known.hasReaderOf(incoming)) return this.#waitFor(incoming, known);
    return await (known.incoming.procedure?.yields
      ? this.#continueStream(incoming, known)
      : this.#share(incoming, known));
  }

  async #repeat(
    incoming: IncomingRequest,
    replies: IncomingRequest["replies"],
  ): Promise<void> {
    this.#options.counters.count("repeated", incoming);
    await this.#options.responder.repeat(incoming, replies);
    incoming.settlement.complete();
  }

  /** Waits for the run of the same call, which replies to both. False if that run was requeued undone. */
  async #waitFor(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const { settlement } = incoming;
    this.#options.counters.count("repeated", incoming);
    const wait = (signal: AbortSignal) => first.until(signal, false);
    await waitOutsidePrefetch(incoming, this.#options.stopping, wait)
      .catch(() => settlement.requeue());
    if (first.incoming.settlement.abandoned) return settlement.abandoned;
    settlement.complete();
    return true;
  }

  /**
   * Sends the further items of a stream to the new reply queue of its reader, which requests the items that it has
   * missed.
   */
  #continueStream(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const { targets } = this.#options;
    const { reply } = incoming.request;
    const { reader } = first.incoming;
    if (reply && reader !== undefined) {
      targets.moveReader(reply.call, reader, reply.queue);
    }
    return this.#waitFor(incoming, first);
  }

  /** Sends the reply of a run that is under way to another reader. False if the run has no reply for that reader. */
  async #share(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const joined = await this.#join(incoming, first);
    if (!joined) return incoming.settlement.requeue(), true;
    if (incoming.cancellation.cancelled) {
      return this.#options.counters.count("dropped", incoming), true;
    }
    const { replies } = first.incoming;
    if (replies.length === 0) return false;
    await this.#repeat(incoming, replies);
    return true;
  }

  /**
   * Waits until the replies of the run are known or turn out to be a stream, or the caller cancels this request. The
   * caller gets heartbeats meanwhile, and the run does not end because its first reply queue is gone. False if the request
   * has to be requeued.
   */
  async #join(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const { targets, responder: { heartbeats } } = this.#options;
    incoming.register(targets);
    using _sharing = first.incoming.share();
    const handle = heartbeats.start(incoming);
    const wait = (signal: AbortSignal) => first.until(signal, true);
    const joined = await waitOutsidePrefetch(incoming, incoming.signal, wait)
      .then(() => true, () => incoming.cancellation.cancelled);
    heartbeats.stop(handle);
    incoming.unregister(targets);
    return joined;
  }
}
