/** The items of a stream on their way to whoever iterates it. @module */
import { StreamInterruptedError } from "../errors.ts";
import type { Reply } from "../wire/envelope.ts";
import { Allowance } from "./credit.ts";
import type { Pending } from "./replies.ts";

/** Waits for a stream, item by item. */
export class Items implements Pending {
  #arrived: Reply[] = [];
  #next: PromiseWithResolvers<Reply> | undefined;
  #failed: { readonly error: unknown } | undefined;
  #sequence = 0;
  #run: string | undefined;
  readonly #allowance = new Allowance();
  /** Inbox of the worker that has the call, once it has shown itself. */
  worker: string | undefined;
  /** Called at each item, and when there is room again. */
  alive: () => void = () => {};
  /** Called when the worker should know that items up to a number may come. */
  more: (upTo: number) => void = () => {};
  /** Called when it ends with an error: nothing more is awaited, whether somebody pulls or not. */
  failed: () => void = () => {};

  receive(reply: Reply): void {
    this.worker = reply.inbox ?? this.worker;
    if (this.#failed) return;
    // A worker that lives and yields nothing is silent all the same.
    if (reply.beat) return this.#beat(reply);
    if (!this.#inOrder(reply)) return;
    if (this.#next) this.#next.resolve(this.#read(reply));
    else this.#arrived.push(reply);
    this.#next = undefined;
    this.alive();
  }

  /** What it was told may have been lost; so may what it has sent, which no further item shows while it waits. */
  #beat({ sequence, run }: Reply): void {
    const last = this.#sequence;
    if (sequence !== undefined && sequence > last && run === this.#run) {
      this.#interrupt(`Items ${last + 1} to ${sequence} were lost`);
    } else this.more(this.#allowance.granted);
  }

  /** True while so much waits to be read that the worker may wait as well. */
  get full(): boolean {
    return Allowance.full(this.#arrived.length);
  }

  /** Ends it with an error, which comes after the items that are here; at once, and without them, if it is `hasty`. */
  fail(error: unknown, hasty = false): void {
    if (hasty) this.#arrived = [];
    this.#failed ??= { error };
    this.failed();
    this.#next?.reject(error);
    this.#next = undefined;
  }

  unrouted(error: unknown): void {
    this.fail(error);
  }

  /** The next item, or the ending. */
  next(): Promise<Reply> {
    const { full } = this;
    const reply = this.#arrived.shift();
    if (full && !this.full) this.alive();
    if (reply) return Promise.resolve(this.#read(reply));
    if (this.#failed) return Promise.reject(this.#failed.error);
    this.#next = Promise.withResolvers();
    return this.#next.promise;
  }

  #read(reply: Reply): Reply {
    if (
      reply.sequence !== undefined && !reply.ending && this.#allowance.read()
    ) {
      this.more(this.#allowance.granted);
    }
    return reply;
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
