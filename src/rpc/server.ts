/** The worker's half: from a delivery to a handler, back to the caller, and only then acknowledged. @module */
import { loggable } from "../masked.ts";
import { expireAt, forget } from "../deadlines.ts";
import { ConnectionDisposedError } from "../errors.ts";
import { log } from "../telemetry.ts";
import type { Queue } from "../bus/routes.ts";
import type { Delivery } from "../bus/transport.ts";
import { decode } from "../wire/codec.ts";
import { Claims } from "./claims.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { Copies } from "./copies.ts";
import { FailedCasts, type Fate } from "./failed_casts.ts";
import { logFailure } from "./failure_log.ts";
import { Job } from "./job.ts";
import { jobHooks } from "./job_hooks.ts";
import { type Known, Ledger } from "./ledger.ts";
import { identityOf, type Lane } from "./lane.ts";
import type { LedgerStore } from "./ledger_store.ts";
import { Latency } from "./latency.ts";
import { LoopWatch } from "./loop_watch.ts";
import { Permits } from "./permits.ts";
import { Refusals, type Refused } from "./refusals.ts";
import { Responder, type ResponderParts } from "./responder.ts";
import { counts, type ServerStats } from "./server_stats.ts";
import { isStream, unwanted } from "./yielded.ts";

/** What a server needs. */
export interface ServerParts extends ResponderParts {
  /** Handlers at once. */
  readonly concurrency: number;
  /** Whether the bus is OpenStack's. */
  readonly openstack: boolean;
  /** What the fleet remembers together. */
  readonly ledger?: LedgerStore | undefined;
  /** Milliseconds that the broker leaves a message unacknowledged. */
  readonly consumerTimeout: number;
}

/** Serves requests of all consumers of one connection context. */
export class Server {
  readonly #parts: ServerParts;
  readonly #permits: Permits;
  readonly #responder: Responder;
  readonly #refusals: Refusals;
  readonly #casts: FailedCasts;
  readonly #claims: Claims | undefined;
  readonly #jobs = new Map<Job, Promise<void>>();
  readonly #counts = counts();
  readonly #latency = new Latency();
  readonly #stopping = new AbortController();
  /** Until when the ledger is waited for. */
  readonly #ending = { deadline: Infinity, signal: this.#stopping.signal };
  readonly #loop = new LoopWatch();

  /** Ready to receive. */
  constructor(parts: ServerParts) {
    this.#parts = parts;
    this.#permits = new Permits(parts.concurrency);
    const responder = this.#responder = new Responder(parts, this.#ending);
    const { ledger, transport } = parts;
    const copies = new Copies(transport);
    this.#refusals = new Refusals({ responder, copies });
    this.#casts = new FailedCasts({ ...parts, copies });
    this.#claims = ledger && new Claims(ledger, transport);
  }

