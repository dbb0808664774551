/** One context's part of a bus inside the process. @module */
import {
  ConnectionDisposedError,
  InvalidValueError,
  NoRouteError,
} from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { edgesOf } from "../oversized_body.ts";
import { WaitingReserve } from "../waiting_reserve.ts";
import { type Address, publishKey, type QueueAddress } from "../address.ts";
import type {
  BodyLimit,
  ConsumeOptions,
  Consumer,
  Deadline,
  DeclareOptions,
  Delivery,
  Message,
  Session,
} from "../transport.ts";
import type { Broker } from "./broker.ts";
import type { MemoryQueue, Owner } from "./queue.ts";

/** One context's part of a bus. */
export class MemorySession implements Session, Owner {
  readonly #broker: Broker;
  readonly #returned: (message: Message) => void;
  readonly #closed: () => void;
  readonly #cancels = new Set<() => void>();
  readonly #reserve = new WaitingReserve();
  #disposed = false;

  constructor(
    broker: Broker,
    returned: (message: Message) => void,
    closed: () => void,
  ) {
    this.#broker = broker;
    this.#returned = returned;
    this.#closed = closed;
  }

  declare(
    address: Address,
    deadline: Deadline,
    { bind = true }: DeclareOptions = {},
  ): Promise<void> {
    return this.#use(deadline, () => {
      const own = address.kind === "fanout" || address.kind === "direct" ||
        address.kind === "event" && address.exclusive;
      if (!own) this.#broker.queue(address, this, bind); // a queue of one consumer comes with it
    });
  }

  publish(
    address: Address,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return this.#use(deadline, () => {
      const taken = this.#broker.publish(address, message);
      if (taken || !message.mandatory) return;
      const key = publishKey(address);
      throw new NoRouteError(
        `No queue takes a message for ${
          oneLine(key)
        }: nobody has served it yet`,
        { data: { key } },
      );
    });
  }

  send(address: Address, message: Message, deadline: Deadline): Promise<void> {
    return this.#use(deadline, () => {
      const taken = this.#broker.publish(address, message);
      if (taken || !message.mandatory) return;
      queueMicrotask(() => guarded(this.#returned, message));
    });
  }

  consume(
    address: Address,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer> {
    return this.#use(deadline, () => {
      if (address.kind === "direct") {
        throw new InvalidValueError(
          `Cannot consume ${address.queue}: a queue that is known by its name alone has no form to declare`,
        );
      }
      const queue = this.#broker.queue(address, this);
      return this.#subscribe(queue, onDelivery, options);
    });
  }

  /** Consumes the reply queue of the process. */
  consumeInbox(
    name: string,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
  ): void {
    const queue = this.#broker.named(name, this, { transient: true });
    this.#subscribe(queue, onDelivery, options);
  }

  flush(deadline: Deadline): Promise<void> {
    return this.#use(deadline, () => {}); // an acknowledgement takes effect at once
  }

  unbind(address: QueueAddress, deadline: Deadline): Promise<void> {
    return this.#use(deadline, () => this.#broker.unbind(address));
  }

  removeEmpty(address: Address, deadline: Deadline): Promise<boolean> {
    return this.#use(deadline, () => this.#broker.removeEmpty(address));
  }

  #subscribe(
    queue: MemoryQueue,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
  ): Consumer {
    const handle = queue.consume(
      this,
      (delivery) => guarded(onDelivery, measured(delivery, options.limit)),
      options,
      this.#reserve,
    );
    this.#cancels.add(handle.close);
    const cancel = () => {
      handle.cancel();
      if (handle.held === 0) this.#cancels.delete(handle.close); // nothing goes back at the end
    };
    return { ended: handle.ended, cancel: () => Promise.try(cancel) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#reserve[Symbol.dispose]();
    for (const close of this.#cancels) close();
    this.#cancels.clear();
    this.#broker.leave(this);
    this.#closed();
    return Promise.resolve();
  }

  /** Does it at once, so that disposal is before it or after it; what goes wrong is a rejection, as with a network. */
  #use<T>({ signal }: Deadline, work: () => T): Promise<T> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      if (!this.#disposed) return work();
      throw new ConnectionDisposedError(
        "Cannot use the connection: it was disposed",
      );
    });
  }
}

/** A body that is too large comes as from a network; there is no memory to spare where it is in memory already. */
function measured(delivery: Delivery, limit: BodyLimit | undefined): Delivery {
  const { message } = delivery;
  const { body, replyTo, correlationId } = message;
  if (body.length <= (limit?.bytes ?? Infinity)) return delivery;
  const asks = replyTo !== undefined && correlationId !== undefined;
  const kept = limit?.keep && !asks ? body : edgesOf(body);
  return {
    ...delivery,
    get lost() {
      return delivery.lost;
    },
    message: { ...message, body: kept, oversized: body.length },
  };
}

/** What a receiver throws hurts nobody else. */
function guarded<T>(receive: (value: T) => void, value: T): void {
  try {
    receive(value);
  } catch (error) {
    logger("bus").error("A receiver threw: {error}", { error });
  }
}
