/** The calls of one connection context that wait for an answer. @module */
import { direct } from "../bus/routes.ts";
import type { Message, Transport } from "../bus/transport.ts";
import { encodeControl } from "../wire/codec.ts";
import { newId } from "./context.ts";
import type { Inbox } from "./inbox.ts";
import type { Pending } from "./replies.ts";

/** Milliseconds to get a control to the connection. */
const CONTROL = 500;

/** Who waits for what. */
export class Waiting {
  readonly #transport: Transport;
  readonly #inbox: Inbox;
  readonly #calls = new Map<string, Pending>();
  readonly #canceller = (call: string, worker: string) =>
    void this.#control(call, worker);

  /** Answers come to the inbox; controls go out on the transport. */
  constructor(transport: Transport, inbox: Inbox) {
    this.#transport = transport;
    this.#inbox = inbox;
    inbox.cancellers.add(this.#canceller);
  }

  /** Answers to a call go to `pending` until disposed. */
  expect(call: string, pending: Pending): Disposable {
    this.#inbox.pending.set(call, pending);
    this.#calls.set(call, pending);
    return {
      [Symbol.dispose]: () => {
        this.#inbox.pending.delete(call);
        this.#calls.delete(call);
      },
    };
  }

  /**
   * Tells the worker that nobody waits any more. One that has not shown itself yet is told by the inbox, at its first
   * sign of life.
   */
  cancel(call: string, worker: string | undefined): void {
    if (worker !== undefined) void this.#control(call, worker);
  }

  /** Tells the worker of a stream that items up to a number may come. */
  credit(call: string, worker: string | undefined, upTo: number): void {
    if (worker !== undefined) void this.#control(call, worker, upTo);
  }

  /** Fails all of them, and tells their workers. */
  async close(error: () => Error): Promise<void> {
    this.#inbox.cancellers.delete(this.#canceller);
    const calls = [...this.#calls];
    const told = calls.map(([call, { worker }]) =>
      worker === undefined ? undefined : this.#control(call, worker)
    );
    for (const [, pending] of calls) pending.fail(error());
    await Promise.all(told);
  }

  async #control(call: string, worker: string, credit?: number): Promise<void> {
    const verb = credit === undefined ? "cancel" : "credit";
    const control = encodeControl({ kind: "control", verb, call, credit });
    const message: Message = { ...control, id: newId(), correlationId: call };
    const wait = { deadline: performance.now() + CONTROL };
    // If it does not get through, the worker still has its deadline, and gives signs of life that are answered by credit.
    await this.#transport.post(direct(worker), message, wait).catch(() => {});
  }
}
