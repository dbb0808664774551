/** The calls of one connection context that wait, and those that were given up before their worker was known. @module */
import { expireAt, forget } from "../deadlines.ts";
import { direct } from "../bus/routes.ts";
import type { Message, Transport } from "../bus/transport.ts";
import { encodeControl } from "../wire/codec.ts";
import { newId } from "./context.ts";
import type { Inbox } from "./inbox.ts";
import type { Pending } from "./replies.ts";

/** Milliseconds that a call which was given up is remembered at most. */
const ABANDONED = 60_000;
/** Milliseconds to get a control to the connection. */
const CONTROL = 1_000;

/** Who waits for what. */
export class Waiting {
  readonly #transport: Transport;
  readonly #inbox: Inbox;
  readonly #calls = new Map<string, Pending>();
  #closed = false;

  /** Answers come to the inbox; controls go out on the transport. */
  constructor(transport: Transport, inbox: Inbox) {
    this.#transport = transport;
    this.#inbox = inbox;
  }

  /** Answers to a call go to `pending` until disposed. */
  expect(call: string, pending: Pending): Disposable {
    this.#inbox.pending.set(call, pending);
    this.#calls.set(call, pending);
    return {
      [Symbol.dispose]: () => {
        if (this.#calls.get(call) !== pending) return; // given up: someone waits in its place to cancel it
        this.#inbox.pending.delete(call);
        this.#calls.delete(call);
      },
    };
  }

  /** Tells the worker that nobody waits any more; where it has not shown itself yet, as soon as it does. */
  cancel(call: string, worker: string | undefined, deadline: number): void {
    if (worker !== undefined) return void this.#control(call, worker);
    if (this.#closed) return;
    const end = () => {
      forget(expiry);
      expected[Symbol.dispose]();
    };
    const expected = this.expect(call, {
      receive: ({ inbox, ending }) => {
        if (inbox !== undefined) void this.#control(call, inbox);
        if (inbox !== undefined || ending) end();
      },
      fail: end,
    });
    const expiry = expireAt(
      Math.min(deadline, performance.now() + ABANDONED),
      end,
    );
  }

  /** Fails all of them. */
  close(error: () => Error): void {
    this.#closed = true;
    for (const pending of [...this.#calls.values()]) pending.fail(error());
  }

  async #control(call: string, worker: string): Promise<void> {
    const control = encodeControl({ kind: "control", verb: "cancel", call });
    const message: Message = { ...control, id: newId(), correlationId: call };
    // If it does not get through, the worker still has its deadline.
    await this.#transport.post(direct(worker), message, {
      deadline: performance.now() + CONTROL,
    }).catch(() => {});
  }
}
