/** The resources and settings of a connection context, and what it makes of them. @module */
import type { MessageSettings, MessagingResources } from "../rpc/messaging.ts";
import type { LedgerStore } from "../ledger/ledger_store.ts";
import type { Transport } from "../transport/transport.ts";
import type { RpcClient } from "../rpc/client/rpc_client.ts";
import type {
  NotificationDefaults,
  NotificationResources,
} from "../rpc/notifications/drivers.ts";
import { Server } from "../rpc/server/server.ts";
import { Subscriptions } from "../rpc/server/subscriptions.ts";

/** Leased channels, and what the process shares. */
export interface ConnectionResources extends MessagingResources {
  /** Transport of the process. */
  readonly transport: Transport;
  /** Gives the channels back; `reusable` if nothing was consumed on them. */
  readonly release: (reusable: boolean) => Promise<void>;
}

/** Settings of the server half. */
export interface ServerSettings {
  /** Handlers at once. */
  readonly concurrency: number;
  /** Unacknowledged requests of each consumer. */
  readonly prefetch: number;
  /** Whether callers see the stacks of errors. */
  readonly tracebacks: boolean;
  /** Milliseconds that disposal gives to active requests. */
  readonly grace: number;
  /** Ledger that the workers of the fleet share. */
  readonly ledger: LedgerStore | undefined;
  /** Milliseconds that the broker leaves a message unacknowledged. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is logged. */
  readonly longRunning: number;
}

/** Everything that a connection context is made of. */
export interface ConnectionDependencies {
  /** Channels, inbox and transport. */
  readonly resources: ConnectionResources;
  /** Settings of messages. */
  readonly messages: MessageSettings;
  /** Settings of the server half. */
  readonly server: ServerSettings;
  /** Defaults of notifications. */
  readonly notifications: NotificationDefaults;
}

/** Creates the server half. */
export function createServer(
  { resources, messages, server, notifications }: ConnectionDependencies,
  caller: RpcClient,
): Server {
  const { openstack } = notifications;
  const { session, inbox } = resources;
  const { limits, errors } = messages;
  const { ledger } = server;
  return new Server(
    { session, inbox, limits, ledger, caller },
    { ...server, errors, openstack },
  );
}

/** Creates the consumers of the server half. */
export function createSubscriptions(
  { resources: { session }, messages, server }: ConnectionDependencies,
): Subscriptions {
  const { prefetch } = server;
  return new Subscriptions({ session, prefetch, limits: messages.limits });
}

/** The collaborators of notifications. */
export function notificationResources(
  { resources, messages, notifications }: ConnectionDependencies,
): NotificationResources {
  const { session } = resources;
  const { dialect, limits } = messages;
  return { session, dialect, limits, defaults: notifications };
}
