/** Publisher: confirms, returned messages, retries and back-pressure. @module */
import type {
  Channel,
  Confirmation,
  ReceivedMessage,
  ReturnedMessage,
} from "../../../amqp/mod.ts";
import { clearDeadline, setDeadline } from "../../../async/timer_wheel.ts";
import { type Deadline, withDeadline } from "../../../async/deadline.ts";
import type { Route } from "../routes/entities.ts";
import type { Message } from "../../transport.ts";
import type { MessageSizes } from "./message_sizes.ts";
import {
  type Failure,
  isRejected,
  newPublication,
  prepareRetry,
  type Publication,
} from "./publication.ts";
import {
  disposedError,
  type PublishOutcome,
  publishTimeoutError,
  rejectedError,
  ReturnedMessages,
} from "./publish_errors.ts";
import {
  PublishChannel,
  type PublishChannelOptions,
  writeMessage,
} from "./publish_channel.ts";
import type { InFlightWindow } from "./publish_window.ts";

/** Collaborators of a publisher. */
export interface PublisherOptions
  extends Omit<PublishChannelOptions, "onReturned"> {
  /** Window for confirmed messages in flight. */
  readonly window: InFlightWindow;
  /** Sizes that the broker accepts. */
  readonly sizes: MessageSizes;
  /** Called with each mandatory message that was sent without confirms and reached no queue. */
  readonly onReturned: (message: ReceivedMessage) => void;
}

/** Publishes with confirms, on a channel of its own. */
export class Publisher {
  readonly #options: PublisherOptions;
  readonly #channel: PublishChannel;
  /**
   * Channel for messages that may be the reason why the broker closed the other one. They are sent one at a time, so that
   * the next closed channel shows which message is at fault.
   */
  readonly #suspectChannel: PublishChannel;
  #suspectTurn: Promise<unknown> = Promise.resolve();
  readonly #returned = new ReturnedMessages();

  /** Opens nothing yet. */
  constructor(options: PublisherOptions) {
    this.#options = options;
    const onReturned = (returned: ReturnedMessage) =>
      this.#returned.add(returned);
    const channelOptions = { ...options, onReturned };
    this.#channel = new PublishChannel(channelOptions, true);
    this.#suspectChannel = new PublishChannel(channelOptions, true);
  }

  /** Publishes when the window has room, and waits for the confirm; see `Session.publish`. */
  publish(route: Route, message: Message, deadline: Deadline): Promise<void> {
    const { messageId, body } = message;
    const refusal = this.#options.sizes.refusal(route, message);
    if (refusal) return Promise.reject(refusal);
    const acquired = this.#options.window.tryAcquire(body.byteLength);
    const channel = acquired && messageId && !deadline.signal &&
      this.#channel.tryGet(route);
    if (channel) return this.#publishFast(channel, route, message, deadline);
    return acquired
      ? this.#publishWithRetries(route, message, deadline)
      : this.#publishWhenRoom(route, message, deadline);
  }

