/** Heartbeats of calls whose handlers run for long. @module */
import {
  clearDeadline,
  setDeadline,
  type Timer,
} from "../../async/timer_wheel.ts";
import { SlotMap } from "../../slot_map.ts";
import type { ReplyPublisher } from "./reply_publisher.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";

/** Milliseconds until the first heartbeat of a call, and between the later ones. */
const FIRST_INTERVAL_MS = 100;
const INTERVAL_MS = 5_000;
/** Milliseconds between two checks of all calls, which is also the maximum delay of a heartbeat. */
const CHECK_INTERVAL_MS = 50;

/** Times of one call's heartbeats. */
class HeartbeatSchedule {
  readonly incoming: IncomingRequest;
  /** Next heartbeat, in milliseconds of the monotonic clock. */
  due: number;
  /** Milliseconds between two heartbeats. */
  readonly interval: number;

  constructor(incoming: IncomingRequest, due: number, interval: number) {
    this.incoming = incoming;
    this.due = due;
    this.interval = interval;
  }
}

/**
 * Sends heartbeats to callers that understand or have requested them. One timer checks all calls: most calls have ended
 * before the first check, and need no timer of their own.
 */
export class Heartbeats implements Disposable {
  readonly #publisher: ReplyPublisher;
  readonly #calls = new SlotMap<HeartbeatSchedule>();
  #timer: Timer | undefined;

  /** `publisher` sends the heartbeats. */
  constructor(publisher: ReplyPublisher) {
    this.#publisher = publisher;
  }

  /** Starts the heartbeats of a call; returns the handle for `stop`, or undefined if the caller gets no heartbeats. */
  start(incoming: IncomingRequest): number | undefined {
    const { reply, warren, monitor } = incoming.request;
    const half = monitor ? monitor / 2 : Infinity; // the interval that oslo.messaging uses
    const interval = Math.min(half, warren ? INTERVAL_MS : Infinity);
    if (!reply || interval === Infinity) return undefined;
    const first = warren ? FIRST_INTERVAL_MS : interval;
    const due = incoming.arrived + first;
    const handle = this.#calls.add(
      new HeartbeatSchedule(incoming, due, interval),
    );
    if (!this.#timer) this.#schedule();
    return handle;
  }

  /** Stops the heartbeats of a call. */
  stop(handle: number | undefined): void {
    if (handle !== undefined) this.#calls.delete(handle);
  }

  /** Stops all heartbeats. */
  [Symbol.dispose](): void {
    this.#calls.clear();
    if (this.#timer) clearDeadline(this.#timer);
  }

  /** Lets the timer run out when no call is active, which is cheaper than stopping it with each call. */
  #schedule(): void {
    this.#timer = undefined;
    if (this.#calls.size === 0) return;
    this.#timer = setDeadline(performance.now() + CHECK_INTERVAL_MS, () => {
      const now = performance.now();
      for (const schedule of this.#calls) {
        if (schedule.due > now) continue;
        schedule.due = now + schedule.interval;
        this.#send(schedule.incoming, schedule.due);
      }
      this.#schedule();
    });
  }

  /** Sends a heartbeat. A call whose reply was sent needs none, unless its caller monitors it. */
  #send(incoming: IncomingRequest, deadline: number): void {
    const { request: { reply, warren, monitor }, dialect, stream } = incoming;
    const { cancellation } = incoming;
    const replied = incoming.replies.length > 0 && !monitor;
    if (!reply || cancellation.cancelled || replied) return;
    this.#publisher.sendHeartbeat(
      { reply, dialect, warren },
      { at: deadline },
      {
        position: stream?.position,
        onSend: (id) => cancellation.heartbeatSent(id),
      },
    ).catch(() => {}); // the next heartbeat may arrive
  }
}
