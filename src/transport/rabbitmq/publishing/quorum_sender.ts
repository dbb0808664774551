/** Sender for quorum queues, which sends what the broker has refused again. @module */
import type { Channel, ReceivedMessage } from "../../../amqp/mod.ts";
import { backoff } from "../../../async/backoff.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import type { Message } from "../../transport.ts";
import type { Route } from "../routes/entities.ts";
import { REFUSED_PAUSES_MS } from "./publication.ts";
import type { MessageSizes } from "./message_sizes.ts";
import { PublishChannel, writeMessage } from "./publish_channel.ts";
import type { SenderOptions } from "./unconfirmed_sender.ts";

/**
 * Sends messages to quorum queues without waiting for their confirms. When the node of a queue fails, RabbitMQ drops what is
 * published on a channel without confirms, and refuses it on one with confirms, as long as that channel is used.
 */
export class QuorumSender {
  readonly #channel: PublishChannel;
  readonly #sizes: MessageSizes;

  /** Opens nothing yet. */
  constructor(options: SenderOptions) {
    this.#sizes = options.sizes;
    const onReturned = ({ message }: { readonly message: ReceivedMessage }) =>
      options.onReturned(message);
    this.#channel = new PublishChannel({ ...options, onReturned }, true);
  }

  /**
   * Sends a message; see `Session.send`. It is sent again, until its deadline, if the broker refuses it, or closes the channel
   * because of another message. Waits for the broker only if the message is larger than all that the broker has accepted.
   */
  async send(
    route: Route,
    message: Message,
    deadline: Deadline,
    retry = 0,
  ): Promise<void> {
    const { byteLength } = message.body;
    for (;;) {
      const refusal = this.#sizes.refusal(route, message);
      if (refusal) throw refusal;
      const channel = this.#channel.tryGet(route) ??
        await this.#channel.get(route, deadline, false);
      const taken = Promise.withResolvers<void>();
      const sendAgain = () => this.send(route, message, deadline, retry + 1);
      const written = writeMessage(channel, route, message, (confirmation) => {
        if (confirmation === "ack") this.#sizes.accept(byteLength);
        if (confirmation === "nack") {
          this.#onRefused(channel, deadline, retry, sendAgain);
        }
        taken.resolve(
          confirmation === "lost"
            ? this.#onLost(channel, sendAgain)
            : undefined,
        );
      });
      if (!written) {
        await delay(0, deadline); // the channel is closed, and emits its end in a later turn
        continue;
      }
      const over = () => undefined; // the message is written as far as can be told
      const isKnown = this.#sizes.isAccepted(byteLength);
      taken.promise.catch(() => {}); // the call may have its answer or its error already
      return isKnown
        ? undefined
        : await withDeadline(taken.promise, deadline, over).catch(ignoreOver);
    }
  }

  /** Closes the channel. */
  async close(): Promise<void> {
    await this.#channel.close();
  }

  /** Sends a message again if its channel was closed because of a message that was too large, this one or another. */
  async #onLost(
    channel: Channel,
    sendAgain: () => Promise<void>,
  ): Promise<void> {
    if (this.#sizes.learn(await channel.closed)) await sendAgain();
  }

  #onRefused(
    channel: Channel,
    deadline: Deadline,
    retry: number,
    sendAgain: () => Promise<void>,
  ): void {
    this.#channel.replace(channel);
    const afterPause = async () => {
      await delay(backoff(retry, ...REFUSED_PAUSES_MS), deadline);
      if (performance.now() < deadline.at) await sendAgain();
    };
    void afterPause().catch(() => {}); // the deadline of the call has passed, or its connection has ended
  }
}

/** Ends a wait at its deadline without an error. */
function ignoreOver(error: unknown): void {
  if (error !== undefined) throw error;
}
