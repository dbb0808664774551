/** Worker side of the compute service: a class with one method for each procedure of the contract. @module */
import { getLogger } from "npm:@logtape/logtape@^2.4.2";
import {
  type Args,
  type Handlers,
  type HostEnvironment,
  Manager,
  type RequestContext,
} from "../../mod.ts";
import { compute, InstanceNotFound } from "./contract.ts";
import { Machine } from "./machine.ts";

/** An instance and the machine that runs it. */
interface Instance {
  readonly id: string;
  readonly name: string;
  readonly upTo: number;
  readonly at: string;
  /** Replaced by each reboot. */
  machine: Machine;
}

type Id = Args<typeof compute, "reboot">;

/** Runs instances on one host. */
export class ComputeManager extends Manager
  implements Handlers<typeof compute> {
  readonly contract = compute;
  readonly #instances = new Map<string, Instance>();

  /** Ends all instances when the service has stopped. */
  override initHost({ signal }: HostEnvironment) {
    signal.addEventListener("abort", () => this.#endAll());
  }

  async runInstance({ name, upTo }: Args<typeof compute, "runInstance">) {
    const id = `i-${crypto.randomUUID().slice(0, 8)}`;
    const at = new Date().toISOString();
    const instance = { id, name, upTo, at, machine: new Machine({ upTo }) };
    this.#instances.set(id, instance);
    this.#log.info("started {name} as {id}", { name, id });
    await this.connection.notify("instance.create.end", { id, name });
    return this.#describe(instance);
  }

  list() {
    return [...this.#instances.values()].map((one) => this.#describe(one));
  }

  /** Streams each line to the caller as soon as it is printed. */
  async *console({ id }: Id, { signal }: RequestContext) {
    const { name, machine } = this.#find(id);
    yield* machine.console(signal);
    const why = signal.aborted ? signal.reason.message : "it has ended";
    this.#log.info("closed the console of {name}: {why}", { name, why });
  }

  async reboot({ id }: Id) {
    const instance = this.#find(id);
    const { name, upTo, machine } = instance;
    machine.end();
    instance.machine = new Machine({ upTo });
    this.#log.info("rebooted {name}", { name });
    await this.connection.notify("instance.reboot.end", { id, name });
  }

  async terminate({ id }: Id) {
    const { name, machine } = this.#find(id);
    machine.end();
    this.#instances.delete(id);
    this.#log.info("terminated {name}", { name });
    await this.connection.notify("instance.delete.end", { id, name });
  }

  async prune() {
    const over = this.list().filter(({ state }) => state !== "running");
    for (const { id } of over) this.#instances.delete(id);
    const names = over.map(({ name }) => name);
    this.#log.info("pruned {names}", { names: names.join(", ") || "nothing" });
    await this.connection.notify("instance.prune.end", { names });
  }

  #find(id: string): Instance {
    const instance = this.#instances.get(id);
    if (instance) return instance;
    const { host } = this;
    const data = { id, host };
    throw new InstanceNotFound(`No instance ${id} on ${host}`, { data });
  }

  /** Converts an instance to the form that the contract describes. */
  #describe({ id, name, at, machine: { state } }: Instance) {
    return { id, name, host: this.host, state, at };
  }

  #endAll(): void {
    for (const { machine } of this.#instances.values()) machine.end();
    const { size: count } = this.#instances;
    this.#log.info("ended with {count} instances", { count });
    this.#instances.clear();
  }

  get #log() {
    return getLogger("compute").with({ host: this.host });
  }
}
