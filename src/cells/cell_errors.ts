/** Errors of requests to a cell, which name the cell. @module */
import {
  BlockedError,
  ConnectionDisposedError,
  ConnectionFailedError,
  InterruptedError,
  InvalidResultError,
  NoRouteError,
  NoSuchMethodError,
  RejectedError,
  type RpcErrorOptions,
  TimeoutError,
  TopologyError,
  UnconfirmedError,
  UnsupportedVersionError,
} from "../errors.ts";

/** Errors that depend on the cell. All others, such as those of handlers, are thrown as they are. */
const CLASSES = [
  BlockedError,
  ConnectionDisposedError,
  ConnectionFailedError,
  InterruptedError,
  InvalidResultError,
  NoRouteError,
  NoSuchMethodError,
  RejectedError,
  TimeoutError,
  TopologyError,
  UnconfirmedError,
  UnsupportedVersionError,
] as const;

/**
 * Returns an error of the same class that names the cell in its message and in `data.cell`. The error itself may be
 * thrown to several callers and is not changed; it is the cause of the returned one.
 */
export function inCell(cell: string, error: unknown): unknown {
  const known = CLASSES.find((each) => Object(error).constructor === each);
  if (!known) return error;
  const cause = error as InstanceType<typeof known>;
  if (cause.data.cell !== undefined) return error;
  const options: RpcErrorOptions & { consumers?: number | undefined } = {
    cause,
    data: { ...cause.data, cell },
    inDoubt: cause.inDoubt,
    consumers: cause instanceof TimeoutError ? cause.consumers : undefined,
  };
  return new known(`Cell ${cell}: ${cause.message}`, options);
}
