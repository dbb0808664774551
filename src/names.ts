/** Names that may become part of a routing key. @module */
import { InvalidValueError } from "./errors.ts";

/** Names of queues beside those of topics, hosts and pools. */
const RESERVED_SUFFIX = /\.(dead|quarantine|delay\.\d+|leader\..+)$/;

const ALLOWED = /^[A-Za-z0-9_.-]+$/;
/** Address of the ports for health, unless said otherwise: anybody who reaches the port may ask. */
export const LOOPBACK = "127.0.0.1";
const MAX_LENGTH = 200;

/**
 * Checks a topic, a host, a namespace, a pool: `[A-Za-z0-9_.-]`, at most 200 bytes, no leading `amq.`, so never a
 * wildcard of a routing key and never a name that the broker keeps for itself.
 *
 * @throws {InvalidValueError}
 */
export function checkName(what: string, name: unknown): asserts name is string {
  const fits = typeof name === "string" && ALLOWED.test(name) &&
    name.length <= MAX_LENGTH && !name.startsWith("amq.");
  if (fits) return;
  const shown = typeof name === "string"
    ? JSON.stringify(name.slice(0, 60))
    : `a ${typeof name}`;
  throw new InvalidValueError(
    `Invalid ${what} ${shown}: give 1 to ${MAX_LENGTH} of the characters A-Z a-z 0-9 _ . -, without a leading "amq."`,
    { data: { path: what } },
  );
}

/** A queue of that name would be one of those beside another. */
function checkNotReserved(what: string, name: string, queue: string): void {
  if (!RESERVED_SUFFIX.test(queue)) return;
  throw new InvalidValueError(
    `Invalid ${what} "${name}": names that end in .dead, .quarantine, .delay.<ms> or .leader.<task> are those of queues beside another; give another name`,
    { data: { path: what } },
  );
}

/**
 * Checks the name of a host.
 *
 * @throws {InvalidValueError}
 */
export function checkHost(host: unknown): asserts host is string {
  checkName("host", host);
  checkNotReserved("host", host, `.${host}`);
}

/**
 * Checks the name of a topic.
 *
 * @throws {InvalidValueError}
 */
export function checkTopic(topic: unknown): asserts topic is string {
  checkName("topic", topic);
  checkNotReserved("topic", topic, topic);
}

/**
 * Checks the name of a pool of workers of a topic: it is that of the pool's queue.
 *
 * @throws {InvalidValueError}
 */
export function checkPool(topic: string, pool: unknown): void {
  checkName("pool", pool);
  checkNotReserved("pool", pool, pool);
  if (pool !== topic) return;
  throw new InvalidValueError(
    `Invalid pool ${pool}: it is the topic's own queue; give a name that is no topic`,
    { data: { path: "pool" } },
  );
}

/**
 * Checks the name of a task that has a leader, and its topic: the queue of its election is beside that of the topic.
 *
 * @throws {InvalidValueError}
 */
export function checkTask(topic: string, task: unknown): void {
  checkTopic(topic);
  checkName("task", task);
  // `x.leader.dead` is the dead-letter queue of topic x on a host called leader, too.
  if (!RESERVED_SUFFIX.test(`.${task}`)) return;
  throw new InvalidValueError(
    `Invalid task "${task}" of ${topic}: names that end in dead, quarantine or delay.<ms> are those of queues beside another; give another name`,
    { data: { path: "task" } },
  );
}

/** The topic and host that a request is for, as its header says them. A name has no slash, so no two pairs look the same. */
export function addresseeHeader(topic: string, host?: string): string {
  return host === undefined ? topic : `${topic}/${host}`;
}
