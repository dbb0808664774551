/** Writer of frames: all of one turn of the event loop in one write. @module */
import process from "node:process";
import { FrameWriter } from "../codec/frame_writer.ts";
import type { Socket } from "./socket.ts";

/** Bytes that were not written above which the socket is full. */
const HIGH_WATER_MARK_BYTES = 1024 * 1024;

/** Writes frames to a socket, one write at a time. */
export class SocketWriter {
  /** Encoder of the frames; call `schedule` after each frame. */
  readonly frames: FrameWriter = new FrameWriter();
  readonly #socket: Socket;
  readonly #onSent: () => void;
  readonly #onError: (error: Error) => void;
  #scheduled = false;
  #writing: Promise<void> | undefined;
  #inFlight = 0;
  #closed = false;
  #drained: PromiseWithResolvers<void> | undefined;

  /** `onSent` is called before each write. */
  constructor(
    socket: Socket,
    onSent: () => void,
    onError: (error: Error) => void,
  ) {
    this.#socket = socket;
    this.#onSent = onSent;
    this.#onError = onError;
  }

  /** True while more bytes are waiting than a socket takes at once. */
  get full(): boolean {
    return this.frames.length + this.#inFlight > HIGH_WATER_MARK_BYTES;
  }

  /** Resolves when the socket is not full any more, or closed. */
  drained(): Promise<void> {
    if (!this.full || this.#closed) return Promise.resolve();
    this.#drained ??= Promise.withResolvers();
    return this.#drained.promise;
  }

  /** Writes the frames at the end of this turn of the event loop. */
  schedule(): void {
    if (this.#scheduled) return;
    this.#scheduled = true;
    process.nextTick(this.#onTurnEnd);
  }

  /** Writes the frames now; resolves when everything is written, or the socket is closed. */
  flush(): Promise<void> {
    if (this.#writing) return this.#writing;
    if (this.frames.length === 0) return Promise.resolve(); // an earlier write took the frames
    return this.#writing = this.#write();
  }

  /** Drops all frames that are not written yet. */
  close(): void {
    this.#closed = true;
    this.#notifyDrained();
  }

  readonly #onTurnEnd = (): void => {
    this.#scheduled = false;
    if (!this.#closed) void this.flush();
  };

  async #write(): Promise<void> {
    const { frames } = this;
    try {
      while (frames.length > 0 && !this.#closed) {
        let bytes = frames.take();
        this.#inFlight = bytes.length;
        this.#onSent();
        while (bytes.length > 0) {
          const written = await this.#socket.write(bytes);
          bytes = bytes.subarray(written);
          this.#inFlight = bytes.length;
        }
        frames.reset();
        if (this.#drained && !this.full) this.#notifyDrained();
      }
    } catch (error) {
      if (!this.#closed) this.#onError(error as Error);
    } finally {
      this.#writing = undefined;
    }
  }

  #notifyDrained(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }
}
