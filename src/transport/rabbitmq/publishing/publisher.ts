/** Publishing: with confirms, returns, attempts and back-pressure. @module */
import type { Message as Returned } from "npm:amqplib@2.3.1";
import { clearDeadline, setDeadline } from "../../../async/timer_wheel.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import type { Route } from "../connection/routes.ts";
import type { Message } from "../../transport.ts";
import type { Confirmation } from "../amqplib/publisher_confirms.ts";
import {
  disposed,
  late,
  type PublishOutcome,
  rejected,
  Returns,
  unroutable,
} from "./publish_errors.ts";
import { fromAmqp } from "../amqplib/properties.ts";
import {
  PublishChannel,
  type PublishingParts,
  type Sending,
} from "./publish_channel.ts";
import { isFatal } from "../connection/topology_errors.ts";
import { backoff } from "../../../async/backoff.ts";
import type { InFlightWindow } from "./publish_window.ts";

/** The attempts at a message so far. */
interface Sent {
  /** True if the broker may have it. */
  before: boolean;
  /** The attempt that the broker has not settled. */
  underway: Promise<PublishOutcome> | undefined;
}

/** What a publisher works with. */
export interface PublisherParts extends Omit<PublishingParts, "returned"> {
  /** Room for confirmed messages in flight. */
  readonly window: InFlightWindow;
  /** Told of mandatory messages that were posted and came back. */
  readonly returned: (message: Message) => void;
}

/** One channel for sending. */
export class Publisher {
  readonly #parts: PublisherParts;
  readonly #channel: PublishChannel;
  /** For messages that may be why the broker ended the other channel. They are sent one at a time, so that the next end tells. */
  readonly #apart: PublishChannel;
  #turn: Promise<unknown> = Promise.resolve();
  readonly #returns = new Returns();

  /** With or without confirms. */
  constructor(parts: PublisherParts, confirms: boolean) {
    this.#parts = parts;
    const returned = (message: Returned) => {
      if (confirms) this.#returns.add(message);
      else parts.returned(fromAmqp(message));
    };
    this.#channel = new PublishChannel({ ...parts, returned }, confirms);
    this.#apart = new PublishChannel({ ...parts, returned }, confirms);
  }

  /** Sends when there is room, and waits for the broker's word; see `Transport.publish`. */
  publish(route: Route, message: Message, deadline: Deadline): Promise<void> {
    const { messageId, body } = message;
    const room = this.#parts.window.tryAcquire(body.byteLength);
    const open = room && messageId && !deadline.signal &&
      this.#channel.tryGet(route);
    if (open) return this.#publishFast(open, route, message, deadline);
    return room
      ? this.#publishWithRetries(route, message, deadline)
      : this.#queue(route, message, deadline);
  }

  /** The usual case: sent at once, and taken. */
  #publishFast(
    open: Sending,
    route: Route,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return new Promise((resolve, reject) => {
      const give = () => this.#parts.window.release(message.body.byteLength);
      let waits = true;
      const expiry = setDeadline(deadline.at, () => {
        waits = false;
        reject(late(this.#parts.connection, route, true));
      });
      const told = (outcome: PublishOutcome) => {
        clearDeadline(expiry);
        if (outcome !== "taken" && waits) {
          return resolve(
            this.#publishWithRetries(route, message, deadline, outcome),
          );
        }
        give();
        resolve();
      };
      try {
        this.#send(this.#channel, open, route, message, told);
      } catch (error) {
        clearDeadline(expiry);
        give();
        reject(error); // AMQP cannot carry it
      }
    });
  }

  async #queue(
    route: Route,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    const turn = this.#parts.window.acquire(message.body.byteLength);
    try {
      await this.#channel.until(turn.granted, route, deadline, false);
    } catch (error) {
      turn.cancel();
      throw error;
    }
    await this.#publishWithRetries(route, message, deadline);
  }

