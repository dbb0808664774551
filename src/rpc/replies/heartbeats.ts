/** Signs of life of calls that take long. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { SlotMap } from "../../slot_map.ts";
import type { ReplyPublisher } from "./reply_publisher.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { HeartbeatReturns } from "../request/returned_heartbeats.ts";

/** Milliseconds until the first sign of life of a call that takes long, and between the later ones. */
const FIRST_INTERVAL_MS = 100;
const INTERVAL_MS = 5_000;
/** Milliseconds between two looks at the calls in hand: how late a sign of life may be. */
const CHECK_INTERVAL_MS = 50;

/** When those of one call come. */
class HeartbeatSchedule {
  readonly job: IncomingRequest;
  /** Milliseconds of the monotonic clock. */
  due: number;
  /** Milliseconds between two. */
  readonly every: number;

  constructor(job: IncomingRequest, due: number, every: number) {
    this.job = job;
    this.due = due;
    this.every = every;
  }
}

/**
 * Signs of life for callers that understand them, or asked for them. All calls in hand are looked at together: most have
 * ended before the first look, and cost no timer.
 */
export class Heartbeats implements Disposable {
  readonly #answers: ReplyPublisher;
  readonly #calls = new SlotMap<HeartbeatSchedule>();
  #looking: Timer | undefined;

  /** Sent as answers are. */
  constructor(answers: ReplyPublisher) {
    this.#answers = answers;
  }

  /** Its turn has come. */
  begin(job: IncomingRequest): void {
    const { reply, warren, monitor } = job.request;
    const half = monitor ? monitor / 2 : Infinity; // as oslo.messaging does
    const every = Math.min(half, warren ? INTERVAL_MS : Infinity);
    if (!reply || every === Infinity) return;
    const first = warren ? FIRST_INTERVAL_MS : every;
    const due = performance.now() + first;
    job.beats = this.#calls.add(new HeartbeatSchedule(job, due, every));
    if (!this.#looking) this.#later();
  }

  /** It has ended. */
  end(job: IncomingRequest): void {
    if (job.beats !== undefined) this.#calls.delete(job.beats);
    job.beats = undefined;
  }

  /** Gives no more. */
  [Symbol.dispose](): void {
    this.#calls.clear();
    if (this.#looking) clearDeadline(this.#looking);
  }

  /** The last look of a while is at nothing. */
  #later(): void {
    this.#looking = undefined;
    if (this.#calls.size === 0) return;
    this.#looking = setDeadline(performance.now() + CHECK_INTERVAL_MS, () => {
      const now = performance.now();
      for (const rhythm of this.#calls) {
        if (rhythm.due > now) continue;
        rhythm.due = now + rhythm.every;
        this.#beat(rhythm.job, rhythm.due);
      }
      this.#later();
    });
  }

  #beat(job: IncomingRequest, deadline: number): void {
    const { request: { reply, warren, monitor }, dialect, progress } = job;
    const answered = job.answers.length > 0 && !monitor; // it shows itself by its answer
    if (!reply || job.over || answered) return;
    const signs = job.signs ??= new HeartbeatReturns();
    const note = (id?: string) => void (signs.last = id);
    const address = { reply, dialect, warren };
    this.#answers.sendHeartbeat(address, { at: deadline }, note, progress)
      .catch(() => {}); // the next one may come through
  }
}
