/** What a connection context consumes: planned first, then started, then cancelled and drained. @module */
import type { StopListener } from "../notifications/listener.ts";
import { TopologyError } from "../../errors.ts";
import type { Route } from "../../transport/routes.ts";
import type { Limits } from "../../wire/codec.ts";
import type {
  Consumer,
  Delivery,
  Transport,
  Wait,
} from "../../transport/transport.ts";

/** How one is consumed that others can do without. */
export interface Spare {
  /** Unacknowledged deliveries at most. */
  readonly prefetch: number;
  /** Called, once at most, where the broker does not let it be made or consumed. */
  readonly refused: (error: TopologyError) => void;
}

/** The consumers of one context. */
export class Subscriptions {
  readonly #transport: Transport;
  readonly #prefetch: number;
  readonly #limit: number;
  /** What `start` will start. */
  readonly #planned: ((wait: Wait) => Promise<void>)[] = [];
  readonly #consumers: Consumer[] = [];
  readonly #listeners: StopListener[] = [];
  #started = false;

  /** On a transport, each with the same prefetch. */
  constructor(
    { transport, prefetch, limits }: {
      readonly transport: Transport;
      readonly prefetch: number;
      readonly limits: Limits;
    },
  ) {
    this.#limit = limits.bytes;
    this.#transport = transport;
    this.#prefetch = prefetch;
  }

  /**
   * Makes the queue of a route; consumes it now if they are started, else then. `keep`: what is too large comes all the same,
   * see `BodyLimit`.
   *
   * @throws {TopologyError} the broker refuses it, and it is not `spare`.
   */
  async add(
    route: Route,
    receive: (delivery: Delivery) => void,
    wait: Wait,
    keep: boolean,
    spare?: Spare,
  ): Promise<void> {
    const { prefetch = this.#prefetch } = spare ?? {};
    const limit = { bytes: this.#limit, keep };
    const start = async (wait: Wait) => {
      const consumer = this.#transport.consume(
        route,
        receive,
        { prefetch, spare: spare !== undefined, limit },
        wait,
      );
      await allowed(consumer.then((made) => this.#consumers.push(made)), spare);
    };
    const made = this.#transport.declare(route, wait).then(() => true);
    if (!await allowed(made, spare)) return;
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

  /** Takes no more messages; resolves when the broker has said so, or at the deadline. */
  async cancel(deadline: number): Promise<void> {
    const all = this.#consumers.map((consumer) => consumer.cancel(deadline));
    await Promise.all(all);
  }

  /** Resolves when no event is in hand, or at the deadline. */
  async stopListeners(deadline: number): Promise<void> {
    await Promise.all(this.#listeners.map((stop) => stop(deadline)));
  }
}

/** What the broker refuses of a spare is told, and undefined. */
async function allowed<T>(
  work: Promise<T>,
  spare: Spare | undefined,
): Promise<T | undefined> {
  try {
    return await work;
  } catch (error) {
    if (!spare || !(error instanceof TopologyError)) throw error;
    spare.refused(error);
    return undefined;
  }
}
