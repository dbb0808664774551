/** Encoding of a client's requests. No other module sets their AMQP properties. @module */
import type { Message } from "../../transport/transport.ts";
import type { Address } from "../../transport/address.ts";
import { addresseeHeader } from "../../names.ts";
import { encode, PROTOCOL_VERSION, type Request } from "../../wire/mod.ts";
import { INITIAL_CREDIT } from "../streams/flow_control.ts";
import type { Inbox } from "../inbox.ts";
import { isOwnTopic } from "../../names.ts";
import { type TracedMessage, traceIn } from "../telemetry/spans.ts";
import type { MessageSettings } from "../messaging.ts";
import type { CallHints, CallLimits } from "./call_limits.ts";
import type { Target } from "./call_options.ts";

/** Verb of a request. `gather` is a call to all workers of a topic, each of which replies. */
export type RequestKind = "call" | "cast" | "fanout" | "multicall" | "gather";

/** Address and queue of a target. */
export interface Destination {
  /** Address of the request. */
  readonly address: Address;
  /** Name of the queue that the target's workers consume. */
  readonly queue: string;
}

/** Request that is about to be sent. */
export interface OutgoingRequest {
  /** Id of the request, the same in all retries; it is also the id of the call. */
  readonly id: string;
  /** Verb. */
  readonly kind: RequestKind;
  /** Target. */
  readonly target: Target;
  /** Destination of the target. */
  readonly destination: Destination;
  /** Procedure. */
  readonly method: string;
  /** Keyword arguments. */
  readonly args: Readonly<Record<string, unknown>>;
  /** Time limits. */
  readonly limits: CallLimits;
  /** Context values, headers and hints for the delivery. */
  readonly hints: CallHints;
}

/** True for the verbs without a reply. */
export const isCast = (kind: RequestKind): boolean =>
  kind === "cast" || kind === "fanout";

/** True for a cast that is sent without the broker's confirm. It is at-most-once, so it is transient. */
export const isUnconfirmed = ({ kind, hints }: OutgoingRequest): boolean =>
  isCast(kind) && hints.confirm === false;

/** Returns a request as telemetry describes it; undefined for Warren's own requests, such as those between services. */
export function tracedRequest(
  { id, kind, method, target: { topic }, destination }: OutgoingRequest,
  session: TracedMessage["session"],
): TracedMessage | undefined {
  if (kind === "gather" || isOwnTopic(topic)) return undefined;
  const { address } = destination;
  return { verb: kind, topic, procedure: method, id, address, session };
}

/** Milliseconds as they are sent: `Infinity` is omitted. */
function finiteMs(ms: number | undefined): number | undefined {
  return ms === Infinity ? undefined : ms;
}

/** Encodes the requests of one client. */
export class RequestEncoder {
  readonly #inbox: Pick<Inbox, "name">;
  readonly #settings: Pick<MessageSettings, "dialect" | "limits">;

  /** `inbox` becomes the reply address of the requests. */
  constructor(
    inbox: Pick<Inbox, "name">,
    settings: Pick<MessageSettings, "dialect" | "limits">,
  ) {
    this.#inbox = inbox;
    this.#settings = settings;
  }

  /**
   * Encodes a request.
   *
   * @throws {InvalidValueError} JSON cannot carry a value, or the message is larger than the limit.
   */
  encode(outgoing: OutgoingRequest): Message {
    const { dialect, limits } = this.#settings;
    const { id, kind, hints } = outgoing;
    const cast = isCast(kind);
    const unconfirmed = isUnconfirmed(outgoing);
    const request = cast ? this.#cast(outgoing) : this.#call(outgoing);
    const { body, headers } = encode(request, dialect, limits);
    return {
      body,
      headers: hints.headers ? { ...hints.headers, ...headers } : headers,
      messageId: id,
      correlationId: cast ? undefined : id,
      replyTo: cast ? undefined : this.#inbox.name,
      // A fanout without any consumer is no error. Without a confirm, nobody waits for a returned cast.
      mandatory: kind !== "fanout" && !unconfirmed,
      persistent: kind === "cast" && !unconfirmed,
      expiration: finiteMs(cast ? hints.ttl : outgoing.limits.timeout),
    };
  }

  #cast({ id, target, method, args, hints }: OutgoingRequest): Request {
    const { version, namespace, topic, host } = target;
    const { dialect } = this.#settings;
    // A peer of oslo.messaging forwards the context values of a request, and no headers.
    const trace = dialect.name === "oslo" && hints.headers?.traceparent
      ? traceIn(hints.headers)
      : undefined;
    return {
      kind: "request",
      id: dialect.hasIds ? id : undefined,
      method,
      args,
      context: trace ? { ...hints.values, ...trace } : hints.values,
      version,
      namespace,
      to: addresseeHeader(topic, host),
      sent: Date.now(),
    };
  }

  /**
   * Encodes a call, with its timeout. A multicall has its credit instead, since its timeout is the time between two
   * items.
   */
  #call(outgoing: OutgoingRequest): Request {
    const { id, kind, limits } = outgoing;
    const { replyForm } = this.#settings.dialect;
    const perCallQueue = replyForm === "perCallQueue";
    const stream = kind === "multicall";
    return {
      ...this.#cast(outgoing),
      reply: {
        call: id,
        queue: perCallQueue ? id : this.#inbox.name,
        form: replyForm,
      },
      // Servers of Folsom's form understand none of Warren's headers.
      warren: perCallQueue ? undefined : PROTOCOL_VERSION,
      monitor: stream ? undefined : limits.monitor,
      timeout: stream ? undefined : finiteMs(limits.timeout),
      credit: stream ? INITIAL_CREDIT : undefined,
    };
  }
}
