/** Requests that run: each from its turn to its acknowledgement. @module */
import type { Wait } from "../bus/transport.ts";
import type { Claims } from "./claims.ts";
import type { FailedCasts } from "./failed_casts.ts";
import { logFailure } from "./failure_log.ts";
import type { Job } from "./job.ts";
import type { Lane } from "./lane.ts";
import { Latency } from "./latency.ts";
import { LoopWatch } from "./loop_watch.ts";
import type { Permits } from "./permits.ts";
import type { Quarantine } from "./quarantine.ts";
import type { Responder } from "./responder.ts";
import type { RunningCalls } from "./running.ts";
import { count, type Counts } from "./server_stats.ts";
import { isStream, unwanted } from "./yielded.ts";

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
  /** What others did not finish. */
  readonly quarantine: Quarantine;
  /** Until when the ledger is waited for. */
  readonly ending: Wait;
  /** What is counted. */
  readonly counts: Counts;
}

/** Runs the requests of one context. */
export class Runner {
  /** How long handlers took. */
  readonly latency: Latency = new Latency();
  /** Whether the event loop stood still. */
  readonly loop: LoopWatch = new LoopWatch();
  readonly #parts: RunnerParts;

  /** Of its parts. */
  constructor(parts: RunnerParts) {
    this.#parts = parts;
  }

  /** From its turn to its acknowledgement. */
  async serve(job: Job, lane: Lane): Promise<void> {
    using _registered = job.register(this.#parts.running);
    const { signal } = job.context;
    if (job.request.interrupted) await this.#parts.quarantine.othersSafe();
    let permit = await this.#parts.permits.acquire(signal);
    // A handler that goes on when nobody waits any more does not keep others from their turn.
    const free = () => permit?.[Symbol.dispose]();
    signal.addEventListener("abort", free);
    try {
      if (!permit || job.over) return void this.#parts.counts.dropped++;
      const { expires, reply } = job.request;
      if (!reply && Number(expires) <= Date.now()) {
        const fate = await this.#parts.casts.expired(job, lane.queue);
        if (fate === "dropped") this.#parts.counts.dropped++;
        return count(this.#parts.counts, fate);
      }
      using _beats = this.#parts.responder.beats(job);
      for (let ms; (ms = await this.#taken(job, lane)) !== undefined;) {
        free();
        await this.#parts.claims?.free(job, ms);
        permit = await this.#parts.permits.acquire(signal);
        if (!permit) return void this.#parts.counts.dropped++;
      }
      using _watched = this.loop.watch(job);
      if (!job.settled) await this.#run(job, lane, permit);
    } catch (error) {
      if (job.over) return; // nobody waits, or it goes back to its queue
      if (job.request.reply) throw error;
      await this.#parts.casts.back(job, error); // nobody else would know of it
    } finally {
      signal.removeEventListener("abort", free);
      free();
      await this.#finish(job);
    }
  }

  /** Milliseconds after which to look again at what another worker has; undefined if it is this one's, or done. */
  async #taken(job: Job, lane: Lane): Promise<number | undefined> {
    const whose = await this.#parts.claims?.claim(job, lane);
    if (whose?.state === "taken") return whose.ms;
    if (whose?.state !== "done") return undefined;
    this.#parts.counts.repeated++;
    job.answers = whose.answers;
    await this.#parts.responder.repeat(job, whose.answers);
    job.settle();
  }

  /** What another worker has now is acknowledged all the same: that one has a copy of its own. */
  async #finish(job: Job): Promise<void> {
    if (job.fenced) this.#parts.counts.fenced++;
    job.settle();
    await this.release(job);
  }

  /** What goes back to its queue is free for others at once. */
  async release(job: Job): Promise<void> {
    if (job.abandoned) await this.#parts.claims?.giveBack(job);
    else job.hold?.stop();
  }

  /** The permit is given back when the handler ends; the answer's confirmation needs none. */
  async #run(job: Job, lane: Lane, permit: Disposable): Promise<void> {
    const { request, context } = job;
    const ended = this.#timed(permit);
    try {
      const { version = "1.0", method, args, namespace } = request;
      const result = await lane.dispatcher.dispatch(
        context,
        version,
        method,
        args,
        namespace,
      );
      if (isStream(result) && !request.reply) throw unwanted(request.method);
      if (isStream(result)) await this.#parts.responder.stream(job, result);
      else {
        ended();
        await this.#parts.responder.result(job, result);
      }
      ended();
      this.#parts.counts.handled++;
    } catch (error) {
      ended();
      this.#parts.counts.failed++;
      logFailure(job, error);
      await this.#parts.responder.failure(job, error);
      if (!request.reply) await this.#failedCast(job, error, lane);
    }
  }

  /** Whoever has a cast decides what becomes of it. */
  async #failedCast(job: Job, error: unknown, lane: Lane): Promise<void> {
    const mine = await job.hold?.holds(this.#parts.ending) ?? true;
    if (!mine) return job.fence();
    count(
      this.#parts.counts,
      await this.#parts.casts.failed(job, error, lane.queue),
    );
    if (!job.abandoned) await this.#parts.responder.result(job, undefined);
  }

  /** What to call when the handler has ended; the first time counts. */
  #timed(permit: Disposable): () => void {
    const began = performance.now();
    let running = true;
    return () => {
      if (running) this.latency.add(performance.now() - began);
      running = false;
      permit[Symbol.dispose]();
    };
  }
}
