/** Requests that run: each from its turn to its acknowledgement. @module */
import { type Deadline, withDeadline } from "../../async/deadline.ts";
import type { Claims } from "./claims.ts";
import type { VersionDeferral } from "../retries/version_deferral.ts";
import type { CastFailures } from "../retries/cast_failures.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import { LatencyHistogram } from "./latency_histogram.ts";
import { LongRunningHandlers } from "./long_running.ts";
import { count, type Counts, type LongRunningStats } from "../server_stats.ts";
import { EventLoopMonitor } from "./event_loop_monitor.ts";
import {
  Permit,
  type PermitDeadline,
  Semaphore,
} from "../../async/semaphore.ts";
import type { Quarantine } from "../retries/quarantine.ts";
import type { Responder } from "../replies/responder.ts";
import type { ControlTargets } from "../control_targets.ts";
import {
  logFailedCall,
  logFailedCast,
  logStep,
} from "../request/request_log.ts";
import { castOfStreamError, isStream } from "../dispatch/handler_stream.ts";

/** What running needs. */
export interface RunnerParts {
  /** Whose turn it is. */
  readonly semaphore: Semaphore;
  /** To be cancelled by. */
  readonly targets: ControlTargets;
  /** To answer. */
  readonly responder: Responder;
  /** Casts that failed. */
  readonly castFailures: CastFailures;
  /** Whose a request is, where the fleet has a ledger. */
  readonly claims: Claims | undefined;
  /** Requests that another worker serves. */
  readonly versionDeferral: VersionDeferral;
  /** What others did not finish. */
  readonly quarantine: Quarantine;
  /** Until when the ledger is waited for. */
  readonly ending: Deadline;
  /** What is counted. */
  readonly counts: Counts;
  /** Milliseconds that the broker leaves a message unacknowledged. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is told of. */
  readonly longRunning: number;
}

/** Milliseconds that the ledger has where a worker stops. */
const SHUTDOWN_TIMEOUT_MS = 1_000;

/** Runs the requests of one context. */
export class Executor {
  /** How long handlers took. */
  readonly latency: LatencyHistogram = new LatencyHistogram();
  /** Whether the event loop stood still. */
  readonly monitor: EventLoopMonitor<IncomingRequest>;
  readonly #longRunning: LongRunningHandlers;
  readonly #parts: RunnerParts;
  /** What is in quarantine waits for nobody, since each of its consumers has one alone. */
  readonly #quarantineSemaphore = new Semaphore(Infinity);

  /** Of its parts. */
  constructor(parts: RunnerParts) {
    this.#parts = parts;
    this.#longRunning = new LongRunningHandlers(parts.longRunning);
    this.monitor = new EventLoopMonitor((inHand) =>
      this.#longRunning.look(inHand)
    );
  }

  /** Handlers that have run for long: how many, and the first of them. */
  get longRunning(): LongRunningStats {
    return this.#longRunning.stats(this.monitor.active);
  }

