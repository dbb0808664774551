/** A publishing channel: opened when needed, reopened after a loss, with confirms, returns and back-pressure. @module */
import type {
  Channel,
  ConfirmChannel,
  Message as Returned,
} from "npm:amqplib@2.3.1";
import { pause, type Wait, within } from "../../wait.ts";
import type { Route } from "../routes.ts";
import type { Message } from "../transport.ts";
import {
  type Open,
  openChannel,
  openConfirmChannel,
  openOn,
} from "./channel.ts";
import {
  disposed,
  late,
  type Outcome,
  rejected,
  Returns,
  unroutable,
  unsendable,
} from "./outcomes.ts";
import { checkHeaders, fromAmqp } from "./properties.ts";
import { backoff, type Side } from "./side.ts";
import { isFatal, type Topology } from "./topology.ts";
import type { Window } from "./window.ts";

/** Attempts of a message on a channel that a refusal ended: it may have been another message's fault. */
const SUSPECT = 3;

/** What a publisher works with. */
export interface PublisherParts {
  /** The connection. */
  readonly side: Side;
  /** Declares the exchange of a route. */
  readonly topology: Topology;
  /** Room for confirmed messages in flight. */
  readonly window: Window;
  /** Told of mandatory messages that were posted and came back. */
  readonly returned: (message: Message) => void;
}

/** One channel for sending. */
export class Publisher {
  readonly #parts: PublisherParts;
  readonly #confirms: boolean;
  readonly #closing = new AbortController();
  #open: Open<Channel | ConfirmChannel> | undefined;
  #opening: Promise<Open<Channel | ConfirmChannel>> | undefined;
  readonly #returns = new Returns();

  /** With or without confirms. */
  constructor(parts: PublisherParts, confirms: boolean) {
    this.#parts = parts;
    this.#confirms = confirms;
  }

  /** Sends when there is room, and waits for the broker's word; see `Transport.publish`. */
  publish(route: Route, message: Message, wait: Wait): Promise<void> {
    return this.#parts.window.take(message.body.byteLength)
      ? this.#deliver(route, message, wait)
      : this.#queue(route, message, wait);
  }

