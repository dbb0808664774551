/** Answers of a worker, in the form that the request asked for. @module */
import { setImmediate } from "node:timers/promises";
import {
  InterruptedError,
  InvalidValueError,
  RpcError,
  TimeoutError,
} from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import type { Deadline, Message } from "../../transport/transport.ts";
import { grizzly } from "../../wire/dialect.ts";
import { osloPeerOf, toFailure } from "../../wire/failure.ts";
import { ReplyPublisher, type ReplyTarget } from "./reply_publisher.ts";
import type { StreamPosition } from "../streams/flow_control.ts";
import { Heartbeats } from "./heartbeats.ts";
import type { IncomingRequest } from "../request/incoming_request.ts";
import { parseResult } from "../dispatch/handler_result.ts";
import { ReaderQueue } from "../streams/reader_queue.ts";
import { logStep } from "../request/request_log.ts";
import { FinishedStreams, ReplayBuffer } from "../streams/replay_buffer.ts";
import {
  ReplyEncoder,
  type ReplyEncoderOptions,
  replyTo,
} from "./reply_encoder.ts";

/** What a responder needs. */
export type ResponderParts = ReplyEncoderOptions;

/** Milliseconds that an answer may take where the caller did not say how long it waits. */
const LONGEST_ANSWER = 60_000;
/** Items of a stream that the broker has not confirmed yet, at most. */
const WINDOW = 32;
/** Milliseconds to tell a caller that the worker stops. */
const GOODBYE = 1_000;
/** Readers of unknown streams that are told so at once, at most: anybody may ask, for any queue. */
const DENIALS = 32;
/** Milliseconds to say again what a reader has missed. */
const AGAIN = 5_000;

/** Answers requests, until disposed. */
export class Responder implements Disposable {
  /** Of calls that take long. */
  readonly heartbeats: Heartbeats;
  readonly #parts: ResponderParts;
  readonly #publisher: ReplyPublisher;
  readonly #encoder: ReplyEncoder;
  readonly #ending: Deadline;
  readonly #ended = new FinishedStreams();
  /** Readers that are being told that their stream is not known. */
  #denials = 0;

