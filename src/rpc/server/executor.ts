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
  readonly permits: Semaphore;
  /** To be cancelled by. */
  readonly running: ControlTargets;
  /** To answer. */
  readonly responder: Responder;
  /** Casts that failed. */
  readonly casts: CastFailures;
  /** Whose a request is, where the fleet has a ledger. */
  readonly claims: Claims | undefined;
  /** Requests that another worker serves. */
  readonly deferral: VersionDeferral;
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
  readonly loop: EventLoopMonitor<IncomingRequest>;
  readonly #long: LongRunningHandlers;
  readonly #parts: RunnerParts;
  /** What is in quarantine waits for nobody, since each of its consumers has one alone. */
  readonly #quarantineSemaphore = new Semaphore(Infinity);

  /** Of its parts. */
  constructor(parts: RunnerParts) {
    this.#parts = parts;
    this.#long = new LongRunningHandlers(parts.longRunning);
    this.loop = new EventLoopMonitor((inHand) => this.#long.look(inHand));
  }

  /** Handlers that have run for long: how many, and the first of them. */
  get longRunning(): LongRunningStats {
    return this.#long.stats(this.loop.active);
  }

  /** From its turn to its acknowledgement; `hopeless` is how many workers did not finish it, where no other is to try. */
  async serve(
    job: IncomingRequest,
    lane: ServedQueue,
    hopeless?: number,
  ): Promise<void> {
    job.register(this.#parts.running);
    if (job.request.interruptions) await this.#parts.quarantine.othersSafe();
    const permits = lane.quarantined
      ? this.#quarantineSemaphore
      : this.#parts.permits;
    const turn = new Permit(permits, () => this.#wait(job, lane));
    // A handler that goes on when nobody waits any more does not keep others from their turn.
    job.left = turn.release;
    try {
      const taken = turn.acquire();
      if (taken !== true && !(await taken)) {
        return await this.#notAdmitted(job, lane);
      }
      if (job.over) return void this.#parts.counts.dropped++;
      if (isExpired(job)) return await this.#expired(job, lane);
      this.#parts.responder.beats.begin(job);
      const claiming = this.#parts.claims && this.#claim(job, lane, turn);
      if (claiming && !(await claiming)) return;
      if (hopeless) return await this.#giveUp(job, lane, hopeless);
      this.loop.begin(job);
      await this.#run(job, lane, turn);
    } catch (error) {
      if (job.over) return; // nobody waits, or it goes back to its queue
      if (job.request.reply) throw error;
      await this.#parts.casts.backOff(job, error); // nobody else would know of it
      await this.#back(job, lane);
    } finally {
      this.loop.end(job);
      job.left = undefined;
      turn.release();
      const leaving = this.#finish(job);
      if (leaving) await leaving;
      job.unregister();
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
  async #expired(job: IncomingRequest, lane: ServedQueue): Promise<void> {
    const { counts, casts } = this.#parts;
    if (job.request.reply) return void counts.dropped++; // its caller has given up
    const fate = await casts.expired(job, lane.queue);
    logFailedCast(job, "expired before its next attempt", fate, lane.queue);
    if (fate === "dropped") counts.dropped++;
    if (fate === "back") await this.#back(job, lane);
    count(counts, fate);
  }

  /** True when it is claimed, or needs not be; else it has been done, or is another worker's. */
  async #claim(
    job: IncomingRequest,
    lane: ServedQueue,
    turn: Permit,
  ): Promise<boolean> {
    const { claims, counts, responder } = this.#parts;
    const { at } = this.#wait(job, lane);
    for (;;) {
      const whose = await claims?.claim(job, lane);
      if (whose === undefined || whose.state === "held") return true;
      if (whose.state === "done") {
        counts.repeated++;
        job.answers = whose.answers;
        await responder.repeat(job, whose.answers);
        job.settle();
        return false;
      }
      if (whose.kept) return job.passOn(), false; // the ledger brings it back if its worker dies
      turn.release();
      const waited = await claims?.free(job, whose.ms);
      const soon = waited && performance.now() < at;
      if (soon && await turn.acquire()) continue;
      await this.#notAdmitted(job, lane);
      return false;
    }
  }

  async #notAdmitted(job: IncomingRequest, lane: ServedQueue): Promise<void> {
    if (job.over || !lane.queue) this.#parts.counts.dropped++;
    else await this.#back(job, lane);
  }

  /** At the end of its queue as a copy, so that no worker takes it for interrupted; where there can be none, as it was. */
  async #back(job: IncomingRequest, lane: ServedQueue): Promise<void> {
    if (job.abandoned || job.settled) return;
    const copied = !job.lost && await this.#parts.quarantine.requeue(job, lane);
    if (copied) job.passOn();
    else job.giveBack();
  }

  /** No worker finished it, and no other is to try. */
  async #giveUp(
    job: IncomingRequest,
    lane: ServedQueue,
    times: number,
  ): Promise<void> {
    const { counts, quarantine, responder } = this.#parts;
    const fate = await quarantine.giveUp(job, times, lane);
    if (fate === "back") await this.#back(job, lane);
    count(counts, fate);
    const reason = `interrupted ${times} times`;
    if (job.request.reply) logFailedCall(job, reason);
    else logFailedCast(job, reason, fate, lane.queue);
    const cast = !job.request.reply && !job.abandoned;
    if (cast && job.hold) await responder.result(job, undefined);
  }

  /** What another worker has now goes back all the same: that one may lose it to a third, and whoever gets it asks the ledger. */
  #finish(job: IncomingRequest): Promise<void> | undefined {
    this.#parts.responder.beats.end(job);
    if (job.fenced) {
      this.#parts.counts.fenced++;
      job.giveBack();
    }
    job.settle();
    return this.release(job);
  }

  /** What goes back to its queue is free for others at once. */
  release(job: IncomingRequest): Promise<void> | undefined {
    if (job.abandoned) return this.#parts.claims?.requeue(job);
    job.hold?.stop();
    return undefined;
  }

  /** A stream that has lost its worker is not begun anew elsewhere. */
  async endStream({ hold }: IncomingRequest): Promise<void> {
    const wait = { at: performance.now() + SHUTDOWN_TIMEOUT_MS };
    const late = () => undefined;
    if (hold) {
      await withDeadline(hold.done([], wait), wait, late).catch(() => {});
    }
  }

  /** The permit is given back when the handler ends; the answer's confirmation needs none. */
  async #run(
    job: IncomingRequest,
    lane: ServedQueue,
    turn: Permit,
  ): Promise<void> {
    const { request, context } = job;
    const ended = this.#timed(job, turn);
    logStep(job, "started");
    try {
      const { version = "1.0", method, args, namespace } = request;
      const { dispatcher } = lane;
      const work = dispatcher.dispatch(
        context,
        version,
        method,
        args,
        namespace,
      );
      // A dispatcher that wraps another may find the procedure later.
      const free = job.procedure && job.procedure.maxDuration === undefined;
      const result = await (free ? work : job.run.bounded(work));
      if (isStream(result) && !request.reply) {
        throw castOfStreamError(request.method);
      }
      if (isStream(result)) {
        await job.run.bounded(this.#parts.responder.stream(job, result));
      } else {
        ended();
        await this.#parts.responder.result(job, result);
      }
      ended();
      this.#parts.counts.handled++;
    } catch (error) {
      ended();
      if (job.run.left) this.#long.leave(job);
      this.#parts.responder.beats.end(job); // another worker is to be its caller's
      if (await this.#parts.deferral.take(job, error, lane)) return;
      this.#parts.counts.failed++;
      if (request.reply) logFailedCall(job, error);
      await this.#parts.responder.failure(job, error);
      if (!request.reply) await this.#failedCast(job, error, lane);
    }
  }

  /** Whoever has a cast decides what becomes of it. */
  async #failedCast(
    job: IncomingRequest,
    error: unknown,
    lane: ServedQueue,
  ): Promise<void> {
    const { ending } = this.#parts;
    // A handler that goes on must not record what another attempt will do.
    const mine =
      await (job.run.overtime
        ? job.hold?.renewed(ending)
        : job.hold?.holds(ending)) ?? true;
    if (!mine) {
      logStep(job, "failed after another worker took it: {error}", { error });
      return job.fence();
    }
    const fate = await this.#parts.casts.failed(job, error, lane.queue);
    logFailedCast(job, error, fate, lane.queue);
    if (fate === "back") await this.#back(job, lane);
    count(this.#parts.counts, fate);
    if (!job.abandoned) await this.#parts.responder.result(job, undefined);
  }

  /** What to call when the handler has ended; the first time counts. */
  #timed(job: IncomingRequest, turn: Permit): () => void {
    const began = performance.now();
    let running = true;
    return () => {
      const ms = performance.now() - began;
      if (running) {
        this.latency.add(ms);
        logStep(job, "ended after {ms} ms", { ms: Math.round(ms) });
      }
      running = false;
      job.run.end();
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
