/** What arrives and is no request that can be read. @module */
import { loggable } from "../masked.ts";
import { log, oneLine } from "../telemetry.ts";
import type { Delivery } from "../bus/transport.ts";
import type { Refusal } from "../wire/codec.ts";
import type { ReplyAddress } from "../wire/envelope.ts";
import type { Responder } from "./responder.ts";

/** What is wrong with a message, as far as that can be told. */
export type Refused =
  & Pick<Refusal, "reason">
  & Partial<Omit<Refusal, "reason">>;

/** Refuses messages of one context. */
export class Refusals {
  readonly #responder: Responder;

  /** Tells senders by a responder. */
  constructor(responder: Responder) {
    this.#responder = responder;
  }

  /** Logs it, tells its sender where it says how, and drops it. Never throws. */
  refuse(delivery: Delivery, { reason, dialect, ...from }: Refused): void {
    const { reply = addressOf(delivery), warren } = from;
    log("rpc").warn("Refused a message for {key}: {reason}", {
      key: oneLine(delivery.key, 60),
      reason: oneLine(reason),
    });
    if (dialect && reply) {
      this.#responder.refuse({ reply, dialect, warren }, reason).catch(
        (error) =>
          log("rpc").info("A refusal was not told: {error}", {
            error: loggable(error),
          }),
      );
    }
    delivery.reject(false); // dropped, or dead-lettered where the broker's policy says so
  }
}

/** Where a message that cannot be read wants its answer, by its properties. */
function addressOf({ message }: Delivery): ReplyAddress | undefined {
  const { replyTo: queue, correlationId: call } = message;
  return queue && call ? { queue, call, form: "single" } : undefined;
}
