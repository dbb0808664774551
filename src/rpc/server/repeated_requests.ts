/** Requests that came before: their replies are repeated, or the run that is under way replies to them too. @module */
import type { ControlTargets } from "../control_targets.ts";
import type { Responder } from "../replies/responder.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type {
  ActiveRequest,
  KnownRequest,
} from "../request/recent_requests.ts";
import { readerOf, type ServedQueue } from "../request/served_queue.ts";
import { aside } from "../request/waiting_aside.ts";
import type { Counts } from "../server_stats.ts";

/** Collaborators of `RepeatedRequests`. */
export interface RepeatedRequestsOptions {
  /** Repeats replies. */
  readonly responder: Responder;
  /** Running requests by call id. */
  readonly targets: ControlTargets;
  /** Statistics of the server. */
  readonly counts: Counts;
  /** True if workers share a ledger, which may have replies that this process has forgotten. */
  readonly ledger: boolean;
  /** Fires when the worker stops. */
  readonly stopping: AbortSignal;
}

/** Recognises the requests of one server that came before. */
export class RepeatedRequests {
  readonly #options: RepeatedRequestsOptions;

  /** Repeats are counted in `counts`. */
  constructor(options: RepeatedRequestsOptions) {
    this.#options = options;
  }

  /**
   * Finds the request that came before with the same key; undefined if the request has to run. The reply cache expires
   * before the id cache: if only the id is left, the shared ledger may still have the reply. A request without a reply for
   * another reader, as a stream has none, does not count for that reader.
   */
  find(
    { request }: IncomingRequest,
    key: string,
    { recent }: ServedQueue,
  ): KnownRequest | undefined {
    const known = recent.find(key);
    if (!known) return undefined;
    const sameReader = known.reader === readerOf(request);
    if ("incoming" in known) {
      return sameReader || !known.incoming.procedure?.yields
        ? known
        : undefined;
    }
    const forgotten = known.replies.length === 0 && request.reply;
    return forgotten && (!sameReader || this.#options.ledger)
      ? undefined
      : known;
  }

  /** Replies to a request as to the one before; resolves to false where that has no reply, so that the request has to run. */
  async serve(
    incoming: IncomingRequest,
    known: KnownRequest,
  ): Promise<boolean> {
    const sameReader = known.reader === readerOf(incoming.request);
    if (!("incoming" in known)) {
      return await this.#repeat(incoming, known.replies), true;
    }
    return await (sameReader
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

  /** Waits for the run of the same call, which replies to it. False if that run went back to its queue undone. */
  async #waitFor(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const { settlement } = incoming;
    this.#options.counts.repeated++;
    const wait = (signal: AbortSignal) => first.until(signal, false);
    await aside(incoming, this.#options.stopping, wait)
      .catch(() => settlement.requeue());
    if (first.incoming.settlement.abandoned) return settlement.abandoned;
    settlement.complete();
    return true;
  }

  /** Gives the reply of a run that is under way to another reader. False if the run has no reply for that reader. */
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
   * Waits until the run has ended, or turns out to be a stream, or nobody waits for this request any more. False if the
   * request has to go back to its queue meanwhile. Its caller gets heartbeats, and may cancel it.
   */
  async #join(
    incoming: IncomingRequest,
    first: ActiveRequest,
  ): Promise<boolean> {
    const { targets, responder: { heartbeats } } = this.#options;
    incoming.register(targets);
    const handle = heartbeats.start(incoming);
    const wait = (signal: AbortSignal) => first.until(signal, true);
    const joined = await aside(incoming, incoming.signal, wait)
      .then(() => true, () => incoming.cancellation.cancelled);
    heartbeats.stop(handle);
    incoming.unregister(targets);
    return joined;
  }
}
