/** What a worker says of a request, as messages that are not sent yet. @module */
import { type Failure, InvalidValueError } from "../../errors.ts";
import type { Message } from "../../transport/transport.ts";
import type { ReplyAddress } from "../../wire/rpc_message.ts";
import {
  type ErrorClasses,
  osloPeerOf,
  toFailure,
} from "../../wire/failure.ts";
import { copyForCall } from "../../wire/codec.ts";
import type {
  AnswerParts,
  ReplyFields,
  ReplyPublisher,
} from "./reply_publisher.ts";
import { newId } from "../../ids.ts";
import { innerFailuresOf } from "./inner_failures.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { errorClassesOf, isDispatchError } from "../dispatch/handler_result.ts";

/** What wording needs. */
export interface ReplyEncoderOptions extends AnswerParts {
  /** Error classes that keep their name. */
  readonly errors: ErrorClasses;
  /** Whether callers see stacks. */
  readonly tracebacks: boolean;
}

/** Characters of an error's text where the whole error is larger than a message may be. */
const MAX_BRIEF = 200;

/** Words the answers of one context. */
export class ReplyEncoder {
  readonly #parts: ReplyEncoderOptions;
  readonly #publisher: ReplyPublisher;

  /** As messages of `answers`. */
  constructor(parts: ReplyEncoderOptions, publisher: ReplyPublisher) {
    this.#parts = parts;
    this.#publisher = publisher;
  }

  /** The result of a handler; none for a cast. */
  results(incoming: IncomingRequest, result: unknown): readonly Message[] {
    const { reply } = incoming.request;
    if (!reply) return [];
    const single = reply.form === "single";
    const answer = this.value(incoming, result, { ending: single });
    return single
      ? [answer]
      : [answer, this.answer(incoming, { ending: true })];
  }

  /** What a handler threw, or the dispatcher refused. */
  failures(incoming: IncomingRequest, error: unknown): readonly Message[] {
    const { errors, tracebacks } = this.#parts;
    const classes = { ...errors, ...errorClassesOf(error) };
    const fromDispatcher = isDispatchError(error) ||
      error instanceof NotSerializable ||
      error === incoming.run.overtime;
    const forOslo = osloPeerOf(incoming.request);
    const said = { classes, fromDispatcher, forOslo, traceback: tracebacks };
    const failure = toFailure(error, said);
    const held = fromDispatcher || forOslo
      ? {}
      : innerFailuresOf(error, classes);
    return [
      this.#fitting(incoming, { ...failure, ...held }) ??
        this.#fitting(incoming, failure) ??
        this.#failed(incoming, briefly(failure)),
    ];
  }

  /** Undefined if the whole is larger than a message may be. */
  #fitting(incoming: IncomingRequest, failure: Failure): Message | undefined {
    try {
      return this.#failed(incoming, failure);
    } catch (tooLarge) {
      if (!(tooLarge instanceof InvalidValueError)) throw tooLarge;
      return undefined;
    }
  }

  #failed(incoming: IncomingRequest, failure: Failure): Message {
    return this.answer(incoming, {
      failure,
      ending: true,
      ...incoming.replay?.next,
    });
  }

  /**
   * A parsed value; where JSON cannot carry that exactly, the value as the handler gave it, for the caller's schema to
   * parse. Throws if neither.
   */
  value(incoming: IncomingRequest, value: unknown, said: ReplyFields): Message {
    try {
      return this.#valued(incoming, { ...said, result: value, parsed: true });
    } catch (error) {
      const known = error instanceof InvalidValueError &&
        incoming.rawResults.for(value);
      if (!known) throw notSerializable(incoming, error);
      try {
        return this.#valued(incoming, { ...said, result: known.given });
      } catch (error) {
        throw notSerializable(incoming, error);
      }
    }
  }

  /** Warren is told of no value as such, others of null. */
  #valued(incoming: IncomingRequest, said: ReplyFields): Message {
    const empty = said.result === undefined &&
      incoming.request.warren !== undefined;
    return this.answer(incoming, empty ? { ...said, empty } : said);
  }

  /** One message. */
  answer(incoming: IncomingRequest, said: ReplyFields): Message {
    const { request: { reply, warren }, dialect } = incoming;
    const shown = warren && said.sequence !== undefined;
    const inbox = shown ? { inbox: this.#parts.inbox.name } : {};
    const address = { reply: reply as ReplyAddress, dialect, warren };
    return this.#publisher.message(address, { ...said, ...inbox });
  }
}

/** An answer to one call as the answer to another that asked the same in the same words. */
export function replyTo(call: string, answer: Message): Message {
  if (answer.correlationId === call) return answer;
  const id = newId();
  const body = copyForCall(answer.body, call, id);
  return { ...answer, body, messageId: id, correlationId: call };
}

/** An error that is too large, shortened. */
const briefly = (failure: Failure): Failure => ({
  ...failure,
  message: failure.message.slice(0, MAX_BRIEF),
  data: {},
  args: undefined,
  traceback: [],
});

/** What to tell the caller where a result could not be sent. */
function notSerializable(
  { request: { method } }: IncomingRequest,
  error: unknown,
): unknown {
  if (!(error instanceof InvalidValueError)) return error;
  const text = `Cannot send the result of ${method}: ${error.message}`;
  return new NotSerializable(text, { data: error.data });
}

/** The handler's result cannot travel. Its caller sees an `InvalidValueError`. */
class NotSerializable extends InvalidValueError {
  override readonly name = "InvalidValueError";
}
