/** Copies of messages in queues beside those that are consumed: nothing is acknowledged before the broker has its copy. @module */
import { NoRouteError } from "../errors.ts";
import { pause } from "../wait.ts";
import type { Route } from "../bus/routes.ts";
import type { Message, Transport } from "../bus/transport.ts";
import {
  interruptedHeaders,
  interruptedOf,
  keptHeaders,
} from "../wire/codec.ts";

/** Milliseconds that the broker may take for a copy. */
const PATIENCE = 30_000;
/** Milliseconds before a message that could not be copied goes back into its queue: twice as long each time, to the most. */
const RETRY = 1_000;
const LONGEST_RETRY = 60_000;

/** As it came, but for what is said of it now. What a broker has put there is its own. */
export function copyOf(
  { body, headers, id }: Message,
  more: Readonly<Record<string, string>>,
): Message {
  return {
    body,
    headers: { ...keptHeaders(headers), ...more },
    id,
    persistent: true,
    mandatory: true,
  };
}

/** A request in the same attempt still; `times` says how often a worker did not finish it, if that has changed. */
export function asBefore(
  message: Message,
  times: number = interruptedOf(message.headers),
): Message {
  const headers = interruptedHeaders(message.headers, times);
  return { ...message, headers, persistent: true, mandatory: true };
}

/** Makes the copies of one context. */
export class Copies {
  readonly #transport: Transport;
  /** Queues that were made. */
  readonly #made = new Set<string>();
  /** How long the next message waits that cannot be copied. */
  #retry = RETRY;

  /** On a transport. */
  constructor(transport: Transport) {
    this.#transport = transport;
  }

  /**
   * Resolves when the broker has it.
   *
   * @throws {RpcError} it does not: see `Transport.declare` and `Transport.publish`.
   */
  async send(route: Route, copy: Message): Promise<void> {
    const wait = { deadline: performance.now() + PATIENCE };
    for (;;) {
      const known = this.#made.has(route.key);
      if (!known) await this.#transport.declare(route, wait);
      this.#made.add(route.key);
      try {
        await this.#transport.publish(route, copy, wait);
        this.#retry = RETRY;
        return;
      } catch (error) {
        if (!known || !(error instanceof NoRouteError)) throw error;
        this.#made.delete(route.key); // somebody removed the queue
      }
    }
  }

  /** The pause of a message that could not be copied: whatever is wrong with it will be so again. Ends with the signal. */
  async rest(signal: AbortSignal): Promise<void> {
    const ms = this.#retry;
    this.#retry = Math.min(2 * ms, LONGEST_RETRY);
    await pause(ms, { deadline: Infinity, signal }).catch(() => {});
  }
}
