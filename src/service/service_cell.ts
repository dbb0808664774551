/** Cell of a service: its broker, from the map of cells that all processes share. @module */
import { InvalidValueError } from "../errors.ts";
import { checkName } from "../names.ts";
import { override } from "../option_names.ts";
import {
  type BrokerUrls,
  parseUrls,
} from "../connection/connection_options.ts";
import { type Cells, checkCells, unknownCell } from "../cells/cells_options.ts";
import type { Managers, ServiceOptions } from "./service_options.ts";

/**
 * Options of a service that takes the URL of its broker from the map of all cells.
 * @category Cells
 */
export interface CellServiceOptions<M extends Managers = Managers>
  extends Omit<ServiceOptions<M>, "url" | "cells" | "cell"> {
  /** URL of the broker; if given, it has to be that of the cell. */
  readonly url?: BrokerUrls | undefined;
  /** Brokers of all cells. */
  readonly cells: Cells;
  /** Name of the cell in which the service serves. */
  readonly cell: string;
}

/**
 * Returns the options of a service with the URL and the options of its cell.
 *
 * @throws {InvalidValueError} the cell is unknown, there is no URL, or the URL is that of another broker.
 */
export function optionsInCell(
  options: ServiceOptions | CellServiceOptions,
): ServiceOptions {
  const { url, cells = {}, cell } = options;
  if (cell !== undefined) checkName("cell", cell);
  if (cell === undefined || Object.keys(cells).length === 0) {
    if (url !== undefined) return { ...options, url };
    throw new InvalidValueError(
      "Invalid option url: there is none; give the URL of the broker, or cells with the name of the service's cell",
      { data: { path: "url" } },
    );
  }
  const brokers = checkCells(cells);
  const broker = brokers.get(cell);
  if (!broker) throw unknownCell("cell", cell, [...brokers.keys()]);
  if (url !== undefined && !isSameBroker(url, broker.url)) {
    throw new InvalidValueError(
      `Invalid option url: it is not the broker of the cell ${cell}; leave it out, or give another cell`,
      { data: { path: "url" } },
    );
  }
  return override(options, broker);
}

/** True if two options name the same brokers; of functions, if they are the same. */
function isSameBroker(one: BrokerUrls, other: BrokerUrls): boolean {
  if (typeof one === "function" || typeof other === "function") {
    return one === other;
  }
  const textOf = (urls: typeof one) =>
    parseUrls(urls).map(String).sort().join();
  return textOf(one) === textOf(other);
}
