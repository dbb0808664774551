/** One value of the configuration: how it is read, checked and shown. @module */
import { z } from "npm:zod@^4.6.7";
import { InvalidValueError } from "../errors.ts";
import { checkHost } from "../names.ts";
import { given } from "../option_names.ts";
import { parseUrls } from "../connection/connection_options.ts";
import { brokerUrls } from "../connection/broker_url.ts";
import { displayValue } from "./display.ts";
import { busProfile, type NovaProfile } from "../connection/bus_profile.ts";
import { LABEL } from "../option_checks.ts";

/** One value of the configuration. */
export interface Field<T> {
  /** Its variable. */
  readonly variable: string;
  /** What is right. */
  readonly schema: z.ZodType<T>;
  /** The same in words, after "give". */
  readonly allowed: string;
  /** From the text of a variable to a value for the schema, which refuses what is none. */
  readonly fromText: (text: string) => unknown;
  /** Where nothing is given. */
  readonly fallback: T;
  /** Why a value is wrong, if more can be said than what is allowed. */
  readonly explainError?: (value: unknown) => string | undefined;
  /** A wrong value as it may be seen. */
  readonly display: (value: unknown) => string;
  /** A right value as it may be seen. */
  format(value: T): string;
}

/** A field; `more` says what is not as usual. */
export function field<T>(
  variable: string,
  schema: z.ZodType<T>,
  allowed: string,
  fallback: T,
  overrides: Partial<Field<T>> = {},
): Field<T> {
  const fromText = (text: string): unknown => text;
  const print = String;
  return {
    variable,
    schema,
    allowed,
    fallback,
    fromText,
    display: displayValue,
    format: print,
    ...overrides,
  };
}

/** What `undefined` stands for, and any other value as it is. */
export const defaultText = (
  absent: string,
): { format: (value: unknown) => string } => ({
  format: (value) => String(value ?? absent),
});

/** A number in a variable. */
export const numeric: Pick<Field<number>, "fromText"> = {
  fromText: (text) => /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text,
};

/** Numbers by their names: `name=number`, with commas between. What is none is left for the schema to refuse. */
export function parsePairs(text: string): Record<string, unknown> {
  const entries = text.split(",").map((pair) => {
    const [name = "", ...value] = pair.split("=").map((part) => part.trim());
    return [name, numeric.fromText(value.join("="))];
  });
  return Object.fromEntries(entries);
}

/** Whole numbers from 1. */
export const wholeNumber = (max: number): z.ZodType<number> =>
  z.int().min(1).max(max);

/** Milliseconds, Infinity included. */
export const milliseconds = (
  isAllowed: (value: number) => boolean,
): z.ZodType<number> =>
  z.custom<number>((value) => typeof value === "number" && isAllowed(value));

/** Milliseconds by the names of tasks. */
export const intervalsByTask: z.ZodType<Readonly<Record<string, number>>> = z
  .preprocess(
    (value) => typeof value === "object" && value ? given(value) : value,
    z.record(z.string().min(1), milliseconds((ms) => ms > 0)),
  );

/** Any text but the empty one. */
export const nonEmptyText: z.ZodType<string | undefined> = z.string().min(1);

/** What names something in a report. */
export const labelText: z.ZodType<string | undefined> = z.string().regex(LABEL);

/** Yes or no. */
export function flagField(variable: string, fallback: boolean): Field<boolean> {
  const words: Record<string, boolean> = { true: true, false: false };
  return field(variable, z.boolean(), "true or false", fallback, {
    fromText: (word) => Object.hasOwn(words, word) ? words[word] : word,
  });
}

/** True if that throws nothing. */
function doesNotThrow(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

/** Whether a URL names its broker, and a login that can be read. */
function isComplete(url: URL): boolean {
  if (url.protocol === "memory:") return true;
  const { host, username, password } = url;
  return host !== "" &&
    doesNotThrow(() => decodeURIComponent(username + password));
}

/** URLs that `createConnection` takes, each with its host; those of a `transport_url` are listed one by one. */
export const urlList: z.ZodType<readonly string[]> = z.union([
  z.string().transform((one) => [one]),
  z.array(z.string()),
]).refine((list) => doesNotThrow(() => parseUrls(list)))
  .transform((list) => list.flatMap(brokerUrls))
  .refine((list) => list.every((one) => isComplete(new URL(one))));

/** The fault of URLs, where it can be told without a part of them. */
export function urlsError(given: unknown): string | undefined {
  try {
    parseUrls(given as readonly string[]);
    return undefined;
  } catch (error) {
    return error instanceof InvalidValueError ? error.message : undefined;
  }
}

/** A profile that `createConnection` takes. */
export const profileValue: z.ZodType<"warren" | "nova" | NovaProfile> = z
  .custom<
    "warren" | "nova" | NovaProfile
  >(
    (given) => doesNotThrow(() => busProfile(given as NovaProfile)),
  );

/** A name of a host. */
export const hostName: z.ZodType<string | undefined> = z.string()
  .refine((value) => doesNotThrow(() => checkHost(value)));

/** A text that may be PEM, of which nothing is shown. */
export function pemField(variable: string): Field<string | undefined> {
  return field(
    variable,
    nonEmptyText,
    "PEM, or the path of a file with it",
    undefined,
    {
      display: () => "(hidden)",
      format: (value) => value === undefined ? "none" : "(PEM)",
    },
  );
}
