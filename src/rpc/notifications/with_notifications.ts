/** Functions that send notifications about their calls (Nova: `notifier/api.py`, `notify_decorator`; `exception.py`, `wrap_exception`). @module */
import { logger } from "../../logging.ts";
import { checkEventType } from "../../contract/events.ts";
import { notifyNames, type NotifyOptions } from "./notifier.ts";
import { checkNames, namesOf } from "../../option_names.ts";

/**
 * Connection that sends events.
 * @category Events
 */
export interface EventSender {
  /** Sends an event. */
  notify(
    eventType: string,
    payload: unknown,
    options?: NotifyOptions,
  ): Promise<void>;
}

/**
 * Options of the notifications of a function.
 * @category Events
 */
export interface WithNotificationsOptions<A extends readonly unknown[]>
  extends NotifyOptions {
  /** Payload of the events, made of the arguments; default: `{}`, because arguments may contain secrets. */
  readonly payload?: ((...args: A) => object) | undefined;
}

const optionNames = namesOf<{ readonly payload: unknown }>(
  { payload: true },
  notifyNames,
);

/**
 * Wraps a function: it sends the event `<eventType>.start` before its work and `<eventType>.end` after it, or `<eventType>.error`
 * with priority `error` and `exception: { type, message }` if the work throws. An event that cannot be sent is logged, and does
 * not affect the work.
 *
 * @throws {InvalidValueError} the event type is invalid.
 * @example
 * ```ts
 * import { createConnection, withNotifications } from "@warren/runtime";
 *
 * await using connection = await createConnection("memory:notified");
 * const grow = (id: string, by: number) => Promise.resolve(`${id} +${by}`);
 * const notified = withNotifications(connection, "volume.grow", grow, { payload: (id) => ({ id }) });
 * console.log(await notified("v1", 5)); // volume.grow.start, volume.grow.end { id: "v1" }
 * ```
 * @category Events
 */
export function withNotifications<A extends readonly unknown[], R>(
  connection: EventSender,
  eventType: string,
  work: (...args: A) => R | Promise<R>,
  options: WithNotificationsOptions<A> = {},
): (...args: A) => Promise<R> {
  checkEventType(eventType);
  checkNames(options, optionNames);
  const { payload, ...notify } = options;
  const send = (phase: string, body: object, more: NotifyOptions = {}) => {
    const type = `${eventType}.${phase}`;
    return connection.notify(type, body, { ...notify, ...more })
      .catch((error) => {
        const text = "The event {type} was not sent: {error}";
        logger("notification").error(text, { type, error }, type);
      });
  };
  return async (...args) => {
    const body = payload?.(...args) ?? {};
    await send("start", body);
    try {
      const result = await work(...args);
      await send("end", body);
      return result;
    } catch (error) {
      const { name: type, message } = error instanceof Error
        ? error
        : { name: typeof error, message: "" };
      const failed = { ...body, exception: { type, message } };
      await send("error", failed, { priority: "error" });
      throw error;
    }
  };
}
