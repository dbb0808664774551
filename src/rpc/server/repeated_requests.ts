/** Repeated requests: the replies of the earlier request are repeated, also when it is still running. @module */
import type { ControlTargets } from "../control_targets.ts";
import type { Responder } from "../replies/responder.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type {
  ActiveRequest,
  KnownRequest,
} from "../request/recent_requests.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { waitOutsidePrefetch } from "../request/outside_prefetch.ts";
import type { Counts } from "../server_stats.ts";

/** Collaborators of `RepeatedRequests`. */
export interface RepeatedRequestsOptions {
  /** Repeats replies. */
  readonly responder: Responder;
  /** Running requests by call id. */
  readonly targets: ControlTargets;
  /** Statistics of the server. */
  readonly counts: Counts;
  /** True if workers share a ledger, which may have replies that this process no longer has. */
  readonly ledger: boolean;
  /** Fires when the worker stops. */
  readonly stopping: AbortSignal;
}

/** Recognises and answers repeated requests of one server. */
export class RepeatedRequests {
  readonly #options: RepeatedRequestsOptions;

  /** Repeated requests are counted in `counts`. */
  constructor(options: RepeatedRequestsOptions) {
    this.#options = options;
  }

  /**
   * Finds the earlier request with the same key; undefined if the request has to run. The reply cache expires before
   * the id cache: if only the id is left, the shared ledger may still have the reply. An earlier request of another
   * reader counts only if it has a reply to share, which a stream has not.
   */
  find(
    incoming: IncomingRequest,
    { recent }: ServedQueue,
  ): KnownRequest | undefined {
    const known = recent.find(incoming);
    if (!known) return undefined;
    const sameReader = known.hasReaderOf(incoming);
    if ("incoming" in known) {
      return sameReader || !known.incoming.procedure?.yields
        ? known
        : undefined;
    }
    const forgotten = known.replies.length === 0 && incoming.request.reply;
    return forgotten && (!sameReader || this.#options.ledger)
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
    return await (known.hasReaderOf(incoming)
      ? this.#waitFor(incoming, known)
      : this.#share(incoming, known));
  }

  async #repeat(
    incoming: IncomingRequest,
    replies: IncomingRequest["replies"],
  ): Promise<void> {
    this.#options.counts.repeated++;
    await this.#options.responder.repeat(incoming, replies);
    incoming.settlement.complete();
  }

  /** Waits for the run of the same call, which replies to both. False if that run was requeued undone. */
  async #waitFor(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const { settlement } = incoming;
    this.#options.counts.repeated++;
    const wait = (signal: AbortSignal) => first.until(signal, false);
    await waitOutsidePrefetch(incoming, this.#options.stopping, wait)
      .catch(() => settlement.requeue());
    if (first.incoming.settlement.abandoned) return settlement.abandoned;
    settlement.complete();
    return true;
  }

  /** Sends the reply of a run that is under way to another reader. False if the run has no reply for that reader. */
  async #share(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const joined = await this.#join(incoming, first);
    if (!joined) return incoming.settlement.requeue(), true;
    if (incoming.cancellation.cancelled) {
      return this.#options.counts.dropped++, true;
    }
    const { replies } = first.incoming;
    if (replies.length === 0) return false;
    await this.#repeat(incoming, replies);
    return true;
  }

  /**
   * Waits until the run has ended or turns out to be a stream, or the caller cancels this request. The caller gets
   * heartbeats meanwhile. False if the request has to be requeued.
   */
  async #join(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const { targets, responder: { heartbeats } } = this.#options;
    incoming.register(targets);
    const handle = heartbeats.start(incoming);
    const wait = (signal: AbortSignal) => first.until(signal, true);
    const joined = await waitOutsidePrefetch(incoming, incoming.signal, wait)
      .then(() => true, () => incoming.cancellation.cancelled);
    heartbeats.stop(handle);
    incoming.unregister(targets);
    return joined;
  }
}
