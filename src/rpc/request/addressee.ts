/** Addressee of a consumer. A request names its address, since the queue of a topic and host may also be that of another topic. @module */
import { addresseeHeader } from "../../names.ts";
import { queueFor } from "../../transport/address.ts";
import type { Dispatcher } from "../dispatch/dispatcher.ts";

/** Topic of a consumer, and its host if it serves the requests to one host. */
export interface Addressee {
  /** Topic. */
  readonly topic: string;
  /** Host; undefined for a consumer of the whole topic. */
  readonly host?: string | undefined;
  /** True for a consumer that was given the name of its queue alone: it serves every address that makes this name. */
  readonly loose: boolean;
}

/** Addressee of a consumer that was given its host. */
export function hostOf(topic: string, host: string): Addressee {
  return { topic, host, loose: false };
}

/** Addressee of a consumer that was given one name, which Nova joins of topic and host. The dispatcher's topics tell the two apart. */
export function named(name: string, dispatcher: Dispatcher): Addressee {
  const topics = dispatcher?.topics ?? [];
  if (topics.includes(name)) return { topic: name, loose: false };
  const topic = topics.find((each) => name.startsWith(`${each}.`));
  if (topic === undefined) return { topic: name, loose: true };
  return { topic, host: name.slice(topic.length + 1), loose: true };
}

/** Reason why a request for `to` is not for this consumer; undefined if it is, or if it names no address (older peers, OpenStack). */
export function misdirected(
  { topic, host, loose }: Addressee,
  to: string | undefined,
): string | undefined {
  const own = addresseeHeader(topic, host);
  if (to === undefined || to === own) return undefined;
  const queue = queueFor(topic, host);
  if (loose && to.replace("/", ".") === queue) return undefined;
  return `it is for ${describe(to)}, and came to ${describe(own)}`;
}

/** `topic shop on host eu` */
function describe(address: string): string {
  const [topic, host] = address.split("/");
  return host === undefined
    ? `topic ${topic}`
    : `topic ${topic} on host ${host}`;
}
