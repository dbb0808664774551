/** Casts that failed: tried again later, or kept as dead letters. Nothing is acknowledged before the broker has the copy. @module */
import type { Fate } from "../server_stats.ts";
import { maskedText } from "../../redaction.ts";
import { log, oneLine } from "../../logging.ts";
import { delayed, type Queue } from "../../transport/routes.ts";
import { againHeaders, deadHeaders } from "../../wire/codec.ts";
import { aside } from "../request/waiting_aside.ts";
import { type Copies, copyOf, isContent } from "./republisher.ts";
import type { Job } from "../request/incoming_request.ts";
import { isRefusal } from "../dispatch/handler_result.ts";
import { delayAfter } from "../../contract/retry_policy.ts";

/** What taking care of failed casts needs. */
export interface FailedCastsParts {
  /** To keep it. */
  readonly copies: Copies;
  /** Whether the bus is OpenStack's: there only procedures with a policy have dead letters. */
  readonly openstack: boolean;
}

/** Takes care of the casts of one context. */
export class FailedCasts {
  readonly #parts: FailedCastsParts;

  /** Of its parts. */
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
    const copy = copyOf(
      job.message,
      againHeaders(attempt + 1, expiresOf(job)),
    );
    try {
      await this.#parts.copies.send(delayed(queue, ms), copy);
      return "again";
    } catch (error) {
      if (isContent(error)) {
        return await this.#bury(job, queue, reasonOf(error));
      }
      return await this.#notCopied(job, error);
    }
  }

  /** Its sender would have it dropped by now. */
  async expired(job: Job, queue?: Queue): Promise<Fate> {
    const kept = job.context.attempt > 1 || !this.#parts.openstack; // another attempt comes of a policy
    if (!queue || !kept || !waits(job)) return "dropped";
    return await this.#bury(job, queue, "Expired before its next attempt", 1);
  }

  /** No worker finished it, and no other is to try. */
  async interrupted(job: Job, reason: string, queue?: Queue): Promise<Fate> {
    if (!queue || !waits(job)) return "dropped";
    return await this.#bury(job, queue, reason);
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
    try {
      const { copies } = this.#parts;
      return await copies.bury(queue, job.message, headers)
        ? "dead"
        : "dropped";
    } catch (error) {
      return await this.#notCopied(job, error);
    }
  }

  /** The broker did not take the copy: the message goes back into its queue. */
  async #notCopied(job: Job, error: unknown): Promise<Fate> {
    if (!job.abandoned) await this.rest(job, error);
    return "back";
  }

  /** The wait before it goes back into its queue; none if the worker stops. */
  async rest(job: Job, error: unknown): Promise<void> {
    log("rpc").error("A cast that failed goes back into its queue: {error}", {
      error,
    });
    const { copies } = this.#parts;
    await aside(job, job.signal, (signal) => copies.rest(signal));
  }
}

/** False if its queue has it again, or it needs none. */
function waits({ settled, abandoned }: Job): boolean {
  return !settled && !abandoned;
}

/** What was thrown, in one line, without what looks like a secret; anything can be thrown. */
export function reasonOf(thrown: unknown): string {
  try {
    const text = thrown instanceof Error
      ? `${thrown.name}: ${thrown.message}`
      : `thrown: ${thrown}`;
    return oneLine(maskedText(text));
  } catch {
    return "thrown: what cannot be read";
  }
}

/** The first worker that fails counts from when it has the message: how long that waited before is not known. */
function expiresOf(
  { request, message: { expiration } }: Job,
): number | undefined {
  if (request.expires !== undefined) return request.expires;
  return expiration === undefined ? undefined : Date.now() + expiration;
}
