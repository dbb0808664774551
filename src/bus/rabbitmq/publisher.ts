/** A publishing channel: opened when needed, reopened after a loss, with confirms, returns and back-pressure. @module */
import { Buffer } from "node:buffer";
import type {
  Channel,
  ConfirmChannel,
  Message as Returned,
  Options,
} from "npm:amqplib@^2.3.1";
import {
  BlockedError,
  ConnectionDisposedError,
  ConnectionFailedError,
  NoRouteError,
  RejectedError,
  TimeoutError,
  UnconfirmedError,
} from "../../errors.ts";
import { pause, type Wait, within } from "../../deadlines.ts";
import type { Route } from "../routes.ts";
import type { Message } from "../transport.ts";
import {
  type ChannelEnd,
  type Open,
  openChannel,
  openConfirmChannel,
} from "./channel.ts";
import { fromAmqp, toAmqp } from "./properties.ts";
import { backoff, type Side } from "./side.ts";
import { isFatal, type Topology } from "./topology.ts";

/** What became of one attempt to send. */
type Outcome = "taken" | "returned" | "refused" | ChannelEnd;

/** Attempts of a message on a channel that a refusal ended: it may have been another message's fault. */
const SUSPECT = 3;

/** What a publisher works with. */
export interface PublisherParts {
  /** The connection. */
  readonly side: Side;
  /** Declares the exchange of a route. */
  readonly topology: Topology;
  /** Told of mandatory messages that were posted and came back. */
  readonly returned: (message: Message) => void;
}

const where = (route: Route) =>
  route.exchange
    ? `exchange ${route.exchange.name}, key "${route.key}"`
    : `queue ${route.key}`;

/** One channel for sending. */
export class Publisher {
  readonly #parts: PublisherParts;
  readonly #confirms: boolean;
  readonly #closing = new AbortController();
  #open: Open<Channel | ConfirmChannel> | undefined;
  #opening: Promise<Open<Channel | ConfirmChannel>> | undefined;
  #drained: PromiseWithResolvers<void> | undefined;
  /** Ids of confirmed sends that came back; the return always comes before its confirm. */
  readonly #cameBack = new Set<string>();

  /** With or without confirms. */
  constructor(parts: PublisherParts, confirms: boolean) {
    this.#parts = parts;
    this.#confirms = confirms;
  }

