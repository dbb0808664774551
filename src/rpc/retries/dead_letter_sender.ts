/** Sends messages that failed for good to their queue of dead letters, with the reason, and tells the listener. @module */
import { redactText } from "../../redaction.ts";
import { escapeControls } from "../../text.ts";
import { type QueueAddress, queueName } from "../../transport/address.ts";
import type { Message } from "../../transport/transport.ts";
import {
  deadLetterCountOf,
  deadLetterHeaders,
  defaultLimits,
  type Limits,
} from "../../wire/mod.ts";
import { deadLetterOf } from "../letters/dead_letter.ts";
import {
  type DeadLetterSettings,
  notifyDeadLetter,
} from "../letters/dead_letter_listener.ts";
import { newAttempt, type Republisher } from "./republisher.ts";

/** Maximum characters of a stack in a dead letter. */
const MAX_STACK_LENGTH = 4_000;

/** A message that failed for good. */
export interface FailedMessage {
  /** The message. */
  readonly message: Message;
  /** Number of its attempts. */
  readonly attempts: number;
  /** Reason of the last failure, in one line without secrets. */
  readonly reason: string;
  /** Error of the last attempt, whose stack may be kept. */
  readonly error?: unknown;
}

const defaults: DeadLetterSettings = {
  host: undefined,
  stacks: false,
  onDeadLetter: undefined,
};

/** Sends the dead letters of one worker. */
export class DeadLetterSender {
  readonly #republisher: Republisher;
  readonly #settings: DeadLetterSettings;
  readonly #limits: Limits;

  /** `republisher` sends the copies; `limits` are those of the messages that the listener sees decoded. */
  constructor(
    republisher: Republisher,
    settings: DeadLetterSettings = defaults,
    limits: Limits = defaultLimits,
  ) {
    this.#republisher = republisher;
    this.#settings = settings;
    this.#limits = limits;
  }

  /**
   * Dead-letters a message, see `Republisher.deadLetter`; then calls the listener.
   *
   * @throws {RpcError} the broker does not accept the dead letter.
   */
  async send(queue: QueueAddress, failed: FailedMessage): Promise<boolean> {
    const { message, attempts, reason, error } = failed;
    const { host, stacks, onDeadLetter } = this.#settings;
    const headers = deadLetterHeaders({
      ...{ attempts, reason, host },
      deadLetterCount: deadLetterCountOf(message.headers) + 1,
      queue: queueName(queue),
      deadAt: Date.now(),
      stack: stacks ? stackOf(error) : undefined,
    });
    const kept = await this.#republisher.deadLetter(queue, message, headers);
    if (kept && onDeadLetter) {
      const makeLetter = () =>
        deadLetterOf(
          { ...newAttempt(message, headers), oversized: message.oversized },
          queueName(queue),
          this.#limits,
        );
      void notifyDeadLetter(onDeadLetter, makeLetter);
    }
    return kept;
  }
}

/** Returns the stack of a thrown value without its secrets; undefined if it has none or cannot be read. */
function stackOf(thrown: unknown): string | undefined {
  try {
    if (!(thrown instanceof Error) || !thrown.stack) return undefined;
    const text = redactText(thrown.stack, MAX_STACK_LENGTH);
    return text.split("\n").map(escapeControls).join("\n")
      .slice(0, MAX_STACK_LENGTH).toWellFormed();
  } catch {
    return undefined;
  }
}
