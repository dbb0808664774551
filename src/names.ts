/** Rules for names that become part of a routing key or a queue name. @module */
import { InvalidValueError } from "./errors.ts";

/** Suffixes of queues that Warren derives from those of topics, hosts and pools. */
const RESERVED_SUFFIX =
  /\.(dead|quarantine|paused|parked|delay\.\d+|leader\..+)$/;

const NAME_PATTERN = /^[A-Za-z0-9_.-]+$/;
/** Default address of the health ports: only this machine can query them, since they require no login. */
export const LOOPBACK = "127.0.0.1";
const MAX_NAME_BYTES = 200;
/** Prefix of Warren's own topics, by which services find each other. */
const OWN_TOPICS = "warren.";

/** True for a topic of Warren's own. */
export const isOwnTopic = (topic: string): boolean =>
  topic.startsWith(OWN_TOPICS);

/**
 * Checks the name of a topic, host, namespace or pool: 1 to 200 of the characters `[A-Za-z0-9_.-]`, without a leading
 * `amq.`. Such a name is never a wildcard of a routing key, and never a name that the broker reserves.
 *
 * @throws {InvalidValueError} the name is not allowed.
 */
export function checkName(
  subject: string,
  name: unknown,
): asserts name is string {
  const isValid = typeof name === "string" && NAME_PATTERN.test(name) &&
    name.length <= MAX_NAME_BYTES && !name.startsWith("amq.");
  if (isValid) return;
  const displayed = typeof name === "string"
    ? JSON.stringify(name.slice(0, 60))
    : `a ${typeof name}`;
  throw new InvalidValueError(
    `Invalid ${subject} ${displayed}: give 1 to ${MAX_NAME_BYTES} of the characters A-Z a-z 0-9 _ . -, without a leading "amq."`,
    { data: { path: subject } },
  );
}

/** Rejects a name whose queue would have the name of a derived queue. */
function checkNotReserved(subject: string, name: string, queue: string): void {
  if (!RESERVED_SUFFIX.test(queue)) return;
  throw new InvalidValueError(
    `Invalid ${subject} "${name}": names that end in .dead, .quarantine, .paused, .parked, .delay.<ms> or .leader.<task> are reserved for derived queues; give another name`,
    { data: { path: subject } },
  );
}

/**
 * Checks the name of a host.
 *
 * @throws {InvalidValueError} the name is not allowed.
 */
export function checkHost(host: unknown): asserts host is string {
  checkName("host", host);
  checkNotReserved("host", host, `.${host}`);
}

/**
 * Checks the name of a topic.
 *
 * @throws {InvalidValueError} the name is not allowed.
 */
export function checkTopic(topic: unknown): asserts topic is string {
  checkName("topic", topic);
  checkNotReserved("topic", topic, topic);
}

/**
 * Checks the name of a pool of workers, which is also the name of the pool's queue.
 *
 * @throws {InvalidValueError} the name is not allowed, or is that of the topic's own queue.
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
 * Checks the name of a task that is run by an elected leader, and its topic. The queue of the election is derived from
 * that of the topic.
 *
 * @throws {InvalidValueError} a name is not allowed.
 */
export function checkTask(topic: string, task: unknown): void {
  checkTopic(topic);
  checkName("task", task);
  // `x.leader.dead` is also the dead-letter queue of topic x on a host called leader.
  if (!RESERVED_SUFFIX.test(`.${task}`)) return;
  throw new InvalidValueError(
    `Invalid task "${task}" of ${topic}: names that end in dead, quarantine, paused, parked or delay.<ms> are reserved for derived queues; give another name`,
    { data: { path: "task" } },
  );
}

/** Value of the header that names the topic and host of a request. Names have no slash, so different pairs have different values. */
export function addresseeHeader(topic: string, host?: string): string {
  return host === undefined ? topic : `${topic}/${host}`;
}
