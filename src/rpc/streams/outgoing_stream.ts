/** Stream of replies at the worker that sends it. @module */
import { SendWindow, type StreamPosition } from "./flow_control.ts";
import type { ReplayBuffer } from "./replay_buffer.ts";

/** State of one outgoing stream. It is made when the reader's first credit arrives, or when the handler returns a stream. */
export class OutgoingStream {
  readonly #window: SendWindow;
  #started = false;
  #replay: ReplayBuffer | undefined;
  #position: StreamPosition | undefined;

  /** Starts with the credit of the request; undefined = the reader takes any number of items. */
  constructor(credit: number | undefined) {
    this.#window = new SendWindow(credit);
  }

  /** True once items were sent: another worker could only start the stream anew. */
  get started(): boolean {
    return this.#started;
  }

  /** Items that were sent and may be asked for again; undefined for peers that are not Warren. */
  get replay(): ReplayBuffer | undefined {
    return this.#replay;
  }

  /** Last item that the broker has confirmed. */
  get position(): StreamPosition | undefined {
    return this.#position;
  }

  /** True while the stream has sent nothing, so that its reader cannot have missed anything. */
  get untouched(): boolean {
    return !this.#started && this.#replay === undefined;
  }

  /** Numbers the messages by a replay buffer. */
  number(replay: ReplayBuffer | undefined): void {
    this.#replay = replay;
  }

  /** Notes that items are being sent. */
  start(): void {
    this.#started = true;
  }

  /** Takes a credit of the reader: items up to that number may be sent. */
  grant(upTo: number): void {
    this.#window.grant(upTo);
  }

  /** Resolves when the item of that number may be sent; to false if the signal fires before. */
  room(item: number, signal: AbortSignal): Promise<boolean> {
    return this.#window.room(item, signal);
  }

  /** Notes an item that the broker has confirmed; confirmations of earlier items change nothing. */
  confirm(position: StreamPosition): void {
    const { sequence = 0 } = this.#position ?? {};
    if (Number(position.sequence) > sequence) this.#position = position;
  }
}
