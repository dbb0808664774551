/** Channels for requests that declare and check, opened again after each refusal. @module */
import { AmqpError, type Channel, type Connection } from "../../../amqp/mod.ts";
import { TimeoutError, TopologyError } from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import { backoff } from "../../../async/backoff.ts";
import { declareError, isFatal, isUnprocessed } from "./topology_errors.ts";
import type { SupervisedConnection } from "./supervised_connection.ts";

/** Reason of a failed attempt. */
interface FailedAttempt {
  /** Reply code of the broker. */
  readonly code?: number | undefined;
  readonly reason: string;
  /** True if the broker has not processed the request, because another one has closed the channel. */
  readonly innocent?: boolean;
}

function declareTimeout(
  entity: string,
  last: FailedAttempt | undefined,
  waitReason: string,
): Error {
  const text = `Cannot declare ${entity} in time: ${
    last?.reason ?? waitReason
  }`;
  const data = last?.code === undefined ? {} : {
    replyCode: last.code,
    ...(last.code === 404 && { reason: "unavailable" }),
  };
  return new TimeoutError(text, { inDoubt: false, data });
}

/**
 * Waits for requests that were sent together.
 *
 * @throws {AmqpError} one of them has failed; not the error of those that were not processed because of that.
 */
export async function allOf(requests: readonly unknown[]): Promise<void> {
  const errors = (await Promise.allSettled(requests))
    .flatMap((each) => each.status === "rejected" ? [each.reason] : []);
  if (errors.length === 0) return;
  throw errors.find((error) => !isUnprocessed(error)) ?? errors[0];
}

/** Default number of requests that wait for replies on each open channel before another channel is opened. */
const MAX_REQUESTS_PER_CHANNEL = 16;
/** Default maximum of channels at the same time. RabbitMQ processes the requests of several channels at the same time. */
const MAX_CHANNELS = 16;
/** Part of the channels of a connection that may be used, since consumers and publishers need channels as well. */
const MAX_CHANNEL_FRACTION = 1 / 4;

/** Options of channels for requests. */
export interface RequestChannelsOptions {
  /** True to send one request at a time, on one channel, and never again; default false. */
  readonly isSerial?: boolean;
  /**
   * True to send each request on a channel of its own while there are channels, and to keep none open; default false: one is
   * kept. A request for a queue whose node is frozen blocks its channel.
   */
  readonly isSeparate?: boolean;
  /** Maximum number of channels; default 16. */
  readonly maxChannels?: number | undefined;
  /** Called before the first channel is opened on a connection. */
  readonly onConnection?: (connection: Connection) => void;
  /** Called when the broker has answered 404. */
  readonly onMissing: () => void;
}

/** One channel, with counts of its requests. */
interface RequestChannel {
  /** The channel, or the error with which it was not opened. */
  readonly opening: Promise<Channel>;
  /** True if the channel was opened although another one was open. */
  readonly isExtra: boolean;
  /** False if the channel is closed once none of its requests waits. */
  readonly isKept: boolean;
  /** Number of requests that wait for their replies. */
  waiting: number;
  /** Number of requests that the broker has answered. */
  answered: number;
}

/**
 * Performs requests on one channel, or on several while many requests wait for replies. A refusal closes its channel; the
 * requests that were sent after the refused one are sent again on another channel.
 */
export class RequestChannels {
  readonly #connection: SupervisedConnection;
  readonly #options: RequestChannelsOptions;
  /** Channels that are open; the first is kept, unless `isSeparate` is set, and each other one is closed when none of its requests waits. */
  #channels: RequestChannel[] = [];
  /** Connection of the channels. */
  #owner: Connection | undefined;
  /** Maximum number of channels; 1 once an extra channel could not be opened. */
  #maxChannels: number;
  #tail: Promise<unknown> = Promise.resolve();

  /** Opens nothing yet. */
  constructor(
    connection: SupervisedConnection,
    options: RequestChannelsOptions,
  ) {
    this.#connection = connection;
    this.#options = options;
    this.#maxChannels = options.maxChannels ?? MAX_CHANNELS;
  }