  async #queue(route: Route, message: Message, wait: Wait): Promise<void> {
    const turn = this.#parts.window.queue(message.body.byteLength);
    try {
      await this.#until(turn.come, route, wait, false);
    } catch (error) {
      turn.leave();
      throw error;
    }
    await this.#deliver(route, message, wait);
  }

  /** There is room for it, which it gives back when the broker has settled it, however short its caller waits. */
  async #deliver(route: Route, message: Message, wait: Wait): Promise<void> {
    const { id = crypto.randomUUID() } = message;
    const told = message.id === id ? message : { ...message, id }; // what comes back is told by it
    let sending: Promise<Outcome> | undefined;
    let sent = false;
    try {
      for (let attempt = 0;; attempt++) {
        const open = this.#usable(route) ??
          await this.#ready(route, wait, sent);
        sent = true;
        sending = this.#send(open, route, told, id);
        const outcome = await within(
          sending,
          wait,
          () => late(this.#parts.side, route, true),
        );
        sending = undefined;
        if (outcome === "taken") return;
        await this.#again(outcome, attempt, route, wait);
      }
    } finally {
      this.#settle(message.body.byteLength, sending);
    }
  }

  #settle(bytes: number, sending: Promise<unknown> | undefined): void {
    const { window } = this.#parts;
    if (!sending) return window.give(bytes);
    const give = () => window.give(bytes);
    void sending.then(give, give);
  }

  /** Sends and does not wait; see `Transport.post`. */
  async post(route: Route, message: Message, wait: Wait): Promise<void> {
    for (;;) {
      const open = this.#usable(route) ?? await this.#ready(route, wait, false);
      if (this.#write(open, route, message)) return;
      await pause(0, wait); // it is gone, and will say so
    }
  }

  /** Closes the channel; what is under way fails. */
  async close(): Promise<void> {
    this.#closing.abort(disposed(false));
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
    if (outcome === "returned") throw unroutable(route);
    if (outcome === "refused") throw rejected(route);
    if (this.#closing.signal.aborted) throw disposed(true);
    if (isFatal(outcome.code) && attempt + 1 >= SUSPECT) {
      throw rejected(route, outcome);
    }
    await pause(attempt === 0 ? 0 : backoff(attempt), wait);
  }

  /** The channel if it can be written to at once: the usual case, without a turn of the event loop. */
  #usable(route: Route): Open<Channel | ConfirmChannel> | undefined {
    const free = this.#open?.alive && !this.#open.outgoing.full &&
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
      if (this.#closing.signal.aborted) throw disposed(sent);
      if (side.failure) throw side.failure;
      if (side.blocked || !side.socket) {
        await this.#until(side.changed(), route, wait, sent);
        continue;
      }
      if (route.exchange) {
        await this.#until(
          topology.exchange(route.exchange, wait),
          route,
          wait,
          sent,
        );
      }
      const open = await this.#until(this.#channel(), route, wait, sent);
      const { full } = open.outgoing;
      if (full) await this.#until(full, route, wait, sent);
      else if (open.alive && !side.blocked) return open;
      else await pause(0, wait);
    }
  }

  /** Waits for what may take long, at most until the deadline or the publisher's own end. */
  async #until<T>(
    promise: Promise<T>,
    route: Route,
    { deadline, signal }: Wait,
    sent: boolean,
  ): Promise<T> {
    const closing = this.#closing.signal;
    const either = signal ? AbortSignal.any([closing, signal]) : closing;
    try {
      const wait = { deadline, signal: either };
      return await within(
        promise,
        wait,
        () => late(this.#parts.side, route, sent),
      );
    } catch (error) {
      throw closing.aborted ? disposed(sent) : error;
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
    const { side, topology } = this.#parts;
    const open = await openOn<Channel | ConfirmChannel>(
      side,
      this.#confirms ? openConfirmChannel : openChannel,
      this.#closing.signal,
    );
    open.channel.on("return", (message: Returned) => this.#returned(message));
    void open.ended.then(({ code }) => {
      if (code === 404) topology.forget(); // an exchange is gone
    });
    this.#open = open;
    return open;
  }

  #returned(message: Returned): void {
    if (this.#confirms) this.#returns.add(message);
    else this.#parts.returned(fromAmqp(message));
  }

  /** Resolves when the broker has spoken, or the channel is gone. */
  #send(
    open: Open<Channel | ConfirmChannel>,
    route: Route,
    message: Message,
    id: string,
  ): Promise<Outcome> {
    return new Promise((resolve, reject) => {
      const exchange = route.exchange?.name ?? "";
      const confirmed = (error: unknown) => {
        if (!error) this.#parts.side.vitals.proven();
        const back = this.#returns.take(id, exchange, route.key);
        if (back) resolve("returned");
        else if (!error) resolve("taken");
        else if ((error as Error).message === "message nacked") {
          resolve("refused");
        } else void open.ended.then(resolve);
      };
      try {
        if (!this.#write(open, route, message, confirmed)) {
          void open.ended.then(resolve);
        }
      } catch (error) {
        reject(error); // AMQP cannot carry it
      }
    });
  }

  /** False if the channel is gone: nothing was sent. */
  #write(
    { alive, channel, outgoing }: Open<Channel | ConfirmChannel>,
    route: Route,
    message: Message,
    confirmed?: (error: unknown) => void,
  ): boolean {
    if (!alive) return false;
    checkHeaders(message.headers);
    const to = { exchange: route.exchange?.name ?? "", key: route.key };
    try {
      outgoing.publish(channel, to, message, confirmed);
      return true;
    } catch (error) {
      throw unsendable(route, error as Error);
    }
  }
}
