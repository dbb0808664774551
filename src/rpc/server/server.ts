/** The worker's half: from a delivery to a handler, back to the caller, and only then acknowledged. @module */
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { ConnectionDisposedError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { withDeadline } from "../../async/deadline.ts";
import type { Delivery } from "../../transport/transport.ts";
import { decode } from "../../wire/codec.ts";
import { misdirected } from "../request/addressee.ts";
import type { RpcClient } from "../client/rpc_client.ts";
import { Claims } from "./claims.ts";
import { Republisher } from "../retries/republisher.ts";
import { VersionDeferral } from "../retries/version_deferral.ts";
import { VersionSurvey } from "../retries/version_survey.ts";
import { CastFailures } from "../retries/cast_failures.ts";
import {
  count,
  counts,
  type Disposition,
  type ServerStats,
} from "../server_stats.ts";
import { IncomingRequest, type JobHooks } from "../request/incoming_request.ts";
import { jobHooks } from "./execution.ts";
import {
  type ActiveRequest,
  type KnownRequest,
  type RecentRequests,
  ReplyCache,
} from "../request/recent_requests.ts";
import {
  readerOf,
  requestKey,
  type ServedQueue,
} from "../request/served_queue.ts";
import type { LedgerStore } from "../../ledger/ledger_store.ts";
import { Semaphore } from "../../async/semaphore.ts";
import { Quarantine } from "../retries/quarantine.ts";
import {
  type UnreadableMessage,
  UnreadableMessages,
} from "../retries/unreadable_messages.ts";
import { logStep } from "../request/request_log.ts";
import { Responder, type ResponderParts } from "../replies/responder.ts";
import { Executor } from "./executor.ts";
import { joinOtherRun, joinSameRun } from "./shared_run.ts";
import { SlotMap } from "../../slot_map.ts";

/** Milliseconds that the broker has to take back what a worker leaves. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/** What a server needs. */
export interface ServerParts extends ResponderParts {
  /** Handlers at once. */
  readonly concurrency: number;
  /** Whether the bus is OpenStack's. */
  readonly openstack: boolean;
  /** To ask other services. */
  readonly caller: Pick<RpcClient, "gather">;
  /** What the fleet remembers together. */
  readonly ledger?: LedgerStore | undefined;
  /** Milliseconds that the broker leaves a message unacknowledged. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is told of. */
  readonly longRunning: number;
}

/** A request in hand: where it came, and until when. */
class AdmittedRequest {
  readonly incoming: IncomingRequest;
  readonly served: ServedQueue;
  readonly done: Promise<void>;

  constructor(
    incoming: IncomingRequest,
    served: ServedQueue,
    done: Promise<void>,
  ) {
    this.incoming = incoming;
    this.served = served;
    this.done = done;
  }
}

/** Serves requests of all consumers of one connection context. */
export class Server {
  readonly #parts: ServerParts;
  readonly #semaphore: Semaphore;
  readonly #responder: Responder;
  readonly #unreadable: UnreadableMessages;
  readonly #claims: Claims | undefined;
  readonly #quarantine: Quarantine;
  readonly #runner: Executor;
  /** What it answered. */
  readonly replyCache: ReplyCache = new ReplyCache();
  readonly #ledgers = new Set<RecentRequests>();
  readonly #requests = new SlotMap<AdmittedRequest>();
  readonly #counts = counts();
  readonly #stopping = new AbortController();
  /** Until when the ledger is waited for. */
  readonly #ending = { at: Infinity, signal: this.#stopping.signal };

  /** Ready to receive. */
  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.#semaphore = new Semaphore(parts.concurrency);
    const responder = this.#responder = new Responder(parts, this.#ending);
    const { ledger, session } = parts;
    const republisher = new Republisher(session);
    this.#unreadable = new UnreadableMessages({ responder, republisher });
    const castFailures = new CastFailures({ ...parts, republisher });
    this.#quarantine = new Quarantine({
      ...parts,
      republisher,
      castFailures,
      responder,
    });
    this.#claims = ledger && new Claims(ledger, republisher);
    const elsewhere = new VersionSurvey(parts.caller);
    const versionDeferral = new VersionDeferral({
      ...parts,
      republisher,
      elsewhere,
    });
    this.#runner = new Executor({
      ...{ responder, castFailures, versionDeferral },
      semaphore: this.#semaphore,
      targets: parts.inbox.targets,
      claims: this.#claims,
      quarantine: this.#quarantine,
      ending: this.#ending,
      counts: this.#counts,
      consumerTimeout: parts.consumerTimeout,
      longRunning: parts.longRunning,
    });
  }

  /** What it has done so far. */
  get stats(): ServerStats {
    const cut = [...this.#ledgers].reduce(
      (sum, { evictions }) => sum + evictions,
      0,
    );
    const { monitor: { blocked }, longRunning, latency: { stats: latency } } =
      this.#runner;
    const inHand = this.#requests.size;
    return {
      ...this.#counts,
      evicted: cut,
      blocked,
      active: inHand,
      longRunning,
      latency,
    };
  }

  /** Handlers at once. */
  get concurrency(): number {
    return this.#semaphore.limit;
  }

  /** Holds from now on; handlers that run are left alone. */
  set concurrency(limit: number) {
    this.#semaphore.limit = limit;
  }

  /** Takes the deliveries of one consumer. Never throws: nothing that arrives can hurt a worker. */
  receiver(served: ServedQueue): (delivery: Delivery) => void {
    this.#ledgers.add(served.recent);
    this.#claims?.watch(served);
    const hooks = jobHooks(served.queue, {
      responder: this.#responder,
      monitor: this.#runner.monitor,
      consumerTimeout: this.#parts.consumerTimeout,
      ending: this.#ending,
    });
    return (delivery) => this.#receive(delivery, served, hooks);
  }

  #receive(delivery: Delivery, served: ServedQueue, hooks: JobHooks): void {
    const { message: came } = delivery;
    const { limits } = this.#parts;
    const decoded = decode(came.body, came.headers, limits, came);
    if ("refusal" in decoded) {
      return this.#refuse(delivery, served, decoded.refusal);
    }
    const { message, dialect } = decoded;
    if (message.kind !== "request") {
      const reason = `a ${message.kind} where requests are served`;
      return this.#refuse(delivery, served, { reason });
    }
    const reason = misdirected(served.addressee, message.to);
    if (reason !== undefined) {
      const { reply, warren } = message;
      return this.#refuse(delivery, served, { reason, dialect, reply, warren });
    }
    if (delivery.redelivered) this.#counts.redelivered++;
    const incoming = new IncomingRequest(delivery, message, dialect, hooks);
    const { redelivered, key } = delivery;
    logStep(incoming, "received from {key}", { key, redelivered });
    const done = this.#admit(incoming, served).then(() => {
      logStep(
        incoming,
        incoming.acknowledged ? "acknowledged" : "back in its queue",
      );
      this.#requests.delete(place);
      this.#quarantine.ended(incoming);
    });
    const place = this.#requests.add(
      new AdmittedRequest(incoming, served, done),
    );
  }

  /** What came before is not run again; what a worker did not finish may end this one too. Never rejects. */
  #admit(incoming: IncomingRequest, served: ServedQueue): Promise<void> {
    const one = requestKey(incoming);
    const earlier = one ? this.#earlier(incoming, one, served) : undefined;
    const suspect = !earlier && this.#quarantine.isSuspect(incoming, served);
    const work = earlier
      ? this.#repeat(incoming, earlier, served)
      : suspect
      ? this.#interrupted(incoming, served)
      : this.#runner.serve(incoming, served);
    const done = work.catch((error) =>
      logger("rpc").error("Serving failed: {error}", { error })
    );
    const begins = !earlier && !suspect;
    if (begins && one !== undefined) {
      served.recent.begin(one, incoming, readerOf(incoming.request), done);
    }
    return done;
  }

  /**
   * Answers are forgotten sooner than that there were some: then the fleet's ledger may have them. What has no answer for
   * another reader, as a stream has none, is not for him.
   */
  #earlier(
    { request }: IncomingRequest,
    one: string,
    served: ServedQueue,
  ): KnownRequest | undefined {
    const known = served.recent.find(one);
    if (!known) return undefined;
    const his = known.reader === readerOf(request);
    if ("incoming" in known) {
      return his || !known.incoming.procedure?.yields ? known : undefined;
    }
    const silent = known.answers.length === 0 && request.reply;
    return silent && (!his || this.#claims) ? undefined : known;
  }

  async #interrupted(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    this.#counts.interrupted++;
    const now = await this.#quarantine.take(incoming, served);
    if (now === "here") await this.#admit(incoming, served);
    else if (now !== "moved") {
      await this.#runner.serve(incoming, served, now.hopeless);
    }
  }

  /** What is left goes back as a copy, so that nobody takes it for one whose worker died. Without grace there is no time for it. */
  async #putBack(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    if (!served.quarantine || !incoming.abandoned || incoming.acknowledged) {
      return;
    }
    if (incoming.lost) return; // its queue has it again
    const wait = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    const sent = this.#quarantine.requeue(incoming, served);
    if (await withDeadline(sent, wait, () => undefined).catch(() => false)) {
      incoming.passOn();
    }
  }

  #refuse(
    delivery: Delivery,
    { queue }: ServedQueue,
    refused: UnreadableMessage,
  ): void {
    this.#counts.refused++;
    const kept = this.#parts.openstack ? undefined : queue;
    // What would be a dead letter must not be lost to a guess at who asked.
    const guessed = kept && refused.large;
    const done = (fate: Disposition) => count(this.#counts, fate);
    const said = guessed ? { ...refused, reply: undefined } : refused;
    this.#unreadable.reject(delivery, said, kept, done);
  }

  /** A request that came before is not run again: its first run answers it, or has, and what it said is said again. */
  async #repeat(
    incoming: IncomingRequest,
    known: KnownRequest,
    served: ServedQueue,
  ): Promise<void> {
    const same = known.reader === readerOf(incoming.request);
    if ("incoming" in known && !same) {
      return await this.#share(incoming, known, served);
    }
    this.#counts.repeated++;
    if ("answers" in known) {
      await this.#responder.repeat(incoming, known.answers);
    } else await joinOtherRun(incoming, known, this.#stopping.signal);
    if ("answers" in known || !known.incoming.abandoned) incoming.settle();
    else if (!incoming.abandoned) await this.#admit(incoming, served); // the first run went back undone
  }

  /** The same for another reader: he gets the answer of the run that is under way; where it has none for him, a run of his own. */
  async #share(
    incoming: IncomingRequest,
    known: ActiveRequest,
    served: ServedQueue,
  ): Promise<void> {
    const { heartbeats } = this.#responder;
    const { targets } = this.#parts.inbox;
    const waited = await joinSameRun({ targets, heartbeats }, incoming, known);
    if (!waited) return incoming.giveBack();
    if (incoming.over) return void this.#counts.dropped++;
    const { answers } = known.incoming;
    if (answers.length === 0) return await this.#admit(incoming, served);
    this.#counts.repeated++;
    await this.#responder.repeat(incoming, answers);
    incoming.settle();
  }

  /**
   * Resolves when all that is in hand is done. What is left at the deadline (milliseconds of `performance.now()`) is aborted
   * and goes back to its queue for another worker: as a copy if it is to be `neat`, else unacknowledged.
   */
  async drain(deadline: number, neat: boolean): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const waiting = setDeadline(deadline, resolve);
    let stopping: Promise<void> | undefined;
    const late = over.then(() => stopping = this.#stop(neat));
    const refusals = this.#unreadable.pending;
    const { signal } = this.#stopping;
    while (this.#requests.size + refusals.size > 0 && !signal.aborted) {
      const all = Promise.all([
        ...[...this.#requests].map(({ done }) => done),
        ...refusals,
      ]);
      await Promise.race([all, late]);
    }
    clearDeadline(waiting);
    this.#claims?.stop();
    await stopping;
    this.#responder[Symbol.dispose]();
    this.#runner.monitor[Symbol.dispose]();
  }

  /** What has begun to stream is not begun anew elsewhere: its caller is told. */
  async #stop(neat: boolean): Promise<void> {
    const inHand = [...this.#requests];
    const jobs = inHand.map(({ incoming }) => incoming);
    for (const incoming of jobs) incoming.abandon();
    this.#stopping.abort(new ConnectionDisposedError("The service stops"));
    this.#unreadable.stop();
    const streams = jobs.filter(({ streaming }) => streaming);
    await Promise.all([
      ...streams.map((incoming) => this.#runner.endStream(incoming)),
      ...streams.map((incoming) => this.#responder.interrupted(incoming)),
      ...jobs.map((incoming) => this.#runner.release(incoming)),
      ...(neat
        ? inHand.map(({ incoming, served }) => this.#putBack(incoming, served))
        : []),
    ]);
  }
}
