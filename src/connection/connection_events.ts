/** Events of a connection context. @module */
import type { Transport } from "../transport/transport.ts";

/**
 * Events of a connection.
 * @category Connections
 */
export interface ConnectionEventMap {
  /** The broker is lost; the transport reconnects by itself. */
  readonly disconnected: CustomEvent<{ readonly reason: string }>;
  /** The broker is back; topology and consumers follow at once. */
  readonly connected: Event;
  /** The broker takes no messages. */
  readonly blocked: CustomEvent<{ readonly reason: string }>;
  /** The broker takes messages again. */
  readonly unblocked: Event;
  /** The transport has given up: the fault does not heal by itself. */
  readonly failed: CustomEvent<
    { readonly reason: string; readonly error: Error }
  >;
}

/** Dispatches the events of a transport on a target, until disposed. */
export function relayEvents(
  transport: Pick<Transport, "onEvent">,
  target: ConnectionEvents,
): Disposable {
  return transport.onEvent((event) => {
    target.dispatchEvent(
      "reason" in event
        ? new CustomEvent(event.type, { detail: event })
        : new Event(event.type),
    );
  });
}

/**
 * An `EventTarget` whose events are known.
 * @category Connections
 */
export class ConnectionEvents extends EventTarget {
  /** Adds a listener for one of {@linkcode ConnectionEventMap}. */
  override addEventListener<K extends keyof ConnectionEventMap>(
    type: K,
    listener: (event: ConnectionEventMap[K]) => void,
    options?: AddEventListenerOptions | boolean,
  ): void;
  /** Adds a listener. */
  override addEventListener(
    type: string,
    listener: EventListenerOrEventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void;
  /** Adds a listener. */
  override addEventListener(
    type: string,
    listener: ((event: never) => void) | EventListenerObject | null,
    options?: AddEventListenerOptions | boolean,
  ): void {
    super.addEventListener(type, listener as EventListener, options);
  }
}
