/**
 * Addressee of a consumer. A request contains its address, because one queue may belong to two addresses: to a topic
 * and host, and to another topic.
 *
 * @module
 */
import { addresseeHeader } from "../../names.ts";
import { queueFor } from "../../transport/address.ts";
import type { Dispatcher } from "../dispatch/dispatcher.ts";

/** Topic of a consumer, and its host if it serves the requests to one host. */
export interface Addressee {
  /** Topic. */
  readonly topic: string;
  /** Host; undefined for a consumer of the whole topic. */
  readonly host?: string | undefined;
  /** True for a consumer that was created with a queue name alone: it serves every address that has this queue. */
  readonly byQueueName: boolean;
}

/** Addressee of a consumer that was created with a host. */
export function hostOf(topic: string, host: string): Addressee {
  return { topic, host, byQueueName: false };
}

/**
 * Addressee of a consumer that was created with one name, which may be a topic or, as in Nova, a topic joined with a
 * host. The topics of the dispatcher show which of the two it is.
 */
export function addresseeOfName(
  name: string,
  dispatcher: Dispatcher,
): Addressee {
  const topics = dispatcher?.topics ?? [];
  if (topics.includes(name)) return { topic: name, byQueueName: false };
  const topic = topics.find((each) => name.startsWith(`${each}.`));
  if (topic === undefined) return { topic: name, byQueueName: true };
  return { topic, host: name.slice(topic.length + 1), byQueueName: true };
}

/**
 * Reason why a request for the address `to` is not for this consumer. Undefined if the request is for this consumer, or
 * has no address (older peers, OpenStack).
 */
export function misdirectionReason(
  { topic, host, byQueueName }: Addressee,
  to: string | undefined,
): string | undefined {
  const own = addresseeHeader(topic, host);
  if (to === undefined || to === own) return undefined;
  const queue = queueFor(topic, host);
  if (byQueueName && to.replace("/", ".") === queue) return undefined;
  return `it is for ${describe(to)}, and came to ${describe(own)}`;
}

/** `topic shop on host eu` */
function describe(address: string): string {
  const [topic, host] = address.split("/");
  return host === undefined
    ? `topic ${topic}`
    : `topic ${topic} on host ${host}`;
}