  /** What it has done so far. */
  get stats(): ServerStats {
    const latency = this.#latency.stats;
    const { blocked } = this.#loop;
    return { ...this.#counts, blocked, inHand: this.#jobs.size, latency };
  }

  /** Handlers at once. */
  get concurrency(): number {
    return this.#permits.limit;
  }

  /** Holds from now on; handlers that run are left alone. */
  set concurrency(limit: number) {
    this.#permits.limit = limit;
  }

  /** Takes the deliveries of one consumer; `queue` is theirs, unless all workers get a copy. Never throws: nothing that arrives can hurt a worker. */
  receiver(
    dispatcher: Dispatcher,
    queue?: Queue,
  ): (delivery: Delivery) => void {
    const lane: Lane = {
      dispatcher,
      queue,
      ledger: new Ledger(() => this.#counts.cut++),
      hooks: jobHooks(
        queue,
        this.#responder,
        this.#parts.consumerTimeout,
        this.#ending,
      ),
    };
    if (queue) this.#claims?.watch(queue.name);
    return (delivery) => this.#receive(delivery, lane);
  }

  #receive(delivery: Delivery, lane: Lane): void {
    const { body, headers } = delivery.message;
    const decoded = decode(body, headers, this.#parts.limits);
    if ("refusal" in decoded) {
      return this.#refuse(delivery, lane, decoded.refusal);
    }
    const { message, dialect } = decoded;
    if (message.kind !== "request") {
      const reason = `a ${message.kind} where requests are served`;
      return this.#refuse(delivery, lane, { reason });
    }
    if (delivery.redelivered) this.#counts.redelivered++;
    const job = new Job(delivery, message, dialect, lane.hooks);
    const one = identityOf(message);
    const earlier = one === undefined ? undefined : lane.ledger.find(one);
    const work = earlier ? this.#repeat(job, earlier) : this.#serve(job, lane);
    const done = work
      .catch((error) =>
        log("rpc").error("Serving failed: {error}", { error: loggable(error) })
      )
      .finally(() => this.#jobs.delete(job));
    this.#jobs.set(job, done);
    if (!earlier && one !== undefined) lane.ledger.begin(one, job, done);
  }

  #refuse(delivery: Delivery, { queue }: Lane, refused: Refused): void {
    this.#counts.refused++;
    const kept = this.#parts.openstack ? undefined : queue;
    const done = (fate: Fate) => this.#count(fate);
    this.#refusals.refuse(delivery, refused, kept, done);
  }

  /** A request that came before is not run again: its first run answers it, or has, and what it said is said again. */
  async #repeat(job: Job, known: Known): Promise<void> {
    this.#counts.repeated++;
    if ("answers" in known) await this.#responder.repeat(job, known.answers);
    else await known.ended;
    if ("answers" in known || !known.job.abandoned) job.settle();
    else job.giveBack();
  }

  /**
   * Resolves when all that is in hand is done. What is left after `grace` milliseconds is aborted and stays
   * unacknowledged, so that another worker gets it.
   */
  async drain(grace: number): Promise<void> {
    const { promise: over, resolve } = Promise.withResolvers<void>();
    const waiting = expireAt(performance.now() + grace, resolve);
    let stopping: Promise<void> | undefined;
    const late = over.then(() => stopping = this.#stop());
    const refusals = this.#refusals.inHand;
    const { signal } = this.#stopping;
    while (this.#jobs.size + refusals.size > 0 && !signal.aborted) {
      const all = Promise.all([...this.#jobs.values(), ...refusals]);
      await Promise.race([all, late]);
    }
    forget(waiting);
    this.#claims?.stop();
    await stopping;
    this.#responder[Symbol.dispose]();
    this.#loop[Symbol.dispose]();
  }

  /** What has begun to stream is not begun anew elsewhere: its caller is told. */
  async #stop(): Promise<void> {
    const jobs = [...this.#jobs.keys()];
    for (const job of jobs) job.abandon();
    this.#stopping.abort(new ConnectionDisposedError("The service stops"));
    this.#refusals.stop();
    const streams = jobs.filter(({ streaming }) => streaming);
    await Promise.all([
      ...streams.map((job) => this.#responder.interrupted(job)),
      ...jobs.map((job) => this.#release(job)),
    ]);
  }

  async #serve(job: Job, lane: Lane): Promise<void> {
    using _registered = job.register(this.#parts.inbox.running);
    const { signal } = job.context;
    let permit = await this.#permits.acquire(signal);
    // A handler that goes on when nobody waits any more does not keep others from their turn.
    const free = () => permit?.[Symbol.dispose]();
    signal.addEventListener("abort", free);
    try {
      if (!permit || job.over) return void this.#counts.dropped++;
      const { expires, reply } = job.request;
      if (!reply && Number(expires) <= Date.now()) {
        const fate = await this.#casts.expired(job, lane.queue);
        if (fate === "dropped") this.#counts.dropped++;
        return this.#count(fate);
      }
      using _beats = this.#responder.beats(job);
      for (let ms; (ms = await this.#taken(job, lane)) !== undefined;) {
        free();
        await this.#claims?.free(job, ms);
        permit = await this.#permits.acquire(signal);
        if (!permit) return void this.#counts.dropped++;
      }
      using _watched = this.#loop.watch(job);
      if (!job.settled) await this.#run(job, lane, permit);
    } catch (error) {
      if (job.request.reply) throw error;
      await this.#casts.back(job, error); // nobody else would know of it
    } finally {
      signal.removeEventListener("abort", free);
      free();
      await this.#finish(job);
    }
  }

  /** Milliseconds after which to look again at what another worker has; undefined if it is this one's, or done. */
  async #taken(job: Job, lane: Lane): Promise<number | undefined> {
    const whose = await this.#claims?.claim(job, lane);
    if (whose?.state === "taken") return whose.ms;
    if (whose?.state !== "done") return undefined;
    this.#counts.repeated++;
    job.answers = whose.answers;
    await this.#responder.repeat(job, whose.answers);
    job.settle();
  }

  /** What another worker has now is acknowledged all the same: that one has a copy of its own. */
  async #finish(job: Job): Promise<void> {
    if (job.fenced) this.#counts.fenced++;
    job.settle();
    await this.#release(job);
  }

  /** What goes back to its queue is free for others at once. */
  async #release({ abandoned, hold }: Job): Promise<void> {
    if (abandoned) await hold?.release();
    else hold?.stop();
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
      if (isStream(result)) await this.#responder.stream(job, result);
      else {
        ended();
        await this.#responder.result(job, result);
      }
      ended();
      this.#counts.handled++;
    } catch (error) {
      ended();
      this.#counts.failed++;
      logFailure(job, error);
      await this.#responder.failure(job, error);
      if (!request.reply) await this.#failedCast(job, error, lane);
    }
  }

  /** Whoever has a cast decides what becomes of it. */
  async #failedCast(job: Job, error: unknown, lane: Lane): Promise<void> {
    const mine = await job.hold?.holds(this.#ending) ?? true;
    if (!mine) return job.fence();
    this.#count(await this.#casts.failed(job, error, lane.queue));
    if (!job.abandoned) await this.#responder.result(job, undefined);
  }

  #count(fate: Fate): void {
    if (fate === "again") this.#counts.retried++;
    if (fate === "dead") this.#counts.dead++;
  }

  /** What to call when the handler has ended; the first time counts. */
  #timed(permit: Disposable): () => void {
    const began = performance.now();
    let running = true;
    return () => {
      if (running) this.#latency.add(performance.now() - began);
      running = false;
      permit[Symbol.dispose]();
    };
  }
}
