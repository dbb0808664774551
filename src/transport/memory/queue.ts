/** A queue of the bus inside the process: order, prefetch, expiration, redelivery. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { TopologyError } from "../../errors.ts";
import { SlotMap } from "../../slot_map.ts";
import { WaitingReserve } from "../waiting_reserve.ts";
import type { ConsumeOptions, Delivery, Message } from "../transport.ts";

/** The session that created a queue. */
export type Owner = object;

/** Settings of a queue. */
export interface QueueSettings {
  /** Milliseconds that a message may wait; default: any time. */
  readonly ttl?: number;
  /** Name of the queue that gets messages whose time is over; default: they are dropped. */
  readonly deadLetterTo?: string;
  /** Removed with its last consumer; default false. */
  readonly transient?: boolean;
  /** Removed with the session that created it; default false. */
  readonly owned?: boolean;
}

interface Item {
  readonly message: Message;
  readonly key: string;
  /** Position in the queue, which a redelivered message keeps. */
  readonly order: number;
  /** When it is too old, in milliseconds of the monotonic clock. */
  readonly expires: number;
  redelivered: boolean;
}

interface Subscriber {
  readonly owner: Owner;
  readonly receive: (delivery: Delivery) => void;
  readonly options: ConsumeOptions;
  readonly held: SlotMap<Item>;
  readonly reserve: WaitingReserve;
  readonly ended: PromiseWithResolvers<void>;
  /** How many of what it holds wait, and do not count against its prefetch. */
  waiting: number;
  /** Set once what it held is back in the queue. */
  closed: boolean;
}

/** What a queue tells its broker. */
export interface QueueEvents {
  /** It is gone. */
  removed(): void;
  /** A message was too old; `key` is the queue where it goes. */
  deadLetter(key: string, message: Message): void;
}

/** How a consumer leaves. */
export interface MemoryConsumer {
  /** Resolves when it has left, or its queue is gone. */
  readonly ended: Promise<void>;
  /** Deliveries that are not settled yet. */
  readonly held: number;
  /** No more deliveries; what is held may still be settled. */
  cancel(): void;
  /** As a lost channel: what is held goes back. */
  close(): void;
}

/** One queue. */
export class MemoryQueue {
  /** Name at the bus. */
  readonly name: string;
  /** As declared. */
  readonly settings: QueueSettings;
  /** Who declared it. */
  readonly owner: Owner;
  readonly #events: QueueEvents;
  #waiting: Timer | undefined;
  #items: Item[] = [];
  /** Consumers; the first is the next in turn. */
  #members: Subscriber[] = [];
  #order = 0;
  #running = false;
  #removed = false;

  /** Made by the bus. */
  constructor(
    name: string,
    settings: QueueSettings,
    owner: Owner,
    events: QueueEvents,
  ) {
    this.name = name;
    this.settings = settings;
    this.owner = owner;
    this.#events = events;
  }

  /** How many consume it. */
  get consumers(): number {
    return this.#members.length;
  }

  /** How many messages wait for a consumer. */
  get messages(): number {
    this.#dropOld();
    return this.#items.length;
  }

