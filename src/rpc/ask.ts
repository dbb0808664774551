/** One question to one worker, and its answer. @module */
import { TimeoutError } from "../errors.ts";
import { expireAt, forget } from "../deadlines.ts";
import { queueFor, type Route } from "../bus/routes.ts";
import type { Reply } from "../wire/envelope.ts";
import { askAgain } from "./again.ts";
import type { AnswerQueues } from "./old_peers.ts";
import type { Bounds } from "./options.ts";
import { type Asked, type CallerParts, question } from "./question.ts";
import { Answer } from "./replies.ts";
import type { Waiting } from "./waiting.ts";

/** What asking needs beyond what a caller is made of. */
export interface AskParts extends CallerParts {
  /** Who waits for what. */
  readonly waiting: Waiting;
  /** Where old servers answer. */
  readonly queues: AnswerQueues;
}

/** Milliseconds that may pass after the deadline to learn whether anybody listens. */
const GRACE = 150;

/** Sends a request and waits for its answer: a reply with the result, or with a failure. */
export async function ask(
  parts: AskParts,
  asked: Asked,
  { route, queue }: { readonly route: Route; readonly queue: string },
  bounds: Bounds,
): Promise<Reply> {
  const { waiting, queues, transport } = parts;
  const { wait } = bounds;
  const answer = new Answer();
  answer.promise.catch(() => {}); // it may fail before anybody awaits it
  const message = question(parts, asked, bounds, { timeout: bounds.timeout });
  using _expected = waiting.expect(asked.id, answer);
  using limits = watch(parts, asked, bounds, answer);
  using _answers = queues.needs(queue)
    ? await queues.prepare(asked.id, wait)
    : undefined;
  const sent = transport.post(route, message, wait)
    .then(limits.begin, (error) => answer.fail(error));
  if (bounds.idempotent) await Promise.race([sent, answer.promise]); // the connection may be disposed while the request still waits
  using _again = bounds.idempotent
    ? askAgain(parts, { asked, route, bounds, answer })
    : undefined;
  try {
    const reply = await answer.promise;
    queues.learn(queue, reply.call);
    return reply;
  } catch (error) {
    if (error instanceof TimeoutError) queues.learn(queue, undefined); // an old server may serve the queue now
    throw error;
  }
}

/** Fails an answer at its deadline, on its signal, and when its worker falls silent, until disposed. */
function watch(
  parts: AskParts,
  asked: Asked,
  { wait, timeout, monitor }: Bounds,
  answer: Answer,
): { readonly begin: () => void } & Disposable {
  let posted = false, overdue = false;
  const late = () => void expire(parts, asked, timeout, answer);
  // While the request waits to be sent, `post` knows best why it does.
  const expiry = expireAt(wait.deadline, () => {
    overdue = true;
    if (posted) late();
  });
  const giveUp = () => {
    answer.fail(wait.signal?.reason);
    parts.waiting.cancel(asked.id, answer.worker);
  };
  wait.signal?.addEventListener("abort", giveUp);
  let silence = expireAt(Infinity, () => {});
  answer.alive = () => {
    forget(silence);
    if (monitor === undefined) return;
    const until = performance.now() + monitor;
    silence = expireAt(until, () => answer.fail(silent(asked, monitor)));
  };
  return {
    begin: () => {
      posted = true;
      answer.alive();
      if (overdue) late();
    },
    [Symbol.dispose]: () => {
      answer.alive = () => {};
      forget(silence);
      forget(expiry);
      wait.signal?.removeEventListener("abort", giveUp);
    },
  };
}

function silent({ target, method }: Asked, monitor: number): TimeoutError {
  const queue = queueFor(target.topic, target.host);
  return new TimeoutError(
    `No sign of life of ${method} from ${queue} for ${Math.round(monitor)} ms`,
  );
}

/** Says with the timeout whether anybody listens, if the broker tells in time. */
async function expire(
  { inbox }: AskParts,
  { target, method }: Asked,
  timeout: number,
  answer: Answer,
): Promise<void> {
  const queue = queueFor(target.topic, target.host);
  const consumers = await inbox.consumers(queue, {
    deadline: performance.now() + GRACE,
  });
  const who = consumers === 0
    ? "nobody consumes its queue"
    : `its queue has ${consumers} consumers`;
  const text = `No answer to ${method} from ${queue} within ${
    Math.round(timeout)
  } ms`;
  answer.fail(
    new TimeoutError(consumers === undefined ? text : `${text}; ${who}`, {
      consumers,
    }),
  );
}
