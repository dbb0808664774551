/** Calls of listeners, whose errors must not end the connection. @module */

/** Calls a listener, if there is one. An error that it throws is reported as an uncaught error (`reportError`). */
export function notify<T>(
  listener: ((value: T) => void) | undefined,
  value: T,
): void {
  try {
    listener?.(value);
  } catch (error) {
    reportError(error);
  }
}
