/** Answers of a worker, in the form that the request asked for. @module */
import { setImmediate } from "node:timers/promises";
import { InvalidValueError, StreamInterruptedError } from "../errors.ts";
import { expireAt, forget } from "../deadlines.ts";
import type { Message, Wait } from "../bus/transport.ts";
import { type ErrorClasses, toFailure } from "../wire/failure.ts";
import {
  type Address,
  type AnswerParts,
  Answers,
  type Progress,
  type Said,
} from "./answers.ts";
import { newId } from "./context.ts";
import type { Job } from "./job.ts";
import { asGiven, errorClassesOf, isRefusal } from "./outcome.ts";

/** What a responder needs. */
export interface ResponderParts extends AnswerParts {
  /** Error classes that keep their name. */
  readonly errors: ErrorClasses;
  /** Whether callers see stacks. */
  readonly tracebacks: boolean;
}

/** Milliseconds until the first sign of life of a call that takes long, and between the later ones. */
const FIRST_BEAT = 100;
const BEAT = 5_000;
/** Milliseconds that an answer may take where the caller did not say how long it waits. */
const LONGEST_ANSWER = 60_000;
/** Items of a stream that the broker has not confirmed yet, at most. */
const WINDOW = 32;
/** Milliseconds to tell a caller that the worker stops. */
const GOODBYE = 1_000;
/** Characters of an error's text where the whole error is larger than a message may be. */
const BRIEF = 200;

/** Answers requests. */
export class Responder {
  readonly #parts: ResponderParts;
  readonly #answers: Answers;

  /** On a transport. */
  constructor(parts: ResponderParts) {
    this.#parts = parts;
    this.#answers = new Answers(parts);
  }

  /** The result of a handler; nothing for a cast, or if nobody waits any more. */
  async result(job: Job, result: unknown): Promise<void> {
    const { reply } = job.request;
    if (!reply || job.over) return;
    const value = result === undefined ? null : result;
    const single = reply.form === "single";
    await this.#value(job, value, { ending: single });
    if (!single) await this.#send(job, { ending: true });
  }

  /** What a handler threw, or the dispatcher refused. */
  async failure(job: Job, error: unknown): Promise<void> {
    if (!job.request.reply || job.over) return;
    const { errors, tracebacks } = this.#parts;
    const failure = toFailure(error, {
      classes: { ...errors, ...errorClassesOf(error) },
      refusal: isRefusal(error) || error instanceof Unsendable,
      foreign: !job.request.warren,
      traceback: tracebacks,
    });
    try {
      await this.#send(job, { failure, ending: true });
    } catch (tooLarge) {
      if (!(tooLarge instanceof InvalidValueError)) throw tooLarge;
      const message = failure.message.slice(0, BRIEF);
      const brief = { ...failure, message, data: {}, traceback: [] };
      await this.#send(job, { failure: brief, ending: true });
    }
  }

  /** The items of a stream, then its ending. At most 32 are on their way to the broker at once. */
  async stream(
    job: Job,
    items: AsyncIterable<unknown>,
  ): Promise<void> {
    const underway = new Set<Promise<void>>();
    const { warren, reply } = job.request;
    const run = newId();
    const numbered = (sequence: number): Progress =>
      warren ? { sequence, run } : {};
    let sequence = 0, pulled = 0;
    let failed: { readonly error: unknown } | undefined;
    for await (const value of items) {
      // A generator that awaits nothing must not keep the process from everything else.
      if (++pulled % WINDOW === 0) await setImmediate();
      if (job.over || failed) break;
      if (!wanted(job, value)) continue;
      job.streaming = reply !== undefined;
      const item = ++sequence;
      const said = { ending: false, ...numbered(item) };
      const sent: Promise<void> = this.#value(job, value, said)
        .then(() => job.reached(numbered(item)))
        .catch((error) => void (failed ??= { error }))
        .finally(() => underway.delete(sent));
      underway.add(sent);
      if (underway.size >= WINDOW) await Promise.race(underway);
      if (!(await job.room(sequence + 1))) break;
    }
    await Promise.all(underway);
    if (failed) throw failed.error;
    if (job.over) return;
    await this.#send(job, { ending: true, ...numbered(sequence + 1) });
  }

