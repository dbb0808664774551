/** Bus profile: whose names and flags are declared on the broker, Warren's or a variant of OpenStack's. @module */
import { InvalidValueError } from "../errors.ts";
import type { BusProfile, QueueArguments } from "../transport/profile.ts";
import { checkName } from "../names.ts";
import { oneLine } from "../logging.ts";

/**
 * Variants of an OpenStack bus. The default is the bus that Folsom, Grizzly and oslo.messaging declare without configuration. All
 * peers of a bus need the same settings, because the broker rejects declarations that differ.
 * @category Connections
 */
export interface NovaProfile {
  /** Name of the control exchange (`control_exchange`); default `nova`. Other projects have their own, e.g. `cinder`. */
  readonly exchange?: string | undefined;
  /** True if the control exchange and the shared queues survive a restart of the broker (`amqp_durable_queues`); default false. */
  readonly durable?: boolean | undefined;
  /**
   * True if the broker deletes the control exchange and the shared queues once they are unused (`amqp_auto_delete`);
   * default false.
   */
  readonly autoDelete?: boolean | undefined;
  /** True if reply and fanout queues are quorum queues (`rabbit_transient_quorum_queue`); default false. */
  readonly transientQuorum?: boolean | undefined;
  /** True if fanouts are read from a stream (`rabbit_stream_fanout`); default false. */
  readonly streamFanout?: boolean | undefined;
  /**
   * `<hostname>:<process>`, which replaces random characters in the names of reply and fanout queues
   * (`use_queue_manager`); followed by the number of the process and a number of the queue.
   */
  readonly member?: string | undefined;
  /**
   * `passive`: the control exchange, the queues of topics, hosts, pools and events, and the streams of fanouts are used
   * with their existing bindings; if one does not exist, a `TopologyError` is thrown. Queues of one process, and the
   * derived queues for failed casts, are declared nevertheless. Default `active`: everything that does not exist is
   * declared.
   */
  readonly declare?: "active" | "passive" | undefined;
  /**
   * Arguments (`x-…`) of queues by the kind of queue, which replace or extend the usual arguments; `null` removes an
   * argument. `x-queue-type` follows from other options.
   */
  readonly arguments?: QueueArguments | undefined;
}

const MEMBER = /^[A-Za-z0-9_.:-]{1,150}$/;
const FLAGS = ["durable", "autoDelete", "transientQuorum", "streamFanout"];
const KEYS = ["exchange", "member", "arguments", "declare", ...FLAGS];
const KINDS = ["shared", "fanout", "reply"];
const ARGUMENT = /^x-[a-z0-9-]{1,100}$/;

function invalid(what: string, value: unknown, allowed: string) {
  const displayed = typeof value === "string"
    ? JSON.stringify(oneLine(value, 60))
    : typeof value;
  return new InvalidValueError(
    `Invalid option ${what} ${displayed}: give ${allowed}`,
    { data: { path: what } },
  );
}

/** Checks the form of arguments. The broker checks their meaning. */
function checkArguments(byKind: QueueArguments): void {
  for (const [kind, list] of entries("profile.arguments", byKind)) {
    const path = `profile.arguments.${oneLine(kind, 60)}`;
    if (!KINDS.includes(kind)) throw invalid(path, list, KINDS.join(", "));
    if (list === undefined) continue;
    for (const [name, value] of entries(path, list)) {
      const which = `${path}.${oneLine(name, 60)}`;
      if (!ARGUMENT.test(name)) throw invalid(which, value, "names x-…");
      if (name === "x-queue-type") {
        throw invalid(
          which,
          value,
          "queueType, transientQuorum or streamFanout",
        );
      }
      const fits = value === null ||
        ["string", "boolean"].includes(typeof value) ||
        Number.isFinite(value);
      if (!fits) {
        throw invalid(which, value, "a text, a number, a boolean or null");
      }
    }
  }
}

function entries(path: string, value: unknown): [string, unknown][] {
  if (typeof value === "object" && value !== null) return Object.entries(value);
  throw invalid(path, value, "an object");
}

function checkVariants(variants: NovaProfile): void {
  for (const [key, value] of Object.entries(variants)) {
    if (!KEYS.includes(key)) {
      throw invalid(`profile.${oneLine(key, 60)}`, value, KEYS.join(", "));
    }
    if (value === undefined || !FLAGS.includes(key)) continue;
    if (typeof value !== "boolean") {
      throw invalid(`profile.${key}`, value, "true or false");
    }
  }
  const { exchange, member, declare = "active" } = variants;
  if (declare !== "active" && declare !== "passive") {
    throw invalid("profile.declare", declare, "active or passive");
  }
  if (variants.arguments !== undefined) checkArguments(variants.arguments);
  if (exchange !== undefined) checkName("profile.exchange", exchange);
  if (member !== undefined && !MEMBER.test(member)) {
    throw invalid("profile.member", member, "1 to 150 of A-Z a-z 0-9 _ . : -");
  }
}

/**
 * Creates the profile of a connection.
 *
 * @throws {InvalidValueError} the options are invalid.
 */
export function busProfile(
  profile: "warren" | "nova" | NovaProfile = "warren",
  queueType: "auto" | "classic" | "quorum" = "classic",
): BusProfile {
  const isAuto = queueType === "auto";
  const type = isAuto ? "classic" : queueType;
  if (profile === "warren") {
    return {
      ...{ exchange: "warren", durable: true, autoDelete: false },
      queueType: type,
      ...(isAuto && { anyQueueType: true }),
    };
  }
  const variants = profile === "nova" ? {} : profile;
  if (typeof variants !== "object" || variants === null) {
    throw invalid("profile", profile, "warren, nova, or the variants of nova");
  }
  checkVariants(variants);
  return {
    exchange: variants.exchange ?? "nova",
    durable: variants.durable ?? false,
    autoDelete: variants.autoDelete ?? false,
    queueType: type,
    nova: {
      transientQuorum: variants.transientQuorum ?? false,
      streamFanout: variants.streamFanout ?? false,
      // Two processes with the same name would consume each other's replies.
      member: variants.member && `${variants.member}.${Deno.pid}`,
      arguments: variants.arguments,
      passive: variants.declare === "passive",
    },
  };
}
