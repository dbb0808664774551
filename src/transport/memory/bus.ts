/** Bus inside the process: its queues and bindings, shared by all transports on its name. @module */
import type { MemoryQueue } from "./queue.ts";

/** Queues, bindings and exchanges of one bus. */
export class Bus {
  /** Queues by name. */
  readonly queues: Map<string, MemoryQueue> = new Map();
  /** Queues by the binding keys of their messages. */
  readonly bindings: Map<string, Set<MemoryQueue>> = new Map();
  /** Names of the control exchanges that were declared. */
  readonly exchanges: Set<string> = new Set();
  readonly #onEmpty: () => void;
  #users = 0;

  /** Creates a bus. `onEmpty` is called when the last transport is closed. */
  constructor(onEmpty: () => void = () => {}) {
    this.#onEmpty = onEmpty;
  }

  /** Adds a transport to the count. */
  join(): void {
    this.#users++;
  }

  /** Removes a transport from the count. With the last one, all queues are removed with their messages. */
  leave(): void {
    if (--this.#users > 0) return;
    for (const queue of this.queues.values()) queue.remove();
    this.exchanges.clear();
    this.#onEmpty();
  }

  /** Number of consumers of all queues. */
  get consumers(): number {
    return [...this.queues.values()].reduce(
      (sum, { consumers }) => sum + consumers,
      0,
    );
  }
}

const buses = new Map<string, Bus>();

/** Returns the bus of a name, which exists as long as a transport uses it. */
export function sharedBus(name: string): Bus {
  const known = buses.get(name);
  if (known) return known;
  const bus = new Bus(() => buses.delete(name));
  buses.set(name, bus);
  return bus;
}
