/** Answers of a worker, in the form that the request asked for. @module */
import { setImmediate } from "node:timers/promises";
import {
  InvalidValueError,
  RpcError,
  StreamInterruptedError,
} from "../errors.ts";
import { expireAt, forget } from "../deadlines.ts";
import { oneLine } from "../telemetry.ts";
import type { Message, Wait } from "../bus/transport.ts";
import type { ReplyAddress } from "../wire/envelope.ts";
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
import { asGiven, checked, errorClassesOf, isRefusal } from "./outcome.ts";

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
  readonly #ending: Wait;

  /** On a transport; `ending` says until when the ledger is waited for. */
  constructor(parts: ResponderParts, ending: Wait) {
    this.#parts = parts;
    this.#ending = ending;
    this.#answers = new Answers(parts);
  }

  /** The result of a handler; nothing for a cast, or if nobody waits any more. */
  async result(job: Job, result: unknown): Promise<void> {
    await this.#say(job, job.over ? [] : this.#results(job, result));
  }

  /** What a handler threw, or the dispatcher refused. */
  async failure(job: Job, error: unknown): Promise<void> {
    if (!job.request.reply) return;
    await this.#say(job, job.over ? [] : this.#failures(job, error));
  }

  /**
   * The handler records its result in a transaction of its own; see `RequestContext.record`.
   *
   * @throws {InvalidValueError} there is no ledger, or the result does not fit.
   * @throws {RpcError} another worker has it.
   */
  async record(
    job: Job,
    transaction: unknown,
    result: unknown,
  ): Promise<void> {
    const { hold, procedure, request } = job;
    const what = `Cannot record ${oneLine(request.method, 60)}`;
    if (!hold || transaction === undefined) {
      const why = hold
        ? "give the transaction"
        : "nothing is claimed in a ledger store: give the service one, and cast or call what is to be recorded, not to all workers";
      throw new InvalidValueError(`${what}: ${why}`);
    }
    const schema = procedure?.result;
    const about = `result of ${request.method}`;
    const value = schema ? await checked(schema, result, about) : undefined;
    const answers = this.#results(job, value);
    if (await hold.record(answers, transaction)) return;
    job.fence();
    const why = "another worker has taken the request over";
    throw new RpcError("ABORTED", `${what}: ${why}`);
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
      const sent: Promise<void> = this.#send(job, this.#value(job, value, said))
        .then(() => job.reached(numbered(item)))
        .catch((error) => void (failed ??= { error }))
        .finally(() => underway.delete(sent));
      underway.add(sent);
      if (underway.size >= WINDOW) await Promise.race(underway);
      if (!(await job.room(sequence + 1))) break;
    }
    await Promise.all(underway);
    if (failed) throw failed.error;
    const said = { ending: true, ...numbered(sequence + 1) };
    await this.#say(job, job.over ? [] : [this.#answer(job, said)]);
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

  /** Records what is to be said, where the fleet has a ledger, and says it. */
  async #say(job: Job, answers: readonly Message[]): Promise<void> {
    if (job.fenced) return; // whoever has it answers
    const kept = job.streaming ? [] : answers; // a stream that comes again has lost its reader
    const recorded = job.hold ? await job.hold.done(kept, this.#ending) : kept;
    if (!recorded) return job.fence();
    const said = job.streaming ? answers : recorded;
    if (!job.streaming) job.answers = recorded;
    for (const answer of said) await this.#send(job, answer);
  }

  #results(job: Job, result: unknown): readonly Message[] {
    const { reply } = job.request;
    if (!reply) return [];
    const value = result === undefined ? null : result;
    const single = reply.form === "single";
    const answer = this.#value(job, value, { ending: single });
    return single ? [answer] : [answer, this.#answer(job, { ending: true })];
  }

  #failures(job: Job, error: unknown): readonly Message[] {
    const { errors, tracebacks } = this.#parts;
    const failure = toFailure(error, {
      classes: { ...errors, ...errorClassesOf(error) },
      refusal: isRefusal(error) || error instanceof Unsendable,
      foreign: !job.request.warren,
      traceback: tracebacks,
    });
    try {
      return [this.#answer(job, { failure, ending: true })];
    } catch (tooLarge) {
      if (!(tooLarge instanceof InvalidValueError)) throw tooLarge;
      const message = failure.message.slice(0, BRIEF);
      const brief = { ...failure, message, data: {}, traceback: [] };
      return [this.#answer(job, { failure: brief, ending: true })];
    }
  }

  /** A parsed value; where JSON cannot carry that, the value as the handler gave it. Throws if neither. */
  #value(job: Job, value: unknown, said: Said): Message {
    try {
      return this.#answer(job, { ...said, result: value, parsed: true });
    } catch (error) {
      const given = error instanceof InvalidValueError && asGiven(value);
      if (!given) throw unsendable(job, error);
      try {
        return this.#answer(job, { ...said, result: given.value });
      } catch (error) {
        throw unsendable(job, error);
      }
    }
  }

  #answer(job: Job, said: Said): Message {
    const { request: { reply, warren }, dialect } = job;
    const shown = warren && said.sequence !== undefined;
    const inbox = shown ? { inbox: this.#parts.inbox.name } : {};
    const address = { reply: reply as ReplyAddress, dialect, warren };
    return this.#answers.message(address, { ...said, ...inbox });
  }

  #send(job: Job, answer: Message): Promise<void> {
    const { request: { reply }, context: { signal } } = job;
    if (!reply) return Promise.resolve();
    const gone = () => job.end("the caller is gone");
    return this.#answers.publish(
      { reply, gone, signal },
      answer,
      answerBy(job),
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
