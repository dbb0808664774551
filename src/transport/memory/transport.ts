/** Transport inside the process, with the guarantees of a network transport, but without a network. @module */
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
} from "../transport.ts";
import type { TransportHealth } from "../transport_health.ts";
import { Broker } from "./broker.ts";
import { Bus } from "./bus.ts";
import { MemorySession } from "./session.ts";

/** Transport inside the process. */
export class MemoryTransport implements Transport {
  readonly inbox: string;
  readonly #broker: Broker;
  readonly #bus: Bus;
  readonly #since = new Date();
  readonly #sessions = new Set<MemorySession>();
  #left = false;
  #inboxListener: InboxListener | undefined;
  #inboxSession: MemorySession | undefined;

  /** Creates a transport on a bus; default: a new bus. */
  constructor(profile: BusProfile = defaultProfile, bus: Bus = new Bus()) {
    bus.join();
    this.#bus = bus;
    this.#broker = new Broker(profile, bus);
    this.inbox = uniqueName("reply", profile.nova?.member ?? true);
  }

  openSession({ signal }: Deadline): Promise<Session> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      return this.#newSession();
    });
  }

  startInbox(listener: InboxListener, { signal }: Deadline): Promise<void> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      this.#inboxListener = listener;
      if (this.#inboxSession) return;
      this.#inboxSession = this.#newSession();
      const { limit: bytes = Infinity } = listener;
      this.#inboxSession.consumeInbox(
        this.inbox,
        (delivery) => this.#inboxListener?.onDelivery(delivery),
        { prefetch: 0, limit: { bytes, allowWhole: false } },
      );
    });
  }

  inspect(
    address: Address,
    _deadline: Deadline,
  ): Promise<QueueState | undefined> {
    return Promise.resolve(this.#broker.inspect(address));
  }

  limitsDeliveryTime(): boolean {
    return true; // as most brokers do for which it stands in
  }

  onEvent(_watcher: (event: TransportEvent) => void): Disposable {
    return { [Symbol.dispose]: () => {} }; // the in-process broker is never lost
  }

  health(): TransportHealth {
    const lastProof = new Date();
    const connection = {
      state: "up",
      since: this.#since,
      lastProof,
      losses: 0,
    } as const;
    const consumers = this.#bus.consumers;
    const counts = { wanted: consumers, consuming: consumers };
    return {
      publishing: connection,
      consuming: { ...connection, consumers: counts },
      stale: 0,
    };
  }

  ref(): void {}

  unref(): void {}

  /** Names of all queues, for tests. */
  get queues(): readonly string[] {
    return [...this.#bus.queues.keys()];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      [...this.#sessions].map((session) => session[Symbol.asyncDispose]()),
    );
    if (!this.#left) this.#bus.leave();
    this.#left = true;
    flushLog();
  }

  #newSession(): MemorySession {
    const session = new MemorySession(
      this.#broker,
      (message) => this.#inboxListener?.onReturned(message),
      () => this.#sessions.delete(session),
    );
    this.#sessions.add(session);
    return session;
  }
}