  /**
   * There is room for it, which it gives back when the broker has settled it, however short its caller waits; `first` is what
   * became of a first attempt.
   */
  async #publishWithRetries(
    route: Route,
    message: Message,
    deadline: Deadline,
    first?: Exclude<PublishOutcome, "taken">,
  ): Promise<void> {
    const { messageId = crypto.randomUUID() } = message;
    const told = message.messageId === messageId
      ? message
      : { ...message, messageId }; // what comes back is told by it
    const sent: Sent = { before: first !== undefined, underway: undefined };
    let suspect = false;
    const attempt = () =>
      this.#attempt(
        suspect ? this.#apart : this.#channel,
        route,
        told,
        deadline,
        sent,
      );
    try {
      for (
        let n = first ? 0 : -1, outcome: PublishOutcome | undefined = first;;
        n++
      ) {
        if (outcome) {
          suspect = await this.#again(outcome, n, suspect, route, deadline);
        }
        const tried = await (suspect
          ? this.#alone(attempt, route, deadline, sent)
          : attempt());
        if (tried === "taken") {
          return;
        }
        outcome = tried;
      }
    } finally {
      this.#settle(message.body.byteLength, sent.underway);
    }
  }

  /** One attempt on a channel. */
  async #attempt(
    channel: PublishChannel,
    route: Route,
    message: Message,
    deadline: Deadline,
    sent: Sent,
  ): Promise<PublishOutcome> {
    const open = channel.tryGet(route) ??
      await channel.get(route, deadline, sent.before);
    sent.before = true;
    sent.underway = new Promise((resolve) =>
      this.#send(channel, open, route, message, resolve)
    );
    const outcome = await withDeadline(
      sent.underway,
      deadline,
      () => late(this.#parts.connection, route, true),
    );
    sent.underway = undefined;
    return outcome;
  }

  /** An attempt while no other message is under way on the channel apart. */
  async #alone(
    attempt: () => Promise<PublishOutcome>,
    route: Route,
    deadline: Deadline,
    { before }: Sent,
  ): Promise<PublishOutcome> {
    const { promise: over, resolve: done } = Promise.withResolvers<void>();
    const turn = this.#turn;
    this.#turn = turn.then(() => over);
    try {
      await withDeadline(
        turn,
        deadline,
        () => late(this.#parts.connection, route, before),
      );
      return await attempt();
    } finally {
      done();
    }
  }

  #settle(bytes: number, sending: Promise<unknown> | undefined): void {
    const { window } = this.#parts;
    if (!sending) return window.release(bytes);
    const give = () => window.release(bytes);
    void sending.then(give, give);
  }

  /** Sends and does not wait; see `Transport.post`. */
  async post(
    route: Route,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    for (;;) {
      const open = this.#channel.tryGet(route) ??
        await this.#channel.get(route, deadline, false);
      if (this.#channel.write(open, route, message)) return;
      await delay(0, deadline); // it is gone, and will say so
    }
  }

  /** Closes the channel; what is under way fails. */
  async close(): Promise<void> {
    await Promise.all([this.#channel.close(), this.#apart.close()]);
  }

  /** Throws unless the message may be sent again. True if it may be why its channel has ended. */
  async #again(
    outcome: Exclude<PublishOutcome, "taken">,
    attempt: number,
    suspect: boolean,
    route: Route,
    deadline: Deadline,
  ): Promise<boolean> {
    if (outcome === "returned") throw unroutable(route);
    if (outcome === "refused") throw rejected(route);
    if (this.#channel.closed) throw disposed(true);
    if (suspect && isFatal(outcome.code)) throw rejected(route, outcome);
    await delay(attempt === 0 ? 0 : backoff(attempt), deadline);
    return isFatal(outcome.code);
  }

  /** `told` is called when the broker has spoken, or the channel is gone. Throws if AMQP cannot carry it. */
  #send(
    channel: PublishChannel,
    open: Sending,
    route: Route,
    message: Message,
    told: (outcome: PublishOutcome) => void,
  ): void {
    const { messageId = "" } = message;
    const confirmed = (word: Confirmation) => {
      if (word === "taken") this.#parts.connection.recorder.proven();
      const back = this.#returns.take(
        messageId,
        route.exchange?.name ?? "",
        route.key,
      );
      if (back) told("returned");
      else if (word === "gone") void open.ended.then(told);
      else told(word);
    };
    const sent = channel.write(open, route, message, confirmed);
    if (!sent) void open.ended.then(told);
  }
}
