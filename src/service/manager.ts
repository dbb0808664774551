/** Managers: objects whose methods serve a contract (Nova: `manager.py`). @module */
import type { Contract, Endpoint, Handlers } from "../contract/types.ts";
import type { ConnectionContext } from "../connection/connection_context.ts";
import { type Dispatcher, RpcDispatcher } from "../rpc/dispatch/dispatcher.ts";
import {
  checkNames,
  isPlain,
  namesOf,
  withoutUndefined,
} from "../option_names.ts";
import { logger } from "../logging.ts";
import {
  type PeriodicTask,
  taskName as taskName,
  TaskRunner,
} from "./periodic/task_runner.ts";

/**
 * Environment that a service passes to `initHost` of its managers.
 * @category Serving
 */
export interface HostEnvironment {
  /** Name of the host. */
  readonly host: string;
  /** Connection for calls to other services. */
  readonly connection: ConnectionContext;
  /** Fires when the stop of the service begins. Use it to end work that does not end by itself, such as endless streams. */
  readonly stopping: AbortSignal;
  /** Fires when the service has stopped. Use it to release the resources of the manager. */
  readonly signal: AbortSignal;
}

/**
 * Base class of managers. A subclass has a contract, and a method for each of its procedures.
 * @category Serving
 */
export abstract class Manager implements Endpoint {
  /** Contract that the manager serves. */
  abstract readonly contract: Contract;
  /** Periodic tasks that run while the service runs. */
  readonly periodic: readonly PeriodicTask[] = [];
  /** Name of the host. The service sets it before `initHost`; a test can set it with `Object.assign(manager, { host })`. */
  declare readonly host: string;
  /** Connection for calls to other services. The service sets it before `initHost`; a test can set it in the same way. */
  declare readonly connection: ConnectionContext;
  /** Called before the service consumes; its queues exist. */
  initHost(_environment: HostEnvironment): void | Promise<void> {}
  /** Called when the service consumes. */
  postStartHook(): void | Promise<void> {}
  /**
   * Called when the service stops and no handler runs any more, for the managers in reverse order. `connection` is still
   * open.
   */
  cleanupHost(): void | Promise<void> {}
  /**
   * Creates the dispatcher of this manager and further endpoints of its topic (Nova: `create_rpc_dispatcher`,
   * `additional_apis`).
   */
  createRpcDispatcher(additional: readonly Endpoint[] = []): Dispatcher {
    return new RpcDispatcher([this, ...additional]);
  }
}

/**
 * Capabilities of a host for schedulers; a list if the host has several sets of them, as in Nova.
 * @category Serving
 */
export type Capabilities =
  | Readonly<Record<string, unknown>>
  | readonly Readonly<Record<string, unknown>>[];

/**
 * Manager that sends its capabilities to schedulers (Nova: `manager.py`, `SchedulerDependentManager`). The periodic task
 * `update_service_capabilities` casts `{ service_name, host, capabilities }` to every worker of the topic `scheduler` once
 * a minute. `taskIntervals` of the service can set another interval.
 * @category Serving
 */
export abstract class SchedulerDependentManager extends Manager {
  /** Version of the schedulers' contract. Nova's schedulers accept `2.0`. */
  readonly schedulerVersion: string = "1.0";
  /** Returns the capabilities to send; `undefined` sends nothing. */
  abstract capabilities(): Capabilities | undefined;
}

/**
 * Manager that `implement` returns.
 * @category Serving
 */
export type Implementation<C extends Contract> = Manager & {
  readonly contract: C;
} & Handlers<C>;

/**
 * Type of a manager whose class has a method for each procedure of its contract.
 * @category Serving
 */
export type ManagerOf<M extends Manager> = M & Handlers<M["contract"]>;

/**
 * Members of a manager besides its methods, for `implement`.
 * @category Serving
 */
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
 * Creates a manager from functions, whose parameters are inferred from the contract, or from an instance of a class, whose
 * own and inherited methods then serve with the instance as their `this`.
 *
 * @throws {InvalidValueError} an option is unknown. A missing handler is an error when the service starts.
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
 * @category Serving
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
    withoutUndefined(handlers),
    isPlain(handlers ?? {}) ? {} : boundMembers(handlers, contract),
    withoutUndefined(options),
  ) as unknown as Implementation<C>;
}

/**
 * Collects the members of an instance that a manager can have: procedures of the contract and hooks. Methods are bound to
 * the instance.
 */
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

/** Milliseconds between two casts of capabilities to the schedulers (Nova: `periodic_interval`). */
const CAPABILITIES_INTERVAL_MS = 60_000;

/** Returns the periodic tasks of a manager, including the one of `SchedulerDependentManager`. */
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
 * Returns the periodic tasks of the base class, for a subclass that adds its own (Nova: a subclass inherits
 * `periodic_task`s). Call it in the initializer of `periodic`, where the member still has the value of the base class.
 *
 * @example
 * ```ts ignore
 * class GpuManager extends ComputeManager {
 *   override readonly periodic = [...inheritedTasks(this), { every: 5_000, run: () => this.cool() }];
 * }
 * ```
 * @category Serving
 */
export function inheritedTasks(manager: Manager): readonly PeriodicTask[] {
  return manager.periodic;
}

const runOptionNames = namesOf<{ readonly raiseOnError: unknown }>({
  raiseOnError: true,
});

/**
 * Runs each periodic task of a manager once, in order, for example in a test (Nova: `periodic_tasks`).
 *
 * @throws the error of the first task that fails, if `raiseOnError` is true. Otherwise errors are logged.
 * @category Testing
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
      const text = "Periodic task {name} failed: {error}";
      logger("service").error(text, { name, error }, name);
    }
  }
}
