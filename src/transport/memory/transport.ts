/** The link to a bus inside the process: the same promises as a network's, without one. @module */
import { flushLog } from "../../logging.ts";
import { answers, passing } from "../routes.ts";
import { freshName } from "../../ids.ts";
import type {
  ConsumeOptions,
  Delivery,
  InboxForm,
  InboxReader,
  Link,
  LinkEvent,
  LinkHealth,
  QueueStatus,
  Transport,
  Wait,
} from "../transport.ts";
import { Broker } from "./broker.ts";
import { MemoryTransport } from "./session.ts";

/** A bus of one process. */
export class MemoryLink implements Link {
  readonly inbox: string;
  readonly #form: InboxForm;
  readonly #broker = new Broker();
  readonly #since = new Date();
  readonly #transports = new Set<MemoryTransport>();
  #reader: InboxReader | undefined;
  #listening: MemoryTransport | undefined;

  /** A new bus, whose inbox has that form. */
  constructor(form: InboxForm = { route: passing }) {
    this.#form = form;
    this.inbox = freshName("reply", form.member ?? true);
  }

  open({ signal }: Wait): Promise<Transport> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      return this.#lease();
    });
  }

  async listen(reader: InboxReader, wait: Wait): Promise<void> {
    wait.signal?.throwIfAborted();
    this.#reader = reader;
    if (this.#listening) return;
    this.#listening = this.#lease();
    await this.#listening.consume(
      this.#form.route(this.inbox),
      (delivery) => this.#reader?.receive(delivery),
      this.#inboxOptions(),
      wait,
    );
  }

  async answersTo(call: string, wait: Wait): Promise<Disposable> {
    const receive = (delivery: Delivery) => this.#reader?.receive(delivery);
    const transport = this.#listening ??= this.#lease();
    const options = this.#inboxOptions();
    const reader = await transport.consume(
      answers(call),
      receive,
      options,
      wait,
    );
    return { [Symbol.dispose]: () => void reader.cancel() };
  }

  inspect(name: string, _wait: Wait): Promise<QueueStatus> {
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

  consumers(queue: string, _wait: Wait): Promise<number | undefined> {
    return Promise.resolve(this.#broker.find(queue)?.consumers);
  }

  watch(_watcher: (event: LinkEvent) => void): Disposable {
    return { [Symbol.dispose]: () => {} }; // a bus in the process is never lost
  }

  health(): LinkHealth {
    const proof = new Date();
    const side = { state: "up", since: this.#since, proof, losses: 0 } as const;
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

  #lease(): MemoryTransport {
    const transport = new MemoryTransport(
      this.#broker,
      (message) => this.#reader?.returned(message),
      () => this.#transports.delete(transport),
    );
    this.#transports.add(transport);
    return transport;
  }
}
