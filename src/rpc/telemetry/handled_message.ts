/** A message that is handled, as telemetry sees it: its span, and the duration of its handler. @module */
import {
  attribute,
  OTHER,
  spanEvent,
  STATUS_OK,
} from "../../telemetry/conventions.ts";
import { oneLine } from "../../logging.ts";
import { isOwnTopic } from "../../names.ts";
import { instruments } from "../../telemetry/instruments.ts";
import {
  errorType,
  type Span,
  type SpanAttributes,
  startSpan,
} from "../../telemetry/tracing.ts";
import {
  handledSpan,
  hasReply,
  methodName,
  type TracedDelivery,
} from "./spans.ts";

/** Follows a message through its handler. Warren's own messages, such as those between services, are not recorded. */
export class HandledMessage {
  readonly #message: TracedDelivery;
  readonly #isRecorded: boolean;
  #span: Span | undefined;
  #error: string | undefined;
  #isDeferred = false;

  /** Starts the span if the process is traced. */
  constructor(message: TracedDelivery) {
    this.#message = message;
    this.#isRecorded = !isOwnTopic(message.topic);
    if (this.#isRecorded) this.#span = startSpan(handledSpan, message);
  }

  /** Runs work whose own spans are children of this one. */
  run<T>(work: () => T): T {
    return this.#span ? this.#span.run(work) : work();
  }

  /** Adds an event to the span. */
  event(name: string, attributes?: SpanAttributes): void {
    this.#span?.event(name, attributes);
  }

  /** Notes that the handler does not run here, and that another worker gets the message. */
  defer(): void {
    this.#isDeferred = true;
    this.#span?.event(spanEvent.deferred);
  }

  /** Records the error of the handler; `end` follows. */
  fail(error: unknown): void {
    this.#error = errorType(error);
    this.#span?.fail(error);
  }

  /**
   * Ends the message, whose handler has run for some milliseconds, or not at all. `label` is the name of its procedure, or
   * `_OTHER` if the receiver does not know it, since a peer may send any name.
   */
  end(ms: number | undefined, label: string): void {
    const { verb, topic, session } = this.#message;
    const status = this.#error ?? STATUS_OK;
    const isCall = hasReply(verb);
    if (isCall) this.#span?.status(status);
    if (label === OTHER) this.#rename();
    this.#span?.end();
    if (ms === undefined || this.#isDeferred || !this.#isRecorded) return;
    if (isCall) {
      instruments.serverDuration.record(ms / 1_000, [topic, label, status]);
    } else {
      const values = [session.system, topic, label, this.#error ?? ""];
      instruments.processDuration.record(ms / 1_000, values);
    }
  }

  #rename(): void {
    const { verb, topic, procedure } = this.#message;
    const method = methodName(topic, OTHER);
    const original = oneLine(procedure, 100);
    this.#span?.rename(
      hasReply(verb) ? method : `process ${method}`,
      hasReply(verb)
        ? {
          [attribute.rpcMethod]: method,
          [attribute.rpcMethodOriginal]: methodName(topic, original),
        }
        : { [attribute.procedure]: original },
    );
  }
}

/** Milliseconds after which the time of a sending counts as wrong: more than any retries take. */
const MAX_AGE_MS = 30 * 86_400_000;

/** Records the time from the first sending of a message to its end, by two clocks that may differ. */
export function recordCompletion(
  topic: string,
  procedure: string,
  sentAt: number | undefined,
): void {
  if (sentAt === undefined) return;
  const ms = Math.max(0, Date.now() - sentAt);
  if (ms > MAX_AGE_MS) return;
  const seconds = ms / 1_000;
  instruments.completionTime.record(seconds, [topic, procedure]);
}
