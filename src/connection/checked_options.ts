/** The options of a connection, checked and with their defaults. @module */
import { InvalidValueError } from "../errors.ts";
import { oneLine } from "../logging.ts";
import { checkDuration, checkInteger } from "../option_checks.ts";
import type { BusProfile } from "../transport/profile.ts";
import { defaultLimits, type Dialect, dialects } from "../wire/mod.ts";
import {
  checkDeadLetterListener,
  type DeadLetterSettings,
} from "../rpc/letters/dead_letter_listener.ts";
import type { LegacyPeers } from "../rpc/call_queues.ts";
import type { MessageSettings } from "../rpc/messaging.ts";
import type { NotificationDefaults } from "../rpc/notifications/drivers.ts";
import { checkNotificationSettings } from "../rpc/notifications/notifier.ts";
import { checkLedger, consumerTimeoutOf } from "../ledger/options.ts";
import { busProfile } from "./bus_profile.ts";
import { checkCredentials } from "./login_functions.ts";
import {
  type ConnectionOptions,
  DEFAULT_LONG_RUNNING_MS,
} from "./connection_options.ts";
import type { ConnectionServerSettings } from "./dependencies.ts";

/** Default of the milliseconds until connecting fails. */
export const DEFAULT_TIMEOUT_MS = 60_000;
/** Upper limit of the option `maxMessageSize`, in bytes. */
const MAX_MESSAGE_BYTES = 512 * 1024 * 1024;

/** Options that were checked. */
export interface CheckedOptions {
  /** Options as the user passed them. */
  readonly options: ConnectionOptions;
  /** Names and flags on the broker. */
  readonly profile: BusProfile;
  /** Settings of messages. */
  readonly messages: MessageSettings;
  /** Settings of the server side. */
  readonly server: ConnectionServerSettings;
  /** Defaults of notifications. */
  readonly notifications: NotificationDefaults;
}

function dialectOf(name: ConnectionOptions["dialect"] = "grizzly"): Dialect {
  if (Object.hasOwn(dialects, name)) return dialects[name];
  throw new InvalidValueError(
    `Invalid option dialect ${oneLine(name, 40)}: give grizzly, folsom or oslo`,
    { data: { path: "dialect" } },
  );
}

/** Folsom's servers can only be on an OpenStack bus, and do not understand the envelope of the dialect `oslo`. */
function legacyPeersOf({ name }: Dialect, { nova }: BusProfile): LegacyPeers {
  if (name === "folsom") return "always";
  return nova && name === "grizzly" ? "learn" : "never";
}

function messageSettings(
  options: ConnectionOptions,
  profile: BusProfile,
): MessageSettings {
  const { maxMessageSize = defaultLimits.bytes } = options;
  checkInteger("maxMessageSize", maxMessageSize, 1, MAX_MESSAGE_BYTES);
  const dialect = dialectOf(options.dialect);
  const { errors = {}, waitForRoute = false } = options;
  const python = profile.nova !== undefined;
  return {
    dialect,
    limits: { ...defaultLimits, bytes: maxMessageSize, python },
    errors,
    waitForRoute,
    legacyPeers: legacyPeersOf(dialect, profile),
  };
}

/** Settings of dead letters. Services and configurations have a host among their options, and connections accept it. */
function deadLetterSettings(
  options: ConnectionOptions & { readonly host?: string | undefined },
): DeadLetterSettings {
  const { deadLetterStacks: stacks = false, host } = options;
  const onDeadLetter = checkDeadLetterListener(options.onDeadLetter);
  return { host, stacks, onDeadLetter };
}

function serverSettings(options: ConnectionOptions): ConnectionServerSettings {
  const { concurrency = 64, prefetch = concurrency, tracebacks = false } =
    options;
  const { grace = 30_000, longRunning = DEFAULT_LONG_RUNNING_MS } = options;
  checkInteger("concurrency", concurrency, 1, 65_535);
  checkInteger("prefetch", prefetch, 1, 65_535);
  if (grace !== 0) checkDuration("grace", grace);
  return {
    ...{ concurrency, prefetch, tracebacks, grace },
    ledger: checkLedger(options.ledger),
    consumerTimeout: consumerTimeoutOf(options),
    longRunning: checkDuration("longRunning", longRunning),
    linksCasts: linksCasts(options),
    deadLetters: deadLetterSettings(options),
  };
}

/** True if the spans of casts and events have traces of their own. */
function linksCasts({ traceCasts = "link" }: ConnectionOptions): boolean {
  if (traceCasts === "link" || traceCasts === "child") {
    return traceCasts === "link";
  }
  throw new InvalidValueError(
    `Invalid option traceCasts ${oneLine(traceCasts, 40)}: give link or child`,
    { data: { path: "traceCasts" } },
  );
}

/**
 * Checks the values of all options, and adds their defaults.
 *
 * @throws {InvalidValueError} an option is invalid; the message names it.
 */
export function checkConnectionOptions(
  options: ConnectionOptions,
): CheckedOptions {
  const { heartbeat = 10, timeout = DEFAULT_TIMEOUT_MS } = options;
  const { queueType = "auto", publisherId = "warren" } = options;
  checkInteger("heartbeat", heartbeat, 0, 65_535);
  checkDuration("timeout", timeout);
  checkCredentials(options.credentials);
  const profile = busProfile(options.profile, queueType);
  const settings = checkNotificationSettings(options.notifications);
  const openstack = profile.nova !== undefined;
  const server = serverSettings(options);
  const { deadLetters } = server;
  return {
    options,
    profile,
    messages: messageSettings(options, profile),
    server,
    notifications: {
      ...{ settings, publisherId, openstack, deadLetters },
      linksCasts: linksCasts(options),
    },
  };
}
