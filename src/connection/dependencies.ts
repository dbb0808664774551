/** Resources and settings of a connection context, and the objects that it creates from them. @module */
import { ConnectionDisposedError } from "../errors.ts";
import type { MessageSettings, MessagingResources } from "../rpc/messaging.ts";
import type { LedgerStore } from "../ledger/ledger_store.ts";
import type { Transport } from "../transport/transport.ts";
import type { DeadLetterSettings } from "../rpc/letters/dead_letter_listener.ts";
import type { RpcClient } from "../rpc/client/rpc_client.ts";
import type {
  NotificationDefaults,
  NotificationResources,
} from "../rpc/notifications/drivers.ts";
import { Server } from "../rpc/server/server.ts";
import {
  type ConsumerResources,
  Subscriptions,
} from "../rpc/server/subscriptions.ts";
import type { DiscoveryResources } from "../rpc/discovery/discover.ts";

/** Session, and the objects that all connections of the process share. */
export interface ConnectionResources extends MessagingResources {
  /** Transport of the process. */
  readonly transport: Transport;
  /** Releases the session; `reusable` is true if it has consumed nothing. */
  readonly release: (reusable: boolean) => Promise<void>;
}

/** Settings of the server side of a connection. */
export interface ConnectionServerSettings {
  /** Maximum number of handlers that run at once. */
  readonly concurrency: number;
  /** Maximum number of unacknowledged requests of each consumer. */
  readonly prefetch: number;
  /** True to send the stacks of errors to callers. */
  readonly tracebacks: boolean;
  /** Milliseconds that disposal waits for active requests. */
  readonly grace: number;
  /** Ledger that the workers of a topic share. */
  readonly ledger: LedgerStore | undefined;
  /** Milliseconds after which the broker requeues an unacknowledged message. */
  readonly consumerTimeout: number;
  /** Milliseconds after which a handler that still runs is logged. */
  readonly longRunning: number;
  /** True if the spans of casts have traces of their own, with links to their senders. */
  readonly linksCasts: boolean;
  /** Host, stacks and listener of dead letters. */
  readonly deadLetters: DeadLetterSettings;
}

/** Resources and settings of a connection context. */
export interface ConnectionDependencies {
  /** Channels, inbox and transport. */
  readonly resources: ConnectionResources;
  /** Settings of messages. */
  readonly messages: MessageSettings;
  /** Settings of the server side. */
  readonly server: ConnectionServerSettings;
  /** User of the login at the broker; undefined if it is not known, e.g. because a function returns it. */
  readonly user: string | undefined;
  /** Defaults of notifications. */
  readonly notifications: NotificationDefaults;
}

/** Creates the server of a connection. */
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

/** Creates the subscriptions of a server; returns them with the other collaborators of its consumers. */
export function createConsumerResources(
  { resources, messages, server: settings, notifications }:
    ConnectionDependencies,
  server: Server,
): ConsumerResources {
  const { session } = resources;
  const { prefetch } = settings;
  const { limits } = messages;
  const subscriptions = new Subscriptions({ session, prefetch, limits });
  return { server, subscriptions, openstack: notifications.openstack };
}

/** Returns the collaborators of service discovery; `closing` fires when the connection is disposed. */
export function discoveryResources(
  { resources, messages }: ConnectionDependencies,
  client: RpcClient,
  closing: AbortSignal,
): DiscoveryResources {
  const { session } = resources;
  return { client, session, limits: messages.limits, closing };
}

/** Returns the collaborators of notifications. */
export function notificationResources(
  { resources, messages, notifications }: ConnectionDependencies,
): NotificationResources {
  const { session } = resources;
  const { dialect, limits } = messages;
  return { session, dialect, limits, defaults: notifications };
}

/** Creates the error for a use after the disposal. */
export const disposed = (): ConnectionDisposedError =>
  new ConnectionDisposedError("Cannot use the connection: it was disposed");
