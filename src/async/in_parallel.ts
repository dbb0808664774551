/** Work on many items, on a limited number of them at the same time. @module */

/**
 * Calls `work` with each item, in their order, while at most `limit` calls run. Waits until all have ended; then throws the
 * error of the first item that has failed.
 */
export async function inParallel<T>(
  items: readonly T[],
  limit: number,
  work: (item: T) => Promise<unknown>,
): Promise<void> {
  const rest = items.entries();
  const errors = new Map<number, unknown>();
  const runOne = async () => {
    for (const [at, item] of rest) {
      await work(item).catch((error) => errors.set(at, error));
    }
  };
  const length = Math.min(limit, items.length);
  await Promise.all(Array.from({ length }, runOne));
  if (errors.size > 0) throw errors.get(Math.min(...errors.keys()));
}

/** Waits until all promises are settled; then throws the reason of the first that was rejected. */
export async function settleAll(
  promises: readonly (PromiseLike<unknown> | undefined)[],
): Promise<void> {
  const settled = await Promise.allSettled(promises);
  const failed = settled.find(({ status }) => status === "rejected");
  if (failed) throw (failed as PromiseRejectedResult).reason;
}
