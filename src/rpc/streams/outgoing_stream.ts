/** Stream of replies, on the worker that sends it. @module */
import { SendWindow, type StreamPosition } from "./flow_control.ts";
import type { ReplayBuffer } from "./replay_buffer.ts";

/** State of one outgoing stream. Created when the reader's first credit arrives, or when the handler returns a stream. */
export class OutgoingStream {
  readonly #window: SendWindow;
  #started = false;
  #replay: ReplayBuffer | undefined;
  #position: StreamPosition | undefined;

  /** Starts with the credit of the request; undefined = unlimited. */
  constructor(credit: number | undefined) {
    this.#window = new SendWindow(credit);
  }

  /** True once items were sent, so that another worker could only start the stream again from its beginning. */
  get started(): boolean {
    return this.#started;
  }

  /** Replay buffer, from which items are resent; undefined for peers that are not Warren. */
  get replay(): ReplayBuffer | undefined {
    return this.#replay;
  }

  /** Last item that the broker has confirmed, or that was written without a confirm. */
  get position(): StreamPosition | undefined {
    return this.#position;
  }

  /** True while the stream has sent nothing, so that its reader cannot have missed anything. */
  get untouched(): boolean {
    return !this.#started && this.#replay === undefined;
  }

  /** Sets the replay buffer, which numbers the messages. */
  setReplayBuffer(replay: ReplayBuffer | undefined): void {
    this.#replay = replay;
  }

  /** Notes that the first item is being sent. */
  start(): void {
    this.#started = true;
  }

  /** Receives a credit of the reader: items up to the number `upTo` may be sent. */
  grant(upTo: number): void {
    this.#window.grant(upTo);
  }

  /**
   * True if the item of this number exceeds the reader's credit. More credit would allow it, other than where the unread
   * items have too many bytes.
   */
  exceedsCredit(item: number): boolean {
    return this.#window.exceeds(item);
  }

  /** True if the item of this number may be sent. */
  hasRoom(item: number): boolean {
    return !this.exceedsCredit(item) && !this.#replay?.full;
  }

  /** Resolves when the item of this number may be sent; to false if the signal fires first. */
  async room(item: number, signal: AbortSignal): Promise<boolean> {
    while (!signal.aborted && !this.hasRoom(item)) {
      await this.#window.granted(signal);
    }
    return !signal.aborted;
  }

  /** Notes an item that the reader can have; earlier items have no effect. */
  sent(position: StreamPosition): void {
    const { sequence = 0 } = this.#position ?? {};
    if (Number(position.sequence) > sequence) this.#position = position;
  }
}
