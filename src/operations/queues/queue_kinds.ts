/** The queues that Warren creates for a topic, and what each of them is for. @module */
import { RETRY_DELAYS_MS } from "../../contract/retry_policy.ts";
import {
  type Address,
  type QueueAddress,
  queueName,
  topicAddress,
} from "../../transport/address.ts";

/**
 * Kind of a queue.
 *
 * - `topic`: requests to any worker of a topic; `host`: requests to the workers of one host; `events`: events of one
 *   priority.
 * - `delay`: casts or events that wait for their next attempt; `dead`: those that are not tried again; `quarantine`:
 *   requests that workers did not finish, which run one at a time.
 * @category Operations
 */
export type QueueKind =
  | "topic"
  | "host"
  | "events"
  | "delay"
  | "dead"
  | "quarantine";

/** A queue that may exist. */
export interface NamedQueue {
  /** Name on the broker. */
  readonly name: string;
  /** Kind. */
  readonly kind: QueueKind;
  /** Topic to which it belongs. */
  readonly topic: string;
  /** Host, if it belongs to one host. */
  readonly host?: string | undefined;
  /** One sentence on what the queue holds. */
  readonly meaning: string;
}

const MEANINGS: Readonly<Record<QueueKind, string>> = {
  topic: "Requests to any worker of the topic.",
  host: "Requests to the workers of this host.",
  events: "Events of this priority, for the listeners of the default pool.",
  delay: "Messages that return to their queue after this delay.",
  dead: "Messages that are not tried again; headers name the reason.",
  quarantine:
    "Requests that workers did not finish; workers run them one at a time.",
};

const KINDS: Partial<Record<Address["kind"], QueueKind>> = {
  topic: "topic",
  host: "host",
  event: "events",
  delay: "delay",
  deadLetter: "dead",
  quarantine: "quarantine",
};

/** Returns the queues that belong to an address: its own one, and those that are derived from it. */
function queuesBeside(of: QueueAddress): readonly Address[] {
  const beside: Address[] = [of, { kind: "deadLetter", of }];
  if (of.kind !== "event") beside.push({ kind: "quarantine", of });
  return [
    ...beside,
    ...RETRY_DELAYS_MS.map((ms) => ({ kind: "delay", of, ms } as const)),
  ];
}

/** Lists the queues of an address by their names. */
export function queuesOf(of: QueueAddress): readonly NamedQueue[] {
  return queuesBeside(of).flatMap((address) => {
    const kind = KINDS[address.kind];
    return kind === undefined ? [] : [{
      name: queueName(address),
      kind,
      topic: of.topic,
      ...(of.kind === "host" && { host: of.host }),
      meaning: MEANINGS[kind],
    }];
  });
}

/** Returns the address of a queue of requests or events; undefined for a derived queue. */
export function addressOf(
  { name, kind, topic, host }: NamedQueue,
): QueueAddress | undefined {
  if (kind === "topic" || kind === "host") return topicAddress(topic, host);
  if (kind !== "events") return undefined;
  return { kind: "event", topic, priority: name.slice(topic.length + 1) };
}

/** Lists the queues of a topic and of its hosts. */
export function queuesOfTopic(
  topic: string,
  hosts: readonly string[],
): readonly NamedQueue[] {
  return [undefined, ...hosts].flatMap((host) =>
    queuesOf(topicAddress(topic, host))
  );
}
