/**
 * Spans, by the API of OpenTelemetry. Nothing is created while the process has no tracer provider, which Deno registers
 * with `OTEL_DENO=true`; until then, tracing costs one comparison for each message.
 *
 * @module
 */
import {
  type Context,
  context as contexts,
  type Link,
  propagation,
  ProxyTracerProvider,
  ROOT_CONTEXT,
  type Span as OtelSpan,
  SpanKind,
  SpanStatusCode,
  trace,
  type Tracer,
} from "npm:@opentelemetry/api@^1.9.0";
import { RpcError } from "../errors.ts";
import { redactText } from "../redaction.ts";
import { attribute, SCOPE } from "./conventions.ts";

/** Headers that continue a trace in the receiver: `traceparent`, `tracestate`, `baggage`. */
export type TraceHeaders = Readonly<Record<string, string>>;

/** Attributes of a span. */
export type SpanAttributes = Readonly<
  Record<string, string | number | boolean | undefined>
>;

/** Description of a span. */
export interface SpanOptions {
  /** Name, the same for all requests of one kind. */
  readonly name: string;
  /** Role in the trace: `client` and `server` for messages with a reply, `producer` and `consumer` for messages without. */
  readonly kind: "client" | "producer" | "server" | "consumer" | "internal";
  /** Attributes; those that are undefined are left out. */
  readonly attributes: SpanAttributes;
  /** Headers of the message that caused the work; default: the work belongs to the trace of the code that starts it. */
  readonly cause?: TraceHeaders | undefined;
  /** True if the span begins a trace of its own, with a link to the cause; default: it continues the cause's trace. */
  readonly linked?: boolean | undefined;
}

const KINDS: Readonly<Record<SpanOptions["kind"], SpanKind>> = {
  client: SpanKind.CLIENT,
  producer: SpanKind.PRODUCER,
  server: SpanKind.SERVER,
  consumer: SpanKind.CONSUMER,
  internal: SpanKind.INTERNAL,
};

/** Work that is being traced. */
export class Span {
  readonly #span: OtelSpan;
  readonly #context: Context;

  /** `context` is the one that contains the span. */
  constructor(span: OtelSpan, context: Context) {
    this.#span = span;
    this.#context = context;
  }

  /** Adds the headers that continue the trace in the receiver. */
  inject(headers: Record<string, string>): void {
    propagation.inject(this.#context, headers);
  }

  /** Runs work whose own spans are children of this one. */
  run<T>(work: () => T): T {
    return contexts.with(this.#context, work);
  }

  /** Replaces the name, and sets attributes. */
  rename(name: string, attributes: SpanAttributes): void {
    this.#span.updateName(name);
    this.set(attributes);
  }

  /** Sets attributes. */
  set(attributes: SpanAttributes): void {
    for (const [name, value] of Object.entries(attributes)) {
      if (value !== undefined) this.#span.setAttribute(name, value);
    }
  }

  /** Adds an event. */
  event(name: string, attributes: SpanAttributes = {}): void {
    this.#span.addEvent(name, attributes);
  }

  /** Records an error, without secrets. */
  fail(error: unknown): void {
    const { name, message, stack } = described(error);
    this.set({ [attribute.errorType]: errorType(error) });
    this.#span.setStatus({ code: SpanStatusCode.ERROR, message });
    this.#span.recordException({ name, message, ...(stack && { stack }) });
  }

  /** Sets the outcome of a call: `OK`, or the code of its error. */
  status(code: string): void {
    this.set({ [attribute.rpcStatusCode]: code });
  }

  /** Ends the span. */
  end(): void {
    this.#span.end();
  }
}

/** Value of `error.type`: the code of Warren's errors, else the name of the class. */
export function errorType(error: unknown): string {
  if (error instanceof RpcError) return error.code;
  return error instanceof Error ? error.name : typeof error;
}

/** Describes a thrown value, which may be an object that throws when it is read. */
function described(
  error: unknown,
): { name: string; message: string; stack?: string } {
  try {
    if (!(error instanceof Error)) {
      return { name: typeof error, message: redactText(`${error}`) };
    }
    const { name, message, stack } = error;
    return {
      name,
      message: redactText(message),
      ...(stack !== undefined && { stack: redactText(stack) }),
    };
  } catch {
    return { name: "unknown", message: "unreadable" };
  }
}

/** Provider for which `tracer` was created. */
let provider: unknown;
let tracer: Tracer | undefined;

/** Returns the tracer of the process; undefined while no provider is registered. */
function currentTracer(): Tracer | undefined {
  const current = trace.getTracerProvider();
  // A proxy has no delegate before an SDK is registered, and may get another one at any time.
  if (current instanceof ProxyTracerProvider) {
    return current.getDelegateTracer(SCOPE);
  }
  if (current !== provider) {
    provider = current;
    tracer = current.getTracer(SCOPE);
  }
  return tracer;
}

/**
 * Starts a span. `describe` is called with the subject only if the process is traced, so that nothing is allocated
 * otherwise.
 */
export function startSpan<T, U = undefined>(
  describe: (subject: T, detail: U) => SpanOptions,
  subject: T,
  detail?: U,
): Span | undefined {
  const tracer = currentTracer();
  if (tracer === undefined) return undefined;
  const { name, kind, attributes, cause, linked } = describe(
    subject,
    detail as U,
  );
  const extracted = cause && propagation.extract(ROOT_CONTEXT, cause);
  const parent = extracted
    ? linked ? trace.deleteSpan(extracted) : extracted
    : contexts.active();
  const links = linked && extracted ? linksTo(extracted) : [];
  const span = tracer.startSpan(
    name,
    { kind: KINDS[kind], attributes, links },
    parent,
  );
  return new Span(span, trace.setSpan(parent, span));
}

function linksTo(cause: Context): Link[] {
  const context = trace.getSpanContext(cause);
  return context ? [{ context }] : [];
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