  /** Tells the caller of a stream that the worker stops in the middle of it. */
  async interrupted({ request, dialect, context }: Job): Promise<void> {
    const { reply, warren } = request;
    if (!reply) return;
    const error = new StreamInterruptedError("The worker stopped");
    const failure = toFailure(error, { refusal: true });
    const wait = { deadline: performance.now() + GOODBYE };
    await this.#answers.send(
      { reply, dialect, warren, signal: context.signal },
      { failure, ending: true },
      wait,
    );
  }

  /** Signs of life for a caller that understands them, or asked for them, until disposed. */
  beats(job: Job): Disposable {
    const { request: { reply, warren, monitor }, dialect } = job;
    const half = monitor ? monitor / 2 : Infinity; // as oslo.messaging does
    const every = Math.min(half, warren ? BEAT : Infinity);
    if (!reply || every === Infinity) return { [Symbol.dispose]: () => {} };
    const beat = () => {
      const soon = performance.now() + every;
      next = expireAt(soon, beat);
      if (job.over) return;
      const address = { reply, dialect, warren };
      const wait = { deadline: soon };
      const { progress } = job;
      const note = (id?: string) => void (job.beat = id);
      const sent = this.#answers.beat(address, wait, note, progress);
      sent.catch(() => {}); // the next one may come through
    };
    const first = warren ? FIRST_BEAT : every;
    let next = expireAt(performance.now() + first, beat);
    return { [Symbol.dispose]: () => forget(next) };
  }

  /** The request came again: what was answered to it is said again. */
  async repeat(job: Job, answers: readonly Message[]): Promise<void> {
    const { reply } = job.request;
    const { signal } = job.context;
    const address = reply && { reply, signal };
    if (address) await this.#answers.repeat(address, answers, answerBy(job));
  }

  /** Tells the sender of a message that was no request why it was refused. */
  async refuse(address: Address, reason: string): Promise<void> {
    const error = new InvalidValueError(`Refused the request: ${reason}`);
    const foreign = !address.warren;
    const failure = toFailure(error, { refusal: true, foreign });
    const wait = { deadline: performance.now() + LONGEST_ANSWER };
    await this.#answers.send(address, { failure, ending: true }, wait);
  }

  /** Sends a parsed value; where JSON cannot carry that, the value as the handler gave it. Throws at once if neither. */
  #value(
    job: Job,
    value: unknown,
    said: Said,
  ): Promise<void> {
    try {
      return this.#send(job, { ...said, result: value, parsed: true });
    } catch (error) {
      const given = error instanceof InvalidValueError && asGiven(value);
      if (!given) throw unsendable(job, error);
      try {
        return this.#send(job, { ...said, result: given.value });
      } catch (error) {
        throw unsendable(job, error);
      }
    }
  }

  #send(job: Job, said: Said): Promise<void> {
    const { request: { reply, warren }, dialect } = job;
    if (!reply) return Promise.resolve();
    const shown = warren && said.sequence !== undefined;
    const inbox = shown ? { inbox: this.#parts.inbox.name } : {};
    const keep = (message: Message) => {
      if (!job.streaming) job.answers.push(message);
    };
    const gone = () => job.end("the caller is gone");
    const { signal } = job.context;
    const address = { reply, dialect, warren, gone, signal };
    return this.#answers.send(
      address,
      { ...said, ...inbox },
      answerBy(job),
      keep,
    );
  }
}

function answerBy({ deadline }: Job): Wait {
  return { deadline: Math.min(deadline, performance.now() + LONGEST_ANSWER) };
}

/** Nobody gets the items of a cast, and a caller that is not Warren would take an empty item for a sign of life. */
function wanted({ request: { reply, warren } }: Job, item: unknown): boolean {
  if (reply === undefined) return false;
  return warren === true || (item !== null && item !== undefined);
}

/** What to tell the caller where a result could not be sent. */
function unsendable({ request: { method } }: Job, error: unknown): unknown {
  if (!(error instanceof InvalidValueError)) return error;
  const text = `Cannot send the result of ${method}: ${error.message}`;
  return new Unsendable(text, { data: error.data });
}

/** The handler's result cannot travel. Its caller sees an `InvalidValueError`. */
class Unsendable extends InvalidValueError {
  override readonly name = "InvalidValueError";
}
