/** Services of a fleet as tests see them. */
import assert from "node:assert/strict";
import {
  type ConnectionContext,
  implement,
  type Manager,
  Service,
  type ServiceOptions,
  type ServicesOptions,
  type ServiceStatus,
} from "../../../mod.ts";
import { all, type Bus, sumHandlers, sums } from "../support.ts";

/** A service of the bus's topic that reports ten times a second. */
export async function serve(
  bus: Bus,
  options: Omit<Partial<ServiceOptions>, "manager"> & { manager?: Manager } =
    {},
): Promise<Service> {
  const { manager = implement(sums(bus.topic), sumHandlers()) } = options;
  const given = { url: bus.url, host: "one", signals: false, ...options };
  return await Service.start({ reportInterval: 100, ...given, manager });
}

/** All that is found of the bus's topic. */
export async function found(
  connection: ConnectionContext,
  bus: Bus,
  options: ServicesOptions = {},
): Promise<ServiceStatus[]> {
  const { topic } = bus;
  return await all(connection.services({ topic, timeout: 300, ...options }));
}

/** What a watch tells, as far as it was asked for. */
export class Watch implements AsyncDisposable {
  readonly #items: AsyncGenerator<ServiceStatus, void, undefined>;

  constructor(
    connection: ConnectionContext,
    bus: Bus,
    options: ServicesOptions = {},
  ) {
    const { topic } = bus;
    this.#items = connection.services({ topic, watch: true, ...options });
  }

  /** The next status; fails if it ends. */
  async next(): Promise<ServiceStatus> {
    const { value } = await this.#items.next();
    assert.ok(value, "the watch ended");
    return value;
  }

  /** The next one with that state, whatever comes before it. */
  async until(state: ServiceStatus["state"]): Promise<ServiceStatus> {
    for (;;) {
      const status = await this.next();
      if (status.state === state) return status;
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.#items.return();
  }
}
