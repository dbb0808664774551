/** Starts of the consumers of a channel. @module */
import type { Args, RequestName } from "../codec/method_args.ts";
import type { ConsumerListener } from "./channel_input.ts";
import type { ConsumeOptions } from "./channel_options.ts";

/** Sends a request; resolves with its reply. */
type SendRequest = <N extends RequestName>(
  name: N,
  args: Partial<Args<N>>,
  onReply?: (reply: Args<`${N}-ok`>) => void,
) => Promise<Args<`${N}-ok`>>;

/** Consumers of one channel that start at the same time. */
const MAX_STARTS = 64;

/**
 * Starts the consumers of a channel. Those with a prefetch start together: the reply to the `basic.qos` before each
 * `basic.consume` shows which of them the broker has come to, so that a refusal belongs to one of them. A consumer without a
 * prefetch starts alone.
 */
export class ConsumerStarts {
  readonly #consumers: Map<string, ConsumerListener>;
  readonly #request: SendRequest;
  #acknowledge = false;
  /** End of the latest start that has to be alone, while later starts have to wait for it. */
  #alone: Promise<void> | undefined;
  /** Ends of the starts after that one, in their order. */
  #others: Promise<void>[] = [];

  /** Adds the listeners to `consumers`. */
  constructor(consumers: Map<string, ConsumerListener>, request: SendRequest) {
    this.#consumers = consumers;
    this.#request = request;
  }

  /** True once a consumer was started whose messages have to be acknowledged. */
  get acknowledge(): boolean {
    return this.#acknowledge;
  }

  /** Starts a consumer, at once or after those that have to start before; resolves with its tag. */
  start(
    queue: string,
    listener: ConsumerListener,
    options: ConsumeOptions,
  ): Promise<string> {
    if (!options.noAck) this.#acknowledge = true;
    const isAlone = options.prefetchCount === undefined;
    const begin = () => this.#start(queue, listener, options);
    const before = this.#before(isAlone);
    const started = before.length > 0
      ? Promise.all(before).then(begin)
      : begin();
    const ended = started.then(() => {}, () => {});
    if (isAlone) [this.#alone, this.#others] = [ended, []];
    else this.#others.push(ended);
    void ended.then(() => this.#remove(ended));
    return started;
  }

  /** Returns the starts that have to end before the next one. */
  #before(isAlone: boolean): readonly Promise<void>[] {
    const others = isAlone ? this.#others : [this.#others.at(-MAX_STARTS)];
    return [this.#alone, ...others].filter((each) => each !== undefined);
  }

  #remove(ended: Promise<void>): void {
    if (this.#alone === ended) this.#alone = undefined;
    const at = this.#others.indexOf(ended);
    if (at >= 0) this.#others.splice(at, 1);
  }

  async #start(
    queue: string,
    listener: ConsumerListener,
    { prefetchCount, ...options }: ConsumeOptions,
  ): Promise<string> {
    const { consumerTag: tag } = options;
    const consumers = this.#consumers;
    if (tag) consumers.set(tag, listener);
    let limited: Promise<unknown> | undefined;
    try {
      if (prefetchCount !== undefined) {
        limited = this.#request("basic.qos", { prefetchCount });
      }
      const started = this.#request(
        "basic.consume",
        { ...options, queue },
        ({ consumerTag }) => consumers.set(consumerTag, listener),
      );
      const [{ consumerTag }] = await Promise.all([started, limited]);
      return consumerTag;
    } catch (error) {
      limited?.catch(() => {}); // fails later if the consumer cannot be encoded
      if (tag && consumers.get(tag) === listener) consumers.delete(tag);
      throw error;
    }
  }
}
