/** Listeners of the events of a transport. @module */
import { logger } from "../../logging.ts";
import type { TransportEvent } from "../transport.ts";

/** Passes events to listeners; an error of one does not affect the others. */
export class TransportEvents {
  readonly #listeners = new Set<(event: TransportEvent) => void>();

  /** Adds a listener, until disposed. */
  listen(listener: (event: TransportEvent) => void): Disposable {
    this.#listeners.add(listener);
    return { [Symbol.dispose]: () => void this.#listeners.delete(listener) };
  }

  /** Calls all listeners. */
  notify(event: TransportEvent): void {
    for (const listener of [...this.#listeners]) {
      try {
        listener(event);
      } catch (error) {
        logger("bus").error("A listener of events threw: {error}", { error });
      }
    }
  }
}
