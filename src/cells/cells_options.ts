/** Cells and the route between them: their types, and the checks of their values. @module */
import { InvalidValueError } from "../errors.ts";
import { checkName } from "../names.ts";
import { checkNames, namesOf } from "../option_names.ts";
import { connectionNames } from "../connection/option_names.ts";
import {
  type BrokerUrls,
  type ConnectionOptions,
  parseUrls,
} from "../connection/connection_options.ts";
import type { AnyArgs } from "../rpc/client/call_options.ts";

/**
 * Broker of a cell, with options of its own, which replace those that all cells share.
 * @category Cells
 */
export interface CellOptions extends ConnectionOptions {
  /** URL of the broker, or URLs of the nodes of a cluster, or a function that returns them. */
  readonly url: BrokerUrls;
}

/**
 * Brokers of the cells, by the names of the cells: 1 to 200 of the characters `[A-Za-z0-9_.-]`. Each cell is a broker or
 * a cluster of its own.
 * @category Cells
 */
export type Cells = Readonly<Record<string, BrokerUrls | CellOptions>>;

/**
 * Request or event for which a route names the cell.
 * @category Cells
 */
export interface CellRequest {
  /** Topic of the request, or first topic of the event. */
  readonly topic: string;
  /** Host; undefined for any worker of the topic. */
  readonly host?: string | undefined;
  /** Namespace of the contract. */
  readonly namespace?: string | undefined;
  /** Procedure; undefined for an event. */
  readonly method?: string | undefined;
  /** Keyword arguments, before any check; undefined for an event. */
  readonly args?: AnyArgs | undefined;
  /** Type of the event; undefined for a request. */
  readonly eventType?: string | undefined;
  /** Payload of the event; undefined for a request. */
  readonly payload?: unknown;
}

/**
 * Returns the name of the cell of a request (Nova: the host and instance mappings of the API database); undefined if no
 * cell is known for it, which is a `NoRouteError`. It is called for every request and must not return a promise: look up
 * what takes time before, and name the cell with `CellsConnection.cell`.
 * @category Cells
 */
export type CellRoute = (request: CellRequest) => string | undefined;

/**
 * Cells of a connection.
 * @category Cells
 */
export interface CellsOptions {
  /** Brokers of the cells. */
  readonly cells: Cells;
  /** Names the cell of each request. Default: none, so that requests have to name their cell with `CellsConnection.cell`. */
  readonly route?: CellRoute | undefined;
  /** Names of the cells that have to be reachable before the connection is returned; default: any one of them. */
  readonly waitFor?: readonly string[] | undefined;
}

const optionNames = namesOf<CellsOptions>({
  cells: true,
  route: true,
  waitFor: true,
});

/** True for the cells of a connection, false for the URLs of one broker. */
export function isCellsOptions(
  value: BrokerUrls | CellsOptions,
): value is CellsOptions {
  return isOptions(value) && "cells" in value;
}

/** True for an object that is neither a list nor a `URL`. */
function isOptions<T>(value: T): value is Exclude<T, BrokerUrls> {
  return typeof value === "object" && value !== null &&
    !Array.isArray(value) && !(value instanceof URL);
}

/** Quotes the names of cells, for an error message. */
export const listOf = (names: Iterable<string>): string =>
  [...names].join(", ");

/** Error for a name that is none of the cells. */
export function unknownCell(
  what: string,
  name: unknown,
  known: readonly string[],
): InvalidValueError {
  const shown = typeof name === "string"
    ? JSON.stringify(name.slice(0, 60))
    : `a ${typeof name}`;
  return new InvalidValueError(
    `Unknown cell ${shown} in ${what}; give one of ${listOf(known)}`,
    { data: { path: what, cells: known } },
  );
}

/**
 * Checks the cells and returns the options of each by its name.
 *
 * @throws {InvalidValueError} there is no cell, or a name, a URL or an option of a cell is invalid.
 */
export function checkCells(cells: Cells): ReadonlyMap<string, CellOptions> {
  if (!isOptions(cells) || Object.keys(cells).length === 0) {
    throw new InvalidValueError(
      "Invalid option cells: give the URLs of at least one broker by the name of its cell",
      { data: { path: "cells" } },
    );
  }
  return new Map(
    Object.entries(cells).map(([name, broker]) => {
      checkName("cell", name);
      const path = `cells.${name}`;
      const options: CellOptions = isOptions(broker) ? broker : { url: broker };
      checkNames(options, connectionNames, `${path}.`);
      checkUrl(path, options.url);
      return [name, options];
    }),
  );
}

/**
 * Checks the options of a connection to cells.
 *
 * @throws {InvalidValueError} an option is invalid; the message names it.
 */
export function checkCellsOptions(
  options: CellsOptions,
): ReadonlyMap<string, CellOptions> {
  checkNames(options, optionNames);
  const cells = checkCells(options.cells);
  const { route, waitFor = [] } = options;
  if (route !== undefined && typeof route !== "function") {
    throw new InvalidValueError(
      "Invalid option route: give a function that returns the name of a cell",
      { data: { path: "route" } },
    );
  }
  for (const name of waitFor) {
    if (!cells.has(name)) throw unknownCell("waitFor", name, [...cells.keys()]);
  }
  return cells;
}

/** Checks the URL of a cell; the error names the cell, and does not quote the URL. */
function checkUrl(path: string, url: BrokerUrls): void {
  if (typeof url === "function") return;
  try {
    parseUrls(url);
  } catch (error) {
    const reason = error instanceof Error ? error.message : "";
    throw new InvalidValueError(`Invalid option ${path}: ${reason}`, {
      data: { path },
    });
  }
}
