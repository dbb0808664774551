/** Timer wheel: deadlines on the monotonic clock that share one timer of the platform. @module */

import { runFollowUps } from "../log_throttle.ts";
import { SlotMap } from "../slot_map.ts";

/** Resolution of the wheel in milliseconds: a deadline fires at most this much late. */
const RESOLUTION_MS = 16;
/** Longest time that a timer of the platform can be set for. */
const MAX_TIMEOUT_MS = 2 ** 31 - 1;

/** Deadline in the wheel, with its callback. */
export class Timer {
  /** Callback, called once when the deadline passes. */
  readonly expire: () => void;
  /** Bucket of the wheel; undefined = never expires. */
  readonly bucket: number | undefined;
  /** Handle in the bucket; -1 once the timer has expired or was cleared. */
  #handle = -1;

  /** Creates a timer, and adds it to the timers of its bucket, if it has one. */
  constructor(expire: () => void, bucket?: number, timers?: SlotMap<Timer>) {
    this.expire = expire;
    this.bucket = bucket;
    if (timers) this.#handle = timers.add(this);
  }

  /** Removes the timer from the timers of its bucket; false if it was removed before. */
  remove(timers: SlotMap<Timer> | undefined): boolean {
    if (this.#handle < 0) return false;
    timers?.delete(this.#handle);
    this.#handle = -1;
    return true;
  }
}

const wheel = new Map<number, SlotMap<Timer>>();
let platformTimer: ReturnType<typeof setTimeout> | undefined;
let armedBucket = Infinity;

function arm(): void {
  clearTimeout(platformTimer);
  platformTimer = undefined;
  armedBucket = Infinity;
  for (const bucket of wheel.keys()) {
    armedBucket = Math.min(armedBucket, bucket);
  }
  if (armedBucket === Infinity) return;
  const ms = armedBucket * RESOLUTION_MS - performance.now() + 1;
  platformTimer = setTimeout(
    expireDue,
    Math.max(0, Math.min(MAX_TIMEOUT_MS, ms)),
  );
}

/**
 * Expires all due buckets in the order of their deadlines, also after the event loop was blocked. A callback that
 * throws does not keep the other buckets from expiring.
 */
function expireDue(): void {
  const passed = performance.now() / RESOLUTION_MS;
  const due = [...wheel.keys()].filter((bucket) => !(bucket > passed));
  try {
    for (const bucket of due.sort((a, b) => a - b)) {
      for (const timer of wheel.get(bucket) ?? []) {
        clearDeadline(timer);
        timer.expire();
      }
    }
  } finally {
    arm();
    runFollowUps();
  }
}

/**
 * Calls `expire` at `deadline` (milliseconds of `performance.now()`), at most 16 ms late; never, if `deadline` is
 * `Infinity`.
 */
export function setDeadline(deadline: number, expire: () => void): Timer {
  if (deadline === Infinity) return new Timer(expire);
  const bucket = Math.ceil(deadline / RESOLUTION_MS);
  const timers = wheel.get(bucket) ?? new SlotMap();
  const timer = new Timer(expire, bucket, timers);
  if (timers.size === 1) wheel.set(bucket, timers);
  if (bucket < armedBucket) arm();
  return timer;
}

/** Removes a timer. The platform timer is cleared with the last one, so that nothing keeps the process alive. */
export function clearDeadline(timer: Timer): void {
  if (timer.bucket === undefined) return;
  const timers = wheel.get(timer.bucket);
  if (!timer.remove(timers) || (timers && timers.size > 0)) return;
  wheel.delete(timer.bucket);
  if (wheel.size === 0) arm();
}
