/** One answer on its way to a caller's queue. @module */
import { InvalidValueError, NoRouteError, RpcError } from "../errors.ts";
import { log, oneLine } from "../telemetry.ts";
import { direct } from "../bus/routes.ts";
import type { Message, Transport, Wait } from "../bus/transport.ts";
import { encode, type Limits } from "../wire/codec.ts";
import type { Dialect } from "../wire/dialect.ts";
import type { Reply, ReplyAddress } from "../wire/envelope.ts";
import { newId } from "./context.ts";
import type { Inbox } from "./inbox.ts";

/** What an answer says, whoever gets it. */
export type Said = Omit<Reply, "kind" | "id" | "call">;

/** To whom, and in which words. */
export interface Address {
  /** Where the answer goes. */
  readonly reply: ReplyAddress;
  /** The dialect of the request. */
  readonly dialect: Dialect;
  /** Whether who asked is Warren: others get no headers. */
  readonly warren?: boolean | undefined;
}

/** What sending answers needs. */
export interface AnswerParts {
  /** To answer on. */
  readonly transport: Transport;
  /** Shown to callers, so that they can cancel. */
  readonly inbox: Inbox;
  /** Bounds on messages. */
  readonly limits: Limits;
}

/** Sends answers. */
export class Answers {
  readonly #parts: AnswerParts;

  /** On a transport. */
  constructor(parts: AnswerParts) {
    this.#parts = parts;
  }

  /**
   * Sends an answer and waits until the broker has it. A caller that is gone, or that the answer cannot reach in time, is
   * no error of the worker's.
   *
   * @throws {InvalidValueError} at once, if JSON cannot carry it.
   */
  send(
    address: Address,
    said: Said,
    wait: Wait,
    keep?: (message: Message) => void,
  ): Promise<void> {
    const message = this.#message(address, said);
    keep?.(message);
    return this.#publish(address.reply, message, wait);
  }

  /** Sends again what was sent. */
  async repeat(
    reply: ReplyAddress,
    messages: readonly Message[],
    wait: Wait,
  ): Promise<void> {
    for (const message of messages) await this.#publish(reply, message, wait);
  }

  /** Shows the caller that the call is being worked on, and where it can be cancelled. */
  async beat(address: Address, wait: Wait): Promise<void> {
    const { transport, inbox } = this.#parts;
    await inbox.ready(wait);
    const said: Said = { ending: false, beat: true, inbox: inbox.name };
    const message = this.#message(address, said);
    await transport.post(direct(address.reply.queue), message, wait);
  }

  async #publish(
    { call, queue }: ReplyAddress,
    message: Message,
    wait: Wait,
  ): Promise<void> {
    const { transport, inbox } = this.#parts;
    try {
      await transport.publish(direct(queue), message, wait);
    } catch (error) {
      if (!(error instanceof RpcError)) throw error;
      if (error instanceof InvalidValueError) throw error;
      if (error instanceof NoRouteError) {
        inbox.running.get(call)?.("the caller is gone");
      }
      const reason = oneLine(error.message);
      log("rpc").info("An answer did not reach its caller: {reason}", {
        reason,
      });
    }
  }

  #message({ reply, dialect, warren }: Address, said: Said): Message {
    const id = newId();
    const answer: Reply = {
      kind: "reply",
      id: reply.ids === false ? undefined : id,
      call: reply.call,
      ...said,
    };
    const { limits } = this.#parts;
    const { body, headers } = encode(answer, dialect, limits, reply.form);
    return {
      body,
      headers: warren ? headers : {},
      id,
      correlationId: reply.call,
      mandatory: true,
    };
  }
}
