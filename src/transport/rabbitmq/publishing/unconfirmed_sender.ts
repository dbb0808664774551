/**
 * Sender without publisher confirms, which cost the broker more than the message itself.
 *
 * @module
 */
import type { AmqpError, Channel, ReceivedMessage } from "../../../amqp/mod.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import type { Message } from "../../transport.ts";
import type { Route } from "../routes/entities.ts";
import type { MessageSizes } from "./message_sizes.ts";
import {
  PublishChannel,
  type PublishChannelOptions,
  writeMessage,
} from "./publish_channel.ts";

/** Promise of a message that was written at once. */
const SENT = Promise.resolve();

/** Collaborators of a sender. */
export interface SenderOptions
  extends Omit<PublishChannelOptions, "onReturned"> {
  /** Sizes that the broker accepts. */
  readonly sizes: MessageSizes;
  /** Called with each mandatory message that reached no queue. */
  readonly onReturned: (message: ReceivedMessage) => void;
}

/**
 * Sends on a channel of its own. A message that is larger than all that the broker has accepted is tried: a request follows
 * it, whose reply shows that the broker has taken it. If the message was too large, the broker has closed the channel; what
 * was written behind it is then sent again.
 */
export class UnconfirmedSender {
  readonly #channel: PublishChannel;
  readonly #sizes: MessageSizes;
  /** Last trial that the broker has not answered. Resolves with the end of the channel, unless that is still open. */
  #trial: Promise<AmqpError | undefined> | undefined;

  /** Opens nothing yet. */
  constructor(options: SenderOptions) {
    const onReturned = ({ message }: { readonly message: ReceivedMessage }) =>
      options.onReturned(message);
    this.#sizes = options.sizes;
    this.#channel = new PublishChannel({ ...options, onReturned }, false);
  }

  /** Sends without waiting for the broker, unless a trial is needed or runs; see `Session.send`. */
  send(route: Route, message: Message, deadline: Deadline): Promise<void> {
    const isKnown = !this.#trial &&
      this.#sizes.isAccepted(message.body.byteLength);
    const channel = isKnown ? this.#channel.tryGet(route) : undefined;
    try {
      const written = channel && writeMessage(channel, route, message);
      return written ? SENT : this.#sendLater(route, message, deadline);
    } catch (error) {
      return Promise.reject(error); // AMQP cannot encode the message
    }
  }

  /** Closes the channel. */
  async close(): Promise<void> {
    await this.#channel.close();
  }

  /** Sends when the channel can be written to, and waits for the trial of this message or of one before it. */
  async #sendLater(
    route: Route,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    for (;;) {
      const refusal = this.#sizes.refusal(route, message);
      if (refusal) throw refusal;
      const channel = this.#channel.tryGet(route) ??
        await this.#channel.get(route, deadline, false);
      if (!writeMessage(channel, route, message)) {
        await delay(0, deadline); // the channel is closed, and emits its end in a later turn
        continue;
      }
      const { byteLength } = message.body;
      const trial = this.#sizes.isAccepted(byteLength)
        ? this.#trial
        : this.#startTrial(channel, byteLength);
      // At the deadline, the message is written as far as can be told.
      const end = trial &&
        await withDeadline(trial, deadline, () => undefined)
          .catch(() => undefined);
      // A message that was lost with its connection is not sent again.
      if (!end || !this.#sizes.learn(end)) return;
    }
  }

  /** Asks the broker for a reply after a message of that many bytes. */
  #startTrial(
    channel: Channel,
    bytes: number,
  ): Promise<AmqpError | undefined> {
    const { closed } = channel;
    const trial = channel.request("basic.qos", {}).then(
      () => void this.#sizes.accept(bytes),
      () => closed,
    ).finally(() => {
      if (this.#trial === trial) this.#trial = undefined;
    });
    this.#trial = trial;
    return trial;
  }
}
