/** Declares exchanges, queues and bindings, on a channel where a refusal hurts nobody else. @module */
import type { Channel, Replies } from "npm:amqplib@2.3.1";
import { TimeoutError, TopologyError } from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import { missingEntity } from "../../profile.ts";
import type { Exchange, Queue, QueueRoute, Route } from "./routes.ts";
import { uniqueName } from "../../../ids.ts";
import type { QueueState } from "../../transport.ts";
import { type Open, openChannel } from "../amqplib/channel.ts";
import { isFatal, isRefusedWith, refused } from "./topology_errors.ts";
import type { SupervisedConnection } from "./supervised_connection.ts";
import { backoff } from "../../../async/backoff.ts";

/** RabbitMQ says this of what does not exist; it says something else of a queue whose node is down. */
const MISSING = /\bno (?:queue|exchange) '/;

/** Takes what exists as it is. */
async function taken(what: string, check: PromiseLike<unknown>): Promise<void> {
  try {
    await check;
  } catch (error) {
    throw MISSING.test(String(error)) ? missingEntity(what) : error;
  }
}

/** Two exchanges are the same if all their settings are. */
const settings = ({ name, type, durable, autoDelete }: Exchange) =>
  `${type} ${durable} ${autoDelete} ${name}`;

async function assertExchange(
  channel: Channel,
  { name, type, durable, autoDelete, passive }: Exchange,
): Promise<void> {
  if (passive) return taken(`exchange ${name}`, channel.checkExchange(name));
  await channel.assertExchange(name, type, { durable, autoDelete });
}

function assertQueue(
  channel: Channel,
  { name, durable, exclusive, autoDelete, arguments: args }: Queue,
): PromiseLike<Replies.AssertQueue> {
  const form = { durable, exclusive, autoDelete, arguments: args };
  return channel.assertQueue(name, form);
}

async function declareQueue(channel: Channel, queue: Queue): Promise<string> {
  const { unique, passive } = queue;
  const name = unique ? uniqueName(queue.name, unique) : queue.name;
  if (passive) await taken(`queue ${name}`, channel.checkQueue(name));
  else await assertQueue(channel, { ...queue, name });
  return name;
}

const isQuorum = ({ arguments: { "x-queue-type": type } }: Queue) =>
  type === "quorum";

/** A quorum queue knows no conditions (540 ends the whole connection). */
async function removeEmpty(channel: Channel, queue: Queue): Promise<boolean> {
  const { name } = queue;
  if (!isQuorum(queue)) {
    await channel.deleteQueue(name, { ifUnused: true, ifEmpty: true });
    return true;
  }
  const { messageCount, consumerCount } = await channel.checkQueue(name);
  const empty = messageCount === 0 && consumerCount === 0;
  if (empty) await channel.deleteQueue(name);
  return empty;
}

/** Why an attempt came to nothing. */
interface Refused {
  readonly code?: number | undefined;
  readonly reason: string;
}

function tooLate(what: string, last: Refused | undefined, why: string): Error {
  const text = `Cannot declare ${what} in time: ${last?.reason ?? why}`;
  const data = last?.code === undefined ? {} : { replyCode: last.code };
  return new TimeoutError(text, { inDoubt: false, data });
}

/** The declaring half of a side. */
export class Topology {
  readonly #connection: SupervisedConnection;
  /** What exists for sure since this connection was opened. */
  #known = new Set<string>();
  /** One of those, which is asked for again and again. */
  #last: Exchange | undefined;
  #tail: Promise<unknown> = Promise.resolve();
  #open: Open<Channel> | undefined;
  #epoch: unknown;

  /** On the connection of a side. */
  constructor(connection: SupervisedConnection) {
    this.#connection = connection;
  }

  /** True if the exchange has been declared on this connection. */
  knows(exchange: Exchange): boolean {
    if (this.#epoch !== this.#connection.socket) return false;
    if (this.#last === exchange) return true;
    const known = this.#known.has(settings(exchange));
    if (known) this.#last = exchange;
    return known;
  }

  /** Makes a route's exchange exist, or finds that it does; once for each connection. */
  async exchange(exchange: Exchange, deadline: Deadline): Promise<void> {
    if (this.knows(exchange)) return;
    await this.#serialize(
      `exchange ${exchange.name}`,
      deadline,
      (channel) => this.#exchange(channel, exchange),
    );
  }

  /** Something is gone after all: the broker answered 404. */
  forget(): void {
    this.#known.clear();
    this.#last = undefined;
  }

  /** Makes a route's queue exist, with its binding, or takes it as it is; resolves to its name. */
  async queue(
    route: QueueRoute,
    deadline: Deadline,
  ): Promise<string> {
    const { exchange, queue } = route;
    return await this.#serialize(
      `queue ${queue.name}`,
      deadline,
      async (channel) => {
        if (exchange) await this.#exchange(channel, exchange);
        const name = await declareQueue(channel, queue);
        if (exchange && !queue.passive) {
          await channel.bindQueue(
            name,
            exchange.name,
            route.binding ?? route.key,
          );
        }
        return name;
      },
    );
  }

