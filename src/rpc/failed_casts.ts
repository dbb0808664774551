/** Casts that failed: tried again later, or kept as dead letters. Nothing is acknowledged before the broker has the copy. @module */
import { loggable } from "../masked.ts";
import { NoRouteError } from "../errors.ts";
import { log, oneLine } from "../telemetry.ts";
import { pause } from "../wait.ts";
import { dead, delayed, type Queue, type Route } from "../bus/routes.ts";
import type { Message, Transport, Wait } from "../bus/transport.ts";
import { failedHeaders } from "../wire/codec.ts";
import type { Job } from "./job.ts";
import { isRefusal } from "./outcome.ts";
import { delayAfter } from "./retry_policy.ts";

/** Milliseconds that the broker may take for a copy. */
const PATIENCE = 30_000;
/** Milliseconds before a message that could not be copied goes back into its queue. */
const RETRY = 1_000;

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

  /** On a transport. */
  constructor(parts: FailedCastsParts) {
    this.#parts = parts;
  }

  /** A handler threw, or the dispatcher refused it; `queue` is undefined for a queue that no other process reads. */
  async failed(job: Job, error: unknown, queue?: Queue): Promise<Fate> {
    const { attempt } = job.context;
    const refused = isRefusal(error);
    const ms = refused ? undefined : delayAfter(attempt, job.retry);
    const kept = job.retry !== undefined || !this.#parts.openstack;
    if (!queue || job.settled || !kept) return "dropped";
    const expires = expiresOf(job);
    if (ms === undefined) {
      const reason = `${error instanceof Error ? error.name : "thrown"}: ${
        error instanceof Error ? error.message : String(error)
      }`;
      return await this.#bury(job, queue, reason);
    }
    const headers = failedHeaders({ attempt: attempt + 1, expires });
    return await this.#copy(job, delayed(queue, ms), headers)
      ? "again"
      : "back";
  }

  /** Its sender would have it dropped by now. */
  async expired(job: Job, queue?: Queue): Promise<Fate> {
    if (!queue || job.settled) return "dropped";
    return await this.#bury(job, queue, "Expired before its next attempt");
  }

  async #bury(job: Job, queue: Queue, why: string): Promise<Fate> {
    const { attempt } = job.context;
    const reason = oneLine(why);
    const failed = { attempt, reason, queue: queue.name };
    const headers = failedHeaders(failed);
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
      return true;
    } catch (error) {
      log("rpc").error("A cast that failed goes back into its queue: {error}", {
        error: loggable(error),
      });
      await pause(RETRY, { deadline: Infinity });
      job.giveBack();
      return false;
    }
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

/** As it came, but for what is said of it now. What a broker has put there is its own. */
function copyOf(
  { body, headers, id }: Message,
  more: Readonly<Record<string, string>>,
): Message {
  const kept = Object.entries(headers).filter(([name, value]) =>
    !name.startsWith("x-") && typeof value !== "object"
  );
  return {
    body,
    headers: { ...Object.fromEntries(kept), ...more },
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
