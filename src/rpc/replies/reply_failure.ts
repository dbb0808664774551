/** Replies that did not reach their caller. @module */
import { NoRouteError, RpcError } from "../../errors.ts";
import { logger, oneLine } from "../../logging.ts";
import { isContentError } from "../../transport/content_errors.ts";

/** Logs a reply that did not reach its caller; rethrows the error if the reply itself is at fault. */
export function handleFailure(
  error: unknown,
  onGone?: (() => void) | undefined,
): void {
  if (!(error instanceof RpcError)) throw error;
  if (isContentError(error)) throw error;
  if (error instanceof NoRouteError) onGone?.();
  logger("rpc").info("An answer did not reach its caller: {reason}", {
    reason: oneLine(error.message),
  });
}
