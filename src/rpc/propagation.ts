/** What a handler's own calls inherit from the request that it serves. @module */
import { AsyncLocalStorage } from "node:async_hooks";
import { KeyedSlotMap } from "../slot_map.ts";
import {
  type ContextValues,
  type RequestContext,
  requestContext,
} from "../contract/request_context.ts";
import { deadlineOf, observerOf } from "./served_context.ts";

/**
 * What follows a handler through all that it begins: the number of its run, with the values where there are any. Nothing more:
 * Deno keeps what is stored here until a full collection.
 */
type PropagatedContext = number | {
  readonly run: number;
  readonly values: ContextValues;
};

const storage = new AsyncLocalStorage<PropagatedContext | undefined>();
/** Handlers at work. */
const running = new KeyedSlotMap<number, RequestContext>();
let runs = 0;

function paced<T>(context: RequestContext, work: () => T): T {
  const began = performance.now();
  try {
    return work();
  } finally {
    observerOf(context)?.paused(performance.now() - began);
  }
}

/** Runs a handler: its calls inherit from `context` until it ends. What it throws is told to `threw`. */
export async function runWithContext<T>(
  context: RequestContext,
  work: () => T | PromiseLike<T>,
  threw: (error: unknown) => void = () => {},
): Promise<T> {
  const run = ++runs;
  const { values } = context;
  running.set(run, context);
  deadlineOf(context); // of a context that no server made it is fixed now
  try {
    return await storage.run(
      Object.keys(values).length > 0 ? { run, values } : run,
      paced,
      context,
      work,
    );
  } catch (error) {
    threw(error);
    throw error;
  } finally {
    running.delete(run); // what it began in the background goes on without its deadline
  }
}

/** Runs what outlives a request, e.g. a link: its events must not seem to belong to the request that made it. */
export function runDetached<T>(work: () => T): T {
  return storage.run(undefined, work);
}

/** The request that is being served here; undefined outside a handler. Of one that has ended, its values alone. */
export function currentContext(): RequestContext | undefined {
  const left = storage.getStore();
  if (left === undefined) return undefined;
  const known = typeof left === "number" ? { run: left, values: {} } : left;
  return running.get(known.run) ?? requestContext(known.values);
}
