/** What a connection context tells. @module */
import type { TransportEvent } from "../transport/transport.ts";

/** Events of a connection. */
export interface ConnectionEventMap {
  /** The broker is lost; the link is coming back by itself. */
  readonly disconnected: CustomEvent<{ readonly reason: string }>;
  /** The broker is back; topology and consumers follow at once. */
  readonly connected: Event;
  /** The broker takes no messages. */
  readonly blocked: CustomEvent<{ readonly reason: string }>;
  /** The broker takes messages again. */
  readonly unblocked: Event;
  /** The link is given up: what is wrong does not heal by itself. */
  readonly failed: CustomEvent<
    { readonly reason: string; readonly error: Error }
  >;
}

/** Tells of what happened to a link. */
export function dispatchTransportEvent(
  target: ConnectionEvents,
  event: TransportEvent,
): void {
  target.dispatchEvent(
    "reason" in event
      ? new CustomEvent(event.type, { detail: event })
      : new Event(event.type),
  );
}

/** An `EventTarget` whose events are known. */
export class ConnectionEvents extends EventTarget {
  /** Listens to one of {@linkcode ConnectionEventMap}. */
  override addEventListener<K extends keyof ConnectionEventMap>(
    type: K,
    listener: (event: ConnectionEventMap[K]) => void,
    options?: AddEventListenerOptions | boolean,
  ): void;
  /** Listens. */
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  /** Listens. */
  override addEventListener(
    type: string,
    listener: ((event: never) => void) | EventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void {
    super.addEventListener(type, listener as EventListener, options);
  }
}
