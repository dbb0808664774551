/** Managers: the objects whose methods serve a contract (Nova: `manager.py`). @module */
import type { Contract, Endpoint, Handlers } from "../contract/types.ts";
import type { ConnectionContext } from "../connection/connection_context.ts";
import { type Dispatcher, RpcDispatcher } from "../rpc/dispatch/dispatcher.ts";
import { checkNames, given, isPlain, namesOf } from "../option_names.ts";
import { logger } from "../logging.ts";
import {
  type PeriodicTask,
  taskName as taskName,
  TaskRunner,
} from "./periodic/task_runner.ts";

/** What a service gives its managers before the first message. */
export interface HostEnvironment {
  /** Name of the host. */
  readonly host: string;
  /** To call others. */
  readonly connection: ConnectionContext;
  /** Fires when the service begins to stop: end here what does not end by itself, e.g. endless streams. */
  readonly stopping: AbortSignal;
  /** Fires when the service has stopped: release here what the manager holds. */
  readonly signal: AbortSignal;
}

/** Base of managers. A subclass names its contract and has its methods. */
export abstract class Manager implements Endpoint {
  /** What it serves. */
  abstract readonly contract: Contract;
  /** What it does again and again while the service runs. */
  readonly periodic: readonly PeriodicTask[] = [];
  /** Name of the host; set by the service before `initHost`. A test may set it with `Object.assign(manager, { host })`. */
  declare readonly host: string;
  /** To call others; set by the service before `initHost`, or by a test as above. */
  declare readonly connection: ConnectionContext;
  /** Called when the queues exist and before the first message is taken. */
  initHost(_environment: HostEnvironment): void | Promise<void> {}
  /** Called when the service takes messages. */
  postStartHook(): void | Promise<void> {}
  /** Called when the service stops and no handler runs any more; `connection` can still be used. Managers in reverse order. */
  cleanupHost(): void | Promise<void> {}
  /** The dispatcher for this manager and further endpoints of its topic (Nova: `create_rpc_dispatcher`, `additional_apis`). */
  createRpcDispatcher(additional: readonly Endpoint[] = []): Dispatcher {
    return new RpcDispatcher([this, ...additional]);
  }
}

/** What a host can do, as it is told to schedulers; a list where it has several kinds of it, as in Nova. */
export type Capabilities =
  | Readonly<Record<string, unknown>>
  | readonly Readonly<Record<string, unknown>>[];

/**
 * A manager that tells schedulers what it can do (Nova: `manager.py`, `SchedulerDependentManager`): a periodic task,
 * `update_service_capabilities`, casts `{ service_name, host, capabilities }` to every worker of the topic `scheduler` once
 * a minute; `taskIntervals` of the service sets another time.
 */
export abstract class SchedulerDependentManager extends Manager {
  /** Version that schedulers are asked for. Nova's take `2.0`. */
  readonly schedulerVersion: string = "1.0";
  /** What is told; nothing is, as long as this gives `undefined`. */
  abstract capabilities(): Capabilities | undefined;
}

/** A manager made of an object literal. */
export type Implementation<C extends Contract> = Manager & {
  readonly contract: C;
} & Handlers<C>;

/** A manager whose class serves what its contract lists. */
export type ManagerOf<M extends Manager> = M & Handlers<M["contract"]>;

/** Hooks of a manager made of an object literal. */
export interface ImplementOptions {
  /** See {@linkcode Manager.initHost}. */
  readonly initHost?: Manager["initHost"] | undefined;
  /** See {@linkcode Manager.postStartHook}. */
  readonly postStartHook?: Manager["postStartHook"] | undefined;
  /** See {@linkcode Manager.cleanupHost}. */
  readonly cleanupHost?: Manager["cleanupHost"] | undefined;
  /** See {@linkcode Manager.periodic}. */
  readonly periodic?: readonly PeriodicTask[] | undefined;
}

const hookNames = namesOf<ImplementOptions>({
  initHost: true,
  postStartHook: true,
  cleanupHost: true,
  periodic: true,
});

