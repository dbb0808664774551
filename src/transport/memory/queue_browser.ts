/** Looks at the messages of a queue inside the process. @module */
import { TopologyError } from "../../errors.ts";
import type { BrowseOptions, Browser, Delivery } from "../transport.ts";
import type { MemoryConsumer, MemoryQueue, Owner } from "./queue.ts";

/** Maximum number of messages that are returned together. */
const MAX_BATCH = 1_000;

/** Browser of one queue. */
export class MemoryBrowser implements Browser {
  readonly messages: number;
  readonly #deliveries: Delivery[] = [];
  readonly #consumer: MemoryConsumer | undefined;
  readonly #onHead: BrowseOptions["onHead"];

  /** Consumes the queue at once. */
  constructor(
    queue: MemoryQueue,
    owner: Owner,
    { maxMessages = Infinity, onHead }: BrowseOptions,
  ) {
    this.#onHead = onHead;
    this.messages = queue.messages;
    const prefetch = Math.min(this.messages, maxMessages);
    if (prefetch === 0) return;
    let left = prefetch;
    this.#consumer = queue.consume(
      owner,
      (delivery) => left-- > 0 && this.#deliveries.push(delivery), // more come for those that are acknowledged
      { prefetch },
    );
  }

  async read(): Promise<readonly Delivery[] | undefined> {
    await Promise.resolve(); // the queue delivers in the turn after `consume`
    if (this.#deliveries.length === 0) return undefined;
    return this.#deliveries.splice(0, MAX_BATCH).filter(({ message }) => {
      const { headers, messageId, body: { length: bytes } } = message;
      return this.#onHead?.({ headers, messageId, bytes }) !== "none";
    });
  }

  close(): Promise<boolean> {
    this.#consumer?.close();
    return Promise.resolve(true);
  }
}

/**
 * Opens a browser.
 *
 * @throws {TopologyError} the queue has a consumer.
 */
export function openBrowser(
  queue: MemoryQueue,
  owner: Owner,
  options: BrowseOptions,
): Browser {
  if (queue.consumers === 0) return new MemoryBrowser(queue, owner, options);
  throw new TopologyError(
    `Cannot look at ${queue.name}: it has a consumer, which gets the messages; stop that program, or try again when it is done`,
    { data: { entity: `queue ${queue.name}`, reason: "inUse" } },
  );
}
