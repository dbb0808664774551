/** What a connection context is made of, and what it tells. @module */
import type {
  Session,
  Transport,
  TransportEvent,
  TransportHealth,
} from "../transport/transport.ts";
import type { Dialect, ErrorClasses, Limits } from "../wire/mod.ts";
import type { Inbox } from "../rpc/inbox.ts";
import type { LedgerStore } from "../ledger/ledger_store.ts";
import type { NotificationSettings } from "../rpc/notifications/drivers.ts";
import type { LegacyPeers } from "../rpc/client/legacy_reply_queues.ts";

/** What a connection context is made of. */
export interface ConnectionParts {
  /** Channels. */
  readonly session: Session;
  /** Inbox of the link. */
  readonly inbox: Inbox;
  /** Names on the broker. */
  readonly transport: Transport;
  /** What it says. */
  readonly dialect: Dialect;
  /** Bounds on messages. */
  readonly limits: Limits;
  /** Error classes that keep their name. */
  readonly errors: ErrorClasses;
  /** Whether a call waits for a queue instead of failing at once. */
  readonly waitForRoute: boolean;
  /** Whether servers are reckoned with that know no reply queue. */
  readonly legacyPeers: LegacyPeers;
  /** Handlers at once. */
  readonly concurrency: number;
  /** Unacknowledged requests for each consumer. */
  readonly prefetch: number;
  /** Whether callers see the stacks of errors. */
  readonly tracebacks: boolean;
  /** Milliseconds that disposal gives to what is in hand. */
  readonly grace: number;
  /** What is done with events. */
  readonly notifications: NotificationSettings;
  /** Whether the bus is OpenStack's. */
  readonly openstack: boolean;
  /** Who notifies. */
  readonly publisherId: string;
  /** What the fleet remembers together. */
  readonly ledger: LedgerStore | undefined;
  /** Milliseconds that the broker leaves a message unacknowledged. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is told of. */
  readonly longRunning: number;
  /** Gives the transport back; `reusable` if it is as new. */
  readonly release: (reusable: boolean) => Promise<void>;
  /** Tells of losses and returns. */
  readonly watch: (watcher: (event: TransportEvent) => void) => Disposable;
  /** How the link is. */
  readonly health: () => TransportHealth;
}