/**
 * Makes a manager of functions, with their parameters inferred from the contract; or of an object of a class of yours, whose
 * methods, inherited ones included, serve with that object as their `this`.
 *
 * @throws {InvalidValueError} an option has another name than these. A handler that is missing is found out where the manager
 * is to serve.
 * @example
 * ```ts
 * import { z } from "npm:zod@4";
 * import { contract, implement, requestContext } from "@warren/runtime";
 *
 * const greeter = contract({
 *   topic: "greeter",
 *   version: "1.0",
 *   procedures: { hello: { args: z.object({ name: z.string() }), result: z.string() } },
 * });
 * const manager = implement(greeter, { hello: ({ name }) => `Hello ${name}` });
 * console.log(await manager.hello({ name: "Ada" }, requestContext()));
 * ```
 */
export function implement<C extends Contract>(
  contract: C,
  handlers: Handlers<C>,
  options: ImplementOptions = {},
): Implementation<C> {
  checkNames(options, hookNames);
  class Literal extends Manager {
    readonly contract = contract;
  }
  return Object.assign(
    new Literal(),
    given(handlers),
    isPlain(handlers ?? {}) ? {} : boundMembers(handlers, contract),
    given(options),
  ) as unknown as Implementation<C>;
}

/** The members of a manager for a contract that an object or its class has. Methods are bound to the object. */
function boundMembers(
  target: object,
  { procedures = {} }: Contract,
): Record<string, unknown> {
  const names = [...Object.keys(procedures), ...hookNames];
  const members: Record<string, unknown> = {};
  for (const name of names) {
    const member: unknown = Reflect.get(target, name);
    if (member === undefined) continue;
    members[name] = typeof member === "function" ? member.bind(target) : member;
  }
  return members;
}

/** Milliseconds between two casts to the schedulers (Nova: `periodic_interval`). */
const CAPABILITIES_INTERVAL_MS = 60_000;

/** All that a manager does again and again, its base class's part included. */
export function periodicTasksOf(manager: Manager): readonly PeriodicTask[] {
  if (!(manager instanceof SchedulerDependentManager)) return manager.periodic;
  const report = async (signal: AbortSignal) => {
    const capabilities = manager.capabilities();
    if (capabilities === undefined) return;
    const { contract: { topic: service_name }, host } = manager;
    const args = { service_name, host, capabilities };
    await manager.connection.fanoutCast(
      { topic: "scheduler", version: manager.schedulerVersion },
      "update_service_capabilities",
      args,
      { signal },
    );
  };
  const name = "update_service_capabilities";
  return [
    { name, every: CAPABILITIES_INTERVAL_MS, run: report },
    ...manager.periodic,
  ];
}

/**
 * The tasks that a base class has, for a subclass that adds some of its own (Nova: a subclass inherits `periodic_task`s).
 *
 * @example
 * ```ts ignore
 * class GpuManager extends ComputeManager {
 *   override readonly periodic = [...inheritedTasks(this), { every: 5_000, run: () => this.cool() }];
 * }
 * ```
 */
export function inheritedTasks(manager: Manager): readonly PeriodicTask[] {
  return manager.periodic;
}

const runOptionNames = namesOf<{ readonly raiseOnError: unknown }>({
  raiseOnError: true,
});

/**
 * Runs each periodic task of a manager once, in order, e.g. in a test (Nova: `periodic_tasks`).
 *
 * @throws what the first task that fails throws, if `raiseOnError`; else failures are logged.
 */
export async function runPeriodicTasks(
  manager: Manager,
  options: { readonly raiseOnError?: boolean | undefined } = {},
): Promise<void> {
  checkNames(options, runOptionNames);
  const { signal } = new AbortController();
  for (const [at, task] of periodicTasksOf(manager).entries()) {
    const name = taskName(task, at);
    try {
      await new TaskRunner(task, name).runOnce(signal);
    } catch (error) {
      if (options.raiseOnError) throw error;
      const text = "Periodic {name} failed: {error}";
      logger("service").error(text, { name, error }, name);
    }
  }
}