  /** On a transport; `ending` says until when the ledger is waited for. */
  constructor(parts: ResponderParts, ending: Deadline) {
    this.#parts = parts;
    this.#ending = ending;
    this.#publisher = new ReplyPublisher(parts);
    this.#encoder = new ReplyEncoder(parts, this.#publisher);
    this.heartbeats = new Heartbeats(this.#publisher);
    parts.inbox.deniers.add(this.#deny);
  }

  /** The result of a handler; nothing for a cast, or if nobody waits any more. */
  result(incoming: IncomingRequest, result: unknown): Promise<void> {
    return this.#say(incoming, () => this.#encoder.results(incoming, result));
  }

  /** What a handler threw, or the dispatcher refused. */
  async failure(incoming: IncomingRequest, error: unknown): Promise<void> {
    if (!incoming.request.reply) return;
    await this.#say(incoming, () => this.#encoder.failures(incoming, error));
  }

  /**
   * The handler records its result in a transaction of its own; see `RequestContext.record`.
   *
   * @throws {InvalidValueError} there is no ledger, or the result does not fit.
   * @throws {RpcError} another worker has it.
   */
  async record(
    incoming: IncomingRequest,
    transaction: unknown,
    result: unknown,
  ): Promise<void> {
    const { lease, procedure, request } = incoming;
    const what = `Cannot record ${oneLine(request.method, 60)}`;
    if (!lease || transaction === undefined) {
      const why = lease
        ? "give the transaction, e.g. the client of npm:pg that it was begun on"
        : "nothing is claimed in a ledger store: give the service one, and cast or call what is to be recorded, not to all workers";
      throw new InvalidValueError(`${what}: ${why}`);
    }
    const schema = request.reply && procedure?.result; // nobody gets that of a cast
    const about = `result of ${request.method}`;
    const value = schema
      ? await parseResult(schema, result, about, incoming.context)
      : undefined;
    const answers = this.#encoder.results(incoming, value);
    const late = lease.over && !incoming.fenced;
    if (!late && await lease.record(answers, transaction)) return;
    if (!late && !lease.recorded) incoming.fence();
    const why = late
      ? "its handler has ended; await record within the handler"
      : lease.recorded
      ? "it is recorded already"
      : "another worker has taken the request over";
    throw new RpcError("ABORTED", `${what}: ${why}`);
  }

  /** The items of a stream, then its ending: what of them was not read is kept for a while, in case it is lost. */
  async stream(
    incoming: IncomingRequest,
    items: AsyncIterable<unknown>,
  ): Promise<void> {
    incoming.streams?.();
    const replay = incoming.replay = this.#numbering(incoming);
    try {
      await this.#items(incoming, items);
    } finally {
      if (incoming.over || !incoming.request.credit) replay?.[Symbol.dispose]();
      else if (replay) this.#ended.add(replay);
    }
  }

  /** At most 32 are on their way to the broker at once. */
  async #items(
    incoming: IncomingRequest,
    items: AsyncIterable<unknown>,
  ): Promise<void> {
    const underway = new Set<Promise<void>>();
    let sequence = 0, pulled = 0;
    let failed: { readonly error: unknown } | undefined;
    const reader = this.#reader(incoming);
    for await (const value of items) {
      // A generator that awaits nothing must not keep the process from everything else.
      if (++pulled % WINDOW === 0) await setImmediate();
      if (incoming.signal.aborted || failed) break;
      if (!wanted(incoming, value)) continue;
      incoming.streaming = incoming.request.reply !== undefined;
      sequence++;
      const place: StreamPosition = { ...incoming.replay?.next };
      const said = { ending: false, ...place };
      const sent: Promise<void> = this.#send(
        incoming,
        this.#encoder.value(incoming, value, said),
      )
        .then(() => incoming.reached(place))
        .catch((error) => void (failed ??= { error }))
        .finally(() => underway.delete(sent));
      underway.add(sent);
      if (underway.size >= WINDOW) await Promise.race(underway);
      if (!(await reader.room(sequence + 1))) break;
    }
    await Promise.all(underway);
    if (failed) throw failed.error;
    if (incoming.run.overtime && !incoming.over) throw incoming.run.overtime;
    if (incoming.abandoned) return; // it goes back to its queue undone
    const said = { ending: true, ...incoming.replay?.next };
    await this.#say(incoming, () => [this.#encoder.answer(incoming, said)]);
  }