  /**
   * Performs requests on a channel. Failures that may heal are retried until the deadline, unless `isSerial` is set.
   *
   * @throws {TopologyError} the broker refuses a request.
   * @throws {TimeoutError} the requests were not answered by the deadline.
   */
  async perform<T>(
    entity: string,
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
  ): Promise<T> {
    let last: FailedAttempt | undefined;
    const timeoutError = () =>
      declareTimeout(entity, last, this.#connection.waitReason);
    for (let attempt = 0;; attempt++) {
      const trying = this.#turn(() => this.#try(deadline, work));
      const result = await withDeadline(trying, deadline, timeoutError);
      if ("value" in result) return result.value;
      if (isFatal(result.code)) {
        throw declareError(entity, result.reason, result.code);
      }
      if (result.code === 404) this.#options.onMissing(); // an exchange was deleted, or the node of a queue is down
      if (!last || result.code !== undefined) last = result;
      const again = !this.#options.isSerial || result.innocent;
      if (!again || performance.now() >= deadline.at) throw timeoutError();
      if (!result.innocent) await delay(backoff(attempt), deadline);
    }
  }

  /** Waits for the turn of a request if `isSerial` is set. */
  #turn<T>(attempt: () => Promise<T>): Promise<T> {
    if (!this.#options.isSerial) return attempt();
    const turn = this.#tail.then(attempt);
    this.#tail = turn.catch(() => {});
    return turn;
  }

  async #try<T>(
    deadline: Deadline,
    work: (channel: Channel) => Promise<T>,
  ): Promise<{ value: T } | FailedAttempt> {
    if (performance.now() >= deadline.at) return { reason: "timed out" };
    const connection = await this.#connection.waitForConnection(deadline);
    const target = this.#select(connection);
    const answeredBefore = target.answered;
    target.waiting++;
    try {
      const performing = target.opening.then(work);
      const timeoutError = () => new TimeoutError("no reply in time");
      const value = await withDeadline(performing, deadline, timeoutError);
      target.answered++;
      return { value };
    } catch (error) {
      if (error instanceof TopologyError) throw error;
      if (error instanceof AmqpError) return failureOf(error, target);
      // The broker answers nothing on the channel, not even other requests.
      if (target.answered === answeredBefore) this.#close(target);
      return { reason: (error as Error).message };
    } finally {
      if (--target.waiting === 0 && !target.isKept) this.#close(target);
    }
  }

  /** Returns the channel with the fewest requests, or opens one if all have many. */
  #select(connection: Connection): RequestChannel {
    if (this.#owner !== connection) {
      this.#owner = connection;
      this.#channels = [];
      this.#options.onConnection?.(connection);
    }
    const [first, ...others] = this.#channels;
    if (!first) return this.#open(connection, false);
    const idlest = others.reduce(
      (least, each) => each.waiting < least.waiting ? each : least,
      first,
    );
    const share = Math.floor(connection.channelMax * MAX_CHANNEL_FRACTION);
    const isFull = this.#channels.length >= Math.min(share, this.#maxChannels);
    const limit = this.#options.isSeparate ? 1 : MAX_REQUESTS_PER_CHANNEL;
    const opens = idlest.waiting >= limit && !isFull;
    return opens ? this.#open(connection, true) : idlest;
  }

  #open(connection: Connection, isExtra: boolean): RequestChannel {
    const opening = connection.openChannel();
    const isKept = !isExtra && !this.#options.isSeparate;
    const opened = { opening, isExtra, isKept, waiting: 0, answered: 0 };
    const remove = () => this.#remove(opened);
    if (isExtra) opening.catch((error) => this.#onExtraFailed(error));
    opening.then((channel) => channel.closed).then(remove, remove);
    this.#channels.push(opened);
    return opened;
  }

  /** Opens no extra channels any more if there are too many: RabbitMQ closes a connection whose user has too many. */
  #onExtraFailed(error: unknown): void {
    const { code } = error as Partial<AmqpError>;
    const isLimit = code === "CHANNEL_LIMIT" || code === "NOT_ALLOWED";
    if (isLimit) this.#maxChannels = 1;
  }

  #remove(target: RequestChannel): void {
    this.#channels = this.#channels.filter((each) => each !== target);
  }

  /** Closes a channel, so that later requests are sent on another one. */
  #close(target: RequestChannel): void {
    this.#remove(target);
    void target.opening.then(
      (channel) => this.#connection.closeChannel(channel),
      () => {},
    );
  }
}

/** Returns the reason of a failed request. Without an extra channel, the request can be sent on another one at once. */
function failureOf(
  error: AmqpError,
  { isExtra, answered }: RequestChannel,
): FailedAttempt {
  const { replyCode, replyText, method, message } = error;
  const reason = replyText ?? message;
  if (isExtra && answered === 0 && method === "channel.open") {
    return { reason, innocent: true };
  }
  return { code: replyCode, reason, innocent: isUnprocessed(error) };
}
