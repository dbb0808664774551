/** Server: receives deliveries, admits their requests, and settles them when their replies are sent. @module */
import { Semaphore } from "../../async/semaphore.ts";
import { clearDeadline, setDeadline } from "../../async/timer_wheel.ts";
import { ConnectionDisposedError } from "../../errors.ts";
import { logger } from "../../logging.ts";
import { SlotMap } from "../../slot_map.ts";
import type { Delivery } from "../../transport/transport.ts";
import type { Limits } from "../../wire/mod.ts";
import { ReplyCache } from "../cache/reply_cache.ts";
import { Responder } from "../replies/responder.ts";
import { IncomingRequest } from "../request/incoming_request.ts";
import type {
  KnownRequest,
  RecentRequests,
} from "../request/recent_requests.ts";
import {
  readRequest,
  type UnreadableMessage,
} from "../request/request_reader.ts";
import { logStep } from "../request/request_log.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { CastFailures } from "../retries/cast_failures.ts";
import { DeadLetterSender } from "../retries/dead_letter_sender.ts";
import { Quarantine } from "../retries/quarantine.ts";
import { Republisher } from "../retries/republisher.ts";
import { UnreadableMessages } from "../retries/unreadable_messages.ts";
import { VersionDeferral } from "../retries/version_deferral.ts";
import { InHand } from "../steering/in_hand.ts";
import { PausedQueues } from "../steering/paused_queues.ts";
import type { Disposition, ServerStats } from "../server_stats.ts";
import {
  observeRequests,
  ServerCounters,
} from "../telemetry/server_counters.ts";
import { AdmittedRequest } from "./admitted_request.ts";
import { Claims } from "./claims.ts";
import { Executor } from "./executor.ts";
import { RepeatedRequests } from "./repeated_requests.ts";
import { RequestFailures } from "./request_failures.ts";
import type { ServerResources, ServerSettings } from "./server_options.ts";

/** Serves the requests of all consumers of one connection context. */
export class Server {
  /** Replies to the requests of all consumers, which are repeated if a request arrives again. */
  readonly replyCache: ReplyCache = new ReplyCache();
  /** Requests in hand, for operators. */
  readonly inHand: InHand;
  /** Queues that operators have paused. */
  readonly paused: PausedQueues;
  readonly #limits: Limits;
  readonly #openstack: boolean;
  readonly #semaphore: Semaphore;
  readonly #responder: Responder;
  readonly #unreadable: UnreadableMessages;
  readonly #claims: Claims | undefined;
  readonly #quarantine: Quarantine;
  readonly #failures: RequestFailures;
  readonly #repeated: RepeatedRequests;
  readonly #executor: Executor;
  readonly #recent = new Set<RecentRequests>();
  readonly #requests = new SlotMap<AdmittedRequest>();
  readonly #counters = new ServerCounters();
  readonly #observing = observeRequests(this.#requests);
  readonly #stopping = new AbortController();

