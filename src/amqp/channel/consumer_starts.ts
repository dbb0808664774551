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

/** Starts consumers one after another, so that a refusal belongs to one of them. */
export class ConsumerStarts {
  readonly #consumers: Map<string, ConsumerListener>;
  readonly #request: SendRequest;
  /** Start that is under way; undefined if there is none. */
  #last: Promise<void> | undefined;

  /** Adds the listeners to `consumers`. */
  constructor(consumers: Map<string, ConsumerListener>, request: SendRequest) {
    this.#consumers = consumers;
    this.#request = request;
  }

  /** Starts a consumer, at once or after the one before it; resolves with its tag. */
  start(
    queue: string,
    listener: ConsumerListener,
    options: ConsumeOptions,
  ): Promise<string> {
    const begin = () => this.#start(queue, listener, options);
    const started = this.#last ? this.#last.then(begin) : begin();
    const last = this.#last = started.then(() => {}, () => {});
    void last.then(() => {
      if (this.#last === last) this.#last = undefined;
    });
    return started;
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
