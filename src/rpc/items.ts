/** A stream on the caller's side: lazy, iterated once, cancelled on the worker when it is left. @module */
import {
  NoRouteError,
  StreamInterruptedError,
  TimeoutError,
} from "../errors.ts";
import { expireAt, forget } from "../deadlines.ts";
import type { Route } from "../bus/routes.ts";
import type { Reply } from "../wire/envelope.ts";
import type { Bounds } from "./options.ts";
import { type Asked, type CallerParts, question } from "./question.ts";
import type { Pending } from "./replies.ts";
import type { Waiting } from "./waiting.ts";

/** Milliseconds that a worker which never showed itself is still told to stop. */
const FORGIVEN = 60_000;

/** Waits for a stream, item by item. */
export class Items implements Pending {
  readonly #arrived: Reply[] = [];
  #next: PromiseWithResolvers<Reply> | undefined;
  #failed: { readonly error: unknown } | undefined;
  #sequence = 0;
  #run: string | undefined;
  /** Inbox of the worker that has the call, once it has shown itself. */
  worker: string | undefined;
  /** Called at each item. */
  alive: () => void = () => {};

  receive(reply: Reply): void {
    this.worker = reply.inbox ?? this.worker;
    if (reply.beat) return; // a worker that lives and yields nothing is silent all the same
    this.alive();
    if (!this.#inOrder(reply)) return;
    if (this.#next) this.#next.resolve(reply);
    else this.#arrived.push(reply);
    this.#next = undefined;
  }

  fail(error: unknown): void {
    this.#failed ??= { error };
    this.#next?.reject(error);
    this.#next = undefined;
  }

  /** The next item, or the ending. */
  next(): Promise<Reply> {
    const reply = this.#arrived.shift();
    if (reply) return Promise.resolve(reply);
    if (this.#failed) return Promise.reject(this.#failed.error);
    this.#next = Promise.withResolvers();
    return this.#next.promise;
  }

  /** False for an item that came twice; a gap, or another run of the handler, ends the stream. Only Warren numbers its items. */
  #inOrder({ sequence, run }: Reply): boolean {
    if (sequence === undefined) return true;
    const last = this.#sequence;
    if ((this.#run ??= run) !== run) {
      return this.#interrupt("Another run of the handler took its place");
    }
    if (sequence <= last) return false;
    if (sequence > last + 1) {
      return this.#interrupt(`Items ${last + 1} to ${sequence - 1} were lost`);
    }
    this.#sequence = sequence;
    return true;
  }

  #interrupt(why: string): false {
    const sequence = this.#sequence;
    const text = `The stream was interrupted after item ${sequence}`;
    this.fail(
      new StreamInterruptedError(`${text}: ${why}`, { data: { sequence } }),
    );
    return false;
  }
}

/** Fails a stream when nothing comes for too long, or its signal fires. */
function watchSilence(
  items: Items,
  { wait: { signal, deadline }, timeout }: Bounds,
  what: string,
): Disposable {
  const silent = () =>
    items.fail(
      new TimeoutError(
        `Nothing came from ${what} for ${Math.round(timeout)} ms`,
      ),
    );
  const aborted = () => items.fail(signal?.reason);
  let expiry = expireAt(deadline, silent);
  items.alive = () => {
    forget(expiry);
    expiry = expireAt(performance.now() + timeout, silent);
  };
  signal?.addEventListener("abort", aborted);
  return {
    [Symbol.dispose]: () => {
      items.alive = () => {};
      forget(expiry);
      signal?.removeEventListener("abort", aborted);
    },
  };
}

/** The replies of a stream, without its ending. */
export async function* stream(
  parts: CallerParts,
  waiting: Waiting,
  asked: Asked,
  route: Route,
  bounds: Bounds,
): AsyncGenerator<Reply, void, undefined> {
  await parts.inbox.ready(bounds.wait);
  const { id, method, target } = asked;
  const items = new Items();
  let ended = false;
  using _expected = waiting.expect(id, items);
  using _silence = watchSilence(items, bounds, `${method} of ${target.topic}`);
  try {
    await parts.transport.post(
      route,
      question(parts, asked, bounds),
      bounds.wait,
    );
    while (!ended) {
      const reply = await items.next();
      ended = reply.ending;
      // The ending is an item as well where the answer is a single message (a procedure that does not stream).
      const single = reply.sequence === undefined && reply.result !== null &&
        reply.result !== undefined;
      if (!ended || single || reply.failure) yield reply;
    }
  } catch (error) {
    ended ||= error instanceof NoRouteError;
    throw error;
  } finally {
    if (!ended) waiting.cancel(id, items.worker, performance.now() + FORGIVEN);
  }
}
