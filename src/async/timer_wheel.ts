/** Deadlines on a monotonic clock: one timer for all of them, however many wait. @module */

import { followUp } from "../follow_ups.ts";
import { Slots } from "../slot_map.ts";

/** Grain of the wheel in milliseconds: how late a deadline may fire. */
const GRAIN = 16;
/** The longest that a platform timer can be set for. */
const LONGEST = 2 ** 31 - 1;

/** A wait that ends by itself at its deadline. */
export class Waiting {
  /** Called once when the deadline passes. */
  readonly expire: () => void;
  /** Bucket of the wheel; undefined = never. */
  readonly bucket: number | undefined;
  /** Its number there; -1 once it has ended. */
  place = -1;

  /** Not in the wheel yet. */
  constructor(expire: () => void, bucket: number | undefined) {
    this.expire = expire;
    this.bucket = bucket;
  }
}

const wheel = new Map<number, Slots<Waiting>>();
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
    followUp();
  }
}

/** Calls `expire` at `deadline` (milliseconds of `performance.now()`), at most 16 ms late; never if it is `Infinity`. */
export function expireAt(deadline: number, expire: () => void): Waiting {
  if (deadline === Infinity) return new Waiting(expire, undefined);
  const bucket = Math.ceil(deadline / GRAIN);
  const waits = wheel.get(bucket) ?? new Slots();
  const wait = new Waiting(expire, bucket);
  wait.place = waits.add(wait);
  if (waits.size === 1) wheel.set(bucket, waits);
  if (bucket < armedFor) arm();
  return wait;
}

/** Forgets a wait that has ended; the timer goes with the last one, so that nothing keeps the process alive. */
export function forget(wait: Waiting): void {
  if (wait.bucket === undefined || wait.place < 0) return;
  const waits = wheel.get(wait.bucket);
  waits?.delete(wait.place);
  wait.place = -1;
  if (!waits || waits.size > 0) return;
  wheel.delete(wait.bucket);
  if (wheel.size === 0) arm();
}
