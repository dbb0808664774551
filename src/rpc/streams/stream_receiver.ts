/** The items of a stream on their way to whoever iterates it. @module */
import { InterruptedError } from "../../errors.ts";
import type { Reply } from "../../wire/mod.ts";
import { ReceiveWindow } from "./flow_control.ts";
import type { PendingReply } from "../inbox.ts";

/** Items that wait to be read, at most, of a worker that is not Warren and so knows no credit. */
const UNNUMBERED = 10_000;

/** More came than may wait to be read. */
function tooMuch({ sequence }: Reply, last: number): InterruptedError {
  const why = sequence === undefined
    ? `its worker sent more than ${UNNUMBERED} items that are not read yet`
    : `its worker sent item ${sequence} beyond its credit`;
  const text = `The stream was interrupted after item ${last}: ${why}`;
  return new InterruptedError(text, { data: { sequence: last } });
}

/** Waits for a stream, item by item. */
export class StreamReceiver implements PendingReply {
  #arrived: Reply[] = [];
  #next: PromiseWithResolvers<Reply> | undefined;
  #failed: { readonly error: unknown } | undefined;
  #sequence = 0;
  /** The last item that its worker has shown to have sent. */
  #shown = 0;
  #run: string | undefined;
  #ended = false;
  readonly #allowance = new ReceiveWindow();
  /** Inbox of the worker that has the call, once it has shown itself. */
  worker: string | undefined;
  /** Called at each item, and when there is room again. */
  alive: () => void = () => {};
  /** Called with the inbox of another worker, whose run has begun while this one has items already. */
  rival: (inbox: string | undefined) => void = () => {};
  /** Called when its worker was heard, also where what came is of no use. */
  heard: () => void = () => {};
  /** Called when the worker should know that items up to a number may come. */
  more: (upTo: number) => void = () => {};
  /** Called when it ends with an error: nothing more is awaited, whether somebody pulls or not. */
  failed: () => void = () => {};

  receive(reply: Reply): void {
    const over = this.#failed || this.#ended;
    if (!over && this.#rivals(reply)) return this.rival(reply.inbox);
    this.worker = reply.inbox ?? this.worker;
    if (over) return;
    // A worker that lives and yields nothing is silent all the same.
    if (reply.heartbeat) return this.#beat(reply);
    if (this.#exceeds(reply)) return this.fail(tooMuch(reply, this.#sequence));
    const inOrder = this.#inOrder(reply);
    this.#ended = inOrder && reply.ending;
    this.heard();
    if (!inOrder || this.#failed) return;
    if (this.#next) this.#next.resolve(this.#read(reply));
    else this.#arrived.push(reply);
    this.#next = undefined;
    this.alive();
  }

  /** True for an item that nobody let its worker send: it is not kept. */
  #exceeds({ sequence, ending }: Reply): boolean {
    if (sequence === undefined) return this.#arrived.length >= UNNUMBERED;
    return sequence > this.granted + (ending ? 1 : 0);
  }

  /** What it was told may have been lost; so may what it has sent, which no further item shows while it waits. */
  #beat({ sequence, runId }: Reply): void {
    const mine = this.#follows(runId);
    if (sequence !== undefined && mine) this.#show(sequence);
    if (!this.missing) this.more(this.granted);
    if (mine) this.heard();
  }

  /** True for a word of another run than the one that has begun: its worker may be back in a moment. */
  #rivals({ runId, inbox, heartbeat }: Reply): boolean {
    if (this.#sequence === 0) return false;
    if (runId !== undefined) return runId !== this.#run;
    return heartbeat === true && inbox !== undefined && inbox !== this.worker;
  }

  /** Its own run does not come back. */
  superseded(): void {
    this.#interrupt("Another run of the handler took its place");
  }

  /** True while items are missing that were sent. */
  get missing(): boolean {
    return this.#shown > this.#sequence;
  }

  /** True when nothing more will come. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Number of the item that comes next. */
  get upcoming(): number {
    return this.#sequence + 1;
  }

  /** Which run of the handler it is, once that is known. */
  get run(): string | undefined {
    return this.#run;
  }

  /** Items up to that one may come. */
  get granted(): number {
    return this.#allowance.granted;
  }

  /** What is missing does not come any more. */
  lost(): void {
    this.#interrupt(`Items ${this.upcoming} to ${this.#shown} were lost`);
  }

  /** True while so much waits to be read that the worker may wait as well. */
  get full(): boolean {
    return ReceiveWindow.full(this.#arrived.length);
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
      this.more(this.granted);
    }
    return reply;
  }

  /**
   * False for an item that came twice, and for one after a gap: it comes again behind those that are missing. Another run
   * of the handler ends the stream. Only Warren numbers its items.
   */
  #inOrder({ sequence, runId }: Reply): boolean {
    if (sequence === undefined) return true;
    if (!this.#follows(runId)) {
      return this.#interrupt("Another run of the handler took its place");
    }
    this.#show(sequence);
    if (sequence !== this.upcoming) return false;
    this.#sequence = sequence;
    return true;
  }

  /** True for the run that it is; while it has no item, it may become any. */
  #follows(run: string | undefined): boolean {
    if (this.#sequence > 0 || run === undefined) return run === this.#run;
    if (run !== this.#run) this.#shown = 0;
    this.#run = run;
    return true;
  }

  #show(sequence: number): void {
    this.#shown = Math.max(this.#shown, sequence);
  }

  #interrupt(why: string): false {
    const sequence = this.#sequence;
    const text = `The stream was interrupted after item ${sequence}`;
    this.fail(
      new InterruptedError(`${text}: ${why}`, { data: { sequence } }),
    );
    return false;
  }
}