  /** Sends and waits for the broker's word; see `Transport.publish`. */
  async publish(route: Route, message: Message, wait: Wait): Promise<void> {
    let sent = false;
    for (let attempt = 0;; attempt++) {
      const { channel, ended } = await this.#ready(route, wait, sent);
      sent = true;
      const confirm = this.#send(
        channel as ConfirmChannel,
        ended,
        route,
        message,
      );
      const outcome = await within(
        confirm,
        wait,
        () => this.#late(route, true),
      );
      if (outcome === "taken") return;
      await this.#again(outcome, attempt, route, wait);
    }
  }

  /** Sends and does not wait; see `Transport.post`. */
  async post(route: Route, message: Message, wait: Wait): Promise<void> {
    let open = this.#usable(route);
    do open ??= await this.#ready(route, wait, false); while (
      !this.#write(open.channel, route, message)
    );
  }

  /** Closes the channel; what is under way fails. */
  async close(): Promise<void> {
    this.#closing.abort();
    await (await this.#opening?.catch(() => undefined))?.close();
    await this.#open?.close();
  }

  /** Throws unless the message may be sent again. */
  async #again(
    outcome: Exclude<Outcome, "taken">,
    attempt: number,
    route: Route,
    wait: Wait,
  ): Promise<void> {
    if (outcome === "returned") {
      throw new NoRouteError(
        `No queue takes a message for ${
          where(route)
        }: nobody has served it yet`,
        {
          data: { key: route.key },
        },
      );
    }
    if (outcome === "refused") {
      throw new RejectedError(
        `The broker refused a message for ${
          where(route)
        }: its queue is full, or cannot store it`,
      );
    }
    if (this.#closing.signal.aborted) throw this.#disposed(true);
    if (outcome.code === 404 && route.exchange) {
      this.#parts.topology.forget(route.exchange);
    }
    if (isFatal(outcome.code) && attempt + 1 >= SUSPECT) {
      throw new RejectedError(
        `The broker refused a message for ${where(route)}: ${outcome.reason}`,
        {
          data: { replyCode: outcome.code },
        },
      );
    }
    await pause(attempt === 0 ? 0 : backoff(attempt), wait);
  }

  /** The channel if it can be written to at once: the usual case, without a turn of the event loop. */
  #usable(route: Route): Open<Channel | ConfirmChannel> | undefined {
    const free = this.#open?.alive && !this.#drained &&
      !this.#parts.side.blocked && !this.#closing.signal.aborted;
    const declared = !route.exchange ||
      this.#parts.topology.knows(route.exchange);
    return free && declared ? this.#open : undefined;
  }

  async #ready(
    route: Route,
    wait: Wait,
    sent: boolean,
  ): Promise<Open<Channel | ConfirmChannel>> {
    const { side, topology } = this.#parts;
    for (;;) {
      if (this.#closing.signal.aborted) throw this.#disposed(sent);
      if (side.failure) throw side.failure;
      if (side.blocked || !side.socket) {
        await within(side.changed(), wait, () => this.#late(route, sent));
        continue;
      }
      if (route.exchange) await topology.exchange(route.exchange, wait);
      const open = await within(
        this.#channel(),
        wait,
        () => this.#late(route, sent),
      );
      if (this.#drained) {
        await within(
          this.#drained.promise,
          wait,
          () => this.#late(route, sent),
        );
      } else if (open.alive && !side.blocked) return open;
      else await pause(0, wait);
    }
  }

  /** The open channel, or a new one; several who ask get the same. */
  #channel(): Promise<Open<Channel | ConfirmChannel>> {
    if (this.#open?.alive) return Promise.resolve(this.#open);
    return this.#opening ??= this.#reopen().finally(() =>
      this.#opening = undefined
    );
  }

  async #reopen(): Promise<Open<Channel | ConfirmChannel>> {
    const socket = await this.#parts.side.up({
      deadline: Infinity,
      signal: this.#closing.signal,
    });
    const open = await (this.#confirms ? openConfirmChannel : openChannel)(
      socket.model,
    );
    open.channel.on("return", (message: Returned) => this.#returned(message));
    open.channel.on("drain", () => this.#drain());
    void open.ended.then(() => this.#drain());
    this.#open = open;
    return open;
  }

  #drain(): void {
    this.#drained?.resolve();
    this.#drained = undefined;
  }

  #returned(message: Returned): void {
    const id: unknown = message.properties.messageId;
    if (this.#confirms && typeof id === "string") this.#cameBack.add(id);
    else this.#parts.returned(fromAmqp(message));
  }

  /** Resolves when the broker has spoken, or the channel is gone. */
  #send(
    channel: ConfirmChannel,
    ended: Promise<ChannelEnd>,
    route: Route,
    message: Message,
  ): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const confirmed = (error: unknown) => {
        const back = message.id !== undefined &&
          this.#cameBack.delete(message.id);
        if (back) resolve("returned");
        else if (!error) resolve("taken");
        else if ((error as Error).message === "message nacked") {
          resolve("refused");
        } else void ended.then(resolve);
      };
      try {
        if (!this.#write(channel, route, message, confirmed)) {
          void ended.then(resolve);
        }
      } catch (error) {
        reject(error); // a header that AMQP cannot carry
      }
    });
  }

  /** False if the channel is gone: amqplib throws then, and nothing was sent. */
  #write(
    channel: Channel | ConfirmChannel,
    route: Route,
    message: Message,
    confirmed?: (error: unknown) => void,
  ): boolean {
    const body = Buffer.from(
      message.body.buffer,
      message.body.byteOffset,
      message.body.byteLength,
    );
    const options: Options.Publish = toAmqp(message);
    const exchange = route.exchange?.name ?? "";
    try {
      const free = confirmed
        ? (channel as ConfirmChannel).publish(
          exchange,
          route.key,
          body,
          options,
          confirmed,
        )
        : channel.publish(exchange, route.key, body, options);
      if (!free) this.#drained ??= Promise.withResolvers();
      return true;
    } catch (error) {
      if ((error as Error).name !== "IllegalOperationError") throw error;
      return false;
    }
  }

  #late(route: Route, sent: boolean): Error {
    const { side } = this.#parts;
    const what = `a message for ${where(route)}`;
    if (side.blocked) {
      return new BlockedError(
        `The broker takes no messages (${side.blocked}): ${what} was not taken in time`,
        { inDoubt: sent },
      );
    }
    if (sent) {
      return new UnconfirmedError(
        `The broker did not confirm ${what} in time; it may have it`,
      );
    }
    if (!side.socket) {
      return new ConnectionFailedError(`Cannot send ${what}: ${side.reason}`);
    }
    return new TimeoutError(
      `Cannot send ${what} in time: the connection is slower than what is sent`,
      { inDoubt: false },
    );
  }

  #disposed(sent: boolean): Error {
    return new ConnectionDisposedError(
      "Cannot send: the connection was disposed",
      { inDoubt: sent },
    );
  }
}
