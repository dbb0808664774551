/** Requests of a channel that wait for their replies, which arrive in the order of the requests. @module */
import { type AmqpError, notProcessed } from "../codec/amqp_error.ts";
import type { Args, MethodName, RequestName } from "../codec/method_args.ts";

/** Requests whose reply is not the method of the same name and `-ok` alone. */
type Name = RequestName | "basic.get";

interface Pending {
  readonly name: Name;
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

  /** Adds a request that was sent; resolves with its reply. */
  add<N extends RequestName>(
    name: N,
    onReply?: (reply: Args<`${N}-ok`>) => void,
  ): Promise<Args<`${N}-ok`>>;
  add(name: "basic.get"): Promise<unknown>;
  add(name: Name, onReply?: (reply: never) => void): Promise<unknown> {
    const { promise, resolve, reject } = Promise.withResolvers<unknown>();
    this.#pending.push({ name, onReply, resolve, reject });
    return promise;
  }

  /** Returns the name of the oldest request. */
  get oldest(): Name | undefined {
    return this.#pending[this.#first]?.name;
  }

  /** Settles the oldest request, if `reply` is its reply; returns false otherwise. */
  settle(reply: MethodName, value: unknown): boolean {
    const pending = this.#pending[this.#first];
    if (!pending || !isReply(reply, pending.name)) return false;
    if (++this.#first === this.#pending.length) {
      this.#pending = [];
      this.#first = 0;
    }
    pending.onReply?.(value as never);
    pending.resolve(value);
    return true;
  }

  /**
   * Fails all requests, because the channel is closed. The oldest has failed if it is the method of the reason; the broker
   * has processed none of the others.
   */
  fail(reason: AmqpError): void {
    const failed = this.#pending.slice(this.#first);
    this.#pending = [];
    this.#first = 0;
    failed.forEach(({ name, reject }, n) =>
      reject(
        n === 0 && name === reason.method ? reason : notProcessed(name, reason),
      )
    );
  }
}

const isReply = (reply: MethodName, name: Name) =>
  reply === `${name}-ok` ||
  (name === "basic.get" && reply === "basic.get-empty");