  /** Creates a server that is ready to receive. */
  constructor(resources: ServerResources, settings: ServerSettings) {
    const { session, inbox: { targets }, ledger, limits } = resources;
    const { openstack, concurrency, longRunning, consumerTimeout } = settings;
    const stopping = { at: Infinity, signal: this.#stopping.signal };
    const counters = this.#counters;
    const semaphore = this.#semaphore = new Semaphore(concurrency);
    const responder = new Responder(resources, settings, stopping);
    const republisher = new Republisher(session);
    const letters = [republisher, settings.deadLetters, limits] as const;
    const deadLetters = new DeadLetterSender(...letters);
    const castFailures = new CastFailures(republisher, openstack, deadLetters);
    const retries = { session, republisher, castFailures, responder };
    const quarantine = this.#quarantine = new Quarantine(retries);
    this.inHand = new InHand(this.#requests, retries);
    const served = { ...retries, quarantine };
    const paused = this.paused = new PausedQueues(served);
    const claims = this.#claims = ledger && new Claims(ledger, republisher);
    const versionDeferral = new VersionDeferral(
      republisher,
      resources.caller,
      openstack,
    );
    const failures = this.#failures = new RequestFailures({
      ...{ responder, castFailures, quarantine, versionDeferral, counters },
      stopping,
    });
    this.#responder = responder;
    this.#limits = limits;
    this.#openstack = openstack;
    const unreadable = [responder, republisher, deadLetters] as const;
    this.#unreadable = new UnreadableMessages(...unreadable);
    this.#repeated = new RepeatedRequests({
      ...{ responder, targets, counters, stopping: stopping.signal },
      ledger: ledger !== undefined,
    });
    const { linksCasts } = settings;
    const executing = { ...served, targets, semaphore, failures, linksCasts };
    const options = { ...executing, claims, paused, consumerTimeout, stopping };
    this.#executor = new Executor(options, counters, longRunning);
  }

  /** Statistics since the start. */
  get stats(): ServerStats {
    const evicted = [...this.#recent].reduce(
      (sum, { evictions }) => sum + evictions,
      0,
    );
    const { blocked, longRunning, latency } = this.#executor;
    const active = this.#requests.size;
    const { names: paused } = this.paused;
    return {
      ...this.#counters.values,
      ...{ evicted, blocked, active, paused, longRunning, latency },
    };
  }

  /** Maximum number of handlers that run at once. */
  get concurrency(): number {
    return this.#semaphore.limit;
  }

  /** Sets the maximum; running handlers continue. */
  set concurrency(limit: number) {
    this.#semaphore.limit = limit;
  }

  /** Returns the receiver of one consumer's deliveries, which never throws, so that no message can end the worker. */
  receiver(served: ServedQueue): (delivery: Delivery) => void {
    this.#recent.add(served.recent);
    this.#claims?.watch(served);
    return (delivery) => this.#receive(delivery, served);
  }

  #receive(delivery: Delivery, served: ServedQueue): void {
    const incoming = readRequest(delivery, served, this.#limits);
    if (!(incoming instanceof IncomingRequest)) {
      return this.#reject(delivery, served, incoming);
    }
    if (delivery.redelivered) this.#counters.count("redelivered", incoming);
    const { redelivered, key } = delivery;
    logStep(incoming, "received from {key}", { key, redelivered });
    const done = this.#admit(incoming, served).then(() => {
      const { acknowledged } = incoming.settlement;
      logStep(incoming, acknowledged ? "acknowledged" : "back in its queue");
      this.#requests.delete(handle);
      this.#quarantine.onSettled(incoming);
    });
    const handle = this.#requests.add(
      new AdmittedRequest(incoming, served, done),
    );
  }

  /**
   * Admits a request. Never rejects. A request that the broker might drop after more deliveries is replaced by a copy, unless
   * it is moved to the quarantine queue anyway. A request that was redelivered by the broker, or sent again by its caller,
   * passes:
   *
   * 1. the recent requests of this process: a request that is running or done here is not run again, its replies are
   * repeated; another request with its id is refused;
   * 2. the quarantine: a request that a worker did not finish is counted, moved to the quarantine queue, or finally
   * given up;
   * 3. the claims of the shared ledger, in the executor: a request that another worker runs or has done is not run
   * either.
   *
   * All other requests run.
   */
  #admit(incoming: IncomingRequest, served: ServedQueue): Promise<void> {
    const quarantine = this.#quarantine;
    const earlier = this.#repeated.find(incoming, served);
    if (earlier === "conflict") {
      return this.#log(this.#failures.conflicting(incoming, served));
    }
    if (!earlier && quarantine.isSuspect(incoming, served)) {
      return this.#log(this.#admitSuspect(incoming, served));
    }
    if (quarantine.isNearLimit(incoming, served)) {
      return this.#log(this.#replace(incoming, served));
    }
    if (earlier) return this.#log(this.#repeat(incoming, earlier, served));
    const held = this.paused.hold(incoming, served);
    const run = () => this.#admit(incoming, served);
    if (held) return this.#log(held.then((held) => held ? undefined : run()));
    quarantine.onAdmitted(incoming);
    const done = this.#log(this.#executor.execute(incoming, served));
    served.recent.start(incoming, done);
    return done;
  }

  #log(work: Promise<void>): Promise<void> {
    return work.catch((error) =>
      logger("rpc").error("Serving failed: {error}", { error })
    );
  }

  /** Replaces a request by a copy; admits it if the broker takes no copy. */
  async #replace(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    const replaced = await this.#quarantine.replace(incoming, served);
    if (!replaced) await this.#admit(incoming, served);
  }

  async #repeat(
    incoming: IncomingRequest,
    earlier: KnownRequest,
    served: ServedQueue,
  ): Promise<void> {
    const replied = await this.#repeated.serve(incoming, earlier);
    if (!replied) await this.#admit(incoming, served);
  }

  async #admitSuspect(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    this.#counters.count("interrupted", incoming);
    const decision = await this.#quarantine.onInterrupted(incoming, served);
    if (decision === "served") await this.#admit(incoming, served);
    else if (decision !== "moved") {
      await this.#executor.execute(incoming, served, decision.exhausted);
    }
  }

  #reject(
    delivery: Delivery,
    { queue, addressee }: ServedQueue,
    unreadable: UnreadableMessage,
  ): void {
    this.#counters.count("refused", addressee);
    const deadLetterQueue = this.#openstack ? undefined : queue;
    // The sender of a message above the size limit is only guessed, so the message is dead-lettered and not answered.
    const guessed = deadLetterQueue && unreadable.oversized;
    const rejected = guessed ? { ...unreadable, reply: undefined } : unreadable;
    const done = (disposition: Disposition) =>
      this.#counters.countDisposition(disposition, addressee);
    this.#unreadable.reject(delivery, rejected, deadLetterQueue, done);
  }

  /**
   * Resolves when all active requests are done. Requests that are not done at the deadline (milliseconds of
   * `performance.now()`) are aborted and requeued: if `republish` is true, as copies, so that no worker counts them as
   * interrupted; otherwise by leaving them unacknowledged, which takes no time.
   */
  async drain(deadline: number, republish: boolean): Promise<void> {
    const { promise: expired, resolve } = Promise.withResolvers<void>();
    const timer = setDeadline(deadline, resolve);
    let stopping: Promise<void> | undefined;
    const stopped = expired.then(() => stopping = this.#stop(republish));
    const { pending } = this.#unreadable;
    const { signal } = this.#stopping;
    while (this.#requests.size + pending.size > 0 && !signal.aborted) {
      const all = Promise.all([
        ...[...this.#requests].map(({ done }) => done),
        ...pending,
      ]);
      await Promise.race([all, stopped]);
    }
    clearDeadline(timer);
    this.#claims?.stop();
    await stopping;
    this.#responder[Symbol.dispose]();
    this.#executor[Symbol.dispose]();
    this.#observing[Symbol.dispose]();
    this.paused[Symbol.dispose]();
  }

  /**
   * Aborts all active requests. The callers of streams that have started get an error, because no other worker starts
   * these streams again.
   */
  async #stop(republish: boolean): Promise<void> {
    const active = [...this.#requests];
    for (const { incoming } of active) incoming.abandon();
    this.#stopping.abort(new ConnectionDisposedError("The service stops"));
    this.#unreadable.stop();
    const streams = active.map(({ incoming }) => incoming)
      .filter(({ streaming }) => streaming);
    await Promise.all([
      ...streams.map((incoming) => incoming.settlement.endClaim()),
      ...streams.map((incoming) => this.#responder.streams.interrupt(incoming)),
      ...active.map(({ incoming, served }) =>
        this.#executor.release(incoming, served)
      ),
      ...(republish
        ? active.map(({ incoming, served }) =>
          this.#quarantine.requeueAbandoned(incoming, served)
        )
        : []),
    ]);
  }
}
