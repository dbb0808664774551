/**
 * Spans of requests and events, as OpenTelemetry needs them. Nothing is traced before a tracer is set, and then a message
 * costs one comparison.
 *
 * @module
 */

/** Headers by which a trace goes on at the other end, e.g. `traceparent`. */
export type TraceHeaders = Readonly<Record<string, string>>;

/** Values of a span, by OpenTelemetry's semantic conventions. */
export type SpanAttributes = Readonly<Record<string, string | number>>;

/** Description of a span. */
export interface SpanOptions {
  /** Name, the same for all requests of one kind. */
  readonly name: string;
  /** Role in the trace: `client` and `server` wait for each other, `producer` and `consumer` do not. */
  readonly kind: "client" | "producer" | "server" | "consumer";
  /** Values. */
  readonly attributes: SpanAttributes;
  /** Headers of messages that the work follows from, without being a part of their traces. */
  readonly links?: readonly TraceHeaders[] | undefined;
  /** Headers of the message whose trace goes on; default: the trace of the code that starts the span. */
  readonly parent?: TraceHeaders | undefined;
}

/** Work that is being traced. */
export interface Span {
  /** Adds the headers by which the trace goes on at the other end. */
  inject(headers: Record<string, string>): void;
  /** Runs work whose own spans are children of this one. */
  run<T>(work: () => T): T;
  /** Notes an error. */
  fail(error: unknown): void;
  /** Ends the span. */
  end(): void;
}

/** Starts spans. */
export interface Tracer {
  /** Starts a span; undefined where the work is not to be traced. */
  startSpan(options: SpanOptions): Span | undefined;
}

let tracer: Tracer | undefined;

/** Sets the tracer of this process; undefined ends the tracing. */
export function setTracer(next: Tracer | undefined): void {
  tracer = next;
}

/**
 * Starts a span; `describe` is called with the subject, and what it needs beside it, only if there is a tracer: without one
 * nothing is allocated.
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

/** Runs work in a span, which ends with it and notes its error. */
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
