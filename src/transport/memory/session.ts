/** Session on the in-process broker. @module */
import {
  ConnectionDisposedError,
  InvalidValueError,
  NoRouteError,
} from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { edgesOf } from "../oversized_body.ts";
import { WaitingReserve } from "../waiting_reserve.ts";
import { type Address, publishKey, type QueueAddress } from "../address.ts";
import type { Destination } from "../destination.ts";
import type {
  BodyLimit,
  BrowseOptions,
  Browser,
  ConsumeOptions,
  Consumer,
  Deadline,
  DeclareOptions,
  Delivery,
  Message,
  Session,
} from "../transport.ts";
import type { Broker } from "./broker.ts";
import { openBrowser } from "./queue_browser.ts";
import type { MemoryQueue, Owner } from "./queue.ts";

/** Session of one connection context. */
export class MemorySession implements Session, Owner {
  readonly system = "memory";
  readonly #broker: Broker;
  readonly #onReturned: (message: Message) => void;
  readonly #onClose: () => void;
  readonly #cancels = new Set<() => void>();
  readonly #reserve = new WaitingReserve();
  #disposed = false;

  constructor(
    broker: Broker,
    returned: (message: Message) => void,
    closed: () => void,
  ) {
    this.#broker = broker;
    this.#onReturned = returned;
    this.#onClose = closed;
  }

  destination(address: Address): Destination {
    return { name: publishKey(address) };
  }

  declare(
    address: Address,
    deadline: Deadline,
    { bind = true }: DeclareOptions = {},
  ): Promise<void> {
    return this.#run(deadline, () => {
      const own = address.kind === "fanout" || address.kind === "direct" ||
        address.kind === "event" && address.exclusive;
      if (!own) this.#broker.queue(address, this, bind); // a queue of one consumer is created with its consumer
    });
  }

  publish(
    address: Address,
    message: Message,
    deadline: Deadline,
  ): Promise<void> {
    return this.#run(deadline, () => {
      const routed = this.#broker.publish(address, message);
      if (routed || !message.mandatory) return;
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
    return this.#run(deadline, () => {
      const routed = this.#broker.publish(address, message);
      if (routed || !message.mandatory) return;
      queueMicrotask(() => callSafely(this.#onReturned, message));
    });
  }

  consume(
    address: Address,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer> {
    return this.#run(deadline, () => {
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
    const queue = this.#broker.createQueue(name, this, { transient: true });
    this.#subscribe(queue, onDelivery, options);
  }

  flush(deadline: Deadline): Promise<void> {
    return this.#run(deadline, () => {}); // acknowledgements take effect at once
  }

  waitForNewQueues(deadline: Deadline): Promise<void> {
    return this.#run(deadline, () => {}); // nothing survives this process
  }

  unbind(address: QueueAddress, deadline: Deadline): Promise<void> {
    return this.#run(deadline, () => this.#broker.unbind(address));
  }

  removeEmpty(address: Address, deadline: Deadline): Promise<boolean> {
    return this.#run(deadline, () => this.#broker.removeEmpty(address));
  }

  async browse(
    address: Address,
    options: BrowseOptions,
    deadline: Deadline,
  ): Promise<Browser | undefined> {
    const browser = await this.#run(deadline, () => {
      const queue = this.#broker.find(address);
      return queue && openBrowser(queue, this, options);
    });
    if (!browser) return undefined;
    const limit = { bytes: options.maxBodyBytes, allowWhole: false };
    const next = async () => {
      const deliveries = await browser.read();
      return deliveries?.map((delivery) => limitBody(delivery, limit));
    };
    const close = () => browser.close();
    return { messages: browser.messages, read: next, close };
  }

  #subscribe(
    queue: MemoryQueue,
    onDelivery: (delivery: Delivery) => void,
    options: ConsumeOptions,
  ): Consumer {
    const handle = queue.consume(
      this,
      (delivery) => callSafely(onDelivery, limitBody(delivery, options.limit)),
      options,
      this.#reserve,
    );
    this.#cancels.add(handle.close);
    const cancel = () => {
      handle.cancel();
      if (handle.unsettled === 0) this.#cancels.delete(handle.close); // there is nothing to requeue on disposal
    };
    return { ended: handle.ended, cancel: () => Promise.try(cancel) };
  }

  [Symbol.asyncDispose](): Promise<void> {
    this.#disposed = true;
    this.#reserve[Symbol.dispose]();
    for (const close of this.#cancels) close();
    this.#cancels.clear();
    this.#broker.removeOwned(this);
    this.#onClose();
    return Promise.resolve();
  }

  /**
   * Runs `work` in the same turn, so that disposal comes before or after it; errors become rejections, as with a
   * network.
   */
  #run<T>({ signal }: Deadline, work: () => T): Promise<T> {
    return Promise.try(() => {
      signal?.throwIfAborted();
      if (!this.#disposed) return work();
      throw new ConnectionDisposedError(
        "Cannot use the connection: it was disposed",
      );
    });
  }
}

/**
 * Delivers an oversized body as a network driver would. The semaphore for whole bodies is not needed, since the body is
 * in memory already.
 */
function limitBody(delivery: Delivery, limit: BodyLimit | undefined): Delivery {
  const { message } = delivery;
  const { body, replyTo, correlationId } = message;
  if (body.length <= (limit?.bytes ?? Infinity)) return delivery;
  const expectsReply = replyTo !== undefined && correlationId !== undefined;
  const available = limit?.allowWhole && !expectsReply ? body : edgesOf(body);
  return {
    ...delivery,
    get lost() {
      return delivery.lost;
    },
    message: { ...message, body: available, oversized: body.length },
  };
}

/** Calls a listener and logs an error that it throws. */
function callSafely<T>(receive: (value: T) => void, value: T): void {
  try {
    receive(value);
  } catch (error) {
    logger("bus").error("A receiver threw: {error}", { error });
  }
}
