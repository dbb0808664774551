/** Waits for several promises. @module */

/** Waits until all promises are settled; then throws the reason of the first that was rejected. */
export async function settleAll(
  promises: readonly PromiseLike<unknown>[],
): Promise<void> {
  const settled = await Promise.allSettled(promises);
  const failed = settled.find(({ status }) => status === "rejected");
  if (failed) throw (failed as PromiseRejectedResult).reason;
}
