/** Receiver of a stream: passes the items from the inbox to the iterator. @module */
import { InterruptedError } from "../../errors.ts";
import type { Reply } from "../../wire/mod.ts";
import type { Credit } from "../control_targets.ts";
import { ReceiveWindow } from "./flow_control.ts";
import type { PendingReply } from "../inbox.ts";

/** Maximum number of unread items from a worker without flow control, which is not Warren's. */
const MAX_UNREAD = 10_000;

/** Error for a worker that exceeds the limit of unread items. */
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
  /** Called when an item was received, or when there is room again for further items. */
  onProgress(): void;
  /**
   * Called for each reply and heartbeat of the worker, even if the reply is ignored. Items may be missing, or the
   * stream may have ended.
   */
  onReply(): void;
  /**
   * Called when another run of the handler has started, in the worker with this inbox, although this run has already
   * sent items.
   */
  onRival(inbox: string | undefined): void;
  /** Called when the worker gets credit for more items, and when its credit is repeated. */
  onCredit(credit: Credit): void;
  /**
   * The stream has ended: no further item is awaited, whether somebody pulls or not. Called at each failure, which is
   * undefined where all items have come before.
   */
  onEnd(failure: StreamFailure | undefined): void;
}

/** Reply that was received, and the size of its body. */
interface ReceivedReply {
  readonly reply: Reply;
  readonly bytes: number;
}

/** Receives the items of a stream, in order. */
export class StreamReceiver implements PendingReply {
  #unread: ReceivedReply[] = [];
  #unreadBytes = 0;
  #next: PromiseWithResolvers<Reply> | undefined;
  #failed: { readonly error: unknown } | undefined;
  #sequence = 0;
  /** Number of the last item that the worker is known to have sent. */
  #newest = 0;
  #run: string | undefined;
  #ended = false;
  readonly #window = new ReceiveWindow();
  readonly #listener: StreamListener | undefined;
  #worker: string | undefined;

  /** Without a listener, no credit is granted, and only the worker ends the stream. */
  constructor(listener?: StreamListener) {
    this.#listener = listener;
  }

  /** Inbox of the worker that runs the call; undefined before the first reply. */
  get worker(): string | undefined {
    return this.#worker;
  }

  receive(reply: Reply, bytes: number): void {
    const over = this.#failed || this.#ended;
    if (!over && this.#rivals(reply)) {
      return this.#listener?.onRival(reply.inbox);
    }
    this.#worker = reply.inbox ?? this.#worker;
    if (over) return;
    // Heartbeats do not count against the timeout, which limits the time between two items.
    if (reply.heartbeat) return this.#heartbeat(reply);
    if (this.#exceeds(reply)) return this.fail(tooMuch(reply, this.#sequence));
    const inOrder = this.#inOrder(reply);
    this.#ended = inOrder && reply.ending;
    this.#listener?.onReply();
    if (!inOrder || this.#failed) return;
    this.#store({ reply, bytes });
    this.#listener?.onProgress();
  }

  /** Passes a reply to the pending `next()`, or stores it until it is read. */
  #store(received: ReceivedReply): void {
    const pending = this.#next;
    if (pending) {
      this.#next = undefined;
      this.#grow(received.reply);
      return pending.resolve(this.#read(received));
    }
    this.#unread.push(received);
    this.#unreadBytes += received.bytes;
  }

  /** Enlarges the window for an item that has waited for credit, while the reader has waited for this item. */
  #grow({ window }: Reply): void {
    if (window !== undefined) this.#window.grow(window);
  }

  /** True for an item beyond the credit of the worker, which is not stored. */
  #exceeds({ sequence, ending }: Reply): boolean {
    if (sequence === undefined) return this.#unread.length >= MAX_UNREAD;
    return sequence > this.#window.granted + (ending ? 1 : 0);
  }

  /** A heartbeat may mean that a credit or an item was lost: repeats the credit and compares sequence numbers. */
  #heartbeat({ sequence, runId }: Reply): void {
    const mine = this.#follows(runId);
    if (sequence !== undefined && mine) this.#noteSent(sequence);
    if (!this.missing) this.#listener?.onCredit(this.credit);
    if (mine) this.#listener?.onReply();
  }

  /**
   * True for a reply of another run than this stream's, which has already started. The worker of this stream may
   * reconnect in a moment.
   */
  #rivals({ runId, inbox, heartbeat }: Reply): boolean {
    if (this.#sequence === 0) return false;
    if (runId !== undefined) return runId !== this.#run;
    return heartbeat === true && inbox !== undefined && inbox !== this.#worker;
  }

  /** Interrupts the stream, because the worker of its run has not reconnected in time. */
  failSuperseded(): void {
    this.#interrupt("Another run of the handler took its place");
  }

  /** True while items are missing that the worker has sent. */
  get missing(): boolean {
    return this.#newest > this.#sequence;
  }

  /** True when nothing more will be received. */
  get ended(): boolean {
    return this.#ended;
  }

  /** Number of the next item. */
  get upcoming(): number {
    return this.#sequence + 1;
  }

  /** Id of the handler's run; undefined before the first reply that has it. */
  get run(): string | undefined {
    return this.#run;
  }

  /** Credit of the worker. */
  get credit(): Credit {
    return this.#window.credit;
  }

  /** Interrupts the stream, because its missing items were not received in time. */
  failLost(): void {
    this.#interrupt(`Items ${this.upcoming} to ${this.#newest} were lost`);
  }

  /** True if so many items are unread that the worker may be waiting for credit. */
  get full(): boolean {
    return this.#window.full(this.#unread.length, this.#unreadBytes);
  }

  /** Ends the stream with an error, which is thrown after the unread items; `discardUnread` drops these items. */
  fail(error: unknown, discardUnread = false): void {
    if (discardUnread) this.#discardUnread();
    this.#failed ??= { error };
    const complete = this.#ended && !discardUnread;
    this.#listener?.onEnd(complete ? undefined : { cause: error });
    this.#next?.reject(error);
    this.#next = undefined;
  }

  #discardUnread(): void {
    this.#unread = [];
    this.#unreadBytes = 0;
  }

  onUnroutable(error: unknown): void {
    this.fail(error);
  }

  /** Returns the next item, or the ending. */
  next(): Promise<Reply> {
    const { full } = this;
    const received = this.#unread.shift();
    if (received) {
      this.#unreadBytes -= received.bytes;
      const reply = this.#read(received);
      if (full && !this.full) this.#listener?.onProgress();
      return Promise.resolve(reply);
    }
    if (this.#failed) return Promise.reject(this.#failed.error);
    this.#next = Promise.withResolvers();
    return this.#next.promise;
  }

  /** Counts an item that is read, and grants credit. */
  #read({ reply, bytes }: ReceivedReply): Reply {
    const { sequence, ending } = reply;
    if (sequence !== undefined && !ending && this.#window.read(bytes)) {
      this.#listener?.onCredit(this.credit);
    }
    return reply;
  }

  /**
   * Checks the sequence number of an item. False for an item that was received twice, and for an item after a gap,
   * which is resent after the missing ones. An item of another run of the handler ends the stream. Only Warren numbers
   * its items.
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

  /** True for a reply of this stream's run. Before the first item, the stream follows any run. */
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
