/** Spans in memory, recorded by OpenTelemetry's own SDK. */
import assert from "node:assert/strict";
import {
  context,
  propagation,
  SpanKind,
  trace,
} from "npm:@opentelemetry/api@^1.9.0";
import { AsyncLocalStorageContextManager } from "npm:@opentelemetry/context-async-hooks@^2.0.0";
import {
  CompositePropagator,
  W3CBaggagePropagator,
  W3CTraceContextPropagator,
} from "npm:@opentelemetry/core@^2.0.0";
import {
  BasicTracerProvider,
  type ReadableSpan,
} from "npm:@opentelemetry/sdk-trace-base@^2.0.0";

/** Kind of a span. */
export type Kind = keyof typeof SpanKind;

/** Records the spans of this process until disposed. */
export class SpanRecorder implements Disposable {
  readonly #ended: ReadableSpan[] = [];
  readonly #provider = new BasicTracerProvider({
    spanProcessors: [{
      onStart: () => {},
      onEnd: (span) => void this.#ended.push(span),
      forceFlush: () => Promise.resolve(),
      shutdown: () => Promise.resolve(),
    }],
  });
  readonly #contexts = new AsyncLocalStorageContextManager();

  constructor() {
    context.setGlobalContextManager(this.#contexts.enable());
    propagation.setGlobalPropagator(
      new CompositePropagator({
        propagators: [
          new W3CTraceContextPropagator(),
          new W3CBaggagePropagator(),
        ],
      }),
    );
    trace.setGlobalTracerProvider(this.#provider);
  }

  /** Spans that have ended. */
  get ended(): readonly ReadableSpan[] {
    return this.#ended;
  }

  /** Ended spans of one name and kind. */
  of(name: string, kind: Kind): readonly ReadableSpan[] {
    return this.ended.filter((span) =>
      span.name === name && span.kind === SpanKind[kind]
    );
  }

  /** Forgets the spans that have ended. */
  clear(): void {
    this.#ended.length = 0;
  }

  [Symbol.dispose](): void {
    trace.disable();
    propagation.disable();
    context.disable();
  }
}

/** Asserts that one span is the child of another. */
export function assertChild(
  child: ReadableSpan | undefined,
  parent: ReadableSpan | undefined,
): void {
  assert.ok(child && parent);
  assert.equal(child.parentSpanContext?.spanId, parent.spanContext().spanId);
  assert.equal(child.spanContext().traceId, parent.spanContext().traceId);
}

/** Asserts that a span begins a trace of its own, with one link to another. */
export function assertLinked(
  span: ReadableSpan | undefined,
  cause: ReadableSpan | undefined,
): void {
  assert.ok(span && cause);
  assert.equal(span.parentSpanContext, undefined);
  assert.deepEqual(
    span.links.map(({ context: { spanId, traceId } }) => ({ spanId, traceId })),
    [{
      spanId: cause.spanContext().spanId,
      traceId: cause.spanContext().traceId,
    }],
  );
  assert.notEqual(span.spanContext().traceId, cause.spanContext().traceId);
}
