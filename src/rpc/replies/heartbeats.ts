/** Heartbeats of calls that take long. @module */
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
/** Milliseconds between two checks of all calls: how late a heartbeat may be. */
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
 * Sends heartbeats to callers that understand them, or asked for them. One timer checks all calls: most have ended before
 * the first check, and cost no timer of their own.
 */
export class Heartbeats implements Disposable {
  readonly #publisher: ReplyPublisher;
  readonly #calls = new SlotMap<HeartbeatSchedule>();
  #timer: Timer | undefined;

  /** Heartbeats are published as replies are. */
  constructor(publisher: ReplyPublisher) {
    this.#publisher = publisher;
  }

  /** Starts the heartbeats of a call; returns the handle for `stop`. Undefined where the caller wants none. */
  start(incoming: IncomingRequest): number | undefined {
    const { reply, warren, monitor } = incoming.request;
    const half = monitor ? monitor / 2 : Infinity; // as oslo.messaging does
    const interval = Math.min(half, warren ? INTERVAL_MS : Infinity);
    if (!reply || interval === Infinity) return undefined;
    const first = warren ? FIRST_INTERVAL_MS : interval;
    const due = performance.now() + first;
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

  /** Sends no more heartbeats. */
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

  /** A call that has its reply needs no heartbeat, unless its caller monitors it. */
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
    ).catch(() => {}); // the next one may come through
  }
}
