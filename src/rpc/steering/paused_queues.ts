/** Queues of a server that an operator has paused: calls are refused, and casts wait in `<queue>.parked`. @module */
import { NoRouteError, UnconfirmedError } from "../../errors.ts";
import { delay } from "../../async/deadline.ts";
import { PausedError } from "../../operator_errors.ts";
import { logger } from "../../logging.ts";
import {
  direct,
  type QueueAddress,
  queueName,
} from "../../transport/address.ts";
import type { Session, Transport } from "../../transport/transport.ts";
import { interruptionsOf } from "../../wire/mod.ts";
import { markDispatchError } from "../dispatch/handler_result.ts";
import type { Pause, PausedTarget } from "../discovery/control_contract.ts";
import type { Responder } from "../replies/responder.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import type { ServedQueue } from "../request/served_queue.ts";
import type { CastFailures } from "../retries/cast_failures.ts";
import type { Quarantine } from "../retries/quarantine.ts";
import { type Republisher, sameAttempt } from "../retries/republisher.ts";
import { isPaused, readPause, step } from "./pause_record.ts";

/** Collaborators of `PausedQueues`. */
export interface PausedQueuesOptions {
  readonly session: Session;
  readonly responder: Responder;
  readonly republisher: Republisher;
  readonly castFailures: CastFailures;
  readonly quarantine: Quarantine;
}

/** Queue of a topic or of a host of it. */
export type PausableQueue = Extract<
  QueueAddress,
  { kind: "topic" } | { kind: "host" }
>;

/** Queue that is watched, with the last look at its pause. */
interface Watched {
  readonly queue: PausableQueue;
  pause: Pause | undefined;
  /** Look that is under way; requests wait for it. */
  looking: Promise<void> | undefined;
  lookedAt: number;
}

/** Milliseconds after which a refused call makes the worker look again, in case it has missed a command. */
const LOOK_AGAIN_MS = 1_000;
/** Milliseconds between two looks after a loss of the connection, until one succeeds. */
const RETRY_MS = 1_000;
/** Looks that a parked cast waits for. */
const MAX_LOOKS = 3;

/** Pauses of the queues of one server. Nothing is paused before `watch`. */
export class PausedQueues implements Disposable {
  readonly #options: PausedQueuesOptions;
  readonly #watched = new Map<string, Watched>();
  #transport: Transport | undefined;
  #relay: Disposable | undefined;
  #disposed = false;

  /** Pauses are read on the session of the server. */
  constructor(options: PausedQueuesOptions) {
    this.#options = options;
  }

