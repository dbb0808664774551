/** Propagation of a request's context to the calls that its handler makes. @module */
import { AsyncLocalStorage } from "node:async_hooks";
import { KeyedSlotMap } from "../slot_map.ts";
import {
  type ContextValues,
  type RequestContext,
  requestContext,
} from "../contract/request_context.ts";
import { deadlineOf, observerOf } from "./served_context.ts";

/**
 * Value of the `AsyncLocalStorage`: the number of a handler's run, with the context values if there are any. It must be
 * small, because Deno retains it until a full garbage collection.
 */
type PropagatedContext = number | {
  readonly run: number;
  readonly values: ContextValues;
};

const storage = new AsyncLocalStorage<PropagatedContext | undefined>();
/** Contexts of the handlers that run, by the numbers of their runs. */
const activeContexts = new KeyedSlotMap<number, RequestContext>();
let runs = 0;

/** Runs the synchronous part of a handler, and reports how long it blocked the event loop. */
function timed<T>(context: RequestContext, work: () => T): T {
  const startedAt = performance.now();
  try {
    return work();
  } finally {
    observerOf(context)?.onPause(performance.now() - startedAt);
  }
}

const isPromiseLike = <T>(value: T | PromiseLike<T>): value is PromiseLike<T> =>
  typeof (value as Partial<PromiseLike<T>> | null | undefined)?.then ===
    "function";

/**
 * Runs a handler. Calls that it makes inherit from `context` until it ends. `onError` is called with the error that it
 * throws. Returns a promise if the handler does.
 */
export function runWithContext<T>(
  context: RequestContext,
  work: () => T | PromiseLike<T>,
  onError: (error: unknown) => void = () => {},
): T | Promise<T> {
  const run = ++runs;
  const { values } = context;
  const propagated = isEmpty(values) ? run : { run, values };
  activeContexts.set(run, context);
  deadlineOf(context); // fixes the deadline of a context that no server created
  const fail = (error: unknown): never => {
    activeContexts.delete(run);
    onError(error);
    throw error;
  };
  let returned: T | PromiseLike<T>;
  try {
    returned = storage.run(propagated, timed, context, work);
  } catch (error) {
    return fail(error);
  }
  if (!isPromiseLike(returned)) {
    activeContexts.delete(run); // background work of the handler continues without its deadline
    return returned;
  }
  return Promise.resolve(returned).then((value) => {
    activeContexts.delete(run);
    return value;
  }, fail);
}

function isEmpty(values: ContextValues): boolean {
  for (const _ in values) return false;
  return true;
}

/**
 * Runs work that outlives a request without the context of that request, e.g. opens a transport, whose events must not
 * inherit the context.
 */
export function runDetached<T>(work: () => T): T {
  return storage.run(undefined, work);
}

/**
 * Returns the context of the handler that runs here; undefined outside a handler. After the handler's end, only the
 * context values are left.
 */
export function currentContext(): RequestContext | undefined {
  const stored = storage.getStore();
  if (stored === undefined) return undefined;
  const { run, values } = typeof stored === "number"
    ? { run: stored, values: {} }
    : stored;
  return activeContexts.get(run) ?? requestContext(values);
}
