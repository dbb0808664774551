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
import {
  cellName,
  cellsError,
  displayCells,
  parseCells,
  redactCells,
  urlsByCell,
} from "./cells_field.ts";
import { urlsOfList } from "../connection/broker_url.ts";
import { LOOPBACK } from "../names.ts";
import { displayUrls, redactUrls } from "./display.ts";
import type { Config, Flat, Key, LogLevel } from "./types.ts";
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
  url: field<readonly string[]>("AMQP_URL", {
    schema: urlList,
    allowed:
      "amqp://user:password@host:port/vhost, amqps://… or memory:name, or several of one cluster, or rabbit://… as in oslo.messaging",
    fallback: ["amqp://localhost"],
    fromText: urlsOfList,
    explainError: urlsError,
    display: displayUrls,
    format: redactUrls,
  }),
  cells: field<Config["cells"]>("WARREN_CELLS", {
    schema: urlsByCell,
    allowed:
      "the URLs of a broker by the name of its cell; in a variable name=url,url, separated by spaces",
    fallback: {},
    fromText: parseCells,
    explainError: cellsError,
    display: displayCells,
    format: redactCells,
  }),
  cell: field<string | undefined>("WARREN_CELL", {
    schema: cellName,
    allowed:
      '1 to 200 of the characters A-Z a-z 0-9 _ . -, without a leading "amq."',
    fallback: undefined,
    ...defaultText("none"),
  }),
  host: field<string | undefined>("WARREN_HOST", {
    schema: hostName,
    allowed:
      '1 to 200 of the characters A-Z a-z 0-9 _ . -, without a leading "amq."',
    fallback: undefined,
    ...defaultText("the machine's name"),
  }),
  concurrency: field("WARREN_CONCURRENCY", {
    schema: wholeNumber(65_535),
    allowed: "a whole number from 1 to 65535",
    fallback: 64,
    ...numeric,
  }),
  prefetch: field<number | undefined>("WARREN_PREFETCH", {
    schema: wholeNumber(65_535),
    allowed: "a whole number from 1 to 65535",
    fallback: undefined,
    ...numeric,
    ...defaultText("as concurrency"),
  }),
  profile: field<"warren" | "nova" | NovaProfile>("WARREN_PROFILE", {
    schema: profileValue,
    allowed: "warren, nova, or an object with variants of nova",
    fallback: "warren",
    format: (value) =>
      typeof value === "string" ? value : JSON.stringify(value),
  }),
  dialect: field<"grizzly" | "folsom" | "oslo">("WARREN_DIALECT", {
    schema: z.enum(["grizzly", "folsom", "oslo"]),
    allowed: "grizzly, folsom or oslo",
    fallback: "grizzly",
  }),
  queueType: field<"auto" | "classic" | "quorum">("WARREN_QUEUE_TYPE", {
    schema: z.enum(["auto", "classic", "quorum"]),
    allowed: "auto, classic or quorum",
    fallback: "auto",
  }),
  timeout: field("WARREN_TIMEOUT", {
    schema: milliseconds((ms) => ms > 0),
    allowed: "milliseconds above 0",
    fallback: 60_000,
    ...numeric,
  }),
  grace: field("WARREN_GRACE", {
    schema: milliseconds((ms) => ms >= 0),
    allowed: "milliseconds, 0 or more",
    fallback: 30_000,
    ...numeric,
  }),
  heartbeat: field("WARREN_HEARTBEAT", {
    schema: wholeNumber(65_535),
    allowed: "whole seconds from 1 to 65535",
    fallback: 10,
    ...numeric,
  }),
  consumerTimeout: field("WARREN_CONSUMER_TIMEOUT", {
    schema: milliseconds((ms) => ms > 0),
    allowed: "milliseconds above 0",
    fallback: CONSUMER_TIMEOUT_MS,
    ...numeric,
  }),
  longRunning: field("WARREN_LONG_RUNNING", {
    schema: milliseconds((ms) => ms > 0),
    allowed: "milliseconds above 0",
    fallback: DEFAULT_LONG_RUNNING_MS,
    ...numeric,
  }),
  maxMessageSize: field("WARREN_MAX_MESSAGE_SIZE", {
    schema: wholeNumber(536_870_912), // the maximum that RabbitMQ can be configured to accept
    allowed: "whole bytes from 1 to 536870912",
    fallback: defaultLimits.bytes,
    ...numeric,
  }),
  tracebacks: flagField("WARREN_TRACEBACKS", false),
  deadLetterStacks: flagField("WARREN_DEAD_LETTER_STACKS", false),
  traceCasts: field<"link" | "child">("WARREN_TRACE_CASTS", {
    schema: z.enum(["link", "child"]),
    allowed: "link or child",
    fallback: "link",
  }),
  waitForRoute: flagField("WARREN_WAIT_FOR_ROUTE", false),
  pooled: flagField("WARREN_POOLED", false),
  signals: flagField("WARREN_SIGNALS", true),
  remoteControl: flagField("WARREN_REMOTE_CONTROL", false),
  publisherId: field<string | undefined>("WARREN_PUBLISHER_ID", {
    schema: nonEmptyText,
    allowed: "a text that is not empty",
    fallback: undefined,
    ...defaultText("the service's own name"),
  }),
  reportInterval: field("WARREN_REPORT_INTERVAL", {
    schema: milliseconds((ms) => ms >= 0 && ms <= 86_400_000),
    allowed: "milliseconds from 0 to 86400000",
    fallback: 10_000,
    ...numeric,
  }),
  binary: field<string | undefined>("WARREN_BINARY", {
    schema: labelText,
    allowed: "1 to 200 printable ASCII characters",
    fallback: undefined,
    ...defaultText("the first topic"),
  }),
  zone: field<string | undefined>("WARREN_ZONE", {
    schema: labelText,
    allowed: "1 to 200 printable ASCII characters",
    fallback: undefined,
    ...defaultText("none"),
  }),
  healthPort: field<number | undefined>("WARREN_HEALTH_PORT", {
    schema: z.int().min(0).max(65_535),
    allowed: "a whole number from 0 to 65535",
    fallback: undefined,
    ...numeric,
    ...defaultText("none"),
  }),
  healthHostname: field<string>("WARREN_HEALTH_HOSTNAME", {
    schema: z.string().min(1),
    allowed: "an address of this machine",
    fallback: LOOPBACK,
  }),
  taskIntervals: field<Readonly<Record<string, number>>>(
    "WARREN_TASK_INTERVALS",
    {
      schema: intervalsByTask,
      allowed: "milliseconds above 0 by the name of a task",
      fallback: {},
      fromText: (text) => parsePairs(text),
      format: (intervals) =>
        Object.entries(intervals).map((pair) => pair.join("=")).join(",") ||
        "none",
    },
  ),
  "tls.ca": pemField("WARREN_TLS_CA"),
  "tls.cert": pemField("WARREN_TLS_CERT"),
  "tls.key": pemField("WARREN_TLS_KEY"),
  "tls.servername": field<string | undefined>("WARREN_TLS_SERVERNAME", {
    schema: nonEmptyText,
    allowed: "a host name",
    fallback: undefined,
    ...defaultText("the host of the URL"),
  }),
  logLevel: field<LogLevel>("WARREN_LOG_LEVEL", {
    schema: z.enum(LOG_LEVELS),
    allowed: `one of ${LOG_LEVELS.join(", ")}`,
    fallback: "info",
  }),
};

/** Keys of all fields, in the order of `describeConfig`. */
export const keys = Object.keys(fields) as readonly Key[];