  /** Whoever asked while it was being declared need not ask the broker. */
  async #exchange(channel: Channel, exchange: Exchange): Promise<void> {
    if (this.knows(exchange)) return;
    await assertExchange(channel, exchange);
    // One that goes with its last queue may be gone at any time.
    if (!exchange.autoDelete) this.#known.add(settings(exchange));
  }

  /** See `Transport.inspect`. The form is checked where the route says one. */
  async inspect(
    { key, queue }: Route,
    deadline: Deadline,
  ): Promise<QueueState | undefined> {
    const name = queue?.name ?? key;
    const what = `queue ${name}`;
    const counts = async (channel: Channel) => {
      const checked = channel.checkQueue(name);
      await taken(what, checked);
      // Another form is 406; queues of another type must not be removed as if they were of this one.
      const { messageCount, consumerCount } =
        await (queue ? assertQueue(channel, queue) : checked);
      return { messages: messageCount, consumers: consumerCount };
    };
    try {
      return await this.#serialize(what, deadline, counts, false);
    } catch (error) {
      const missing = error instanceof TopologyError &&
        error.data.reason === "missing";
      if (missing) return undefined;
      throw error;
    }
  }

  /**
   * See `Session.flush`. RabbitMQ reads a connection's frames in their order, so it has read all acknowledgements before it
   * answers this question. Every virtual host has the exchange, and nobody needs a permission to check it.
   */
  async flush(deadline: Deadline): Promise<void> {
    await this.#serialize(
      "exchange amq.direct",
      deadline,
      (channel) => channel.checkExchange("amq.direct"),
      false,
    );
  }

  /** Removes a queue. */
  async remove(queue: string, deadline: Deadline): Promise<void> {
    await this.#serialize(
      `queue ${queue}`,
      deadline,
      (channel) => channel.deleteQueue(queue),
      false,
    ).catch(() => {});
  }

  /** See `Session.unbind`. */
  async unbind(
    { exchange, queue, key, binding = key }: Route,
    deadline: Deadline,
  ): Promise<void> {
    if (!exchange || !queue) return;
    const [from, to] = [exchange.name, queue.name];
    const work = (channel: Channel) => channel.unbindQueue(to, from, binding);
    await this.#serialize(`queue ${to}`, deadline, work, false);
  }

  /** See `Session.removeEmpty`. It is not tried again: what held before a loss need not hold after it. */
  async removeEmpty(queue: Queue, deadline: Deadline): Promise<boolean> {
    const work = (channel: Channel) => {
      deadline.signal?.throwIfAborted();
      return removeEmpty(channel, queue);
    };
    try {
      return await this.#serialize(
        `queue ${queue.name}`,
        deadline,
        work,
        false,
      );
    } catch (error) {
      if (isRefusedWith(error, 406)) return false;
      throw error;
    }
  }

  /** One at a time, so that a refusal, which ends the channel, is told to the one who asked. What may heal is tried again. */
  async #serialize<T>(
    what: string,
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
    patient = true,
  ): Promise<T> {
    let last: Refused | undefined;
    const late = () => tooLate(what, last, this.#connection.why);
    for (let attempt = 0;; attempt++) {
      const turn = this.#tail.then(() => this.#turn(deadline, work));
      this.#tail = turn.catch(() => {});
      const tried = await withDeadline(turn, deadline, late);
      if ("value" in tried) return tried.value;
      if (isFatal(tried.code)) throw refused(what, tried.reason, tried.code);
      if (tried.code === 404) this.forget(); // an exchange that was there is gone, or a queue's node is
      if (!last || tried.code !== undefined) last = tried;
      if (!patient || performance.now() >= deadline.at) throw late();
      await delay(backoff(attempt), deadline);
    }
  }

  async #turn<T>(
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
  ): Promise<{ value: T } | Refused> {
    if (performance.now() >= deadline.at) return { reason: "too late" };
    const socket = await this.#connection.up(deadline);
    if (socket !== this.#epoch) this.forget();
    this.#epoch = socket;
    return await this.#try(socket, deadline, work);
  }

  async #try<T>(
    socket: Parameters<typeof openChannel>[0],
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
  ): Promise<{ value: T } | Refused> {
    const late = () => new TimeoutError("no answer in time");
    try {
      const open = this.#open?.alive
        ? this.#open
        : await withDeadline(openChannel(socket), deadline, late);
      this.#open = open;
      return { value: await withDeadline(work(open.channel), deadline, late) };
    } catch (error) {
      void this.#open?.close(); // it is gone, or has a request on it that nobody waits for
      this.#open = undefined;
      if (error instanceof TopologyError) throw error;
      const { code, message } = error as Error & { code?: number | string };
      return {
        code: typeof code === "number" ? code : undefined,
        reason: message,
      };
    }
  }
}
