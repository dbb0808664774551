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
import { logText, redactText } from "../redaction.ts";
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
  /** Place in the code to whose trace the work belongs; `"none"` for a trace of its own. Default: where it starts. */
  readonly place?: TracePlace | "none" | undefined;
}

/** Place in the code, with the trace that it belongs to. */
export type TracePlace = Context;

/** Returns this place in the code. */
export const currentPlace = (): TracePlace => contexts.active();

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

/** Names that a class of errors usually has. Others may have any length, and contain secrets. */
const CLASS_NAME = /^[\w.:$-]{1,100}$/;

/**
 * Value of `error.type`: the code of Warren's errors, else the name of the class. A thrown value may be anything, even an
 * object that throws when it is read.
 */
export function errorType(error: unknown): string {
  try {
    if (!(error instanceof Error)) return typeof error;
    const name: unknown = error instanceof RpcError ? error.code : error.name;
    return typeof name === "string" && CLASS_NAME.test(name) ? name : "Error";
  } catch {
    return "Error";
  }
}

/** Maximum bytes of the message of an error in a span, and maximum characters of its stack. */
const MAX_MESSAGE_BYTES = 1_000;
const MAX_STACK_LENGTH = 8_000;

/** Describes a thrown value without secrets. */
function described(
  error: unknown,
): { name: string; message: string; stack?: string } {
  const name = errorType(error);
  try {
    if (!(error instanceof Error)) {
      return { name, message: logText(`${error}`, MAX_MESSAGE_BYTES) };
    }
    const { message, stack } = error;
    return {
      name,
      message: logText(`${message}`, MAX_MESSAGE_BYTES),
      ...(typeof stack === "string" &&
        { stack: redactText(stack.slice(0, MAX_STACK_LENGTH)) }),
    };
  } catch {
    return { name, message: "unreadable" };
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
  const options = describe(subject, detail as U);
  const { name, kind, attributes, cause, linked } = options;
  const extracted = cause && propagation.extract(ROOT_CONTEXT, cause);
  const parent = extracted
    ? linked ? trace.deleteSpan(extracted) : extracted
    : placeOf(options);
  const links = linked && extracted ? linksTo(extracted) : [];
  const span = tracer.startSpan(
    name,
    { kind: KINDS[kind], attributes, links },
    parent,
  );
  return new Span(span, trace.setSpan(parent, span));
}

const placeOf = ({ place }: SpanOptions): Context =>
  place === "none" ? ROOT_CONTEXT : place ?? contexts.active();

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