  /** Who says how far the stream may run ahead: its reader, or the broker for him. */
  #reader(incoming: IncomingRequest): { room(item: number): Promise<boolean> } {
    const { reply, credit } = incoming.request;
    if (!reply || credit !== undefined) return incoming;
    const { inbox } = this.#parts;
    const inspect = (queue: string, deadline: Deadline) =>
      inbox.inspect(queue, deadline);
    return new ReaderQueue(reply.queue, inspect, incoming);
  }

  #numbering(incoming: IncomingRequest): ReplayBuffer | undefined {
    const { request, dialect } = incoming;
    const { reply, warren, credit: window = 0 } = request;
    if (!reply || !warren) return undefined;
    const { targets } = this.#parts.inbox;
    return new ReplayBuffer({
      targets,
      call: reply.call,
      reader: reply.queue,
      window,
      again: async (messages) => {
        const wait = { at: performance.now() + AGAIN };
        if (messages.length > 0) {
          return await this.#publisher.resend(reply.queue, messages, wait);
        }
        const address = { reply, dialect, warren };
        await this.#publisher.sendHeartbeat(
          address,
          wait,
          () => {},
          incoming.position,
        );
      },
    });
  }

  /** Tells the reader of a stream that its worker has forgotten it, or is another one than it was. Readers ask again who are not told. */
  #deny = (call: string, from: number, queue: string): void => {
    if (this.#denials >= DENIALS) return;
    this.#denials++;
    const text = `The stream was interrupted after item ${
      from - 1
    }: the worker does not know it any more`;
    const data = { sequence: from - 1 };
    const error = new InterruptedError(text, { data });
    const failure = toFailure(error, { fromDispatcher: true });
    const address: ReplyTarget = {
      reply: { call, queue, form: "single" },
      dialect: grizzly,
      warren: 1, // a control does not say what more its sender understands
    };
    const wait = { at: performance.now() + GOODBYE };
    const sent = this.#publisher.send(address, { failure, ending: true }, wait);
    void sent.catch(() => {}).finally(() => this.#denials--);
  };

  /** Says nothing again any more. */
  [Symbol.dispose](): void {
    this.#parts.inbox.deniers.delete(this.#deny);
    this.#ended[Symbol.dispose]();
    this.heartbeats[Symbol.dispose]();
  }

  /** Tells the caller of a stream that the worker stops in the middle of it. */
  async interrupted(incoming: IncomingRequest): Promise<void> {
    const { request: { reply, warren }, dialect } = incoming;
    if (!reply) return;
    const error = new InterruptedError("The worker stopped");
    const failure = toFailure(error, { fromDispatcher: true });
    const wait = { at: performance.now() + GOODBYE };
    await this.#publisher.send(
      { reply, dialect, warren, until: incoming },
      { failure, ending: true },
      wait,
    );
  }

  /** Tells a caller that named no deadline that its call has ended at ours. */
  async late(
    { request, dialect, over }: IncomingRequest,
    ms: number,
  ): Promise<void> {
    const { reply, warren, method } = request;
    if (!reply || over) return;
    const text = `${
      oneLine(method, 60)
    } has taken ${ms} ms, which is the most where its caller names no deadline`;
    const foreign = osloPeerOf(request);
    const failure = toFailure(new TimeoutError(text), {
      fromDispatcher: true,
      forOslo: foreign,
    });
    const wait = { at: performance.now() + LONGEST_ANSWER };
    await this.#publisher.send(
      { reply, dialect, warren },
      { failure, ending: true },
      wait,
    ).catch(() => {}); // it cannot be reached
  }

  /** The request came again: what was answered to it is said again, to the call that asks now. */
  async repeat(
    incoming: IncomingRequest,
    answers: readonly Message[],
  ): Promise<void> {
    const { reply, warren } = incoming.request;
    if (!reply) return;
    const address = { reply, warren, until: incoming };
    const said = answers.map((answer) => replyTo(reply.call, answer));
    await this.#publisher.repeat(address, said, answerBy(incoming));
  }

  /** Tells the sender of a message that was no request why it was refused. */
  async refuse(address: ReplyTarget, reason: string): Promise<void> {
    const error = new InvalidValueError(`Refused the request: ${reason}`);
    const foreign = osloPeerOf(address);
    const failure = toFailure(error, {
      fromDispatcher: true,
      forOslo: foreign,
    });
    const wait = { at: performance.now() + LONGEST_ANSWER };
    await this.#publisher.send(address, { failure, ending: true }, wait);
  }

  /** Records what is to be said, where the fleet has a ledger, and says it; nothing if nobody waits. */
  async #say(
    incoming: IncomingRequest,
    words: () => readonly Message[],
  ): Promise<void> {
    const answers = incoming.over ? [] : words();
    if (incoming.fenced) return; // whoever has it answers
    const kept = incoming.streaming ? [] : answers; // a stream that comes again has lost its reader
    const recorded = incoming.lease
      ? await incoming.lease.done(kept, this.#ending)
      : kept;
    if (!recorded) return incoming.fence();
    const said = incoming.streaming ? answers : recorded;
    if (!incoming.streaming) incoming.answers = recorded;
    for (const answer of said) await this.#send(incoming, answer);
    if (said.length > 0 && incoming.request.reply) {
      logStep(incoming, "answered");
    }
  }

  #send(incoming: IncomingRequest, answer: Message): Promise<void> {
    const { request: { reply, warren } } = incoming;
    if (!reply) return Promise.resolve();
    incoming.replay?.add(answer);
    const gone = () => incoming.end("the caller is gone");
    return this.#publisher.publish(
      { reply, warren, gone, until: incoming },
      answer,
      answerBy(incoming),
    );
  }
}

function answerBy({ deadline, arrived }: IncomingRequest): Deadline {
  if (deadline <= arrived + LONGEST_ANSWER) return { at: deadline };
  return { at: Math.min(deadline, performance.now() + LONGEST_ANSWER) };
}

/** Nobody gets the items of a cast, and a caller that is not Warren would take an empty item for a sign of life. */
function wanted(
  { request: { reply, warren } }: IncomingRequest,
  item: unknown,
): boolean {
  if (reply === undefined) return false;
  return warren !== undefined || (item !== null && item !== undefined);
}