  /** From its turn to its acknowledgement; `hopeless` is how many workers did not finish it, where no other is to try. */
  async serve(
    incoming: IncomingRequest,
    served: ServedQueue,
    hopeless?: number,
  ): Promise<void> {
    incoming.register(this.#parts.targets);
    if (incoming.request.interruptions) {
      await this.#parts.quarantine.othersSafe();
    }
    const semaphore = served.quarantined
      ? this.#quarantineSemaphore
      : this.#parts.semaphore;
    const turn = new Permit(semaphore, () => this.#wait(incoming, served));
    // A handler that goes on when nobody waits any more does not keep others from their turn.
    incoming.left = turn.release;
    try {
      const taken = turn.acquire();
      if (taken !== true && !(await taken)) {
        return await this.#notAdmitted(incoming, served);
      }
      if (incoming.over) return void this.#parts.counts.dropped++;
      if (isExpired(incoming)) return await this.#expired(incoming, served);
      this.#parts.responder.heartbeats.begin(incoming);
      const claiming = this.#parts.claims &&
        this.#claim(incoming, served, turn);
      if (claiming && !(await claiming)) return;
      if (hopeless) return await this.#giveUp(incoming, served, hopeless);
      this.monitor.begin(incoming);
      await this.#run(incoming, served, turn);
    } catch (error) {
      if (incoming.over) return; // nobody waits, or it goes back to its queue
      if (incoming.request.reply) throw error;
      await this.#parts.castFailures.backOff(incoming, error); // nobody else would know of it
      await this.#back(incoming, served);
    } finally {
      this.monitor.end(incoming);
      incoming.left = undefined;
      turn.release();
      const leaving = this.#finish(incoming);
      if (leaving) await leaving;
      incoming.unregister();
    }
  }

  /** What waits too long for its turn goes to the end of its queue, before the broker takes it back as from one that died. */
  #wait(
    { arrived, signal }: IncomingRequest,
    { queue }: ServedQueue,
  ): PermitDeadline {
    const { consumerTimeout } = this.#parts;
    const patience = queue ? consumerTimeout / 2 : Infinity;
    return { at: arrived + patience, signal };
  }

  /** It has waited too long for another attempt. */
  async #expired(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    const { counts, castFailures } = this.#parts;
    if (incoming.request.reply) return void counts.dropped++; // its caller has given up
    const fate = await castFailures.expired(incoming, served.queue);
    logFailedCast(
      incoming,
      "expired before its next attempt",
      fate,
      served.queue,
    );
    if (fate === "dropped") counts.dropped++;
    if (fate === "back") await this.#back(incoming, served);
    count(counts, fate);
  }

