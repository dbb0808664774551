/** The link to a bus inside the process: the same promises as a network's, without one. @module */
import { flushLog } from "../../logging.ts";
import { callQueue, transientQueue } from "../routes.ts";
import { uniqueName } from "../../ids.ts";
import type {
  ConsumeOptions,
  Deadline,
  Delivery,
  InboxListener,
  InboxOptions,
  QueueStatus,
  Session,
  Transport,
  TransportEvent,
  TransportHealth,
} from "../transport.ts";
import { Broker } from "./broker.ts";
import { MemorySession } from "./session.ts";

/** A bus of one process. */
export class MemoryTransport implements Transport {
  readonly inbox: string;
  readonly #form: InboxOptions;
  readonly #broker = new Broker();
  readonly #since = new Date();
  readonly #transports = new Set<MemorySession>();
  #reader: InboxListener | undefined;
  #listening: MemorySession | undefined;

  /** A new bus, whose inbox has that form. */
  constructor(form: InboxOptions = { route: transientQueue }) {
    this.#form = form;
    this.inbox = uniqueName("reply", form.member ?? true);
  }

  openSession({ signal }: Deadline): Promise<Session> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      return this.#lease();
    });
  }

  async startInbox(reader: InboxListener, deadline: Deadline): Promise<void> {
    deadline.signal?.throwIfAborted();
    this.#reader = reader;
    if (this.#listening) return;
    this.#listening = this.#lease();
    await this.#listening.consume(
      this.#form.route(this.inbox),
      (delivery) => this.#reader?.onDelivery(delivery),
      this.#inboxOptions(),
      deadline,
    );
  }

  async startCallQueue(call: string, deadline: Deadline): Promise<Disposable> {
    const receive = (delivery: Delivery) => this.#reader?.onDelivery(delivery);
    const transport = this.#listening ??= this.#lease();
    const options = this.#inboxOptions();
    const reader = await transport.consume(
      callQueue(call),
      receive,
      options,
      deadline,
    );
    return { [Symbol.dispose]: () => void reader.cancel() };
  }

  inspect(name: string, _wait: Deadline): Promise<QueueStatus> {
    const queue = this.#broker.find(name);
    const status: QueueStatus = queue
      ? {
        state: "open",
        messages: queue.messages,
        consumers: queue.consumers,
      }
      : { state: "gone" };
    return Promise.resolve(status);
  }

  consumers(queue: string, _wait: Deadline): Promise<number | undefined> {
    return Promise.resolve(this.#broker.find(queue)?.consumers);
  }

  onEvent(_watcher: (event: TransportEvent) => void): Disposable {
    return { [Symbol.dispose]: () => {} }; // a bus in the process is never lost
  }

  health(): TransportHealth {
    const lastProof = new Date();
    const side = {
      state: "up",
      since: this.#since,
      lastProof,
      losses: 0,
    } as const;
    const consumers = this.#broker.consumers;
    const counts = { wanted: consumers, consuming: consumers };
    return {
      publishing: side,
      consuming: { ...side, consumers: counts },
      stale: 0,
    };
  }

  rest(_resting: boolean): void {}

  /** Names of all queues, for tests. */
  get queues(): readonly string[] {
    return this.#broker.queues;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#transports].map((transport) =>
        transport[Symbol.asyncDispose]()
      ),
    );
    this.#broker.clear();
    flushLog();
  }

  #inboxOptions(): ConsumeOptions {
    const { limit: bytes = Infinity } = this.#reader ?? {};
    return { prefetch: 0, limit: { bytes, keep: false } };
  }

  #lease(): MemorySession {
    const transport = new MemorySession(
      this.#broker,
      (message) => this.#reader?.onReturned(message),
      () => this.#transports.delete(transport),
    );
    this.#transports.add(transport);
    return transport;
  }
}