  /** Takes a message. */
  push(message: Message, key: string): void {
    const { ttl = Infinity } = this.settings;
    const age = Math.min(message.expiration ?? Infinity, ttl);
    const expires = performance.now() + age;
    this.#insert({
      message,
      key,
      order: this.#order++,
      expires,
      redelivered: false,
    });
    this.#dropOld();
    this.#run();
  }

  /** Gives messages to a consumer from now on. */
  consume(
    owner: Owner,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    reserve: WaitingReserve = new WaitingReserve(),
  ): MemoryConsumer {
    const taken = this.#members.some((member) => member.options.exclusive) ||
      (options.exclusive && this.consumers > 0);
    if (taken) {
      throw new TopologyError(
        `Cannot consume ${this.name}: it is in exclusive use`,
        { data: { entity: `queue ${this.name}`, reason: "inUse" } },
      );
    }
    const member: Subscriber = {
      owner,
      receive,
      options,
      held: new SlotMap(),
      reserve,
      ended: Promise.withResolvers(),
      waiting: 0,
      closed: false,
    };
    this.#members.push(member);
    this.#run();
    return {
      ended: member.ended.promise,
      get held() {
        return member.held.size;
      },
      cancel: () => this.#leave(member),
      close: () => this.#close(member),
    };
  }

  /** It is no more, with all that is in it. */
  remove(): void {
    if (this.#removed) return;
    this.#removed = true;
    this.#items = [];
    this.#arm();
    for (const { ended } of this.#members) ended.resolve();
    this.#members = [];
    this.#events.removed();
  }

  #insert(item: Item): void {
    if (this.#removed) return;
    let at = this.#items.length;
    while (at > 0 && (this.#items[at - 1] as Item).order > item.order) at--;
    this.#items.splice(at, 0, item);
  }

  /** What is too old is dropped when it would be its turn, as RabbitMQ does, or goes to the queue that the settings name. */
  #dropOld(): void {
    const now = performance.now();
    while ((this.#items[0]?.expires ?? Infinity) <= now) {
      this.#deadLetter(this.#items.shift() as Item);
    }
    this.#arm();
  }

  #deadLetter({ message: { expiration: _, ...message } }: Item): void {
    const { deadLetterTo } = this.settings;
    if (deadLetterTo) this.#events.deadLetter(deadLetterTo, message);
  }

  /** Looks again when the first is too old. */
  #arm(): void {
    if (this.#waiting) clearDeadline(this.#waiting);
    this.#waiting = undefined;
    const [first] = this.#items;
    if (!first || !this.settings.deadLetterTo) return;
    this.#waiting = setDeadline(first.expires, () => this.#dropOld());
  }

  #leave(member: Subscriber): void {
    this.#members = this.#members.filter((other) => other !== member);
    if (this.settings.transient && this.consumers === 0) this.remove();
  }

  #close(member: Subscriber): void {
    member.closed = true;
    for (const item of member.held) this.#putBack(item);
    member.held.clear();
    this.#leave(member);
    this.#run();
  }

  #putBack(item: Item): void {
    item.redelivered = true;
    this.#insert(item);
  }

  /** Delivers in a microtask of its own, as a network would: never inside the publisher's call. */
  #run(): void {
    if (this.#running) return;
    this.#running = true;
    queueMicrotask(() => {
      this.#running = false;
      this.#deliver();
    });
  }

  #deliver(): void {
    for (this.#dropOld(); this.#items.length > 0; this.#dropOld()) {
      const turn = this.#members.findIndex((
        { held, waiting, options: { prefetch } },
      ) => prefetch === 0 || held.size - waiting < prefetch);
      if (turn < 0) return;
      const member = this.#members[turn] as Subscriber;
      this.#members = [
        ...this.#members.slice(0, turn),
        ...this.#members.slice(turn + 1),
        member,
      ];
      const item = this.#items.shift() as Item;
      member.receive(this.#delivery(member, item));
    }
  }

  #waits(member: Subscriber, { message }: Item, evict: () => void): Disposable {
    const place = member.reserve.wait(message.body.length, evict);
    const counts = member.reserve.full ? 0 : 1;
    member.waiting += counts;
    this.#run();
    return {
      [Symbol.dispose]: () => {
        place[Symbol.dispose]();
        member.waiting -= counts;
      },
    };
  }

  #delivery(member: Subscriber, item: Item): Delivery {
    const place = member.held.add(item);
    const settle = (after?: () => void) => {
      if (member.held.get(place) !== item) return;
      member.held.delete(place);
      after?.();
      this.#run();
    };
    return {
      message: item.message,
      key: item.key,
      redelivered: item.redelivered,
      get lost() {
        return member.closed;
      },
      waits: (evict) => this.#waits(member, item, evict),
      ack: () => settle(),
      reject: (requeue) =>
        settle(requeue ? () => this.#putBack(item) : undefined),
    };
  }
}
