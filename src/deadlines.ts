/** Deadlines on a monotonic clock: one timer for all of them, however many wait. @module */

/** Grain of the wheel in milliseconds: how late a deadline may fire. */
const GRAIN = 16;
/** The longest that a platform timer can be set for. */
const LONGEST = 2 ** 31 - 1;

/** A wait that ends by itself at its deadline. */
export interface Waiting {
  /** Called once when the deadline passes. */
  readonly expire: () => void;
  /** Bucket of the wheel; undefined = never. */
  readonly bucket: number | undefined;
}

const wheel = new Map<number, Set<Waiting>>();
let timer: ReturnType<typeof setTimeout> | undefined;
let armedFor = Infinity;

function arm(): void {
  clearTimeout(timer);
  timer = undefined;
  armedFor = Infinity;
  for (const bucket of wheel.keys()) armedFor = Math.min(armedFor, bucket);
  if (armedFor === Infinity) return;
  timer = setTimeout(
    fire,
    Math.min(LONGEST, armedFor * GRAIN - performance.now() + 1),
  );
}

function fire(): void {
  const passed = performance.now() / GRAIN;
  for (const [bucket, waits] of wheel) {
    if (bucket > passed) continue;
    wheel.delete(bucket);
    for (const wait of waits) wait.expire();
  }
  arm();
}

/** Calls `expire` at `deadline` (milliseconds of `performance.now()`), at most 16 ms late; never if it is `Infinity`. */
export function expireAt(deadline: number, expire: () => void): Waiting {
  if (deadline === Infinity) return { expire, bucket: undefined };
  const bucket = Math.ceil(deadline / GRAIN);
  const wait = { expire, bucket };
  const waits = wheel.get(bucket);
  if (waits) waits.add(wait);
  else wheel.set(bucket, new Set([wait]));
  if (bucket < armedFor) arm();
  return wait;
}

/** Forgets a wait that has ended; the timer goes with the last one, so that nothing keeps the process alive. */
export function forget(wait: Waiting): void {
  if (wait.bucket === undefined) return;
  const waits = wheel.get(wait.bucket);
  if (!waits?.delete(wait) || waits.size > 0) return;
  wheel.delete(wait.bucket);
  if (wheel.size === 0) arm();
}

/** How long something may take: a deadline on the monotonic clock, and a signal that may end it sooner. */
export interface Wait {
  /** Milliseconds of `performance.now()`; `Infinity` = no limit. */
  readonly deadline: number;
  /** Ends the wait sooner, with its reason. */
  readonly signal?: AbortSignal | undefined;
}

/** `promise`, unless the deadline passes (`late()` is thrown) or the signal fires (its reason is thrown) before. */
export function within<T>(
  promise: Promise<T>,
  wait: Wait,
  late: () => unknown,
): Promise<T> {
  wait.signal?.throwIfAborted();
  return new Promise<T>((resolve, reject) => {
    const end = () => {
      forget(waiting);
      wait.signal?.removeEventListener("abort", aborted);
    };
    const aborted = () => (end(), reject(wait.signal?.reason));
    const waiting = expireAt(wait.deadline, () => (end(), reject(late())));
    wait.signal?.addEventListener("abort", aborted);
    promise.then(
      (value) => (end(), resolve(value)),
      (error) => (end(), reject(error)),
    );
  });
}

/** Resolves after `ms`, or at the wait's end if that is sooner; rejects with the reason if its signal fires. */
export function pause(ms: number, wait: Wait): Promise<void> {
  const until = Math.min(performance.now() + ms, wait.deadline);
  return new Promise((resolve, reject) => {
    if (wait.signal?.aborted) return reject(wait.signal.reason);
    const aborted = () => (forget(waiting), reject(wait.signal?.reason));
    const waiting = expireAt(until, () => {
      wait.signal?.removeEventListener("abort", aborted);
      resolve();
    });
    wait.signal?.addEventListener("abort", aborted, { once: true });
  });
}
