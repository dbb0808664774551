/** Whose bus it is: Warren's own, or OpenStack's, in one of its forms. @module */
import { InvalidValueError } from "../errors.ts";
import type { BusProfile, QueueArguments } from "../transport/profile.ts";
import { checkName } from "../names.ts";
import { oneLine } from "../logging.ts";

/**
 * The forms of an OpenStack bus. Without any of them it is what Folsom, Grizzly and oslo.messaging declare by default. All
 * peers of a bus must be set up alike: the broker refuses what differs.
 * @category Connections
 */
export interface NovaProfile {
  /** Name of the control exchange (`control_exchange`); default `nova`. Other projects have their own, e.g. `cinder`. */
  readonly exchange?: string | undefined;
  /** Whether the control exchange and the shared queues outlive the broker (`amqp_durable_queues`); default false. */
  readonly durable?: boolean | undefined;
  /** Whether they go when nobody uses them any more (`amqp_auto_delete`); default false. */
  readonly autoDelete?: boolean | undefined;
  /** Whether reply and fanout queues are quorum queues (`rabbit_transient_quorum_queue`); default false. */
  readonly transientQuorum?: boolean | undefined;
  /** Whether fanouts are read from a stream (`rabbit_stream_fanout`); default false. */
  readonly streamFanout?: boolean | undefined;
  /**
   * `<hostname>:<process>`, in the names of reply and fanout queues in place of random characters (`use_queue_manager`);
   * followed by the process's number and a number of the queue.
   */
  readonly member?: string | undefined;
  /**
   * `passive`: the control exchange, the queues of topics, hosts, pools and events, and the streams of fanouts are taken as
   * they are, with the bindings that they have; one that is missing is a `TopologyError`. What belongs to one process, and
   * the queues beside those for failed casts, are made all the same. Default `active`: all is made that is missing.
   */
  readonly declare?: "active" | "passive" | undefined;
  /**
   * Arguments (`x-…`) of queues, by their kind, in place of or beside those that the queues have anyway; `null` leaves one
   * out. `x-queue-type` follows from other options.
   */
  readonly arguments?: QueueArguments | undefined;
}

const MEMBER = /^[A-Za-z0-9_.:-]{1,150}$/;
const FLAGS = ["durable", "autoDelete", "transientQuorum", "streamFanout"];
const KEYS = ["exchange", "member", "arguments", "declare", ...FLAGS];
const KINDS = ["shared", "fanout", "reply"];
const ARGUMENT = /^x-[a-z0-9-]{1,100}$/;

function wrong(what: string, value: unknown, allowed: string) {
  const shown = typeof value === "string"
    ? JSON.stringify(oneLine(value, 60))
    : typeof value;
  return new InvalidValueError(
    `Invalid option ${what} ${shown}: give ${allowed}`,
    { data: { path: what } },
  );
}

/** The broker says what an argument may be; here it is checked that it is one. */
function checkArguments(given: QueueArguments): void {
  for (const [kind, list] of entries("profile.arguments", given)) {
    const path = `profile.arguments.${oneLine(kind, 60)}`;
    if (!KINDS.includes(kind)) throw wrong(path, list, KINDS.join(", "));
    if (list === undefined) continue;
    for (const [name, value] of entries(path, list)) {
      const which = `${path}.${oneLine(name, 60)}`;
      if (!ARGUMENT.test(name)) throw wrong(which, value, "names x-…");
      if (name === "x-queue-type") {
        throw wrong(which, value, "queueType, transientQuorum or streamFanout");
      }
      const fits = value === null ||
        ["string", "boolean"].includes(typeof value) ||
        Number.isFinite(value);
      if (!fits) {
        throw wrong(which, value, "a text, a number, a boolean or null");
      }
    }
  }
}

function entries(path: string, given: unknown): [string, unknown][] {
  if (typeof given === "object" && given !== null) return Object.entries(given);
  throw wrong(path, given, "an object");
}

function check(forms: NovaProfile): void {
  for (const [key, value] of Object.entries(forms)) {
    if (!KEYS.includes(key)) {
      throw wrong(`profile.${oneLine(key, 60)}`, value, KEYS.join(", "));
    }
    if (value === undefined || !FLAGS.includes(key)) continue;
    if (typeof value !== "boolean") {
      throw wrong(`profile.${key}`, value, "true or false");
    }
  }
  const { exchange, member, declare = "active" } = forms;
  if (declare !== "active" && declare !== "passive") {
    throw wrong("profile.declare", declare, "active or passive");
  }
  if (forms.arguments !== undefined) checkArguments(forms.arguments);
  if (exchange !== undefined) checkName("profile.exchange", exchange);
  if (member !== undefined && !MEMBER.test(member)) {
    throw wrong("profile.member", member, "1 to 150 of A-Z a-z 0-9 _ . : -");
  }
}

/**
 * The profile of a connection.
 *
 * @throws {InvalidValueError} it is none.
 */
export function busProfile(
  profile: "warren" | "nova" | NovaProfile = "warren",
  queueType: "classic" | "quorum" = "classic",
): BusProfile {
  if (profile === "warren") {
    return { exchange: "warren", durable: true, autoDelete: false, queueType };
  }
  const forms = profile === "nova" ? {} : profile;
  if (typeof forms !== "object" || forms === null) {
    throw wrong("profile", profile, "warren, nova, or the forms of nova");
  }
  check(forms);
  return {
    exchange: forms.exchange ?? "nova",
    durable: forms.durable ?? false,
    autoDelete: forms.autoDelete ?? false,
    queueType,
    nova: {
      transientQuorum: forms.transientQuorum ?? false,
      streamFanout: forms.streamFanout ?? false,
      // Two processes of one name would read each other's answers.
      member: forms.member && `${forms.member}.${Deno.pid}`,
      arguments: forms.arguments,
      passive: forms.declare === "passive",
    },
  };
}
