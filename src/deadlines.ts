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
  const ms = armedFor * GRAIN - performance.now() + 1;
  timer = setTimeout(fire, Math.max(0, Math.min(LONGEST, ms)));
}

/** In the order of the deadlines, also after a long turn of the event loop; one that throws takes no other with it. */
function fire(): void {
  const passed = performance.now() / GRAIN;
  const due = [...wheel.keys()].filter((bucket) => !(bucket > passed));
  try {
    for (const bucket of due.sort((a, b) => a - b)) {
      for (const wait of wheel.get(bucket) ?? []) {
        forget(wait);
        wait.expire();
      }
    }
  } finally {
    arm();
  }
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
