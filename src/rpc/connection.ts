/** The connection context: client and server over one leased transport (Nova: `ConnectionContext`). @module */
import { ConnectionDisposedError, InvalidValueError } from "../errors.ts";
import type { Routes } from "../bus/routes.ts";
import type { Consumer, Delivery, LinkEvent, Wait } from "../bus/transport.ts";
import { Caller } from "./caller.ts";
import type { Client, ClientOptions } from "./client.ts";
import { ConnectionEvents } from "./connection_events.ts";
import type { ConnectionParts } from "./connection_parts.ts";
import type { Contract } from "./contract.ts";
import { makeClient } from "./contract_client.ts";
import type { Dispatcher } from "./dispatcher.ts";
import { Leadership } from "./leadership.ts";
import { checkName } from "./names.ts";
import {
  listen,
  type ListenerOptions,
  type NotificationHandler,
} from "./listener.ts";
import { notify, type NotifyOptions } from "./notifications.ts";
import {
  castBounds,
  type CastOptions,
  type SendOptions,
  type Target,
  whole,
} from "./options.ts";
import type { Returned } from "./returned.ts";
import { Server, type ServerStats } from "./server.ts";

/** Any keyword arguments. */
export type AnyArgs = Readonly<Record<string, unknown>>;

let make: (parts: ConnectionParts) => ConnectionContext;

/** A context of its parts; users call `createConnection`. */
export function connectionOf(parts: ConnectionParts): ConnectionContext {
  return make(parts);
}

/**
 * Client and server over channels of their own on the process's link to the broker. Made by `createConnection`.
 *
 * Disposal stops consuming, lets handlers finish, fails the calls that still wait with `ConnectionDisposedError`, and
 * gives the channels back. Any use after it throws the same error.
 */
