/** Cells in the configuration: the map of their brokers, and the cell of the process. @module */
import { z } from "npm:zod@^4.6.7";
import { checkName } from "../names.ts";
import { urlsOfList } from "../connection/broker_url.ts";
import { urlList, urlsError } from "./field.ts";
import { displayValue, redactUrls } from "./display.ts";
import type { Config } from "./types.ts";

/** Schema of the name of a cell. */
export const cellName: z.ZodType<string | undefined> = z.string()
  .refine((name) => {
    try {
      checkName("cell", name);
      return true;
    } catch {
      return false;
    }
  });

/** Schema of the URLs of the brokers by the names of their cells. */
export const urlsByCell: z.ZodType<Config["cells"]> = z.record(
  z.string(),
  urlList,
).refine((cells) =>
  Object.keys(cells).every((name) => cellName.safeParse(name).success)
);

/** Parses `name=url,url`, separated by white space. Other texts stay as they are, so that the schema rejects them. */
export function parseCells(text: string): unknown {
  const pairs = text.split(/\s+/).filter((pair) => pair !== "");
  const cells = pairs.map((pair) => {
    const at = pair.indexOf("=");
    return [pair.slice(0, Math.max(0, at)), urlsOfList(pair.slice(at + 1))];
  });
  const names = new Set(cells.map(([name]) => name));
  return names.size === cells.length ? Object.fromEntries(cells) : text;
}

/** Returns the message of the error in the URLs of a cell, with its name. */
export function cellsError(cells: unknown): string | undefined {
  if (typeof cells !== "object" || cells === null) return undefined;
  for (const [name, urls] of Object.entries(cells)) {
    if (!cellName.safeParse(name).success) continue;
    const reason = urlsError(urls);
    if (reason !== undefined) return `${name}: ${reason}`;
  }
  return undefined;
}

/** Formats invalid cells for an error message: only their names, since URLs may hold passwords. */
export function displayCells(cells: unknown): string {
  return typeof cells === "string"
    ? "(hidden: it may hold a password)"
    : displayValue(cells);
}

/** Formats cells for display, without passwords. */
export function redactCells(cells: Config["cells"]): string {
  const pairs = Object.entries(cells)
    .map(([name, urls]) => `${name}=${redactUrls(urls)}`);
  return pairs.join(" ") || "none";
}
