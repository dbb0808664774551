/** Table of all that can be configured: variable, allowed values and default of each key. @module */
import { z } from "npm:zod@^4.6.7";
import { DEFAULT_LONG_RUNNING_MS } from "../connection/connection_options.ts";
import { CONSUMER_TIMEOUT_MS } from "../ledger/options.ts";
import { defaultLimits } from "../wire/mod.ts";
import {
  defaultText,
  type Field,
  field,
  flagField,
  hostName,
  intervalsByTask,
  labelText,
  milliseconds,
  nonEmptyText,
  numeric,
  parsePairs,
  pemField,
  profileValue,
  urlList,
  urlsError,
  wholeNumber,
} from "./field.ts";
import { urlsOfList } from "../connection/broker_url.ts";
import { LOOPBACK } from "../names.ts";
import { displayUrls, redactUrls } from "./display.ts";
import type { Flat, Key, LogLevel } from "./types.ts";
import type { NovaProfile } from "../connection/bus_profile.ts";

const LOG_LEVELS = [
  "trace",
  "debug",
  "info",
  "warning",
  "error",
  "fatal",
] as const;

/** Fields by their keys, in the order of `describeConfig`. */
export const fields: { readonly [K in Key]: Field<Flat[K]> } = {
  url: field<readonly string[]>(
    "AMQP_URL",
    urlList,
    "amqp://user:password@host:port/vhost, amqps://… or memory:name, or several of one cluster, or rabbit://… as in oslo.messaging",
    ["amqp://localhost"],
    {
      fromText: urlsOfList,
      explainError: urlsError,
      display: displayUrls,
      format: redactUrls,
    },
  ),
  host: field<string | undefined>(
    "WARREN_HOST",
    hostName,
    '1 to 200 of the characters A-Z a-z 0-9 _ . -, without a leading "amq."',
    undefined,
    defaultText("the machine's name"),
  ),
  concurrency: field(
    "WARREN_CONCURRENCY",
    wholeNumber(65_535),
    "a whole number from 1 to 65535",
    64,
    numeric,
  ),
  prefetch: field<number | undefined>(
    "WARREN_PREFETCH",
    wholeNumber(65_535),
    "a whole number from 1 to 65535",
    undefined,
    { ...numeric, ...defaultText("as concurrency") },
  ),
  profile: field<"warren" | "nova" | NovaProfile>(
    "WARREN_PROFILE",
    profileValue,
    "warren, nova, or an object with variants of nova",
    "warren",
    {
      format: (value) =>
        typeof value === "string" ? value : JSON.stringify(value),
    },
  ),
  dialect: field<"grizzly" | "folsom" | "oslo">(
    "WARREN_DIALECT",
    z.enum(["grizzly", "folsom", "oslo"]),
    "grizzly, folsom or oslo",
    "grizzly",
  ),
  queueType: field<"classic" | "quorum">(
    "WARREN_QUEUE_TYPE",
    z.enum(["classic", "quorum"]),
    "classic or quorum",
    "classic",
  ),
  timeout: field(
    "WARREN_TIMEOUT",
    milliseconds((ms) => ms > 0),
    "milliseconds above 0",
    60_000,
    numeric,
  ),
  grace: field(
    "WARREN_GRACE",
    milliseconds((ms) => ms >= 0),
    "milliseconds, 0 or more",
    30_000,
    numeric,
  ),
  heartbeat: field(
    "WARREN_HEARTBEAT",
    wholeNumber(65_535),
    "whole seconds from 1 to 65535",
    10,
    numeric,
  ),
  consumerTimeout: field(
    "WARREN_CONSUMER_TIMEOUT",
    milliseconds((ms) => ms > 0),
    "milliseconds above 0",
    CONSUMER_TIMEOUT_MS,
    numeric,
  ),
  longRunning: field(
    "WARREN_LONG_RUNNING",
    milliseconds((ms) => ms > 0),
    "milliseconds above 0",
    DEFAULT_LONG_RUNNING_MS,
    numeric,
  ),
  maxMessageSize: field(
    "WARREN_MAX_MESSAGE_SIZE",
    wholeNumber(536_870_912), // the maximum that RabbitMQ can be configured to accept
    "whole bytes from 1 to 536870912",
    defaultLimits.bytes,
    numeric,
  ),
  tracebacks: flagField("WARREN_TRACEBACKS", false),
  waitForRoute: flagField("WARREN_WAIT_FOR_ROUTE", false),
  pooled: flagField("WARREN_POOLED", false),
  signals: flagField("WARREN_SIGNALS", true),
  publisherId: field<string | undefined>(
    "WARREN_PUBLISHER_ID",
    nonEmptyText,
    "a text that is not empty",
    undefined,
    defaultText("the service's own name"),
  ),
  reportInterval: field(
    "WARREN_REPORT_INTERVAL",
    milliseconds((ms) => ms >= 0 && ms <= 86_400_000),
    "milliseconds from 0 to 86400000",
    10_000,
    numeric,
  ),
  binary: field<string | undefined>(
    "WARREN_BINARY",
    labelText,
    "1 to 200 printable ASCII characters",
    undefined,
    defaultText("the first topic"),
  ),
  zone: field<string | undefined>(
    "WARREN_ZONE",
    labelText,
    "1 to 200 printable ASCII characters",
    undefined,
    defaultText("none"),
  ),
  healthPort: field<number | undefined>(
    "WARREN_HEALTH_PORT",
    z.int().min(0).max(65_535),
    "a whole number from 0 to 65535",
    undefined,
    { ...numeric, ...defaultText("none") },
  ),
  healthHostname: field<string>(
    "WARREN_HEALTH_HOSTNAME",
    z.string().min(1),
    "an address of this machine",
    LOOPBACK,
  ),
  taskIntervals: field<Readonly<Record<string, number>>>(
    "WARREN_TASK_INTERVALS",
    intervalsByTask,
    "milliseconds above 0 by the name of a task",
    {},
    {
      fromText: (text) => parsePairs(text),
      format: (intervals) =>
        Object.entries(intervals).map((pair) => pair.join("=")).join(",") ||
        "none",
    },
  ),
  "tls.ca": pemField("WARREN_TLS_CA"),
  "tls.cert": pemField("WARREN_TLS_CERT"),
  "tls.key": pemField("WARREN_TLS_KEY"),
  "tls.servername": field<string | undefined>(
    "WARREN_TLS_SERVERNAME",
    nonEmptyText,
    "a host name",
    undefined,
    defaultText("the host of the URL"),
  ),
  logLevel: field<LogLevel>(
    "WARREN_LOG_LEVEL",
    z.enum(LOG_LEVELS),
    `one of ${LOG_LEVELS.join(", ")}`,
    "info",
  ),
};

/** Keys of all fields, in the order of `describeConfig`. */
export const keys = Object.keys(fields) as readonly Key[];
