/** What a connection context consumes: planned first, then started, then cancelled and drained. @module */
import type { Route } from "../bus/routes.ts";
import type { Consumer, Delivery, Transport, Wait } from "../bus/transport.ts";

/** Stops a listener; resolves when no event is in hand, or after `grace` milliseconds. */
export type StopListener = (grace: number) => Promise<void>;

/** The consumers of one context. */
export class Subscriptions {
  readonly #transport: Transport;
  readonly #prefetch: number;
  /** What `start` will start. */
  readonly #planned: ((wait: Wait) => Promise<void>)[] = [];
  readonly #consumers: Consumer[] = [];
  readonly #listeners: StopListener[] = [];
  #started = false;

  /** On a transport, each with the same prefetch. */
  constructor(
    { transport, prefetch }: {
      readonly transport: Transport;
      readonly prefetch: number;
    },
  ) {
    this.#transport = transport;
    this.#prefetch = prefetch;
  }

  /** Makes the queue of a route; consumes it now if they are started, else then. */
  async add(
    route: Route,
    receive: (delivery: Delivery) => void,
    wait: Wait,
  ): Promise<void> {
    await this.#transport.declare(route, wait);
    const start = async (wait: Wait) => {
      const consumer = await this.#transport.consume(
        route,
        receive,
        { prefetch: this.#prefetch },
        wait,
      );
      this.#consumers.push(consumer);
    };
    if (this.#started) await start(wait);
    else this.#planned.push(start);
  }

  /** A listener that is already started. */
  addListener(stop: StopListener): void {
    this.#listeners.push(stop);
  }

  /** Starts what is planned; later ones start at once. */
  async start(wait: Wait): Promise<void> {
    this.#started = true;
    for (let start; (start = this.#planned[0]); this.#planned.shift()) {
      await start(wait);
    }
  }

  /** Takes no more messages. */
  async cancel(): Promise<void> {
    await Promise.all(this.#consumers.map((consumer) => consumer.cancel()));
  }

  /** Resolves when no event is in hand, or after `grace` milliseconds. */
  async stopListeners(grace: number): Promise<void> {
    await Promise.all(this.#listeners.map((stop) => stop(grace)));
  }
}
