/** Ends of the consumers of a channel, by the client or by the broker. @module */
import type { ConsumerListener } from "./channel_input.ts";
import { notify } from "./listeners.ts";

/** Sends `basic.cancel` for a tag; `onReply` is called with the reply. */
type SendCancel = (
  consumerTag: string,
  onReply: () => void,
) => Promise<unknown>;

/** Ends the consumers of a channel. A consumer gets its messages until the broker has answered `basic.cancel`. */
export class ConsumerEnds {
  readonly #consumers: Map<string, ConsumerListener>;
  readonly #send: SendCancel;
  /** Listeners of consumers that are being cancelled, by their tags. */
  readonly #ending = new Map<string, ConsumerListener>();

  /** Removes listeners from `consumers`. */
  constructor(consumers: Map<string, ConsumerListener>, send: SendCancel) {
    this.#consumers = consumers;
    this.#send = send;
  }

  /** Cancels a consumer; its listener is removed with the reply, unless another consumer has the tag by then. */
  async cancel(consumerTag: string): Promise<void> {
    const listener = this.#consumers.get(consumerTag);
    if (listener) this.#ending.set(consumerTag, listener);
    const remove = (from: Map<string, ConsumerListener>) => {
      if (from.get(consumerTag) === listener) from.delete(consumerTag);
    };
    try {
      await this.#send(consumerTag, () => remove(this.#consumers));
    } finally {
      remove(this.#ending);
    }
  }

  /**
   * Handles a cancellation by the broker, with a cancellation in return. RabbitMQ 4.3 keeps a consumer that it has cancelled
   * for its `consumer_timeout`, and delivers to it again once its late messages are acknowledged.
   */
  onCancelled(consumerTag: string): void {
    const listener = this.#consumers.get(consumerTag);
    if (!listener || this.#ending.get(consumerTag) === listener) return;
    void this.cancel(consumerTag).catch(() => {}); // the channel was closed
    notify(() => listener.onCancelled?.(), undefined);
  }
}
