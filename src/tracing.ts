/**
 * Spans of requests and events, for OpenTelemetry. Nothing is traced before a tracer is set; until then, tracing costs
 * one comparison for each message.
 *
 * @module
 */

/** Headers that continue a trace in the receiver, e.g. `traceparent`. */
export type TraceHeaders = Readonly<Record<string, string>>;

/** Attributes of a span, by OpenTelemetry's semantic conventions. */
export type SpanAttributes = Readonly<Record<string, string | number>>;

/** Description of a span. */
export interface SpanOptions {
  /** Name, the same for all requests of one kind. */
  readonly name: string;
  /** Role in the trace: `client` and `server` for messages with a reply, `producer` and `consumer` for messages without. */
  readonly kind: "client" | "producer" | "server" | "consumer";
  /** Attributes. */
  readonly attributes: SpanAttributes;
  /** Headers of messages that caused the work, but whose traces it does not continue. */
  readonly links?: readonly TraceHeaders[] | undefined;
  /** Headers of the message whose trace is continued; default: the trace of the code that starts the span. */
  readonly parent?: TraceHeaders | undefined;
}

/** Work that is being traced. */
export interface Span {
  /** Adds the headers that continue the trace in the receiver. */
  inject(headers: Record<string, string>): void;
  /** Runs work whose own spans are children of this one. */
  run<T>(work: () => T): T;
  /** Records an error. */
  fail(error: unknown): void;
  /** Ends the span. */
  end(): void;
}

/** Starts spans. */
export interface Tracer {
  /** Starts a span; returns undefined if the work is not traced. */
  startSpan(options: SpanOptions): Span | undefined;
}

let tracer: Tracer | undefined;

/** Sets the tracer of this process; undefined ends the tracing. */
export function setTracer(next: Tracer | undefined): void {
  tracer = next;
}

/**
 * Starts a span. `describe` is called with the subject only if there is a tracer, so that nothing is allocated without
 * one.
 */
export function startSpan<T, U = undefined>(
  describe: (subject: T, detail: U) => SpanOptions,
  subject: T,
  detail?: U,
): Span | undefined {
  return tracer === undefined
    ? undefined
    : tracer.startSpan(describe(subject, detail as U));
}

/** Runs work in a span, which records the error of the work and ends with it. */
export async function runInSpan<T>(
  span: Span,
  work: () => Promise<T>,
): Promise<T> {
  try {
    return await span.run(work);
  } catch (error) {
    span.fail(error);
    throw error;
  } finally {
    span.end();
  }
}
