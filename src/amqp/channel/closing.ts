/** Limit of the wait for the broker's answer to a closing. @module */

/** Default limit in milliseconds. */
export const CLOSE_TIMEOUT_MS = 5_000;

/** Waits until something is closed. Calls `end` if that takes longer than `timeoutMs`. */
export async function waitForClose(
  closed: Promise<unknown>,
  timeoutMs: number,
  end: () => void,
): Promise<void> {
  if (timeoutMs === 0) end();
  const timer = setTimeout(end, timeoutMs);
  await closed;
  clearTimeout(timer);
}
