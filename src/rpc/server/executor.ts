/** Requests that run: each from its turn to its acknowledgement. @module */
import { type Wait, within } from "../../async/deadline.ts";
import type { Claims } from "./claims.ts";
import type { Deferral } from "../retries/version_deferral.ts";
import type { FailedCasts } from "../retries/cast_failures.ts";
import type { Job } from "../request/incoming_request.ts";
import type { Lane } from "../request/served_queue.ts";
import { Latency } from "./latency_histogram.ts";
import { LongRunning } from "./long_running.ts";
import { count, type Counts, type LongRunningStats } from "../server_stats.ts";
import { LoopWatch } from "./event_loop_monitor.ts";
import { Permits, Turn, type TurnWait } from "../../async/semaphore.ts";
import type { Quarantine } from "../retries/quarantine.ts";
import type { Responder } from "../replies/responder.ts";
import type { RunningCalls } from "../control_targets.ts";
import {
  logFailedCall,
  logFailedCast,
  logStep,
} from "../request/request_log.ts";
import { isStream, unwanted } from "../dispatch/handler_stream.ts";

/** What running needs. */
export interface RunnerParts {
  /** Whose turn it is. */
  readonly permits: Permits;
  /** To be cancelled by. */
  readonly running: RunningCalls;
  /** To answer. */
  readonly responder: Responder;
  /** Casts that failed. */
  readonly casts: FailedCasts;
  /** Whose a request is, where the fleet has a ledger. */
  readonly claims: Claims | undefined;
  /** Requests that another worker serves. */
  readonly deferral: Deferral;
  /** What others did not finish. */
  readonly quarantine: Quarantine;
  /** Until when the ledger is waited for. */
  readonly ending: Wait;
  /** What is counted. */
  readonly counts: Counts;
  /** Milliseconds that the broker leaves a message unacknowledged. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is told of. */
  readonly longRunning: number;
}

/** Milliseconds that the ledger has where a worker stops. */
const GOODBYE = 1_000;

/** Runs the requests of one context. */
export class Runner {
  /** How long handlers took. */
  readonly latency: Latency = new Latency();
  /** Whether the event loop stood still. */
  readonly loop: LoopWatch<Job>;
  readonly #long: LongRunning;
  readonly #parts: RunnerParts;
  /** What is in quarantine waits for nobody, since each of its consumers has one alone. */
  readonly #apart = new Permits(Infinity);

  /** Of its parts. */
  constructor(parts: RunnerParts) {
    this.#parts = parts;
    this.#long = new LongRunning(parts.longRunning);
    this.loop = new LoopWatch((inHand) => this.#long.look(inHand));
  }

  /** Handlers that have run for long: how many, and the first of them. */
  get longRunning(): LongRunningStats {
    return this.#long.stats(this.loop.inHand);
  }

  /** From its turn to its acknowledgement; `hopeless` is how many workers did not finish it, where no other is to try. */
  async serve(job: Job, lane: Lane, hopeless?: number): Promise<void> {
    job.register(this.#parts.running);
    if (job.request.interrupted) await this.#parts.quarantine.othersSafe();
    const permits = lane.quarantined ? this.#apart : this.#parts.permits;
    const turn = new Turn(permits, () => this.#wait(job, lane));
    // A handler that goes on when nobody waits any more does not keep others from their turn.
    job.left = turn.free;
    try {
      const taken = turn.take();
      if (taken !== true && !(await taken)) {
        return await this.#noTurn(job, lane);
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
      await this.#parts.casts.rest(job, error); // nobody else would know of it
      await this.#back(job, lane);
    } finally {
      this.loop.end(job);
      job.left = undefined;
      turn.free();
      const leaving = this.#finish(job);
      if (leaving) await leaving;
      job.unregister();
    }
  }

  /** What waits too long for its turn goes to the end of its queue, before the broker takes it back as from one that died. */
  #wait({ arrived, signal }: Job, { queue }: Lane): TurnWait {
    const { consumerTimeout } = this.#parts;
    const patience = queue ? consumerTimeout / 2 : Infinity;
    return { deadline: arrived + patience, signal };
  }

  /** It has waited too long for another attempt. */
  async #expired(job: Job, lane: Lane): Promise<void> {
    const { counts, casts } = this.#parts;
    if (job.request.reply) return void counts.dropped++; // its caller has given up
    const fate = await casts.expired(job, lane.queue);
    logFailedCast(job, "expired before its next attempt", fate, lane.queue);
    if (fate === "dropped") counts.dropped++;
    if (fate === "back") await this.#back(job, lane);
    count(counts, fate);
  }

  /** True when it is claimed, or needs not be; else it has been done, or is another worker's. */
  async #claim(job: Job, lane: Lane, turn: Turn): Promise<boolean> {
    const { claims, counts, responder } = this.#parts;
    const { deadline } = this.#wait(job, lane);
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
      turn.free();
      const waited = await claims?.free(job, whose.ms);
      const soon = waited && performance.now() < deadline;
      if (soon && await turn.take()) continue;
      await this.#noTurn(job, lane);
      return false;
    }
  }

  async #noTurn(job: Job, lane: Lane): Promise<void> {
    if (job.over || !lane.queue) this.#parts.counts.dropped++;
    else await this.#back(job, lane);
  }

  /** At the end of its queue as a copy, so that no worker takes it for interrupted; where there can be none, as it was. */
  async #back(job: Job, lane: Lane): Promise<void> {
    if (job.abandoned || job.settled) return;
    const copied = !job.lost && await this.#parts.quarantine.requeue(job, lane);
    if (copied) job.passOn();
    else job.giveBack();
  }

  /** No worker finished it, and no other is to try. */
  async #giveUp(job: Job, lane: Lane, times: number): Promise<void> {
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
  #finish(job: Job): Promise<void> | undefined {
    this.#parts.responder.beats.end(job);
    if (job.fenced) {
      this.#parts.counts.fenced++;
      job.giveBack();
    }
    job.settle();
    return this.release(job);
  }

  /** What goes back to its queue is free for others at once. */
  release(job: Job): Promise<void> | undefined {
    if (job.abandoned) return this.#parts.claims?.giveBack(job);
    job.hold?.stop();
    return undefined;
  }

  /** A stream that has lost its worker is not begun anew elsewhere. */
  async endStream({ hold }: Job): Promise<void> {
    const wait = { deadline: performance.now() + GOODBYE };
    const late = () => undefined;
    if (hold) await within(hold.done([], wait), wait, late).catch(() => {});
  }

  /** The permit is given back when the handler ends; the answer's confirmation needs none. */
  async #run(job: Job, lane: Lane, turn: Turn): Promise<void> {
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
      if (isStream(result) && !request.reply) throw unwanted(request.method);
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
  async #failedCast(job: Job, error: unknown, lane: Lane): Promise<void> {
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
  #timed(job: Job, turn: Turn): () => void {
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
      turn.free();
    };
  }
}

/** True for a request whose sender would have it dropped by now. */
function isExpired({ request: { expires, reply, deferred } }: Job): boolean {
  const told = !reply || deferred !== undefined; // else it is the caller's own matter
  return told && Number(expires) <= Date.now();
}
