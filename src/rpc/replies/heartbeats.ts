/** Signs of life of calls that take long. @module */
import { expireAt, forget, type Waiting } from "../../async/timer_wheel.ts";
import { Slots } from "../../slot_map.ts";
import type { Answers } from "./reply_publisher.ts";
import type { Job } from "../request/incoming_request.ts";
import { Signs } from "../request/returned_heartbeats.ts";

/** Milliseconds until the first sign of life of a call that takes long, and between the later ones. */
const FIRST = 100;
const EVERY = 5_000;
/** Milliseconds between two looks at the calls in hand: how late a sign of life may be. */
const LOOK = 50;

/** When those of one call come. */
class Rhythm {
  readonly job: Job;
  /** Milliseconds of the monotonic clock. */
  due: number;
  /** Milliseconds between two. */
  readonly every: number;

  constructor(job: Job, due: number, every: number) {
    this.job = job;
    this.due = due;
    this.every = every;
  }
}

/**
 * Signs of life for callers that understand them, or asked for them. All calls in hand are looked at together: most have
 * ended before the first look, and cost no timer.
 */
export class Beats implements Disposable {
  readonly #answers: Answers;
  readonly #calls = new Slots<Rhythm>();
  #looking: Waiting | undefined;

  /** Sent as answers are. */
  constructor(answers: Answers) {
    this.#answers = answers;
  }

  /** Its turn has come. */
  begin(job: Job): void {
    const { reply, warren, monitor } = job.request;
    const half = monitor ? monitor / 2 : Infinity; // as oslo.messaging does
    const every = Math.min(half, warren ? EVERY : Infinity);
    if (!reply || every === Infinity) return;
    const first = warren ? FIRST : every;
    const due = performance.now() + first;
    job.beats = this.#calls.add(new Rhythm(job, due, every));
    if (!this.#looking) this.#later();
  }

  /** It has ended. */
  end(job: Job): void {
    if (job.beats !== undefined) this.#calls.delete(job.beats);
    job.beats = undefined;
  }

  /** Gives no more. */
  [Symbol.dispose](): void {
    this.#calls.clear();
    if (this.#looking) forget(this.#looking);
  }

  /** The last look of a while is at nothing. */
  #later(): void {
    this.#looking = undefined;
    if (this.#calls.size === 0) return;
    this.#looking = expireAt(performance.now() + LOOK, () => {
      const now = performance.now();
      for (const rhythm of this.#calls) {
        if (rhythm.due > now) continue;
        rhythm.due = now + rhythm.every;
        this.#beat(rhythm.job, rhythm.due);
      }
      this.#later();
    });
  }

  #beat(job: Job, deadline: number): void {
    const { request: { reply, warren, monitor }, dialect, progress } = job;
    const answered = job.answers.length > 0 && !monitor; // it shows itself by its answer
    if (!reply || job.over || answered) return;
    const signs = job.signs ??= new Signs();
    const note = (id?: string) => void (signs.last = id);
    const address = { reply, dialect, warren };
    this.#answers.beat(address, { deadline }, note, progress)
      .catch(() => {}); // the next one may come through
  }
}
