/** Events of a connection context. @module */
import type { Transport } from "../transport/transport.ts";

/**
 * Events of a connection, by their names.
 * @category Connections
 */
export interface ConnectionEventMap {
  /** The connection to the broker was lost; the transport reconnects by itself. */
  readonly disconnected: CustomEvent<{ readonly reason: string }>;
  /** The connection to the broker is open again; queues and consumers are restored next. */
  readonly connected: Event;
  /** The broker accepts no messages, because of an alarm. */
  readonly blocked: CustomEvent<{ readonly reason: string }>;
  /** The broker accepts messages again. */
  readonly unblocked: Event;
  /** The transport does not reconnect any more, since the error would not go away. */
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
 * `EventTarget` with typed events.
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
