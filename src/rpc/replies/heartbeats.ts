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
  readonly incoming: IncomingRequest;
  /** Milliseconds of the monotonic clock. */
  due: number;
  /** Milliseconds between two. */
  readonly every: number;

  constructor(incoming: IncomingRequest, due: number, every: number) {
    this.incoming = incoming;
    this.due = due;
    this.every = every;
  }
}

/**
 * Signs of life for callers that understand them, or asked for them. All calls in hand are looked at together: most have
 * ended before the first look, and cost no timer.
 */
export class Heartbeats implements Disposable {
  readonly #publisher: ReplyPublisher;
  readonly #calls = new SlotMap<HeartbeatSchedule>();
  #looking: Timer | undefined;

  /** Sent as answers are. */
  constructor(publisher: ReplyPublisher) {
    this.#publisher = publisher;
  }

  /** Its turn has come. */
  begin(incoming: IncomingRequest): void {
    const { reply, warren, monitor } = incoming.request;
    const half = monitor ? monitor / 2 : Infinity; // as oslo.messaging does
    const every = Math.min(half, warren ? INTERVAL_MS : Infinity);
    if (!reply || every === Infinity) return;
    const first = warren ? FIRST_INTERVAL_MS : every;
    const due = performance.now() + first;
    incoming.beats = this.#calls.add(
      new HeartbeatSchedule(incoming, due, every),
    );
    if (!this.#looking) this.#later();
  }

  /** It has ended. */
  end(incoming: IncomingRequest): void {
    if (incoming.beats !== undefined) this.#calls.delete(incoming.beats);
    incoming.beats = undefined;
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
        this.#beat(rhythm.incoming, rhythm.due);
      }
      this.#later();
    });
  }

  #beat(incoming: IncomingRequest, deadline: number): void {
    const { request: { reply, warren, monitor }, dialect, position } = incoming;
    const answered = incoming.answers.length > 0 && !monitor; // it shows itself by its answer
    if (!reply || incoming.over || answered) return;
    const heartbeatReturns = incoming.heartbeatReturns ??=
      new HeartbeatReturns();
    const note = (id?: string) => void (heartbeatReturns.last = id);
    const address = { reply, dialect, warren };
    this.#publisher.sendHeartbeat(address, { at: deadline }, note, position)
      .catch(() => {}); // the next one may come through
  }
}
