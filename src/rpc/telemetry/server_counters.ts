/** Counters of a server, in its statistics and in the metrics of the process. @module */
import { isOwnTopic } from "../../names.ts";
import { instruments } from "../../telemetry/instruments.ts";
import type { Disposition, ServerStats } from "../server_stats.ts";
import type { Message } from "../../transport/transport.ts";
import { sentAt } from "../../wire/mod.ts";
import { recordCompletion } from "./handled_message.ts";
import { procedureLabel } from "./known_procedures.ts";

/** Counted outcomes of requests. */
export type Counted = keyof Pick<
  ServerStats,
  | ("handled" | "failed" | "refused" | "dropped" | "redelivered")
  | ("interrupted" | "repeated" | "retried" | "dead" | "fenced")
>;

/** Values of the counters. */
export type Counts = Record<Counted, number>;

/** Request that is counted; without a procedure if it could not be decoded. */
export interface CountedRequest {
  /** Topic. */
  readonly topic: string;
  /** Request. */
  readonly request?: {
    readonly method: string;
    readonly reply?: unknown;
  } | undefined;
  /** Message of the request. */
  readonly message?: Pick<Message, "headers"> | undefined;
}

/** Request that a server has taken; it is handled from the start of its handler on. */
interface ActiveRequest {
  readonly topic: string;
  readonly request: { readonly method: string };
  readonly handled: unknown;
}

/** Outcomes of requests whose handler ran, which the durations count already. */
const NORMAL: ReadonlySet<Counted> = new Set(["handled", "failed"]);

/** True if nothing more happens to a request after an outcome: it was done, its caller got the error, or it is dead. */
const isLast = (outcome: Counted, { request }: CountedRequest): boolean =>
  outcome === "handled" || outcome === "dead" ||
  outcome === "failed" && request?.reply !== undefined;

/** Counts the outcomes of the requests of one server. */
export class ServerCounters {
  readonly #counts: Counts = {
    handled: 0,
    failed: 0,
    refused: 0,
    dropped: 0,
    redelivered: 0,
    interrupted: 0,
    repeated: 0,
    retried: 0,
    dead: 0,
    fenced: 0,
  };

  /** Values since the start. */
  get values(): Counts {
    return { ...this.#counts };
  }

  /** Counts an outcome of a request. */
  count(outcome: Counted, counted: CountedRequest): void {
    const { topic, request, message } = counted;
    this.#counts[outcome]++;
    if (isOwnTopic(topic)) return;
    const procedure = procedureLabel(topic, request?.method ?? "");
    if (message && isLast(outcome, counted)) {
      recordCompletion(topic, procedure, sentAt(message.headers));
    }
    if (NORMAL.has(outcome)) return;
    const incident = outcome === "dead" ? "dead_lettered" : outcome;
    instruments.incidents.record(1, [topic, procedure, incident]);
  }

  /** Counts the disposition of a failed cast, unless it is requeued. */
  countDisposition(disposition: Disposition, request: CountedRequest): void {
    if (disposition === "retried") this.count("retried", request);
    if (disposition === "deadLettered") this.count("dead", request);
  }
}

/** Measures the requests that a server has taken, until disposed. */
export function observeRequests(
  requests: Iterable<{ readonly incoming: ActiveRequest }>,
): Disposable {
  return instruments.serverActive.observe(function* () {
    for (const { incoming: { topic, request, handled } } of requests) {
      if (isOwnTopic(topic)) continue;
      const procedure = procedureLabel(topic, request.method);
      yield [[topic, procedure, handled ? "running" : "waiting"], 1];
    }
  });
}
