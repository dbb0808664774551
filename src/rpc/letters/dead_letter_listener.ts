/** Listeners of dead letters: functions of the application that learn of each one that this process has made. @module */
import { logger } from "../../logging.ts";
import { InvalidValueError } from "../../errors.ts";
import type { DeadLetter } from "./dead_letter.ts";

/**
 * Called with each message that this process has made a dead letter, after the broker has confirmed that. Nobody waits for
 * the returned promise. An error is logged, and changes nothing.
 * @category Operations
 */
export type DeadLetterListener = (letter: DeadLetter) => void | Promise<void>;

/** Settings of the dead letters that a worker makes. */
export interface DeadLetterSettings {
  /** Host of the worker, which is written into its dead letters; undefined if the connection has none. */
  readonly host: string | undefined;
  /** True to write the stack of the last error into a dead letter. */
  readonly stacks: boolean;
  /** Called with each dead letter; undefined = nobody is told. */
  readonly onDeadLetter: DeadLetterListener | undefined;
}

/** Calls the listener; never throws. */
export async function notifyDeadLetter(
  listener: DeadLetterListener,
  makeLetter: () => DeadLetter,
): Promise<void> {
  try {
    await listener(makeLetter());
  } catch (error) {
    logger("rpc").error("A listener of dead letters failed: {error}", {
      error,
    });
  }
}

/**
 * Checks the option `onDeadLetter` and returns it.
 *
 * @throws {InvalidValueError} it is no function.
 */
export function checkDeadLetterListener(
  listener: DeadLetterListener | undefined,
): DeadLetterListener | undefined {
  if (listener === undefined || typeof listener === "function") return listener;
  throw new InvalidValueError(
    `Invalid option onDeadLetter: a ${typeof listener}; give a function`,
    { data: { path: "onDeadLetter" } },
  );
}
