/** Fields of the configuration: each reads, checks and formats one value. @module */
import { z } from "npm:zod@^4.6.7";
import { InvalidValueError } from "../errors.ts";
import { checkHost } from "../names.ts";
import { withoutUndefined } from "../option_names.ts";
import { parseUrls } from "../connection/connection_options.ts";
import { brokerUrls } from "../connection/broker_url.ts";
import { displayValue } from "./display.ts";
import { busProfile, type NovaProfile } from "../connection/bus_profile.ts";
import { LABEL } from "../option_checks.ts";

/** Definition of one value of the configuration. */
export interface Field<T> {
  /** Environment variable. */
  readonly variable: string;
  /** Schema of an allowed value. */
  readonly schema: z.ZodType<T>;
  /** Description of the allowed values, to follow the word "give" in an error message. */
  readonly allowed: string;
  /**
   * Converts the text of a variable to an input of the schema. A text that cannot be converted stays, so that the schema
   * rejects it.
   */
  readonly fromText: (text: string) => unknown;
  /** Default. */
  readonly fallback: T;
  /** Explains an invalid value, if `allowed` is not enough. The text must not contain secrets. */
  readonly explainError?: (value: unknown) => string | undefined;
  /** Formats an invalid value for an error message, without secrets. */
  readonly display: (value: unknown) => string;
  /** Formats a valid value for display, without secrets. */
  format(value: T): string;
}

/** Definition of a field without the members that have a default. */
export type FieldDefinition<T> =
  & Pick<Field<T>, "schema" | "allowed" | "fallback">
  & Partial<Omit<Field<T>, "variable">>;

/** Creates a field. By default, a text is not converted, and values are formatted by `String`. */
export function field<T>(
  variable: string,
  definition: FieldDefinition<T>,
): Field<T> {
  return {
    variable,
    fromText: (text) => text,
    display: displayValue,
    format: String,
    ...definition,
  };
}

/** Formatting that prints `absent` instead of `undefined`. */
export const defaultText = (
  absent: string,
): Pick<Field<unknown>, "format"> => ({
  format: (value) => String(value ?? absent),
});

/** Conversion of a decimal number in the text of a variable. */
export const numeric: Pick<Field<number>, "fromText"> = {
  fromText: (text) => /^-?\d+(\.\d+)?$/.test(text) ? Number(text) : text,
};

/** Parses `name=number,name=number`. Values that are no numbers stay texts, which the schema rejects. */
export function parsePairs(text: string): Record<string, unknown> {
  const entries = text.split(",").map((pair) => {
    const [name = "", ...value] = pair.split("=").map((part) => part.trim());
    return [name, numeric.fromText(value.join("="))];
  });
  return Object.fromEntries(entries);
}

/** Schema of whole numbers from 1 to `max`. */
export const wholeNumber = (max: number): z.ZodType<number> =>
  z.int().min(1).max(max);

/** Schema of milliseconds that `isAllowed` accepts; `Infinity` is a valid value. */
export const milliseconds = (
  isAllowed: (value: number) => boolean,
): z.ZodType<number> =>
  z.custom<number>((value) => typeof value === "number" && isAllowed(value));

/** Schema of a record from the name of a periodic task to its interval in milliseconds. */
export const intervalsByTask: z.ZodType<Readonly<Record<string, number>>> = z
  .preprocess(
    (value) =>
      typeof value === "object" && value ? withoutUndefined(value) : value,
    z.record(z.string().min(1), milliseconds((ms) => ms > 0)),
  );

/** Schema of a text that is not empty. */
export const nonEmptyText: z.ZodType<string | undefined> = z.string().min(1);

/** Schema of a label in service reports. */
export const labelText: z.ZodType<string | undefined> = z.string().regex(LABEL);

/** Creates a field for a boolean. */
export function flagField(variable: string, fallback: boolean): Field<boolean> {
  const words: Record<string, boolean> = { true: true, false: false };
  return field(variable, {
    schema: z.boolean(),
    allowed: "true or false",
    fallback,
    fromText: (word) => Object.hasOwn(words, word) ? words[word] : word,
  });
}

/** Runs a check and returns false if it throws. */
function doesNotThrow(check: () => unknown): boolean {
  try {
    check();
    return true;
  } catch {
    return false;
  }
}

/** True if a URL has a host, and a user name and password whose percent-encoding can be decoded. */
function isComplete(url: URL): boolean {
  if (url.protocol === "memory:") return true;
  const { host, username, password } = url;
  return host !== "" &&
    doesNotThrow(() => decodeURIComponent(username + password));
}

/**
 * Schema of URLs that `createConnection` accepts. A `transport_url` of oslo.messaging becomes one URL for each of its
 * hosts.
 */
export const urlList: z.ZodType<readonly string[]> = z.union([
  z.string().transform((one) => [one]),
  z.array(z.string()),
]).refine((list) => doesNotThrow(() => parseUrls(list)))
  .transform((list) => list.flatMap(brokerUrls))
  .refine((list) => list.every((one) => isComplete(new URL(one))));

/** Returns the message of the error in URLs, if it can be described without quoting the URLs. */
export function urlsError(urls: unknown): string | undefined {
  try {
    parseUrls(urls as readonly string[]);
    return undefined;
  } catch (error) {
    return error instanceof InvalidValueError ? error.message : undefined;
  }
}

/** Schema of a profile that `createConnection` accepts. */
export const profileValue: z.ZodType<"warren" | "nova" | NovaProfile> = z
  .custom<
    "warren" | "nova" | NovaProfile
  >(
    (value) => doesNotThrow(() => busProfile(value as NovaProfile)),
  );

/** Schema of the name of a host. */
export const hostName: z.ZodType<string | undefined> = z.string()
  .refine((value) => doesNotThrow(() => checkHost(value)));

/** Creates a field for PEM or the path of a PEM file; its value is never displayed. */
export function pemField(variable: string): Field<string | undefined> {
  return field(variable, {
    schema: nonEmptyText,
    allowed: "PEM, or the path of a file with it",
    fallback: undefined,
    display: () => "(hidden)",
    format: (value) => value === undefined ? "none" : "(PEM)",
  });
}
