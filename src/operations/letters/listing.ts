/** Lists dead letters, which stay where they are. @module */
import type { QueueAddress } from "../../transport/address.ts";
import { queueName } from "../../transport/address.ts";
import type { Message } from "../../transport/transport.ts";
import {
  type DeadLetter,
  deadLetterOf,
} from "../../rpc/letters/dead_letter.ts";
import type { CheckedFilter } from "./filter.ts";
import type { LetterSource } from "./letter_source.ts";
import type { Verdict } from "./pass.ts";
import { walk, type WalkVisitor } from "./walk.ts";

/** Bytes of the letters that wait for the reader, by their bodies and an estimate for the rest; one may be larger. */
const MAX_BUFFER_BYTES = 8 * 1024 * 1024;
const LETTER_BYTES = 512;

/** Lists the letters that a filter chooses. The reader gets them while no letter is hidden. */
export async function* list(
  source: LetterSource,
  { queues, chooses }: CheckedFilter,
): AsyncGenerator<DeadLetter, void, undefined> {
  for (const queue of queues) {
    const buffer = new LetterBuffer(source, queue, chooses);
    for await (const _pass of walk(source, queue, buffer)) {
      for (const letter of buffer.drain()) {
        source.signal?.throwIfAborted();
        yield letter;
      }
    }
  }
}

/** Letters that one pass has found. Their bodies are in one slab, which costs less than a buffer for each. */
class LetterBuffer implements WalkVisitor {
  readonly #source: LetterSource;
  readonly #queue: string;
  readonly #chooses: CheckedFilter["chooses"];
  #messages: Message[] = [];
  #slab = new Uint8Array(0);
  /** Bytes of the slab that are used, and bytes of all letters. */
  #used = 0;
  #bytes = 0;

  constructor(
    source: LetterSource,
    queue: QueueAddress,
    chooses: CheckedFilter["chooses"],
  ) {
    this.#source = source;
    this.#queue = queueName(queue);
    this.#chooses = chooses;
  }

  visit(message: Message): Verdict {
    const { body, headers, messageId, oversized, unreadable } = message;
    const bytes = body.length + LETTER_BYTES;
    const isFull = this.#bytes > 0 && this.#bytes + bytes > MAX_BUFFER_BYTES;
    if (isFull || this.#source.signal?.aborted) return "full";
    const isChosen = this.#chooses?.(this.#letterOf(message)) ?? true;
    if (!isChosen) return "kept";
    this.#bytes += bytes;
    // A copy: the original holds the frames in which it has arrived.
    const copy = { body: this.#copyOf(body), headers, messageId };
    this.#messages.push({ ...copy, oversized, unreadable });
    return "kept";
  }

  #copyOf(body: Uint8Array): Uint8Array {
    const from = this.#used;
    const end = from + body.length;
    if (end > this.#slab.length) {
      if (from > 0 || body.length > MAX_BUFFER_BYTES) {
        return new Uint8Array(body);
      }
      this.#slab = new Uint8Array(MAX_BUFFER_BYTES);
    }
    this.#slab.set(body, from);
    this.#used = end;
    return this.#slab.subarray(from, end);
  }

  /** Yields the letters, and forgets them. */
  *drain(): Generator<DeadLetter, void, undefined> {
    const messages = this.#messages;
    this.#messages = [];
    this.#bytes = this.#used = 0;
    for (const message of messages) yield this.#letterOf(message);
  }

  #letterOf(message: Message): DeadLetter {
    return deadLetterOf(message, this.#queue, this.#source.limits);
  }
}
