/** Channel for requests that declare and check, opened again after each refusal. @module */
import { AmqpError, type Channel, type Connection } from "../../../amqp/mod.ts";
import { TimeoutError, TopologyError } from "../../../errors.ts";
import { type Deadline, delay, withDeadline } from "../../../async/deadline.ts";
import { backoff } from "../../../async/backoff.ts";
import { declareError, isFatal } from "./topology_errors.ts";
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
  const data = last?.code === undefined ? {} : { replyCode: last.code };
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

const isUnprocessed = (error: unknown) =>
  error instanceof AmqpError && error.code === "NOT_PROCESSED";

/** Options of a channel for requests. */
export interface RequestChannelOptions {
  /** True to send one request at a time and never again; default false. */
  readonly isSerial?: boolean;
  /** Called before the channel is opened on a connection. */
  readonly onOpening?: (connection: Connection) => void;
  /** Called when the broker has answered 404. */
  readonly onMissing: () => void;
}

/** Performs requests on a channel. A refusal closes it; the requests after the refused one are sent again on the next. */
export class RequestChannel {
  readonly #connection: SupervisedConnection;
  readonly #options: RequestChannelOptions;
  #channel: Promise<Channel> | undefined;
  /** Connection of the channel. */
  #owner: Connection | undefined;
  /** Number of requests that the broker has answered. */
  #answered = 0;
  #tail: Promise<unknown> = Promise.resolve();

  /** Opens nothing yet. */
  constructor(
    connection: SupervisedConnection,
    options: RequestChannelOptions,
  ) {
    this.#connection = connection;
    this.#options = options;
  }

  /**
   * Performs requests on the channel. Failures that may heal are retried until the deadline, unless the channel is serial.
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

  /** Waits for the turn of a request on a serial channel. */
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
    const timeoutError = () => new TimeoutError("no reply in time");
    const answeredBefore = this.#answered;
    let channel: Channel | undefined;
    try {
      const opening = this.#getOrOpen(connection);
      channel = await withDeadline(opening, deadline, timeoutError);
      const value = await withDeadline(work(channel), deadline, timeoutError);
      this.#answered++;
      return { value };
    } catch (error) {
      if (error instanceof TopologyError) throw error;
      if (error instanceof AmqpError) return failureOf(error);
      // The broker answers nothing on the channel, not even other requests.
      if (this.#answered === answeredBefore) this.#abandon(channel);
      return { reason: (error as Error).message };
    }
  }

  /** Returns the open channel, or opens one; concurrent callers get the same. */
  #getOrOpen(connection: Connection): Promise<Channel> {
    if (this.#channel && this.#owner === connection) return this.#channel;
    this.#owner = connection;
    this.#options.onOpening?.(connection);
    const opening = connection.openChannel();
    const drop = () => {
      if (this.#channel === opening) this.#channel = undefined;
    };
    opening.then((channel) => channel.closed).then(drop, drop);
    return this.#channel = opening;
  }

  /** Closes the channel, so that later requests are sent on another one. */
  #abandon(channel: Channel | undefined): void {
    this.#channel = undefined;
    if (channel) void this.#connection.closeChannel(channel);
  }
}

/** Returns the reason of a failed request. */
function failureOf(error: AmqpError): FailedAttempt {
  const { replyCode, replyText, message } = error;
  return {
    code: replyCode,
    reason: replyText ?? message,
    innocent: isUnprocessed(error),
  };
}
