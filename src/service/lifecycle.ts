/** Start and stop of a service, as steps and the steps that undo them. @module */
import { bestEffort } from "../async/deadline.ts";

/** Minimum milliseconds for each step of a stop, even if the shutdown timeout of the whole stop is over. */
const MIN_STEP_TIMEOUT_MS = 1_000;

/**
 * Stack of steps that undo a start. The start adds a step for each thing that it has done, and `stop` runs these steps in
 * the reverse order. A stop during the start lets the current step of the start end first, so that it is undone as well.
 */
export class Lifecycle {
  readonly #grace: number;
  readonly #onStopping: () => void;
  readonly #undoSteps = new AsyncDisposableStack();
  readonly #stopping = new AbortController();
  readonly #ended = Promise.withResolvers<void>();
  #start: Promise<void> | undefined;
  #stop: Promise<void> | undefined;
  #deadline = Infinity;

  /** Creates a lifecycle whose stop has `grace` milliseconds. `onStopping` is called before `stopping` fires. */
  constructor(grace: number, onStopping: () => void) {
    this.#grace = grace;
    this.#onStopping = onStopping;
    // An error that the program does not await must not end the process as an unhandled rejection.
    this.#ended.promise.catch(() => {});
  }

  /** Signal that fires when the stop begins. */
  get stopping(): AbortSignal {
    return this.#stopping.signal;
  }

  /** Resolves when everything has been undone; rejects with the error given to `fail`. */
  get ended(): Promise<void> {
    return this.#ended.promise;
  }

  /** Time of `performance.now()` at which `grace` is over; `Infinity` before the stop. */
  get deadline(): number {
    return this.#deadline;
  }

  /** Milliseconds that handlers have to finish: the rest of `grace`, but at least a second of it. */
  get drainTimeout(): number {
    const left = this.#deadline - performance.now();
    return Math.max(left, Math.min(this.#grace, MIN_STEP_TIMEOUT_MS));
  }

  /** Runs the start, which consists of calls of `step`. */
  start(work: () => Promise<void>): Promise<void> {
    return this.#start = work();
  }

  /** Runs one step of the start. Throws the reason of the stop if that has begun. */
  async step(work: () => unknown): Promise<void> {
    this.throwIfStopping();
    await work();
  }

  /** Throws the reason of the stop if that has begun. */
  throwIfStopping(): void {
    this.stopping.throwIfAborted();
  }

  /** Adds the disposal of a resource as a step of the stop, without a time limit. */
  use<T extends AsyncDisposable | Disposable>(resource: T): T {
    return this.#undoSteps.use(resource);
  }

  /** Opens a resource and adds its disposal as a step of the stop. Disposes it at once if the stop has begun meanwhile. */
  async open<T extends AsyncDisposable>(opening: Promise<T>): Promise<T> {
    const resource = await opening;
    if (this.stopping.aborted) await resource[Symbol.asyncDispose]();
    this.throwIfStopping();
    return this.use(resource);
  }

  /** Adds a step of the stop, without a time limit. An error of the step is thrown by `stop`. */
  defer(undo: () => void | Promise<void>): void {
    this.#undoSteps.defer(undo);
  }

  /** Adds a step of the stop with a name and a time limit. A timeout or an error is logged, and the next step follows. */
  deferLimited(name: string, undo: () => unknown): void {
    const run = () => this.#limit(name, undo);
    // The step of the start took longer than the stop waited for it, so its undo step cannot be added any more.
    if (this.#undoSteps.disposed) void run();
    else this.#undoSteps.defer(run);
  }

  /** Undoes the start. A second call returns the promise of the first. */
  stop(reason: Error): Promise<void> {
    return this.#stop ??= this.#undoAll(reason);
  }

  /** Undoes the start because of an error, with which `ended` rejects. */
  fail(error: Error): void {
    this.#ended.reject(error);
    void this.stop(error);
  }

  async #undoAll(reason: Error): Promise<void> {
    this.#deadline = performance.now() + this.#grace;
    this.#onStopping();
    this.#stopping.abort(reason);
    const started = () => this.#start?.catch(() => {});
    await this.#limit("Waiting for the start of the service", started);
    await this.#undoSteps.disposeAsync().finally(() => this.#ended.resolve());
  }

  /** Waits for `work` until the deadline, but at least for a second. */
  async #limit(name: string, work: () => unknown): Promise<void> {
    const earliest = performance.now() + MIN_STEP_TIMEOUT_MS;
    await bestEffort(name, work, Math.max(this.#deadline, earliest));
  }
}
