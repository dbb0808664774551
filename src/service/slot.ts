/** A worker's place: whatever happens to its process, another takes over. @module */
import { expireAt, forget, type Waiting } from "../deadlines.ts";
import { log } from "../telemetry.ts";
import { Child, type Program } from "./child.ts";

/** Milliseconds between two forks for one place, at least. */
const SPACING = 1_000;

/** Keeps one worker running. */
export class Slot {
  /** Number of the worker. */
  readonly worker: number;
  readonly #program: Program;
  /** All that have not ended yet: the one that serves, one that is to follow it, those that drain. */
  readonly #children = new Set<Child>();
  #next = 0;
  #pause: { readonly wait: Waiting; readonly over: () => void } | undefined;
  #changed = Promise.withResolvers<void>();
  #replacing: PromiseWithResolvers<void> | undefined;
  #stopped = false;

  /** Of worker number `worker`. */
  constructor(worker: number, program: Program) {
    this.worker = worker;
    this.#program = program;
  }

  /** Whether a process of it serves. */
  get serving(): boolean {
    return [...this.#children].some(({ serving }) => serving);
  }

  /** Starts the worker; throws what Deno throws if it cannot. Resolves when it has been stopped and has ended. */
  start(): Promise<void> {
    this.#next = performance.now() + SPACING;
    return this.#keep(this.#spawn());
  }

  /** Starts another process, and drains the old one when the new one is ready; resolves when the old one has ended. */
  replace(): Promise<void> {
    if (this.#stopped) return Promise.resolve();
    this.#replacing ??= Promise.withResolvers();
    this.#tell();
    return this.#replacing.promise;
  }

  /** Drains the worker for good. */
  stop(): void {
    this.#stopped = true;
    this.#replacing?.resolve();
    this.#pause?.over();
    this.#tell();
    for (const child of this.#children) child.drain();
  }

  /** Ends the worker's processes at once, for good. */
  kill(): void {
    this.stop();
    for (const child of this.#children) child.kill();
  }

  async #keep(current: Child): Promise<void> {
    while (!this.#stopped) {
      if (current.alive && !this.#replacing) {
        await this.#changed.promise;
        continue;
      }
      const next = await this.#fork();
      if (!next) continue;
      if (!this.#replacing) current = next;
      else if (await next.ready) current = this.#follow(current, next);
    }
    await Promise.all(Array.from(this.#children, ({ ended }) => ended));
  }

  /** Whoever waits for the old one to be gone does not keep this place from looking after the new one. */
  #follow(old: Child, next: Child): Child {
    const { worker } = this;
    log("service").info("Worker {worker} is replaced", { worker }, `${worker}`);
    old.drain();
    old.ended.then(this.#replacing?.resolve);
    this.#replacing = undefined;
    return next;
  }

  /** Another process, at most one a second; undefined if none could be started or none is wanted any more. */
  async #fork(): Promise<Child | undefined> {
    const now = performance.now();
    if (this.#next > now) await this.#paused(this.#next);
    this.#next = performance.now() + SPACING;
    if (this.#stopped) return undefined;
    try {
      return this.#spawn();
    } catch (error) {
      // The machine may be short of processes or memory for a while.
      const { worker } = this;
      log("service").error("Worker {worker} cannot be started: {error}", {
        worker,
        error,
      }, `${worker}`);
      return undefined;
    }
  }

  #paused(until: number): Promise<void> {
    const { promise, resolve } = Promise.withResolvers<void>();
    const wait = expireAt(until, resolve);
    this.#pause = { wait, over: () => (forget(wait), resolve()) };
    return promise;
  }

  #spawn(): Child {
    const child = new Child(this.worker, this.#program);
    this.#children.add(child);
    child.exited.then((status) => this.#gone(child, status));
    child.ended.then(() => this.#children.delete(child));
    return child;
  }

  #gone({ pid, asked }: Child, { code, signal }: Deno.CommandStatus): void {
    const { worker } = this;
    const how = signal ?? `code ${code}`;
    const text = "Worker {worker} (process {pid}) ended: {how}";
    log("service")[asked ? "info" : "warn"](
      text,
      { worker, pid, how },
      `${worker}`,
    );
    this.#tell();
  }

  #tell(): void {
    this.#changed.resolve();
    this.#changed = Promise.withResolvers();
  }
}