  /** Publishes on a channel that can be written to at once, which is the usual case. */
  #publishFast(
    channel: Channel,
    route: Route,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const release = () =>
        this.#options.window.release(message.body.byteLength);
      let waiting = true;
      const timer = setDeadline(deadline.at, () => {
        waiting = false;
        reject(publishTimeoutError(this.#options.connection, route, true));
      });
      const onOutcome = (outcome: PublishOutcome) => {
        clearDeadline(timer);
        if (outcome !== "ack" && waiting) {
          return resolve(
            this.#publishWithRetries(route, message, deadline, outcome),
          );
        }
        release();
        resolve();
      };
      try {
        this.#write(channel, route, message, onOutcome);
      } catch (error) {
        clearDeadline(timer);
        release();
        reject(error); // AMQP cannot encode the message
      }
    });
  }

  async #publishWhenRoom(
    route: Route,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    await this.#acquireRoom(route, message, deadline, false);
    await this.#publishWithRetries(route, message, deadline);
  }

  async #acquireRoom(
    route: Route,
    { body }: Message,
    deadline: Deadline,
    sent: boolean,
  ): Promise<void> {
    const room = this.#options.window.acquire(body.byteLength);
    try {
      await this.#channel.waitFor(room.granted, route, deadline, sent);
    } catch (error) {
      room.cancel();
      throw error;
    }
  }

  /**
   * Publishes until the broker confirms, also after it has refused the message: a full queue may have room again, and the
   * node of a queue may have failed. The caller has acquired room in the window, which is released when the broker has
   * settled the message, even if that is after the deadline, and while a refused message waits for its next attempt.
   * `failure` is the outcome of a first attempt.
   */
  async #publishWithRetries(
    route: Route,
    message: Message,
    deadline: Deadline,
    failure?: Failure,
  ): Promise<void> {
    const publication = newPublication(route, message, deadline, failure);
    try {
      let last = failure;
      for (let retry = last ? 0 : -1;; retry++) {
        if (last && this.#channel.closed) throw disposedError(true);
        if (last === "nack") this.#releaseRoom(publication); // other queues may take their messages meanwhile
        if (last) {
          await prepareRetry(publication, last, retry, this.#options.sizes);
        }
        if (!publication.hasRoom) {
          await this.#acquireRoom(route, message, deadline, true);
          publication.hasRoom = true;
        }
        const outcome = await (publication.suspect
          ? this.#attemptSuspect(publication)
          : this.#attempt(publication, this.#channel));
        if (outcome === "ack") {
          return;
        }
        last = outcome;
      }
    } catch (error) {
      throw isRejected(publication) ? rejectedError(route) : error;
    } finally {
      this.#releaseRoom(publication);
    }
  }

  /** Makes one attempt on a channel. */
  async #attempt(
    publication: Publication,
    publishChannel: PublishChannel,
  ): Promise<PublishOutcome> {
    const { route, message, deadline, sent } = publication;
    const channel = publishChannel.tryGet(route) ??
      await publishChannel.get(route, deadline, sent);
    publication.sent = true;
    publication.pending = new Promise((resolve) =>
      this.#write(channel, route, message, resolve)
    );
    const outcome = await withDeadline(
      publication.pending,
      deadline,
      () => publishTimeoutError(this.#options.connection, route, true),
    );
    publication.pending = undefined;
    return outcome;
  }

  /** Makes one attempt while no other message is in flight on the channel for suspect messages. */
  async #attemptSuspect(publication: Publication): Promise<PublishOutcome> {
    const { route, deadline, sent } = publication;
    const { promise: finished, resolve: finish } = Promise.withResolvers<
      void
    >();
    const turn = this.#suspectTurn;
    this.#suspectTurn = turn.then(() => finished);
    try {
      await withDeadline(
        turn,
        deadline,
        () => publishTimeoutError(this.#options.connection, route, sent),
      );
      return await this.#attempt(publication, this.#suspectChannel);
    } finally {
      finish();
    }
  }

  /** Releases the room of a message, once the broker has settled the last attempt. */
  #releaseRoom(publication: Publication): void {
    const { message: { body }, pending, hasRoom } = publication;
    const release = () => this.#options.window.release(body.byteLength);
    publication.hasRoom = false;
    if (!hasRoom) return;
    if (pending) void pending.then(release, release);
    else release();
  }

  /** Closes both channels; messages in flight fail. */
  async close(): Promise<void> {
    await Promise.all([this.#channel.close(), this.#suspectChannel.close()]);
  }

  /** Writes a message. `onOutcome` is called when the broker has settled it or the channel has ended. Throws if AMQP cannot encode it. */
  #write(
    channel: Channel,
    route: Route,
    message: Message,
    onOutcome: (outcome: PublishOutcome) => void,
  ): void {
    const { messageId = "" } = message;
    const onConfirm = (confirmation: Confirmation) => {
      if (confirmation === "ack") {
        this.#options.connection.recorder.recordProof();
      }
      const returned = this.#returned.tryRemove(
        messageId,
        route.exchange?.name ?? "",
        route.key,
      );
      if (confirmation === "nack") {
        this.#channel.replace(channel);
        this.#suspectChannel.replace(channel);
      }
      if (returned) onOutcome("returned");
      else if (confirmation === "lost") void channel.closed.then(onOutcome);
      else onOutcome(confirmation);
    };
    const written = writeMessage(channel, route, message, onConfirm);
    if (!written) void channel.closed.then(onOutcome);
  }
}
