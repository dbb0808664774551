/** Sender for quorum queues, which sends what the broker has refused again. @module */
import type { Channel, ReceivedMessage } from "../../../amqp/mod.ts";
import { backoff } from "../../../async/backoff.ts";
import { type Deadline, delay } from "../../../async/deadline.ts";
import type { Message } from "../../transport.ts";
import type { Route } from "../routes/entities.ts";
import { REFUSED_PAUSES_MS } from "./publication.ts";
import {
  PublishChannel,
  type PublishChannelOptions,
  writeMessage,
} from "./publish_channel.ts";

/** Collaborators of a sender. */
export interface QuorumSenderOptions
  extends Omit<PublishChannelOptions, "onReturned"> {
  /** Called with each mandatory message that reached no queue. */
  readonly onReturned: (message: ReceivedMessage) => void;
}

/**
 * Sends messages to quorum queues without waiting for their confirms. When the node of a queue fails, RabbitMQ drops what is
 * published on a channel without confirms, and refuses it on one with confirms, as long as that channel is used.
 */
export class QuorumSender {
  readonly #channel: PublishChannel;

  /** Opens nothing yet. */
  constructor(options: QuorumSenderOptions) {
    const onReturned = ({ message }: { readonly message: ReceivedMessage }) =>
      options.onReturned(message);
    this.#channel = new PublishChannel({ ...options, onReturned }, true);
  }

  /** Sends a message; see `Session.send`. It is sent again, until its deadline, if the broker refuses it. */
  async send(
    route: Route,
    message: Message,
    deadline: Deadline,
    retry = 0,
  ): Promise<void> {
    for (;;) {
      const channel = this.#channel.tryGet(route) ??
        await this.#channel.get(route, deadline, false);
      const written = writeMessage(channel, route, message, (confirmation) => {
        if (confirmation === "nack") {
          this.#onRefused(channel, { route, message, deadline, retry });
        }
      });
      if (written) return;
      await delay(0, deadline); // the channel is closed, and emits its end in a later turn
    }
  }

  /** Closes the channel. */
  async close(): Promise<void> {
    await this.#channel.close();
  }

  #onRefused(
    channel: Channel,
    { route, message, deadline, retry }: {
      readonly route: Route;
      readonly message: Message;
      readonly deadline: Deadline;
      readonly retry: number;
    },
  ): void {
    this.#channel.replace(channel);
    const sendAgain = async () => {
      await delay(backoff(retry, ...REFUSED_PAUSES_MS), deadline);
      if (performance.now() >= deadline.at) return;
      await this.send(route, message, deadline, retry + 1);
    };
    void sendAgain().catch(() => {}); // the deadline of the call has passed, or its connection has ended
  }
}
