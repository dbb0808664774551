/** Requests of a channel that wait for their replies. @module */
import { type AmqpError, notProcessed } from "../codec/amqp_error.ts";
import type { Args, MethodName, RequestName } from "../codec/method_args.ts";

/** Requests whose reply is not the method of the same name and `-ok` alone. */
type Name = RequestName | "basic.get";

/** Settled requests that are kept at the head of the list, before it is shortened. */
const MAX_SETTLED = 256;

interface Pending {
  readonly name: Name;
  /** Tag of the consumer that is cancelled. */
  readonly tag: string | undefined;
  /** Called with the reply before the promise resolves, in the same turn. */
  readonly onReply: ((reply: never) => void) | undefined;
  resolve(reply: unknown): void;
  reject(error: AmqpError): void;
}

/** Requests of one channel. Any number may be sent before the first is answered. */
export class Requests {
  #pending: Pending[] = [];
  /** Index of the oldest request. */
  #first = 0;

  /** Adds a request that was sent; resolves with its reply. `tag`: tag of the consumer that is cancelled. */
  add<N extends RequestName>(
    name: N,
    onReply?: (reply: Args<`${N}-ok`>) => void,
    tag?: string,
  ): Promise<Args<`${N}-ok`>>;
  add(name: "basic.get"): Promise<unknown>;
  add(
    name: Name,
    onReply?: (reply: never) => void,
    tag?: string,
  ): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.push({ name, tag, onReply, resolve, reject });
    return promise;
  }

  /** True if a request with that name waits for its reply. */
  has(name: Name): boolean {
    return this.#pending.some((each, at) =>
      at >= this.#first && each.name === name
    );
  }

  /**
   * Settles the oldest request to which `reply` is a reply; returns false if there is none. The replies to `basic.consume`
   * and `basic.cancel` come from the queue, so that RabbitMQ may send them after the replies to later requests.
   */
  settle(reply: MethodName, value: unknown): boolean {
    const index = this.#pending.findIndex((each, at) =>
      at >= this.#first && isReply(each, reply, value)
    );
    const pending = this.#pending[index];
    if (!pending) return false;
    if (index === this.#first) this.#first++;
    else this.#pending.splice(index, 1);
    this.#trim();
    pending.onReply?.(value as never);
    pending.resolve(value);
    return true;
  }

  /**
   * Fails all requests, because the channel is closed. One with the method of the reason was refused; the broker has
   * processed none of the others, or their replies are lost.
   */
  fail(reason: AmqpError): void {
    const failed = this.#pending.slice(this.#first);
    this.#pending = [];
    this.#first = 0;
    const culprit = refusedOf(failed, reason.method);
    for (const request of failed) {
      const { name, reject } = request;
      reject(request === culprit ? reason : notProcessed(name, reason));
    }
  }

  /** Removes the requests that were settled from the list, now and then. */
  #trim(): void {
    const { length } = this.#pending;
    if (this.#first < length && this.#first < MAX_SETTLED) return;
    this.#pending = this.#pending.slice(this.#first);
    this.#first = 0;
  }
}

/** True for requests that the broker may answer after later ones. */
const isAnsweredLate = ({ name }: Pending): boolean =>
  name === "basic.consume" || name === "basic.cancel";

/**
 * Returns the request that the broker has refused: the oldest one with that method. Of consumers, the broker may have started
 * several and not have answered, so that it is the last one before the oldest request that would have been answered at once.
 */
function refusedOf(
  failed: readonly Pending[],
  method: string | undefined,
): Pending | undefined {
  const isRefused = ({ name }: Pending) => name === method;
  if (method !== "basic.consume") return failed.find(isRefused);
  const unprocessed = failed.findIndex((each) => !isAnsweredLate(each));
  const processed = unprocessed < 0 ? failed : failed.slice(0, unprocessed);
  return processed.findLast(isRefused);
}

/** True if a method is the reply to a request. */
function isReply(
  { name, tag }: Pending,
  reply: MethodName,
  value: unknown,
): boolean {
  if (name === "basic.get" && reply === "basic.get-empty") return true;
  return reply === `${name}-ok` &&
    (tag === undefined ||
      tag === (value as { consumerTag?: string }).consumerTag);
}