export class ConnectionContext extends ConnectionEvents
  implements AsyncDisposable {
  readonly #parts: ConnectionParts;
  readonly #caller: Caller;
  readonly #server: Server;
  readonly #watching: Disposable;
  /** What `consume` will start. */
  readonly #planned: (() => Promise<void>)[] = [];
  readonly #consumers: Consumer[] = [];
  readonly #listeners: ((grace: number) => Promise<void>)[] = [];
  /** Ends what is being set up when the context is disposed. */
  readonly #ending = new AbortController();
  #consuming = false;
  /** True when disposal has waited for the handlers. */
  #closed = false;
  /** Whether the transport is as new, and may go back to a pool. */
  #reusable = true;
  #disposing: Promise<void> | undefined;

  static {
    make = (parts) => new ConnectionContext(parts);
  }

  private constructor(parts: ConnectionParts) {
    super();
    this.#parts = parts;
    this.#caller = new Caller(parts);
    this.#server = new Server(parts);
    this.#watching = parts.watch((event) => this.#tell(event));
  }

  /** The typed verbs of a contract; `defaults` hold for all its calls. */
  client<C extends Contract>(contract: C, defaults?: ClientOptions): Client<C> {
    this.#check();
    return makeClient(this.#caller, contract, defaults);
  }

  /** One answer, untyped: the last result where the procedure streams (Nova: `call`). See {@linkcode Client}. */
  async call(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: SendOptions = {},
  ): Promise<unknown> {
    this.#check();
    return (await this.#caller.call(target, method, args, options)).value;
  }

  /** No answer, untyped. See {@linkcode Client}. */
  async cast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CastOptions = {},
  ): Promise<void> {
    this.#check();
    const { host = target.host } = options;
    await this.#caller.cast({ ...target, host }, method, args, options);
  }

  /** No answer, to every worker, untyped. See {@linkcode Client}. */
  async fanoutCast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: SendOptions = {},
  ): Promise<void> {
    this.#check();
    await this.#caller.fanoutCast(target, method, args, options);
  }

  /** A stream, untyped; a procedure that does not stream yields its one result. See {@linkcode Client}. */
  multicall(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: SendOptions = {},
  ): AsyncGenerator<unknown, void, undefined> {
    this.#check();
    const item = ({ value }: Returned) => value;
    return this.#caller.multicall(target, method, args, options, { item });
  }

  /** Sends an event to whoever listens, now or later: it waits in the queue of its priority. */
  async notify(
    eventType: string,
    payload: unknown,
    options: NotifyOptions = {},
  ): Promise<void> {
    this.#check();
    await notify(this.#parts, eventType, payload, options);
  }

  /** The other end of `notify`; events are acknowledged after the handler. */
  async createListener(
    handler: NotificationHandler,
    options: ListenerOptions = {},
  ): Promise<void> {
    this.#check();
    const wait = this.#setUp();
    this.#listeners.push(await listen(this.#parts, handler, options, wait));
  }

  /**
   * Makes the queue of a topic (`compute`), of one host (`compute.gb07`), or of this process for a fanout. Requests wait
   * there until `consume`.
   *
   * @throws {TopologyError} if the queue or exchange exists in another form.
   */
  async createConsumer(
    topic: string,
    dispatcher: Dispatcher,
    options: { readonly fanout?: boolean | undefined } = {},
  ): Promise<void> {
    checkName("topic", topic);
    const { routes } = this.#parts;
    await this.#plan(
      options.fanout ? routes.fanout(topic) : routes.topic(topic),
      dispatcher,
    );
  }

  /**
   * Joins a pool of workers: each pool gets every message of the topic, one member of it handles each. As in Nova, the
   * pool's name is its queue's: choose one that is no topic.
   */
  async createWorker(
    topic: string,
    dispatcher: Dispatcher,
    pool: string,
  ): Promise<void> {
    checkName("topic", topic);
    checkName("pool", pool);
    if (pool === topic) {
      throw new InvalidValueError(
        `Invalid pool ${pool}: it is the topic's own queue; give a name that is no topic`,
        { data: { path: "pool" } },
      );
    }
    await this.#plan(this.#parts.routes.pool(topic, pool), dispatcher);
  }

  /** Starts all consumers; later ones start at once. */
  async consume(): Promise<void> {
    this.#check();
    this.#consuming = true;
    await this.#parts.inbox.ready(this.#setUp()); // callers must be able to cancel
    for (let start; (start = this.#planned[0]); this.#planned.shift()) {
      await start();
    }
  }

  /**
   * Stands for the leadership of a topic's workers in one task, until disposed. At most one of those who are connected
   * leads at a time, but a leader that is cut off learns of it later than its successor: a hint, not a lock.
   */
  lead(topic: string, task: string): Leadership {
    this.#check(this.#disposing !== undefined);
    checkName("topic", topic);
    checkName("task", task);
    this.#reusable = false;
    return new Leadership(this.#parts.transport, topic, task);
  }

  /** What the server half has done so far. */
  get stats(): ServerStats {
    return this.#server.stats;
  }

  /** Handlers at once, over all consumers. */
  get concurrency(): number {
    return this.#server.concurrency;
  }

  /** 1 to 65535; holds from now on. A consumer keeps the `prefetch` with which it began. */
  set concurrency(handlers: number) {
    this.#server.concurrency = whole("concurrency", handlers, 1, 65_535);
  }

  /** Ends it; see the class. Safe at any time, and twice. */
  [Symbol.asyncDispose](): Promise<void> {
    return this.#disposing ??= this.#dispose();
  }

  async #plan(
    route: ReturnType<Routes["topic"]>,
    dispatcher: Dispatcher,
  ): Promise<void> {
    this.#check();
    if (typeof dispatcher?.dispatch !== "function") {
      throw new InvalidValueError(
        "Cannot consume: give a dispatcher, e.g. new RpcDispatcher([manager])",
      );
    }
    const { transport, prefetch } = this.#parts;
    await transport.declare(route, this.#setUp());
    const receive = (delivery: Delivery) =>
      this.#server.receive(delivery, dispatcher);
    const start = async () => {
      const wait = this.#setUp();
      const options = { prefetch };
      const consumer = await transport.consume(route, receive, options, wait);
      this.#consumers.push(consumer);
    };
    if (this.#consuming) await start();
    else this.#planned.push(start);
  }

  /** Bounds of making a consumer, after which the transport is no longer as new. */
  #setUp(): Wait {
    this.#check(this.#disposing !== undefined);
    this.#reusable = false;
    return castBounds({ signal: this.#ending.signal }).wait;
  }

  /** Handlers finish first, since they may call others on this connection. */
  async #dispose(): Promise<void> {
    const { grace, release } = this.#parts;
    this.#ending.abort(
      new ConnectionDisposedError("The connection was disposed meanwhile"),
    );
    try {
      await Promise.all(this.#consumers.map((consumer) => consumer.cancel()));
      await Promise.all([
        this.#server.drain(grace),
        ...this.#listeners.map((stop) => stop(grace)),
      ]);
    } finally {
      this.#closed = true;
      await this.#caller.dispose();
      this.#watching[Symbol.dispose]();
      await release(this.#reusable);
    }
  }

  /** Handlers that still finish may call, cast and notify. */
  #check(closed = this.#closed): void {
    if (closed) {
      throw new ConnectionDisposedError(
        "Cannot use the connection: it was disposed",
      );
    }
  }

  #tell(event: LinkEvent): void {
    this.dispatchEvent(
      "reason" in event
        ? new CustomEvent(event.type, { detail: event })
        : new Event(event.type),
    );
  }
}