  /** Looks at the pauses of queues, from now on also after each loss of the connection. Requests wait for the first look. */
  async watch(
    transport: Transport,
    queues: readonly PausableQueue[],
  ): Promise<void> {
    this.#transport = transport;
    for (const queue of queues) {
      const watched = { queue, pause: undefined, lookedAt: 0 };
      const name = queueName(queue);
      this.#watched.set(name, { ...watched, looking: undefined });
    }
    this.#relay ??= transport.onEvent(({ type }) => {
      if (type !== "disconnected") return;
      // Whoever paused a queue meanwhile could not tell this worker.
      for (const each of this.#watched.values()) {
        void this.#look(each, undefined, true);
      }
    });
    await this.look();
  }

  /** Looks at the pauses of the queues that match, of all by default; `hint` is the record if the caller knows it. */
  async look(
    matches: (queue: PausableQueue) => boolean = () => true,
    hint?: Pause,
  ): Promise<void> {
    const all = [...this.#watched.values()];
    await Promise.all(
      all.filter(({ queue }) => matches(queue))
        .map((watched) => this.#look(watched, hint)),
    );
  }

  /** Names of the queues that are paused. */
  get names(): readonly string[] {
    return [...this.#watched].filter(([, { pause }]) => pause)
      .map(([name]) => name);
  }

  /** Queues that are paused. */
  get paused(): readonly PausedTarget[] {
    return [...this.#watched.values()].flatMap(({ queue, pause }) => {
      if (!pause) return [];
      const { topic } = queue;
      const host = queue.kind === "host" ? queue.host : undefined;
      return [{ topic, host, ...pause }];
    });
  }

  /**
   * Holds back a request of a paused queue. Undefined if the queue is not paused; otherwise resolves to true if the request
   * was answered, moved or requeued, and to false if it is to be run after all.
   */
  hold(
    incoming: IncomingRequest,
    served: ServedQueue,
  ): Promise<boolean> | undefined {
    const { queue } = served;
    if (!queue || this.#watched.size === 0) return undefined;
    const watched = this.#watched.get(queueName(queue));
    if (!watched?.looking && !watched?.pause) return undefined;
    return this.#hold(incoming, served, watched);
  }

  [Symbol.dispose](): void {
    this.#disposed = true;
    this.#relay?.[Symbol.dispose]();
  }

  async #hold(
    incoming: IncomingRequest,
    served: ServedQueue,
    watched: Watched,
  ): Promise<boolean> {
    while (watched.looking && !watched.pause) await watched.looking;
    if (!watched.pause) return false;
    if (!incoming.request.reply) {
      return await this.#park(incoming, served, watched);
    }
    if (performance.now() - watched.lookedAt > LOOK_AGAIN_MS) {
      await this.#look(watched);
      if (!watched.pause) return false;
    }
    await this.#options.responder.failure(incoming, pausedError(watched));
    incoming.settlement.complete();
    return true;
  }

  /**
   * Moves a cast to the queue of parked casts. It is acknowledged only if the queue is still paused when the broker has
   * confirmed the copy: a resumption that comes later moves the copy back. Otherwise the cast runs here.
   */
  async #park(
    incoming: IncomingRequest,
    served: ServedQueue,
    watched: Watched,
  ): Promise<boolean> {
    try {
      for (let copied = false; !copied;) {
        copied = await this.#copy(incoming, watched.queue);
        await this.#lookSince(performance.now(), watched);
        if (!watched.pause) return false;
      }
      incoming.settlement.handOver();
    } catch (error) {
      await this.#requeue(incoming, served, error);
    }
    return true;
  }

  /** Requeues a cast that could not be parked, after a pause. */
  async #requeue(
    incoming: IncomingRequest,
    served: ServedQueue,
    error: unknown,
  ): Promise<void> {
    const { castFailures, quarantine } = this.#options;
    const { settlement } = incoming;
    if (!settlement.open) return;
    await castFailures.backOff(incoming, error);
    if (!settlement.open) return;
    if (await quarantine.requeue(incoming, served)) settlement.handOver();
    else settlement.requeue();
  }

  /** Resolves when a look that began after a moment has succeeded. All that wait share one look. */
  async #lookSince(moment: number, watched: Watched): Promise<void> {
    for (let looks = 0; watched.lookedAt < moment; looks++) {
      if (looks > MAX_LOOKS) {
        const text = `Cannot see whether ${
          queueName(watched.queue)
        } is still paused`;
        throw new UnconfirmedError(text);
      }
      await (watched.looking ?? this.#look(watched));
    }
  }

  /** Publishes the copy; false if there is no queue for it, which is created then. */
  async #copy(
    { message }: IncomingRequest,
    of: PausableQueue,
  ): Promise<boolean> {
    const { republisher, session } = this.#options;
    const parked = { kind: "parked", of } as const;
    const copy = sameAttempt(message, interruptionsOf(message.headers));
    try {
      await republisher.send(direct(queueName(parked)), copy);
      return true;
    } catch (error) {
      if (!(error instanceof NoRouteError)) throw error;
    }
    const transport = this.#transport;
    if (transport && await isPaused({ session, transport }, of)) {
      await session.declare(parked, step());
    }
    return false;
  }

  /**
   * Looks after the look that is under way, if there is one. An error leaves the state as it is; with `insist`, the look is
   * repeated until it succeeds.
   */
  #look(watched: Watched, hint?: Pause, insist = false): Promise<void> {
    const before = watched.looking ?? Promise.resolve();
    const looking: Promise<void> = before.then(async () => {
      while (
        !await this.#try(watched, hint, insist) && insist && !this.#disposed
      ) {
        await delay(RETRY_MS, { at: Infinity });
      }
    }).finally(() => {
      if (watched.looking === looking) watched.looking = undefined;
    });
    watched.looking = looking;
    return looking;
  }

  /** Looks once; false if that is not possible. */
  async #try(
    watched: Watched,
    hint: Pause | undefined,
    retried: boolean,
  ): Promise<boolean> {
    try {
      await this.#lookOnce(watched, hint);
      return true;
    } catch (error) {
      const queue = queueName(watched.queue);
      const text = "Cannot see whether {queue} is paused: {error}";
      const level = retried ? "debug" : "warn";
      logger("rpc")[level](text, { queue, error }, queue);
      return false;
    }
  }

  async #lookOnce(watched: Watched, hint?: Pause): Promise<void> {
    const transport = this.#transport;
    if (!transport) return;
    const startedAt = performance.now();
    const access = { session: this.#options.session, transport };
    const known = hint ?? (watched.pause?.reason ? watched.pause : undefined);
    const pause = await readPause(access, watched.queue, known);
    if (pause === undefined !== (watched.pause === undefined)) {
      const { reason = "unknown" } = pause ?? watched.pause ?? {};
      const text = pause
        ? "{queue} is paused: {reason}"
        : "{queue} is no longer paused; the reason was: {reason}";
      const queue = queueName(watched.queue);
      logger("rpc").info(text, { queue, reason }, queue);
    }
    watched.pause = pause;
    watched.lookedAt = startedAt;
  }
}

/** Creates the error for a call to a paused queue. */
function pausedError({ queue, pause }: Watched): PausedError {
  const { reason, since } = pause ?? {};
  const text = `${queueName(queue)} is paused by an operator: ${
    reason ?? "the reason is not known"
  }; call again when it is resumed`;
  return markDispatchError(new PausedError(text, { data: { reason, since } }));
}
