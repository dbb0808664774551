/** The address that a consumer serves: a topic and a host may have the queue of another topic. @module */
import { queueFor } from "../../transport/address.ts";
import { addresseeHeader } from "../../names.ts";
import type { Dispatcher } from "../dispatch/dispatcher.ts";

/** The topic of a consumer, and its host where it is one host's. */
export interface Addressee {
  /** Topic. */
  readonly topic: string;
  /** Only that host. */
  readonly host?: string | undefined;
  /** True for a consumer that was given the name of its queue alone: every address that makes this name is its own. */
  readonly loose: boolean;
}

/** Of a consumer that was told its host. */
export function hostOf(topic: string, host: string): Addressee {
  return { topic, host, loose: false };
}

/** Of a consumer that was told one name, which Nova joins of topic and host: the topics of its dispatcher say which it is. */
export function named(name: string, dispatcher: Dispatcher): Addressee {
  const topics = dispatcher?.topics ?? [];
  if (topics.includes(name)) return { topic: name, loose: false };
  const topic = topics.find((each) => name.startsWith(`${each}.`));
  if (topic === undefined) return { topic: name, loose: true };
  return { topic, host: name.slice(topic.length + 1), loose: true };
}

/** Why a request for `to` is not for this consumer; undefined if it is, or if nothing is said (older peers, OpenStack). */
export function misdirected(
  { topic, host, loose }: Addressee,
  to: string | undefined,
): string | undefined {
  const own = addresseeHeader(topic, host);
  if (to === undefined || to === own) return undefined;
  const queue = queueFor(topic, host);
  if (loose && to.replace("/", ".") === queue) return undefined;
  return `it is for ${worded(to)}, and came to ${worded(own)}`;
}

/** `topic shop on host eu` */
function worded(address: string): string {
  const [topic, host] = address.split("/");
  return host === undefined
    ? `topic ${topic}`
    : `topic ${topic} on host ${host}`;
}
