/** Encoding of the results and errors of requests as messages. @module */
import {
  copyForCall,
  type ErrorClasses,
  osloPeerOf,
  type ReplyAddress,
  toFailure,
} from "../../wire/mod.ts";
import {
  type Failure,
  InvalidResultError,
  InvalidValueError,
  type RejectedError,
} from "../../errors.ts";
import type { Message } from "../../transport/transport.ts";
import type { ReplyFields, ReplyPublisher } from "./reply_publisher.ts";
import { newId } from "../../ids.ts";
import { innerFailuresOf } from "./inner_failures.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { errorClassesOf, isDispatchError } from "../dispatch/handler_result.ts";

/** Settings of a `ReplyEncoder`. */
export interface ReplyEncoderOptions {
  /** Error classes that keep their name on the wire. */
  readonly errors: ErrorClasses;
  /** True to send the stacks of errors to callers. */
  readonly tracebacks: boolean;
}

/** Maximum length of an error's message, if the whole error exceeds the maximum size of a message. */
const MAX_BRIEF_LENGTH = 200;

/** Encodes the replies of one server. */
export class ReplyEncoder {
  readonly #publisher: ReplyPublisher;
  readonly #options: ReplyEncoderOptions;

  /** Messages are encoded for `publisher`. */
  constructor(publisher: ReplyPublisher, options: ReplyEncoderOptions) {
    this.#publisher = publisher;
    this.#options = options;
  }

  /** Encodes the result of a handler; returns no message for a cast. */
  results(incoming: IncomingRequest, result: unknown): readonly Message[] {
    const { reply } = incoming.request;
    if (!reply) return [];
    const single = reply.form === "oneMessage";
    const message = this.value(incoming, result, { ending: single });
    return single
      ? [message]
      : [message, this.reply(incoming, { ending: true })];
  }

  /**
   * Encodes an error of the handler or the dispatcher: with its inner errors, without them, or shortened, whichever
   * fits.
   */
  failures(incoming: IncomingRequest, error: unknown): readonly Message[] {
    const { errors, tracebacks } = this.#options;
    const classes = { ...errors, ...errorClassesOf(error) };
    const fromDispatcher = isDispatchError(error) ||
      error instanceof NotSerializable ||
      error === incoming.run.timeout;
    const forOslo = osloPeerOf(incoming.request);
    const options = { classes, fromDispatcher, forOslo, traceback: tracebacks };
    const failure = toFailure(error, options);
    const inner = fromDispatcher || forOslo
      ? {}
      : innerFailuresOf(error, classes);
    return [
      this.#encodeIfFits(incoming, { ...failure, ...inner }) ??
        this.#encodeIfFits(incoming, failure) ??
        this.#encodeFailure(incoming, briefly(failure)),
    ];
  }

  /** Encodes the failure of a call whose reply the broker refuses because of its size. */
  tooLarge(incoming: IncomingRequest, error: RejectedError): Message[] {
    return [...this.failures(incoming, tooLargeResult(incoming, error))];
  }

  /** Encodes a message; returns undefined if it is larger than the limit. */
  #encodeIfFits(
    incoming: IncomingRequest,
    failure: Failure,
  ): Message | undefined {
    try {
      return this.#encodeFailure(incoming, failure);
    } catch (tooLarge) {
      if (!(tooLarge instanceof InvalidValueError)) throw tooLarge;
      return undefined;
    }
  }

  #encodeFailure(incoming: IncomingRequest, failure: Failure): Message {
    return this.reply(incoming, {
      failure,
      ending: true,
      ...incoming.stream?.replay?.next,
    });
  }

  /**
   * Encodes a parsed value. If JSON cannot represent that value exactly, encodes the value that the handler returned,
   * for the caller's schema to parse.
   *
   * @throws {InvalidValueError} JSON can represent neither, or the message is larger than the limit.
   */
  value(
    incoming: IncomingRequest,
    value: unknown,
    fields: ReplyFields,
  ): Message {
    try {
      return this.#result(incoming, { ...fields, result: value, parsed: true });
    } catch (error) {
      const raw = error instanceof InvalidValueError &&
        incoming.run.rawResults.for(value);
      if (!raw) throw notSerializable(incoming, error);
      try {
        return this.#result(incoming, { ...fields, result: raw.returned });
      } catch (error) {
        throw notSerializable(incoming, error);
      }
    }
  }

  /** Encodes a result. A missing value is marked for Warren; other peers get null. */
  #result(incoming: IncomingRequest, fields: ReplyFields): Message {
    const empty = fields.result === undefined &&
      incoming.request.warren !== undefined;
    return this.reply(incoming, empty ? { ...fields, empty } : fields);
  }

  /** Encodes one message. In a Warren stream, it contains the inbox for the reader's control commands. */
  reply(incoming: IncomingRequest, fields: ReplyFields): Message {
    const { request: { reply, warren }, dialect } = incoming;
    const isNamed = warren && fields.sequence !== undefined;
    const { inbox } = this.#publisher;
    const target = { reply: reply as ReplyAddress, dialect, warren };
    return this.#publisher.message(
      target,
      isNamed ? { ...fields, inbox } : fields,
    );
  }
}

/** Copies a reply for another call with the same request in the same dialect. */
export function replyTo(call: string, message: Message): Message {
  if (message.correlationId === call) return message;
  const id = newId();
  const body = copyForCall(message.body, call, id);
  return { ...message, body, messageId: id, correlationId: call };
}

/** Shortens an error that exceeds the maximum size of a message. */
const briefly = (failure: Failure): Failure => ({
  ...failure,
  message: failure.message.slice(0, MAX_BRIEF_LENGTH),
  data: {},
  args: undefined,
  traceback: [],
});

/** Error for the caller of a handler whose result could not be encoded. */
function notSerializable(
  { request: { method } }: IncomingRequest,
  error: unknown,
): unknown {
  if (!(error instanceof InvalidValueError)) return error;
  const text = `Cannot send the result of ${method}: ${error.message}`;
  return new NotSerializable(text, { data: error.data });
}

/** Error for the caller of a handler whose result, or item, is larger than the broker takes. */
export function tooLargeResult(
  { request: { method } }: IncomingRequest,
  { data: { size, maxSize } }: RejectedError,
): InvalidResultError {
  const text =
    `Cannot send the result of ${method}: its message has ${size} bytes, and the broker takes ${maxSize} at most; answer with less, or raise max_message_size in rabbitmq.conf`;
  return new NotSerializable(text, { data: { size, maxSize } });
}

/** Error for a handler's result that cannot be encoded. The caller gets it as an `InvalidResultError`. */
class NotSerializable extends InvalidResultError {
  override readonly name = "InvalidResultError";
}