  /** True when it is claimed, or needs not be; else it has been done, or is another worker's. */
  async #claim(
    incoming: IncomingRequest,
    served: ServedQueue,
    turn: Permit,
  ): Promise<boolean> {
    const { claims, counts, responder } = this.#parts;
    const { at } = this.#wait(incoming, served);
    for (;;) {
      const whose = await claims?.claim(incoming, served);
      if (whose === undefined || whose.state === "held") return true;
      if (whose.state === "done") {
        counts.repeated++;
        incoming.answers = whose.answers;
        await responder.repeat(incoming, whose.answers);
        incoming.settle();
        return false;
      }
      if (whose.kept) return incoming.passOn(), false; // the ledger brings it back if its worker dies
      turn.release();
      const waited = await claims?.free(incoming, whose.ms);
      const soon = waited && performance.now() < at;
      if (soon && await turn.acquire()) continue;
      await this.#notAdmitted(incoming, served);
      return false;
    }
  }

  async #notAdmitted(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<void> {
    if (incoming.over || !served.queue) this.#parts.counts.dropped++;
    else await this.#back(incoming, served);
  }

  /** At the end of its queue as a copy, so that no worker takes it for interrupted; where there can be none, as it was. */
  async #back(incoming: IncomingRequest, served: ServedQueue): Promise<void> {
    if (incoming.abandoned || incoming.settled) return;
    const copied = !incoming.lost &&
      await this.#parts.quarantine.requeue(incoming, served);
    if (copied) incoming.passOn();
    else incoming.giveBack();
  }

  /** No worker finished it, and no other is to try. */
  async #giveUp(
    incoming: IncomingRequest,
    served: ServedQueue,
    times: number,
  ): Promise<void> {
    const { counts, quarantine, responder } = this.#parts;
    const fate = await quarantine.giveUp(incoming, times, served);
    if (fate === "back") await this.#back(incoming, served);
    count(counts, fate);
    const reason = `interrupted ${times} times`;
    if (incoming.request.reply) logFailedCall(incoming, reason);
    else logFailedCast(incoming, reason, fate, served.queue);
    const cast = !incoming.request.reply && !incoming.abandoned;
    if (cast && incoming.lease) await responder.result(incoming, undefined);
  }

  /** What another worker has now goes back all the same: that one may lose it to a third, and whoever gets it asks the ledger. */
  #finish(incoming: IncomingRequest): Promise<void> | undefined {
    this.#parts.responder.heartbeats.end(incoming);
    if (incoming.fenced) {
      this.#parts.counts.fenced++;
      incoming.giveBack();
    }
    incoming.settle();
    return this.release(incoming);
  }

  /** What goes back to its queue is free for others at once. */
  release(incoming: IncomingRequest): Promise<void> | undefined {
    if (incoming.abandoned) return this.#parts.claims?.requeue(incoming);
    incoming.lease?.stop();
    return undefined;
  }

  /** A stream that has lost its worker is not begun anew elsewhere. */
  async endStream({ lease }: IncomingRequest): Promise<void> {
    const wait = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    const late = () => undefined;
    if (lease) {
      await withDeadline(lease.done([], wait), wait, late).catch(() => {});
    }
  }

  /** The permit is given back when the handler ends; the answer's confirmation needs none. */
  async #run(
    incoming: IncomingRequest,
    served: ServedQueue,
    turn: Permit,
  ): Promise<void> {
    const { request, context } = incoming;
    const ended = this.#timed(incoming, turn);
    logStep(incoming, "started");
    try {
      const { version = "1.0", method, args, namespace } = request;
      const { dispatcher } = served;
      const work = dispatcher.dispatch(
        context,
        version,
        method,
        args,
        namespace,
      );
      // A dispatcher that wraps another may find the procedure later.
      const free = incoming.procedure &&
        incoming.procedure.maxDuration === undefined;
      const result = await (free ? work : incoming.run.bounded(work));
      if (isStream(result) && !request.reply) {
        throw castOfStreamError(request.method);
      }
      if (isStream(result)) {
        await incoming.run.bounded(
          this.#parts.responder.stream(incoming, result),
        );
      } else {
        ended();
        await this.#parts.responder.result(incoming, result);
      }
      ended();
      this.#parts.counts.handled++;
    } catch (error) {
      ended();
      if (incoming.run.left) this.#longRunning.leave(incoming);
      this.#parts.responder.heartbeats.end(incoming); // another worker is to be its caller's
      if (await this.#parts.versionDeferral.take(incoming, error, served)) {
        return;
      }
      this.#parts.counts.failed++;
      if (request.reply) logFailedCall(incoming, error);
      await this.#parts.responder.failure(incoming, error);
      if (!request.reply) await this.#failedCast(incoming, error, served);
    }
  }

  /** Whoever has a cast decides what becomes of it. */
  async #failedCast(
    incoming: IncomingRequest,
    error: unknown,
    served: ServedQueue,
  ): Promise<void> {
    const { ending } = this.#parts;
    // A handler that goes on must not record what another attempt will do.
    const mine =
      await (incoming.run.overtime
        ? incoming.lease?.renewed(ending)
        : incoming.lease?.holds(ending)) ?? true;
    if (!mine) {
      logStep(incoming, "failed after another worker took it: {error}", {
        error,
      });
      return incoming.fence();
    }
    const fate = await this.#parts.castFailures.failed(
      incoming,
      error,
      served.queue,
    );
    logFailedCast(incoming, error, fate, served.queue);
    if (fate === "back") await this.#back(incoming, served);
    count(this.#parts.counts, fate);
    if (!incoming.abandoned) {
      await this.#parts.responder.result(incoming, undefined);
    }
  }

  /** What to call when the handler has ended; the first time counts. */
  #timed(incoming: IncomingRequest, turn: Permit): () => void {
    const began = performance.now();
    let running = true;
    return () => {
      const ms = performance.now() - began;
      if (running) {
        this.latency.add(ms);
        logStep(incoming, "ended after {ms} ms", { ms: Math.round(ms) });
      }
      running = false;
      incoming.run.end();
      turn.release();
    };
  }
}

/** True for a request whose sender would have it dropped by now. */
function isExpired(
  { request: { expires, reply, deferred } }: IncomingRequest,
): boolean {
  const told = !reply || deferred !== undefined; // else it is the caller's own matter
  return told && Number(expires) <= Date.now();
}
