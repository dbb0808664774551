/** Requests as a caller writes them. @module */
import type {
  Message,
  Session,
  TransportEvent,
  TransportHealth,
} from "../../transport/transport.ts";
import { addresseeHeader } from "../../names.ts";
import {
  type Dialect,
  encode,
  type ErrorClasses,
  type Limits,
  PROTOCOL_VERSION,
  type Request,
} from "../../wire/mod.ts";
import type { Inbox } from "../inbox.ts";
import type { LegacyPeers } from "./legacy_reply_queues.ts";
import type { CallLimits, Target } from "./call_options.ts";

/** What a caller needs. */
export interface CallerParts {
  /** To send on. */
  readonly session: Session;
  /** Where answers come. */
  readonly inbox: Inbox;
  /** How to say it. */
  readonly dialect: Dialect;
  /** Bounds on messages. */
  readonly limits: Limits;
  /** Error classes of the connection. */
  readonly errors: ErrorClasses;
  /** Whether to wait for a queue instead of failing at once. */
  readonly waitForRoute: boolean;
  /** Tells of losses and returns. */
  readonly watch: (watcher: (event: TransportEvent) => void) => Disposable;
  /** How the link is now. */
  readonly health: () => TransportHealth;
  /** Whether servers are reckoned with that know no reply queue. */
  readonly legacyPeers: LegacyPeers;
}

/** What is asked of whom. */
export interface OutgoingRequest {
  /** Id of the request, kept over retries; also that of the call. */
  readonly id: string;
  /** Whom. */
  readonly target: Target;
  /** Procedure. */
  readonly method: string;
  /** Keyword arguments. */
  readonly args: Readonly<Record<string, unknown>>;
}

/** What a worker is told of a caller's patience. */
export interface CallHints {
  /** Milliseconds that it waits. */
  readonly timeout?: number;
  /** Items of a stream that it takes before it has read any. */
  readonly credit?: number;
}

/** Milliseconds as they travel: no limit is not said. */
export function finiteMs(ms: number): number | undefined {
  return ms === Infinity ? undefined : ms;
}

function request(
  { id, target, method, args }: OutgoingRequest,
  { values }: CallLimits,
  { hasIds }: Dialect,
): Request {
  const { version, namespace, topic, host } = target;
  return {
    kind: "request",
    id: hasIds ? id : undefined,
    method,
    args,
    context: values,
    version,
    namespace,
    to: addresseeHeader(topic, host),
  };
}

/** A message that wants no answer. */
export function encodeCast(
  { dialect, limits }: CallerParts,
  outgoing: OutgoingRequest,
  callLimits: CallLimits,
): Message {
  const said = encode(request(outgoing, callLimits, dialect), dialect, limits);
  return { ...said, messageId: outgoing.id };
}

/** A message that wants an answer; `timeout` is told to the worker, if it has one, and so is what it may yield. */
export function encodeCall(
  parts: CallerParts,
  outgoing: OutgoingRequest,
  callLimits: CallLimits,
  { timeout = Infinity, credit }: CallHints = {},
): Message {
  const { inbox: { name: queue }, dialect, limits } = parts;
  const { id } = outgoing;
  const { replyForm } = dialect;
  const full: Request = {
    ...request(outgoing, callLimits, dialect),
    reply: {
      call: id,
      queue: replyForm === "perCallQueue" ? id : queue,
      form: replyForm,
    },
    // Who is asked as Folsom asks answers as Folsom's servers do.
    warren: replyForm === "perCallQueue" ? undefined : PROTOCOL_VERSION,
    monitor: callLimits.monitor,
    timeout: finiteMs(timeout),
    credit,
  };
  const expiration = finiteMs(callLimits.timeout);
  return {
    ...encode(full, dialect, limits),
    messageId: id,
    correlationId: id,
    replyTo: queue,
    mandatory: true,
    expiration,
  };
}
