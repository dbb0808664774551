/** One request in hand: its context, its deadline, and its delivery, which is settled once. @module */
import { ConnectionDisposedError, RpcError, TimeoutError } from "../errors.ts";
import { expireAt, forget } from "../deadlines.ts";
import type { Delivery, Message } from "../bus/transport.ts";
import type { Dialect } from "../wire/dialect.ts";
import type { Request } from "../wire/envelope.ts";
import { newId } from "./context.ts";
import { type ServedContext, starting } from "./outcome.ts";

/** A request from its arrival to its acknowledgement. */
export class Job {
  /** What is asked. */
  readonly request: Request;
  /** What the handler sees. */
  readonly context: ServedContext;
  /** When the caller gives up, in milliseconds of the monotonic clock. */
  readonly deadline: number;
  /** In which words it was asked, and is answered. */
  readonly dialect: Dialect;
  /** Set once items of a stream are on their way: another worker could only begin it anew. */
  streaming = false;
  /** What was answered, to be said again if the request comes again; not the items of a stream. */
  readonly answers: Message[] = [];
  readonly #delivery: Delivery;
  readonly #controller = new AbortController();
  #abandoned = false;

  /** The clock starts at arrival: how long the message waited in its queue is bounded by its expiration. */
  constructor(delivery: Delivery, request: Request, dialect: Dialect) {
    this.request = request;
    this.dialect = dialect;
    this.#delivery = delivery;
    const timeout = request.timeout ?? Infinity;
    this.deadline = performance.now() + timeout;
    this.context = {
      requestId: request.id ?? newId(),
      values: request.context,
      signal: this.#controller.signal,
      deadline: Date.now() + timeout,
      attempt: 1,
      [starting]: ({ delivery }) => {
        if (delivery === "at-most-once") this.#delivery.ack();
      },
    };
  }

  /** True if it goes back to its queue. */
  get abandoned(): boolean {
    return this.#abandoned;
  }

  /** True when nobody waits for the result any more. */
  get over(): boolean {
    return this.#controller.signal.aborted;
  }

  /** Ends it at its deadline, or when the caller says so, until disposed. */
  register(running: Map<string, (reason: string) => void>): Disposable {
    const expiry = expireAt(
      this.deadline,
      () => this.#end(new TimeoutError("The caller's deadline passed")),
    );
    const call = this.request.reply?.call;
    if (call !== undefined) {
      running.set(
        call,
        (reason) => this.#end(new RpcError("ABORTED", `Aborted: ${reason}`)),
      );
    }
    return {
      [Symbol.dispose]: () => {
        forget(expiry);
        if (call !== undefined) running.delete(call);
      },
    };
  }

  /** Acknowledges it, unless it was abandoned: then its queue keeps it for another worker. */
  settle(): void {
    if (!this.#abandoned) this.#delivery.ack();
  }

  /** The worker stops: its handler is told. The message stays unacknowledged, unless a stream has begun. */
  abandon(): void {
    if (this.streaming) this.settle();
    else this.#abandoned = true;
    this.#controller.abort(new ConnectionDisposedError("The service stops"));
  }

  /** Nobody waits any more, so nobody else need run it either: acknowledged now, however long the handler goes on. */
  #end(reason: Error): void {
    if (this.over) return;
    this.settle();
    this.#controller.abort(reason);
  }
}
