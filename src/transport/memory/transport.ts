/** The link to a bus inside the process: the same promises as a network's, without one. @module */
import { flushLog } from "../../logging.ts";
import type { Address } from "../address.ts";
import { type BusProfile, defaultProfile } from "../profile.ts";
import { uniqueName } from "../../ids.ts";
import type {
  Deadline,
  InboxListener,
  QueueState,
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
  readonly #broker: Broker;
  readonly #since = new Date();
  readonly #sessions = new Set<MemorySession>();
  #listener: InboxListener | undefined;
  #listening: MemorySession | undefined;

  /** A new bus. */
  constructor(profile: BusProfile = defaultProfile) {
    this.#broker = new Broker(profile);
    this.inbox = uniqueName("reply", profile.nova?.member ?? true);
  }

  openSession({ signal }: Deadline): Promise<Session> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      return this.#lease();
    });
  }

  startInbox(listener: InboxListener, { signal }: Deadline): Promise<void> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      this.#listener = listener;
      if (this.#listening) return;
      this.#listening = this.#lease();
      const { limit: bytes = Infinity } = listener;
      this.#listening.consumeInbox(
        this.inbox,
        (delivery) => this.#listener?.onDelivery(delivery),
        { prefetch: 0, limit: { bytes, keep: false } },
      );
    });
  }

  inspect(
    address: Address,
    _deadline: Deadline,
  ): Promise<QueueState | undefined> {
    return Promise.resolve(this.#broker.inspect(address));
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

  ref(): void {}

  unref(): void {}

  /** Names of all queues, for tests. */
  get queues(): readonly string[] {
    return this.#broker.queues;
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#sessions].map((session) => session[Symbol.asyncDispose]()),
    );
    this.#broker.clear();
    flushLog();
  }

  #lease(): MemorySession {
    const session = new MemorySession(
      this.#broker,
      (message) => this.#listener?.onReturned(message),
      () => this.#sessions.delete(session),
    );
    this.#sessions.add(session);
    return session;
  }
}
