/** A broker inside the process: exchanges, queues and bindings, by the rules of RabbitMQ that Warren relies on. @module */
import { isDeepStrictEqual } from "node:util";
import { TopologyError } from "../../errors.ts";
import { type Exchange, missing, type Queue, type Route } from "../routes.ts";
import { uniqueName } from "../../ids.ts";
import type { Message, QueueCounts } from "../transport.ts";
import { MemoryQueue, type Owner } from "./queue.ts";

interface BoundExchange {
  readonly settings: Exchange;
  readonly bindings: Set<{ readonly key: string; readonly queue: MemoryQueue }>;
}

type Settings = Readonly<Record<string, unknown>>;

const flat = ({ arguments: args, ...settings }: Queue): Settings => ({
  ...settings,
  ...args,
});

/** It exists in another form: the error says in what, as RabbitMQ's. */
function otherwise(
  entity: string,
  wanted: Settings,
  existing: Settings,
): TopologyError {
  const names = Object.keys({ ...wanted, ...existing });
  const argument = names.find((name) => wanted[name] !== existing[name]) ?? "";
  const said = (value: unknown) => value === undefined ? "none" : `${value}`;
  const data = {
    entity,
    argument,
    wanted: said(wanted[argument]),
    existing: said(existing[argument]),
    replyCode: 406,
  };
  return new TopologyError(
    `Cannot declare ${entity}: its ${argument} is ${data.existing}, not ${data.wanted}`,
    { data },
  );
}

function checkForm({ name, settings }: MemoryQueue, wanted: Queue): void {
  if (isDeepStrictEqual(settings, wanted)) return;
  throw otherwise(`queue ${name}`, flat(wanted), flat(settings));
}

/** Exchanges and queues of one bus. */
export class Broker {
  readonly #exchanges = new Map<string, BoundExchange>();
  readonly #queues = new Map<string, MemoryQueue>();

  exchange(settings: Exchange): BoundExchange {
    const known = this.#exchanges.get(settings.name);
    if (settings.passive) {
      if (known) return known;
      throw missing(`exchange ${settings.name}`);
    }
    if (known && !isDeepStrictEqual(known.settings, settings)) {
      const entity = `exchange ${settings.name}`;
      throw otherwise(entity, { ...settings }, { ...known.settings });
    }
    const exchange = known ?? { settings, bindings: new Set() };
    this.#exchanges.set(settings.name, exchange);
    return exchange;
  }

  /** The queue of a route; `owner` is who it goes with if it is exclusive. */
  queue(route: Route, settings: Queue, owner: Owner): MemoryQueue {
    const name = settings.fresh
      ? uniqueName(settings.name, settings.fresh)
      : settings.name;
    const exchange = route.exchange && this.exchange(route.exchange);
    const known = this.#queues.get(name);
    if (settings.passive) {
      if (known) return known;
      throw missing(`queue ${name}`);
    }
    if (known) checkForm(known, settings);
    const queue = known ?? new MemoryQueue(name, settings, owner, {
      removed: () => this.#remove(queue),
      deadLetter: (key, message) => this.publish({ key }, message),
    });
    this.#queues.set(name, queue);
    if (exchange) this.#bind(exchange, route.binding ?? route.key, queue);
    return queue;
  }

  /** True if a queue took it. */
  publish(route: Route, message: Message): boolean {
    const targets = route.exchange
      ? this.#matching(this.exchange(route.exchange), route.key)
      : this.#named(route.key);
    for (const queue of targets) queue.push(message, route.key);
    return targets.length > 0;
  }

  find(name: string): MemoryQueue | undefined {
    return this.#queues.get(name);
  }

  /** What is in a queue; undefined if it does not exist. */
  look(settings: Queue): QueueCounts | undefined {
    const queue = this.find(settings.name);
    if (!queue) return undefined;
    checkForm(queue, settings);
    return { messages: queue.messages, consumers: queue.consumers };
  }

  unbind({ exchange, queue, key, binding = key }: Route): void {
    const { bindings } = this.#exchanges.get(exchange?.name ?? "") ?? {};
    for (const each of bindings ?? []) {
      const meant = each.queue.name === queue?.name && each.key === binding;
      if (meant) bindings?.delete(each);
    }
  }

  /** False if it has a message or a consumer. */
  removeEmpty(name: string): boolean {
    const queue = this.find(name);
    const used = queue && queue.messages + queue.consumers > 0;
    if (!used) queue?.remove();
    return !used;
  }

  /** Queues that go with an owner are gone. */
  leave(owner: Owner): void {
    for (const queue of this.#queues.values()) {
      if (queue.owner === owner && queue.settings.exclusive) queue.remove();
    }
  }

  /** All queues are gone, with what waits in them. */
  clear(): void {
    for (const queue of this.#queues.values()) queue.remove();
  }

  /** Of all queues. */
  get consumers(): number {
    return [...this.#queues.values()].reduce(
      (sum, { consumers }) => sum + consumers,
      0,
    );
  }

  get queues(): readonly string[] {
    return [...this.#queues.keys()];
  }

  #named(name: string): MemoryQueue[] {
    const queue = this.#queues.get(name);
    return queue ? [queue] : [];
  }

  #matching({ settings, bindings }: BoundExchange, key: string): MemoryQueue[] {
    const bound = [...bindings].filter((binding) =>
      settings.type === "fanout" || binding.key === key
    );
    return [...new Set(bound.map(({ queue }) => queue))];
  }

  #bind(exchange: BoundExchange, key: string, queue: MemoryQueue): void {
    const bound = [...exchange.bindings].some((binding) =>
      binding.key === key && binding.queue === queue
    );
    if (!bound) exchange.bindings.add({ key, queue });
  }

  #remove(queue: MemoryQueue): void {
    this.#queues.delete(queue.name);
    for (const [name, exchange] of this.#exchanges) {
      const before = exchange.bindings.size;
      for (const binding of exchange.bindings) {
        if (binding.queue === queue) exchange.bindings.delete(binding);
      }
      const last = before > 0 && exchange.bindings.size === 0;
      if (last && exchange.settings.autoDelete) this.#exchanges.delete(name);
    }
  }
}
