/** The facts from which a diagnosis is made: the queues of a target, its services, and the connection. @module */
import {
  type ConnectionContext,
  dependenciesOf,
} from "../../connection/connection_context.ts";
import {
  ConnectionDisposedError,
  ConnectionFailedError,
} from "../../errors.ts";
import type { ServiceStatus } from "../../rpc/discovery/service_report.ts";
import type { Target } from "../../rpc/client/call_options.ts";
import { queueFor, topicAddress } from "../../transport/address.ts";
import type { TransportHealth } from "../../transport/transport_health.ts";
import type { Pause } from "../../rpc/discovery/control_contract.ts";
import { readPause } from "../../rpc/steering/pause_record.ts";
import { oldestIn } from "../queues/oldest.ts";
import { queuesOf } from "../queues/queue_kinds.ts";
import { type QueueLook, stateOf } from "../queues/queue_list.ts";

/** Facts on a target. */
export interface Facts {
  /** Target, with the version and the namespace that are called. */
  readonly target: Target;
  /** Procedure; undefined if the target is examined as a whole. */
  readonly procedure: string | undefined;
  /** Name of the queue of the target. */
  readonly queue: string;
  /** State of the queue; undefined if there is none. */
  readonly state: QueueLook | undefined;
  /** Record of the pause of the queue; undefined if it is not paused. */
  readonly pause: Pause | undefined;
  /** Milliseconds since the first message of the queue was sent; undefined if unknown. */
  readonly oldest: number | undefined;
  /** Numbers of messages in the queues beside it that exist, by their kind. */
  readonly beside: Readonly<Record<"quarantine" | "delay" | "dead", number>>;
  /** Services that answered, with their contracts and their counters. */
  readonly services: readonly ServiceStatus[];
  /** False if the services could not be asked. */
  readonly asked: boolean;
  /** Health of the connection of this process. */
  readonly health: TransportHealth;
}

/** Collects the facts on a target, within about `timeout` milliseconds for each of them. */
export async function factsOn(
  connection: ConnectionContext,
  target: Target,
  procedure: string | undefined,
  timeout: number,
): Promise<Facts> {
  const { topic, host } = target;
  const queue = queueFor(topic, host);
  const [states, services] = await Promise.all([
    statesOf(connection, target, timeout),
    servicesOf(connection, target, timeout),
  ]);
  return {
    ...{ target, procedure, queue },
    ...states,
    ...services,
    health: connection.health(),
  };
}

/** Looks at the queues of a target; at none while there is no connection. */
async function statesOf(
  connection: ConnectionContext,
  { topic, host }: Target,
  timeout: number,
): Promise<Pick<Facts, "state" | "beside" | "oldest" | "pause">> {
  const { transport, session } = dependenciesOf(connection).resources;
  const beside = { quarantine: 0, delay: 0, dead: 0 };
  const address = topicAddress(topic, host);
  let state: QueueLook | undefined;
  let oldest: number | undefined;
  let pause: Pause | undefined;
  try {
    for (const { name, kind } of queuesOf(address)) {
      const look = await stateOf(transport, name, timeout);
      if (kind === "topic" || kind === "host") state = look;
      else if (kind !== "events") beside[kind] += look?.messages ?? 0;
      if (look?.unavailable !== undefined) break; // the others would not be told either, each after its timeout
    }
    if (state?.unavailable === undefined) {
      pause = await readPause({ session, transport }, address);
    }
    if (state?.consumers === 0 && state.messages !== 0) {
      oldest = await oldestIn(session, address, timeout);
    }
  } catch (error) {
    if (!(error instanceof ConnectionFailedError)) throw error;
  }
  return { state, beside, oldest, pause };
}

/** Asks the services of a target for their contracts and their counters. */
async function servicesOf(
  connection: ConnectionContext,
  { topic, host }: Target,
  timeout: number,
): Promise<Pick<Facts, "services" | "asked">> {
  const found = new Map<string, ServiceStatus>();
  const ask = async (ask: "info" | "stats") => {
    const options = { topic, host, ask, timeout };
    for await (const service of connection.services(options)) {
      found.set(service.id, { ...found.get(service.id), ...service });
    }
  };
  const settled = await Promise.allSettled([ask("info"), ask("stats")]);
  const failures = settled.flatMap((each) =>
    each.status === "rejected" ? [each.reason] : []
  );
  const disposed = failures.find((error) =>
    error instanceof ConnectionDisposedError
  );
  if (disposed) throw disposed;
  const asked = failures.length === 0;
  return { services: [...found.values()], asked };
}
