/** Binds managers to their service, and creates the consumers of their topics. @module */
import { inParallel } from "../async/in_parallel.ts";
import { InvalidValueError } from "../errors.ts";
import { queueFor, topicAddress } from "../transport/address.ts";
import {
  type ConnectionContext,
  dependenciesOf,
  serverOf,
} from "../connection/connection_context.ts";
import { checkDurations } from "../ledger/options.ts";
import type { Dispatcher } from "../rpc/dispatch/dispatcher.ts";
import { withInterceptors } from "../rpc/dispatch/intercepted_dispatcher.ts";
import { checkInterceptors } from "../rpc/interceptors.ts";
import { withOpenstackPing } from "./openstack_api.ts";
import type { Manager } from "./manager.ts";
import type { ServiceOptions } from "./service_options.ts";

/** Queues that are declared at the same time. */
const MAX_DECLARATIONS = 256;

/** Managers that belong to a running service. */
const boundManagers = new WeakSet<Manager>();

/**
 * Sets the host and the connection of a manager. The manager belongs to the service until disposed.
 *
 * @throws {InvalidValueError} the manager belongs to another running service.
 */
export function bindManager(
  manager: Manager,
  host: string,
  connection: ConnectionContext,
): Disposable {
  if (boundManagers.has(manager)) {
    throw new InvalidValueError(
      `Invalid option manager: the manager of ${manager.contract.topic} already serves on ${manager.host}; create another one`,
      { data: { path: "manager" } },
    );
  }
  boundManagers.add(manager);
  Object.assign(manager, { host, connection });
  return { [Symbol.dispose]: () => void boundManagers.delete(manager) };
}

/** Creates one dispatcher for each topic, over all its managers. */
function createDispatchers(
  managers: readonly Manager[],
  { interceptors, baseApi = true }: ServiceOptions,
): Map<string, Dispatcher> {
  const byTopic = Map.groupBy(managers, ({ contract }) => contract.topic);
  const dispatchers = new Map<string, Dispatcher>();
  const around = checkInterceptors(interceptors);
  for (const [topic, [first, ...others]] of byTopic) {
    const inner = (first as Manager).createRpcDispatcher(others);
    const dispatcher = around ? withInterceptors(inner, around) : inner;
    dispatchers.set(
      topic,
      baseApi ? withOpenstackPing(dispatcher, topic) : dispatcher,
    );
  }
  return dispatchers;
}

/**
 * Creates three consumers for each topic, as Nova's `Service.start` does (`service.py`): of the topic, of the host, and of
 * the fanout. With `remoteControl`, looks whether their queues are paused.
 *
 * @throws {InvalidValueError} two topics need the same queue, or a procedure may run longer than the broker allows.
 */
export async function createConsumers(
  connection: ConnectionContext,
  managers: readonly Manager[],
  host: string,
  options: ServiceOptions,
): Promise<void> {
  const { transport } = dependenciesOf(connection).resources;
  checkDurations(
    managers,
    options,
    (topic) => transport.limitsDeliveryTime(topicAddress(topic, undefined)),
  );
  const dispatchers = createDispatchers(managers, options);
  for (const topic of dispatchers.keys()) {
    if (!dispatchers.has(queueFor(topic, host))) continue;
    throw new InvalidValueError(
      `Invalid option manager: topic ${topic} on host ${host} and topic ${topic}.${host} share one queue; serve them in two services on hosts with different names`,
      { data: { path: "manager" } },
    );
  }
  const consumers = [...dispatchers].flatMap(([topic, dispatcher]) =>
    [{}, { host }, { fanout: true }].map((options) => ({
      topic,
      dispatcher,
      options,
    }))
  );
  await inParallel(
    consumers,
    MAX_DECLARATIONS,
    ({ topic, dispatcher, options }) =>
      connection.createConsumer(topic, dispatcher, options),
  );
  if (!options.remoteControl) return;
  const queues = [...dispatchers.keys()].flatMap((topic) => [
    { kind: "topic", topic } as const,
    { kind: "host", topic, host } as const,
  ]);
  await serverOf(connection).paused.watch(transport, queues);
}
