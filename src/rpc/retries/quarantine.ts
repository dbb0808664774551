/** Requests that their workers did not finish: counted, kept apart from others, and given up at last. @module */
import { setImmediate } from "node:timers/promises";
import {
  ConnectionDisposedError,
  StreamInterruptedError,
} from "../../errors.ts";
import { log, oneLine } from "../../logging.ts";
import { direct, type Queue, type Route } from "../../transport/routes.ts";
import type { Transport } from "../../transport/transport.ts";
import { asBefore, type Copies, isContent } from "./republisher.ts";
import type { FailedCasts } from "./cast_failures.ts";
import type { Fate } from "../server_stats.ts";
import type { Job } from "../request/incoming_request.ts";
import { fullIdentityOf, type Lane } from "../request/served_queue.ts";
import { refuse } from "../dispatch/handler_result.ts";
import type { Responder } from "../replies/responder.ts";

/** Interruptions after which it is handled apart from others, and after which nobody tries again. */
const APART = 2;
const MOST = 5;
/** Requests remembered that this worker gave back by itself, at most. */
const GIVEN_BACK = 10_000;

/** Milliseconds that the broker may take to say that it has read what was acknowledged. */
const PATIENCE = 5_000;

/** What taking care of interrupted requests needs. */
export interface QuarantineParts {
  /** Of their deliveries. */
  readonly transport: Transport;
  /** To move them. */
  readonly copies: Copies;
  /** To keep casts that are given up. */
  readonly casts: FailedCasts;
  /** To answer calls that are given up. */
  readonly responder: Responder;
}

/** What becomes of one: it is handled where it is, is elsewhere now, or is given up after so many times. */
export type Interrupted = "here" | "moved" | { readonly hopeless: number };

/** Takes care of the interrupted requests of one context. */
export class Quarantine {
  readonly #parts: QuarantineParts;
  readonly #counted = new WeakSet<Job>();
  readonly #moving = new Set<Promise<Interrupted>>();
  #reading: Promise<void> | undefined;
  readonly #givenBack = new Set<string>();
  #warned = false;

  /** Of its parts. */
  constructor(parts: QuarantineParts) {
    this.#parts = parts;
  }

  /** True for a request that a worker had and did not finish, unless it is known why. A cut looks like a death. */
  concerns(job: Job, { quarantine, quarantined = false }: Lane): boolean {
    if (!quarantine || this.#counted.has(job)) return false;
    const { interrupted = 0 } = job.request;
    if (quarantined && interrupted >= MOST) return true;
    if (!job.redelivered) return false;
    const one = fullIdentityOf(job);
    return one === undefined || !this.#givenBack.delete(one);
  }

  /** Resolves when what was being moved is safe: what may end this worker must not take that with it. */
  async othersSafe(): Promise<void> {
    await Promise.all(this.#moving);
  }

  /** Counts one more interruption; resolves to what is to become of it. */
  async take(job: Job, lane: Lane): Promise<Interrupted> {
    this.#counted.add(job);
    const times = job.redelivered
      ? timesOf(job, lane)
      : job.request.interrupted ?? 0;
    if (lane.quarantined && times >= MOST) return { hopeless: times };
    const route = wayOf(times, lane);
    const { quarantine } = lane;
    if (!route || !quarantine) return "here";
    const moving = this.#move(job, route, times, quarantine)
      .finally(() => this.#moving.delete(moving));
    this.#moving.add(moving);
    return await moving;
  }

  /** At the end of its queue, as it came; false if the broker did not take it. */
  async requeue({ message, request }: Job, lane: Lane): Promise<boolean> {
    const route = placeOf(request.interrupted ?? 0, lane);
    if (!route) return false;
    try {
      await this.#parts.copies.send(route, asBefore(message));
      return true;
    } catch (error) {
      if (!(error instanceof ConnectionDisposedError)) this.#warn(route, error);
      return false;
    }
  }

  /** One that goes back to its queue by this worker's own will was not interrupted. */
  ended(job: Job): void {
    if (!job.abandoned || job.acknowledged || this.#counted.has(job)) return;
    const one = fullIdentityOf(job);
    if (one === undefined) return;
    this.#givenBack.add(one);
    const [oldest] = this.#givenBack;
    const full = this.#givenBack.size > GIVEN_BACK;
    if (full && oldest !== undefined) this.#givenBack.delete(oldest);
  }

  /** A copy that is refused for its content can neither be counted nor be handled apart, so its message is given up. */
  async #move(
    job: Job,
    route: Route,
    times: number,
    quarantine: Route,
  ): Promise<Interrupted> {
    try {
      await this.#parts.copies.send(route, asBefore(job.message, times));
      job.passOn();
    } catch (error) {
      if (job.abandoned) return "moved";
      if (isContent(error)) return { hopeless: times };
      this.#warn(route, error);
      return "here";
    }
    await (this.#reading ??= this.#read(quarantine));
    return "moved";
  }

  /** Resolves when the broker has read what was acknowledged: if a copy ends this worker, it is the only one. */
  async #read(quarantine: Route): Promise<void> {
    await setImmediate(); // what is acknowledged meanwhile needs no question of its own
    this.#reading = undefined;
    const wait = { deadline: performance.now() + PATIENCE };
    // It answers in the order in which it is asked, and this is asked where it is told of acknowledgements.
    await this.#parts.transport.declare(quarantine, wait).catch(() => {});
  }

  #warn({ key }: Route, error: unknown): void {
    if (this.#warned) return;
    this.#warned = true;
    log("rpc").warn(
      "What workers did not finish is handled where it is, since {queue} does not take it: {error}",
      { queue: oneLine(key), error },
    );
  }

  /** A cast becomes a dead letter, a call fails. */
  async giveUp(job: Job, times: number, { queue }: Lane): Promise<Fate> {
    const reason =
      `Interrupted ${times} times: its worker died or lost its broker each time`;
    const { casts, responder } = this.#parts;
    let fate: Fate = "dropped";
    if (job.request.reply) {
      await responder.failure(job, refuse(new StreamInterruptedError(reason)));
    } else fate = await casts.interrupted(job, reason, queue);
    return fate;
  }
}

const isQuorum = (queue: Queue | undefined) =>
  queue?.arguments["x-queue-type"] === "quorum";

/** A quorum queue counts by itself how many times it has given a message. */
function timesOf({ request, message }: Job, { queue }: Lane): number {
  const { interrupted = 0 } = request;
  const { "x-delivery-count": counted } = message.headers;
  const more = isQuorum(queue) && Number.isSafeInteger(counted);
  return interrupted + Math.max(1, more ? Number(counted) : 1);
}

/** Where one is put that has lost its worker otherwise; undefined where there is no such place. */
export function placeOf(times: number, lane: Lane): Route | undefined {
  const { queue, quarantine } = lane;
  if (times >= APART && quarantine) return quarantine;
  return queue && direct(queue.name);
}

/** Where it is put, counted; undefined where its queue has counted it, and it is no danger to others yet. */
function wayOf(
  times: number,
  { queue, quarantine, quarantined }: Lane,
): Route | undefined {
  if (quarantined || times >= APART) return quarantine;
  return queue && !isQuorum(queue) ? direct(queue.name) : undefined;
}
