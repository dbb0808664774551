/** Collaborators and settings that clients, servers and notifications share. @module */
import type { Session, Transport } from "../transport/transport.ts";
import type { Dialect, ErrorClasses, Limits } from "../wire/mod.ts";
import type { LegacyPeers } from "./call_queues.ts";
import type { Inbox } from "./inbox.ts";

/** Channels of one connection context, and the inbox and transport of its process. */
export interface MessagingResources {
  /** Channels of the connection context. */
  readonly session: Session;
  /** Inbox of the process's transport. */
  readonly inbox: Inbox;
  /** Transport of the process: its events and its health. */
  readonly transport: Pick<Transport, "onEvent" | "health">;
}

/** Settings of messages that are sent and received. */
export interface MessageSettings {
  /** Dialect of requests and events. */
  readonly dialect: Dialect;
  /** Limits of the size and the nesting of messages. */
  readonly limits: Limits;
  /** Error classes of the connection, by `module.Class`. */
  readonly errors: ErrorClasses;
  /** True if a request waits for its queue to appear, instead of failing at once. */
  readonly waitForRoute: boolean;
  /** Handling of servers that do not know the reply queue of a process. */
  readonly legacyPeers: LegacyPeers;
}
