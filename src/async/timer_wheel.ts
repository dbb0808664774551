/** Deadlines on a monotonic clock: one timer for all of them, however many wait. @module */

import { runFollowUps } from "../follow_ups.ts";
import { SlotMap } from "../slot_map.ts";

/** Grain of the wheel in milliseconds: how late a deadline may fire. */
const GRAIN_MS = 16;
/** The longest that a platform timer can be set for. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** A wait that ends by itself at its deadline. */
export class Timer {
  /** Called once when the deadline passes. */
  readonly expire: () => void;
  /** Bucket of the wheel; undefined = never. */
  readonly bucket: number | undefined;
  /** Its number there; -1 once it has ended. */
  handle = -1;

  /** Not in the wheel yet. */
  constructor(expire: () => void, bucket: number | undefined) {
    this.expire = expire;
    this.bucket = bucket;
  }
}

const wheel = new Map<number, SlotMap<Timer>>();
let platformTimer: ReturnType<typeof setTimeout> | undefined;
let armedFor = Infinity;

function arm(): void {
  clearTimeout(platformTimer);
  platformTimer = undefined;
  armedFor = Infinity;
  for (const bucket of wheel.keys()) armedFor = Math.min(armedFor, bucket);
  if (armedFor === Infinity) return;
  const ms = armedFor * GRAIN_MS - performance.now() + 1;
  platformTimer = setTimeout(fire, Math.max(0, Math.min(MAX_TIMEOUT_MS, ms)));
}

/** In the order of the deadlines, also after a long turn of the event loop; one that throws takes no other with it. */
function fire(): void {
  const passed = performance.now() / GRAIN_MS;
  const due = [...wheel.keys()].filter((bucket) => !(bucket > passed));
  try {
    for (const bucket of due.sort((a, b) => a - b)) {
      for (const wait of wheel.get(bucket) ?? []) {
        clearDeadline(wait);
        wait.expire();
      }
    }
  } finally {
    arm();
    runFollowUps();
  }
}

/** Calls `expire` at `deadline` (milliseconds of `performance.now()`), at most 16 ms late; never if it is `Infinity`. */
export function setDeadline(deadline: number, expire: () => void): Timer {
  if (deadline === Infinity) return new Timer(expire, undefined);
  const bucket = Math.ceil(deadline / GRAIN_MS);
  const waits = wheel.get(bucket) ?? new SlotMap();
  const wait = new Timer(expire, bucket);
  wait.handle = waits.add(wait);
  if (waits.size === 1) wheel.set(bucket, waits);
  if (bucket < armedFor) arm();
  return wait;
}

/** Forgets a wait that has ended; the timer goes with the last one, so that nothing keeps the process alive. */
export function clearDeadline(wait: Timer): void {
  if (wait.bucket === undefined || wait.handle < 0) return;
  const waits = wheel.get(wait.bucket);
  waits?.delete(wait.handle);
  wait.handle = -1;
  if (!waits || waits.size > 0) return;
  wheel.delete(wait.bucket);
  if (wheel.size === 0) arm();
}
