/** Options for looks at the messages of a queue. @module */

/** Options of `Session.browse`. */
export interface BrowseOptions {
  /** Maximum number of messages that are delivered; default: those that are ready at the beginning. */
  readonly maxMessages?: number | undefined;
  /** Number of messages in the first batch, as far as there are so many; default 200. */
  readonly firstBatch?: number | undefined;
  /** Messages at the beginning of which little is needed, so that they may be fetched in larger batches; default none. */
  readonly known?: { readonly count: number; readonly bytes: number };
  /**
   * Length of a body in bytes above which only its two ends are delivered. The whole body is delivered all the same if
   * the message is near its delivery limit, and no other such body is held.
   */
  readonly maxBodyBytes: number;
  /**
   * Called once with each message in the order of the queue, as soon as it arrives; must not throw. Returns how much of
   * the message is needed; default: the body.
   */
  readonly onHead?: (head: MessageHead) => Need;
}

/**
 * Part of a message that is needed: none, so that it is not delivered and stays where it is; all but its body, which is
 * delivered as an empty one with its length in `oversized`; or all of it.
 */
export type Need = "none" | "head" | "body";

/** A message without its body. */
export interface MessageHead {
  /** Headers, as in `Message`. */
  readonly headers: Readonly<Record<string, unknown>>;
  /** `message_id`. */
  readonly messageId?: string | undefined;
  /** Number of deliveries that count towards the delivery limit of the queue. */
  readonly deliveryCount?: number | undefined;
  /** Length of the body. */
  readonly bytes: number;
}
