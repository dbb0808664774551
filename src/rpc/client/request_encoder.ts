/** Requests as a caller writes them. @module */
import type {
  LinkEvent,
  LinkHealth,
  Message,
  Transport,
} from "../../transport/transport.ts";
import { addressOf, type Routes } from "../../transport/routes.ts";
import { encode, type Limits, PROTOCOL } from "../../wire/codec.ts";
import type { Dialect } from "../../wire/dialect.ts";
import type { Request } from "../../wire/rpc_message.ts";
import type { ErrorClasses } from "../../wire/failure.ts";
import type { Inbox } from "../inbox.ts";
import type { OldPeers } from "./legacy_reply_queues.ts";
import type { Bounds, Target } from "./call_options.ts";

/** What a caller needs. */
export interface CallerParts {
  /** To send on. */
  readonly transport: Transport;
  /** Where answers come. */
  readonly inbox: Inbox;
  /** Where topics are. */
  readonly routes: Routes;
  /** How to say it. */
  readonly dialect: Dialect;
  /** Bounds on messages. */
  readonly limits: Limits;
  /** Error classes of the connection. */
  readonly errors: ErrorClasses;
  /** Whether to wait for a queue instead of failing at once. */
  readonly waitForRoute: boolean;
  /** Tells of losses and returns. */
  readonly watch: (watcher: (event: LinkEvent) => void) => Disposable;
  /** How the link is now. */
  readonly health: () => LinkHealth;
  /** Whether servers are reckoned with that know no reply queue. */
  readonly oldPeers: OldPeers;
}

/** What is asked of whom. */
export interface Asked {
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
export interface Told {
  /** Milliseconds that it waits. */
  readonly timeout?: number;
  /** Items of a stream that it takes before it has read any. */
  readonly credit?: number;
}

/** Milliseconds as they travel: no limit is not said. */
export function finite(ms: number): number | undefined {
  return ms === Infinity ? undefined : ms;
}

function request(
  { id, target, method, args }: Asked,
  { values }: Bounds,
  { ids }: Dialect,
): Request {
  const { version, namespace, topic, host } = target;
  return {
    kind: "request",
    id: ids ? id : undefined,
    method,
    args,
    context: values,
    version,
    namespace,
    to: addressOf(topic, host),
  };
}

/** A message that wants no answer. */
export function statement(
  { dialect, limits }: CallerParts,
  asked: Asked,
  bounds: Bounds,
): Message {
  const said = encode(request(asked, bounds, dialect), dialect, limits);
  return { ...said, id: asked.id };
}

/** A message that wants an answer; `timeout` is told to the worker, if it has one, and so is what it may yield. */
export function question(
  parts: CallerParts,
  asked: Asked,
  bounds: Bounds,
  { timeout = Infinity, credit }: Told = {},
): Message {
  const { inbox: { name: queue }, dialect, limits } = parts;
  const { id } = asked;
  const { form } = dialect;
  const full: Request = {
    ...request(asked, bounds, dialect),
    reply: { call: id, queue: form === "bare" ? id : queue, form },
    // Who is asked as Folsom asks answers as Folsom's servers do.
    warren: form === "bare" ? undefined : PROTOCOL,
    monitor: bounds.monitor,
    timeout: finite(timeout),
    credit,
  };
  const expiration = finite(bounds.timeout);
  return {
    ...encode(full, dialect, limits),
    id,
    correlationId: id,
    replyTo: queue,
    mandatory: true,
    expiration,
  };
}
