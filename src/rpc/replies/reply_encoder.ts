/** Encodes the results and errors of requests as messages that are not sent yet. @module */
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
  /** True if callers see the stacks of errors. */
  readonly tracebacks: boolean;
}

/** Characters of an error's message where the whole error is larger than a message may be. */
const MAX_BRIEF_LENGTH = 200;

/** Encodes the replies of one server. */
export class ReplyEncoder {
  readonly #publisher: ReplyPublisher;
  readonly #options: ReplyEncoderOptions;

  /** Encodes messages for `publisher`. */
  constructor(publisher: ReplyPublisher, options: ReplyEncoderOptions) {
    this.#publisher = publisher;
    this.#options = options;
  }

  /** Encodes the result of a handler; no message for a cast. */
  results(incoming: IncomingRequest, result: unknown): readonly Message[] {
    const { reply } = incoming.request;
    if (!reply) return [];
    const single = reply.form === "oneMessage";
    const message = this.value(incoming, result, { ending: single });
    return single
      ? [message]
      : [message, this.reply(incoming, { ending: true })];
  }

  /** Encodes an error that a handler threw or the dispatcher made: with its inner errors, without them, or shortened. */
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

  /** Undefined if the message would be larger than the limit. */
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
   * Encodes a parsed value; where JSON cannot carry that exactly, the value that the handler returned, for the caller's
   * schema to parse.
   *
   * @throws {InvalidValueError} JSON carries neither, or the message would be larger than the limit.
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

  /** Marks a missing value for Warren; other peers get null. */
  #result(incoming: IncomingRequest, fields: ReplyFields): Message {
    const empty = fields.result === undefined &&
      incoming.request.warren !== undefined;
    return this.reply(incoming, empty ? { ...fields, empty } : fields);
  }

  /** Encodes one message. Those of a Warren stream name the inbox for the reader's control commands. */
  reply(incoming: IncomingRequest, fields: ReplyFields): Message {
    const { request: { reply, warren }, dialect } = incoming;
    const named = warren && fields.sequence !== undefined;
    const inbox = named ? { inbox: this.#publisher.inbox } : {};
    const target = { reply: reply as ReplyAddress, dialect, warren };
    return this.#publisher.message(target, { ...fields, ...inbox });
  }
}

/** Copy of a reply for another call with the same request in the same dialect. */
export function replyTo(call: string, message: Message): Message {
  if (message.correlationId === call) return message;
  const id = newId();
  const body = copyForCall(message.body, call, id);
  return { ...message, body, messageId: id, correlationId: call };
}

/** Shortens an error that is larger than a message may be. */
const briefly = (failure: Failure): Failure => ({
  ...failure,
  message: failure.message.slice(0, MAX_BRIEF_LENGTH),
  data: {},
  args: undefined,
  traceback: [],
});

/** Error for the caller where a result could not be encoded. */
function notSerializable(
  { request: { method } }: IncomingRequest,
  error: unknown,
): unknown {
  if (!(error instanceof InvalidValueError)) return error;
  const text = `Cannot send the result of ${method}: ${error.message}`;
  return new NotSerializable(text, { data: error.data });
}

/** The handler's result cannot be encoded. Its caller gets an `InvalidResultError`. */
class NotSerializable extends InvalidResultError {
  override readonly name = "InvalidResultError";
}
