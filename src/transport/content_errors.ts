/** Errors of messages that no later attempt can send, because of what they contain. @module */
import { InvalidValueError, RejectedError } from "../errors.ts";

/** True if a message was rejected because of its content: AMQP cannot represent it, or the broker does not accept it. */
export function isContentError(error: unknown): boolean {
  return error instanceof InvalidValueError ||
    (error instanceof RejectedError && error.data.reason === "content");
}

/** True if the broker has refused a message because of its size. */
export const isTooLarge = (error: unknown): error is RejectedError =>
  error instanceof RejectedError && typeof error.data.maxSize === "number";
