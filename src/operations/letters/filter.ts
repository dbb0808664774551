/** Filters of dead letters: the queues that they name, and the letters that they choose. @module */
import { InvalidValueError } from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import { checkHost, checkPool, checkTopic } from "../../names.ts";
import { checkNames, namesOf } from "../../option_names.ts";
import { type QueueAddress, topicAddress } from "../../transport/address.ts";
import type { DeadLetter } from "../../rpc/letters/dead_letter.ts";
import { TOPIC } from "../../rpc/notifications/drivers.ts";
import { matcher } from "../../rpc/notifications/event_pattern.ts";
import {
  checkPriority,
  type NotificationPriority,
  priorities,
} from "../../rpc/notifications/priority.ts";

/**
 * Listeners whose dead letters are meant; the members are those of `ListenerOptions`.
 * @category Operations
 */
export interface EventQueues {
  /** Topic of the events; default `notifications`. */
  readonly topic?: string | undefined;
  /** Priority of the events; default: all. A pool has one queue for all priorities. */
  readonly priority?: NotificationPriority | undefined;
  /** Pool of the listeners; default: listeners without a pool. */
  readonly pool?: string | undefined;
}

/**
 * Conditions on a letter, all of which must hold.
 * @category Operations
 */
export interface LetterConditions {
  /** Procedure of casts, or type of events; `*` stands for any characters. */
  readonly procedure?: string | undefined;
  /** Text that the reason contains. */
  readonly reason?: string | undefined;
  /** Time since which the letter is one, as a date or in epoch milliseconds. Letters without a time are not chosen. */
  readonly since?: Date | number | undefined;
  /** Text that the reason, the stack, the procedure, or the JSON of the arguments contains. */
  readonly text?: string | undefined;
  /** Ids of the letters. */
  readonly ids?: readonly string[] | undefined;
}

/**
 * Letters of the casts of one topic.
 * @category Operations
 */
export interface CastLetterFilter extends LetterConditions {
  /** Topic: letters of the queue of any worker, `<topic>.dead`. */
  readonly topic: string;
  /** Host: letters of that host's queue, `<topic>.<host>.dead`, instead. */
  readonly host?: string | undefined;
  /** Pool of workers (`createWorker`): letters of its queue, `<pool>.dead`, instead. */
  readonly pool?: string | undefined;
  /** Not together with a topic. */
  readonly events?: undefined;
}

/**
 * Letters of events.
 * @category Operations
 */
export interface EventLetterFilter extends LetterConditions {
  /** Listeners whose letters are meant; `{}` for those of the topic `notifications` without a pool. */
  readonly events: EventQueues;
  /** Not together with events. */
  readonly topic?: undefined;
  /** Not together with events. */
  readonly host?: undefined;
  /** Not together with events, which have a pool of their own. */
  readonly pool?: undefined;
}

/**
 * Dead letters of a topic, of one of its hosts or pools, or of the listeners of `events`, that meet all conditions.
 * @category Operations
 */
export type DeadLetterFilter = CastLetterFilter | EventLetterFilter;

const filterNames = namesOf<DeadLetterFilter>({
  topic: true,
  host: true,
  pool: true,
  events: true,
  procedure: true,
  reason: true,
  since: true,
  text: true,
  ids: true,
});

const eventNames = namesOf<EventQueues>({
  topic: true,
  priority: true,
  pool: true,
});

/** A filter that was checked. */
export interface CheckedFilter {
  /** Queues whose dead letters are meant. */
  readonly queues: readonly QueueAddress[];
  /** True for a letter that is chosen; undefined if all are. */
  readonly chooses: ((letter: DeadLetter) => boolean) | undefined;
}

/**
 * Checks a filter.
 *
 * @throws {InvalidValueError} a member is unknown or has a wrong value; `data.path` names it.
 */
export function checkFilter(filter: DeadLetterFilter): CheckedFilter {
  checkNames(filter, filterNames);
  const { procedure, reason, text, ids } = filter;
  for (const [name, value] of Object.entries({ procedure, reason, text })) {
    const fits = value === undefined || typeof value === "string" && value;
    if (!fits) throw wrong(name, value, "a text that is not empty");
  }
  const since = sinceOf(filter);
  const known = idsOf(ids);
  const isOfProcedure = matcher(procedure);
  const queues = queuesOf(filter);
  const conditions = [procedure, reason, since, text, ids];
  if (conditions.every((each) => each === undefined)) {
    return { queues, chooses: undefined };
  }
  return {
    queues,
    chooses: (letter) =>
      (since === undefined || (letter.deadAt ?? -Infinity) >= since) &&
      (reason === undefined || letter.reason.includes(reason)) &&
      (!known || letter.id !== undefined && known.has(letter.id)) &&
      (procedure === undefined || isOfProcedure(letter.procedure ?? "")) &&
      (text === undefined || contains(letter, text)),
  };
}

function contains(letter: DeadLetter, text: string): boolean {
  const { reason, stack = "", procedure = "", args = null } = letter;
  return [reason, stack, procedure].some((each) => each.includes(text)) ||
    JSON.stringify(args).includes(text);
}

/** Returns the queues of a filter. */
function queuesOf(filter: DeadLetterFilter): readonly QueueAddress[] {
  const { topic, host, pool, events } = filter;
  if (events !== undefined) {
    const other = Object.entries({ topic, host, pool })
      .find(([, value]) => value !== undefined);
    if (other) throw wrong(other[0], other[1], "either events, or a topic");
    return eventQueues(events);
  }
  checkTopic(topic);
  if (host !== undefined) checkHost(host);
  if (pool === undefined) return [topicAddress(topic, host)];
  if (host !== undefined) throw wrong("pool", pool, "a host or a pool");
  checkPool(topic, pool);
  return [{ kind: "pool", topic, pool }];
}

function eventQueues(events: EventQueues): readonly QueueAddress[] {
  checkNames(events, eventNames, "events.");
  const { topic = TOPIC, priority, pool } = events;
  checkTopic(topic);
  if (priority !== undefined) checkPriority(priority);
  if (pool !== undefined) checkPool(topic, pool);
  const all = priority === undefined ? priorities : [priority];
  const chosen = pool === undefined ? all : all.slice(0, 1);
  return chosen.map((each) => ({
    ...{ kind: "event" as const, topic, priority: each, pool },
  }));
}

function sinceOf({ since }: DeadLetterFilter): number | undefined {
  if (since === undefined) return undefined;
  const ms = Number(since);
  const isTime = typeof since === "number" || since instanceof Date;
  if (isTime && Number.isFinite(ms)) return ms;
  throw wrong("since", since, "a date, or milliseconds since 1970");
}

function idsOf(ids: unknown): ReadonlySet<string> | undefined {
  if (ids === undefined) return undefined;
  const isList = Array.isArray(ids) && ids.length > 0 &&
    ids.every((id) => typeof id === "string" && id !== "");
  if (isList) return new Set(ids);
  throw wrong("ids", ids, "a list of one or more ids");
}

function wrong(path: string, value: unknown, right: string): InvalidValueError {
  return new InvalidValueError(
    `Invalid filter ${path} ${oneLine(value, 60)}: give ${right}`,
    { data: { path } },
  );
}
