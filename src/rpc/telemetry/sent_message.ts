/** A message that is sent, as telemetry sees it: its span, its duration, and its place among those in flight. @module */
import { SlotMap } from "../../slot_map.ts";
import { STATUS_OK } from "../../telemetry/conventions.ts";
import { instruments } from "../../telemetry/instruments.ts";
import { errorType, type Span, startSpan } from "../../telemetry/tracing.ts";
import { eventLabel } from "./known_procedures.ts";
import { hasReply, sentSpan, type TracedMessage } from "./spans.ts";

/** Messages of this process that were sent and are not settled. */
const active = new SlotMap<TracedMessage>();

instruments.clientActive.observe(function* () {
  for (const { topic, procedure, verb } of active) {
    yield [[topic, procedure, verb], 1];
  }
});

/** Follows a message from its sending to its end. */
export class SentMessage {
  readonly #message: TracedMessage;
  readonly #startedAt = performance.now();
  readonly #handle: number;
  readonly #span: Span | undefined;
  #error: string | undefined;

  /** Starts the clock, and the span if the process is traced. */
  constructor(message: TracedMessage) {
    this.#message = message;
    this.#handle = active.add(message);
    this.#span = startSpan(sentSpan, message);
  }

  /** Returns headers that continue the trace in the receiver; the given ones if the process is not traced. */
  inject(
    headers: Readonly<Record<string, string>> | undefined,
  ): Readonly<Record<string, string>> | undefined {
    if (!this.#span) return headers;
    const traced = { ...headers };
    this.#span.inject(traced);
    return traced;
  }

  /** Starts work whose own spans are children of this one. */
  run<T>(work: () => T): T {
    return this.#span ? this.#span.run(work) : work();
  }

  /** Runs all the work of the message, to its end. */
  async complete<T>(work: () => Promise<T>): Promise<T> {
    try {
      return await this.run(work);
    } catch (error) {
      this.fail(error);
      throw error;
    } finally {
      this.end();
    }
  }

  /** Records an error; `end` follows. */
  fail(error: unknown): void {
    this.#error = errorType(error);
    this.#span?.fail(error);
  }

  /** Ends the message. */
  end(): void {
    active.delete(this.#handle);
    const { verb, topic, procedure, session } = this.#message;
    const seconds = (performance.now() - this.#startedAt) / 1_000;
    if (hasReply(verb)) {
      const status = this.#error ?? STATUS_OK;
      instruments.clientDuration.record(seconds, [topic, procedure, status]);
      this.#span?.status(status);
    } else {
      const label = verb === "notify"
        ? eventLabel(topic, procedure)
        : procedure;
      const values = [session.system, topic, label, this.#error ?? ""];
      instruments.sendDuration.record(seconds, values);
    }
    this.#span?.end();
  }
}
