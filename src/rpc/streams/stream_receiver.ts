/** The items of a stream between the inbox and the iterator. @module */
import { InterruptedError } from "../../errors.ts";
import type { Reply } from "../../wire/mod.ts";
import { ReceiveWindow } from "./flow_control.ts";
import type { PendingReply } from "../inbox.ts";

/** Unread items at most of a worker that is not Warren and so knows no credit. */
const MAX_UNREAD = 10_000;

/** Error for a worker that sends more items than may be unread. */
function tooMuch({ sequence }: Reply, last: number): InterruptedError {
  const why = sequence === undefined
    ? `its worker sent more than ${MAX_UNREAD} items that are not read yet`
    : `its worker sent item ${sequence} beyond its credit`;
  const text = `The stream was interrupted after item ${last}: ${why}`;
  return new InterruptedError(text, { data: { sequence: last } });
}

/** Failure of a stream. */
export interface StreamFailure {
  /** Error with which the stream ends. */
  readonly cause: unknown;
}

/** Gets the events of a stream. */
export interface StreamListener {
  /** An item was received, or there is room again for further items. */
  onProgress(): void;
  /** Its worker was heard, also by a reply that is of no use; items may be missing, or it may have ended. */
  onReply(): void;
  /** Another run of the handler has begun, in the worker with that inbox, while this run has sent items already. */
  onRival(inbox: string | undefined): void;
  /** The worker may send items up to a number. */
  onCredit(upTo: number): void;
  /**
   * The stream has ended: no further item is awaited, whether somebody pulls or not. Called at each failure, which is
   * undefined where all items have come before.
   */
  onEnd(failure: StreamFailure | undefined): void;
}

/** Waits for a stream, item by item. */
export class StreamReceiver implements PendingReply {
  #unread: Reply[] = [];
  #next: PromiseWithResolvers<Reply> | undefined;
  #failed: { readonly error: unknown } | undefined;
  #sequence = 0;
  /** The last item that its worker is known to have sent. */
  #newest = 0;
  #run: string | undefined;
  #ended = false;
  readonly #allowance = new ReceiveWindow();
  readonly #listener: StreamListener | undefined;
  #worker: string | undefined;

  /** Without a listener nobody grants credit, and nothing ends the stream but its worker. */
  constructor(listener?: StreamListener) {
    this.#listener = listener;
  }

  /** Inbox of the worker that has the call, once a reply has named it. */
  get worker(): string | undefined {
    return this.#worker;
  }

  receive(reply: Reply): void {
    const over = this.#failed || this.#ended;
    if (!over && this.#rivals(reply)) {
      return this.#listener?.onRival(reply.inbox);
    }
    this.#worker = reply.inbox ?? this.#worker;
    if (over) return;
    // A worker that lives and yields nothing is silent all the same.
    if (reply.heartbeat) return this.#heartbeat(reply);
    if (this.#exceeds(reply)) return this.fail(tooMuch(reply, this.#sequence));
    const inOrder = this.#inOrder(reply);
    this.#ended = inOrder && reply.ending;
    this.#listener?.onReply();
    if (!inOrder || this.#failed) return;
    if (this.#next) this.#next.resolve(this.#read(reply));
    else this.#unread.push(reply);
    this.#next = undefined;
    this.#listener?.onProgress();
  }

  /** True for an item beyond the credit of its worker: it is not stored. */
  #exceeds({ sequence, ending }: Reply): boolean {
    if (sequence === undefined) return this.#unread.length >= MAX_UNREAD;
    return sequence > this.granted + (ending ? 1 : 0);
  }

  /** A heartbeat may mean that a credit or an item was lost: repeats the credit and compares sequence numbers. */
  #heartbeat({ sequence, runId }: Reply): void {
    const mine = this.#follows(runId);
    if (sequence !== undefined && mine) this.#noteSent(sequence);
    if (!this.missing) this.#listener?.onCredit(this.granted);
    if (mine) this.#listener?.onReply();
  }

  /** True for a reply of another run than the one that has begun: the worker of this one may be back in a moment. */
  #rivals({ runId, inbox, heartbeat }: Reply): boolean {
    if (this.#sequence === 0) return false;
    if (runId !== undefined) return runId !== this.#run;
    return heartbeat === true && inbox !== undefined && inbox !== this.#worker;
  }

  /** Interrupts the stream: the worker of its run does not come back. */
  superseded(): void {
    this.#interrupt("Another run of the handler took its place");
  }

  /** True while items are missing that the worker has sent. */
  get missing(): boolean {
    return this.#newest > this.#sequence;
  }

  /** True when nothing more will come. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Number of the item that comes next. */
  get upcoming(): number {
    return this.#sequence + 1;
  }

  /** Id of the handler's run, once a reply has told it. */
  get run(): string | undefined {
    return this.#run;
  }

  /** Number of the last item that the worker may send. */
  get granted(): number {
    return this.#allowance.granted;
  }

  /** Interrupts the stream: its missing items do not come any more. */
  lost(): void {
    this.#interrupt(`Items ${this.upcoming} to ${this.#newest} were lost`);
  }

  /** True while so many items are unread that the worker may wait for credit. */
  get full(): boolean {
    return ReceiveWindow.full(this.#unread.length);
  }

  /** Ends the stream with an error, which comes after the items that are unread; `discardUnread` drops these. */
  fail(error: unknown, discardUnread = false): void {
    if (discardUnread) this.#unread = [];
    this.#failed ??= { error };
    const complete = this.#ended && !discardUnread;
    this.#listener?.onEnd(complete ? undefined : { cause: error });
    this.#next?.reject(error);
    this.#next = undefined;
  }

  unrouted(error: unknown): void {
    this.fail(error);
  }

  /** The next item, or the ending. */
  next(): Promise<Reply> {
    const { full } = this;
    const reply = this.#unread.shift();
    if (full && !this.full) this.#listener?.onProgress();
    if (reply) return Promise.resolve(this.#read(reply));
    if (this.#failed) return Promise.reject(this.#failed.error);
    this.#next = Promise.withResolvers();
    return this.#next.promise;
  }

  #read(reply: Reply): Reply {
    if (
      reply.sequence !== undefined && !reply.ending && this.#allowance.read()
    ) {
      this.#listener?.onCredit(this.granted);
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
    this.#noteSent(sequence);
    if (sequence !== this.upcoming) return false;
    this.#sequence = sequence;
    return true;
  }

  /** True for a reply of this stream's run; before the first item, any run becomes this stream's. */
  #follows(run: string | undefined): boolean {
    if (this.#sequence > 0 || run === undefined) return run === this.#run;
    if (run !== this.#run) this.#newest = 0;
    this.#run = run;
    return true;
  }

  #noteSent(sequence: number): void {
    this.#newest = Math.max(this.#newest, sequence);
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
