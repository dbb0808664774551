/** Casts that failed: tried again later, or kept as dead letters. Nothing is acknowledged before the broker has the copy. @module */
import { loggable, maskedText } from "../masked.ts";
import { NoRouteError } from "../errors.ts";
import { log, oneLine } from "../telemetry.ts";
import { pause } from "../wait.ts";
import { dead, delayed, type Queue, type Route } from "../bus/routes.ts";
import type { Message, Transport, Wait } from "../bus/transport.ts";
import { againHeaders, deadHeaders, keptHeaders } from "../wire/codec.ts";
import type { Job } from "./job.ts";
import { isRefusal } from "./outcome.ts";
import { delayAfter } from "./retry_policy.ts";

/** Milliseconds that the broker may take for a copy. */
const PATIENCE = 30_000;
/** Milliseconds before a message that could not be copied goes back into its queue: twice as long each time, to the most. */
const RETRY = 1_000;
const LONGEST_RETRY = 60_000;

/** What became of a cast that failed. */
export type Fate = "again" | "dead" | "back" | "dropped";

/** What taking care of failed casts needs. */
export interface FailedCastsParts {
  /** To send copies. */
  readonly transport: Transport;
  /** Whether the bus is OpenStack's: there only procedures with a policy have dead letters. */
  readonly openstack: boolean;
}

/** Takes care of the casts of one context. */
export class FailedCasts {
  readonly #parts: FailedCastsParts;
  /** Queues that were made. */
  readonly #made = new Set<string>();
  /** How long the next message waits that cannot be copied. */
  #retry = RETRY;

  /** On a transport. */
  constructor(parts: FailedCastsParts) {
    this.#parts = parts;
  }

  /** A handler threw, or the dispatcher refused it; `queue` is undefined where all workers get a copy. */
  async failed(job: Job, error: unknown, queue?: Queue): Promise<Fate> {
    const { attempt } = job.context;
    const refused = isRefusal(error);
    const ms = refused ? undefined : delayAfter(attempt, job.procedure?.retry);
    const kept = job.procedure?.retry !== undefined || !this.#parts.openstack;
    if (!queue || !kept || !waits(job)) return "dropped";
    if (ms === undefined) return await this.#bury(job, queue, reasonOf(error));
    const headers = againHeaders(attempt + 1, expiresOf(job));
    return await this.#copy(job, delayed(queue, ms), headers)
      ? "again"
      : "back";
  }

  /** Its sender would have it dropped by now. */
  async expired(job: Job, queue?: Queue): Promise<Fate> {
    const kept = job.context.attempt > 1 || !this.#parts.openstack; // another attempt comes of a policy
    if (!queue || !kept || !waits(job)) return "dropped";
    return await this.#bury(job, queue, "Expired before its next attempt", 1);
  }

  /** `spared`: how many of its attempts there have not been. */
  async #bury(
    job: Job,
    queue: Queue,
    reason: string,
    spared = 0,
  ): Promise<Fate> {
    const attempts = job.context.attempt - spared;
    const burials = (job.request.burials ?? 0) + 1;
    const failed = { attempts, burials, reason, queue: queue.name };
    const headers = deadHeaders(failed);
    return await this.#copy(job, dead(queue), headers) ? "dead" : "back";
  }

  /** False if the broker did not take it: then the message goes back into its queue. */
  async #copy(
    job: Job,
    route: Route,
    headers: Readonly<Record<string, string>>,
  ): Promise<boolean> {
    const wait = { deadline: performance.now() + PATIENCE };
    try {
      await this.#send(route, copyOf(job.message, headers), wait);
      this.#retry = RETRY;
      return true;
    } catch (error) {
      if (job.abandoned) return false;
      await this.back(job, error);
      return false;
    }
  }

  /** It goes back into its queue, after a while: whatever is wrong with it will be so again. */
  async back(job: Job, error: unknown): Promise<void> {
    log("rpc").error("A cast that failed goes back into its queue: {error}", {
      error: loggable(error),
    });
    const ms = this.#retry;
    this.#retry = Math.min(2 * ms, LONGEST_RETRY);
    const { signal } = job.context; // fires when the worker stops: its messages go back then anyway
    await pause(ms, { deadline: Infinity, signal }).catch(() => {});
    job.giveBack();
  }

  async #send(route: Route, message: Message, wait: Wait): Promise<void> {
    const { transport } = this.#parts;
    for (;;) {
      const known = this.#made.has(route.key);
      if (!known) await transport.declare(route, wait);
      this.#made.add(route.key);
      try {
        return await transport.publish(route, message, wait);
      } catch (error) {
        if (!known || !(error instanceof NoRouteError)) throw error;
        this.#made.delete(route.key); // somebody removed the queue
      }
    }
  }
}

/** False if its queue has it again, or it needs none. */
function waits({ settled, abandoned }: Job): boolean {
  return !settled && !abandoned;
}

/** What was thrown, in one line, without what looks like a secret; anything can be thrown. */
function reasonOf(thrown: unknown): string {
  try {
    const text = thrown instanceof Error
      ? `${thrown.name}: ${thrown.message}`
      : `thrown: ${thrown}`;
    return oneLine(maskedText(text));
  } catch {
    return "thrown: what cannot be read";
  }
}

/** As it came, but for what is said of it now. What a broker has put there is its own. */
function copyOf(
  { body, headers, id }: Message,
  more: Readonly<Record<string, string>>,
): Message {
  return {
    body,
    headers: { ...keptHeaders(headers), ...more },
    id,
    persistent: true,
    mandatory: true,
  };
}

/** The first worker that fails counts from when it has the message: how long that waited before is not known. */
function expiresOf(
  { request, message: { expiration } }: Job,
): number | undefined {
  if (request.expires !== undefined) return request.expires;
  return expiration === undefined ? undefined : Date.now() + expiration;
}
