/** One context's part of a bus inside the process. @module */
import {
  ConnectionDisposedError,
  InvalidValueError,
  NoRouteError,
} from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { edgesOf } from "../oversized_body.ts";
import { WaitingReserve } from "../waiting_reserve.ts";
import type { Queue, Route } from "../routes.ts";
import type {
  BodyLimit,
  ConsumeOptions,
  Consumer,
  Deadline,
  Delivery,
  Message,
  QueueCounts,
  Session,
} from "../transport.ts";
import type { Broker } from "./broker.ts";
import type { Owner } from "./queue.ts";

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

  declare(route: Route, deadline: Deadline): Promise<void> {
    return this.#use(deadline, () => {
      if (route.exchange) this.#broker.exchange(route.exchange);
      if (route.queue && !read(route.queue).fresh) {
        this.#broker.queue(route, route.queue, this);
      }
    });
  }

  publish(route: Route, message: Message, deadline: Deadline): Promise<void> {
    return this.#use(deadline, () => {
      const taken = this.#broker.publish(route, message);
      if (taken || !message.mandatory) return;
      throw new NoRouteError(
        `No queue takes a message for ${
          oneLine(route.key)
        }: nobody has served it yet`,
        { data: { key: route.key } },
      );
    });
  }

  send(route: Route, message: Message, deadline: Deadline): Promise<void> {
    return this.#use(deadline, () => {
      const taken = this.#broker.publish(route, message);
      if (taken || !message.mandatory) return;
      queueMicrotask(() => guarded(this.#returned, message));
    });
  }

  consume(
    route: Route,
    receive: (delivery: Delivery) => void,
    options: ConsumeOptions,
    deadline: Deadline,
  ): Promise<Consumer> {
    return this.#use(deadline, () => {
      if (!route.queue) {
        throw new InvalidValueError(
          `Cannot consume the route ${route.key}: it has no queue`,
        );
      }
      const queue = this.#broker.queue(route, read(route.queue), this);
      const handle = queue.consume(
        this,
        (delivery) => guarded(receive, measured(delivery, options.limit)),
        options,
        this.#reserve,
      );
      this.#cancels.add(handle.close);
      const cancel = () => {
        handle.cancel();
        if (handle.held === 0) this.#cancels.delete(handle.close); // nothing goes back at the end
      };
      return { ended: handle.ended, cancel: () => Promise.try(cancel) };
    });
  }

  look(queue: Queue, deadline: Deadline): Promise<QueueCounts | undefined> {
    return this.#use(deadline, () => this.#broker.look(queue));
  }

  unbind(route: Route, deadline: Deadline): Promise<void> {
    return this.#use(deadline, () => this.#broker.unbind(route));
  }

  removeEmpty({ name }: Queue, deadline: Deadline): Promise<boolean> {
    return this.#use(deadline, () => this.#broker.removeEmpty(name));
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

/** Each reader of a stream gets all that comes while it reads: here that is a queue of its own. */
function read(queue: Queue): Queue {
  const stream = queue.arguments["x-queue-type"] === "stream";
  return stream ? { ...queue, fresh: true, temporary: true } : queue;
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
