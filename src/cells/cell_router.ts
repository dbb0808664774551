/** The way of a request to its cell, and of a fanout to all of them. @module */
import { InvalidValueError, NoRouteError } from "../errors.ts";
import { logger } from "../logging.ts";
import type { SendOptions } from "../rpc/client/call_options.ts";
import type { Cell } from "./cell.ts";
import { inCell } from "./cell_errors.ts";
import {
  type CellRequest,
  type CellRoute,
  listOf,
  unknownCell,
} from "./cells_options.ts";

/** Default of the `timeout` of a verb, in milliseconds. */
const DEFAULT_TIMEOUT_MS = 60_000;

/**
 * Outcome of a fanout cast to all cells.
 * @category Cells
 */
export interface FanoutReport {
  /** Names of the cells whose broker has the message. */
  readonly reached: readonly string[];
  /** Errors of the other cells, by their names; an error that is in doubt may have reached workers of its cell. */
  readonly failed: Readonly<Record<string, Error>>;
}

/** The cells of a connection, by their names, and the route between them. */
export class CellRouter {
  readonly #cells: ReadonlyMap<string, Cell>;
  readonly #route: CellRoute | undefined;

  /** Routes between `cells`; without a route, each request has to name its cell. */
  constructor(
    cells: ReadonlyMap<string, Cell>,
    route: CellRoute | undefined,
  ) {
    this.#cells = cells;
    this.#route = route;
  }

  /** All cells. */
  get cells(): readonly Cell[] {
    return [...this.#cells.values()];
  }

  /** Names of the cells. */
  get names(): readonly string[] {
    return [...this.#cells.keys()];
  }

  /**
   * Returns a cell by its name.
   *
   * @throws {InvalidValueError} there is no such cell; the message names the known ones.
   */
  cell(name: string): Cell {
    const cell = this.#cells.get(name);
    if (!cell) throw unknownCell("cell", name, this.names);
    return cell;
  }

  /** Sends a request in its cell; errors name the cell. */
  async send<T>(
    request: CellRequest,
    send: (cell: Cell) => Promise<T>,
  ): Promise<T> {
    const cell = this.#cellOf(request);
    try {
      return await send(cell);
    } catch (error) {
      throw inCell(cell.name, error);
    }
  }

  /** Opens a stream in its cell; its errors name the cell. */
  stream<T>(
    request: CellRequest,
    open: (cell: Cell) => AsyncGenerator<T, void, undefined>,
  ): AsyncGenerator<T, void, undefined> {
    const cell = this.#cellOf(request);
    const items = open(cell);
    const { next } = items;
    items.next = async () => {
      try {
        return await next.call(items);
      } catch (error) {
        throw inCell(cell.name, error);
      }
    };
    return items;
  }

  /**
   * Sends a fanout to all cells at once. A cell that is down or blocked fails at once, and a cell that is lost meanwhile
   * fails when that is noticed.
   *
   * @throws {RpcError} no cell took the message; the error is that of the first cell.
   */
  async fanout<O extends SendOptions>(
    { topic, method }: CellRequest,
    options: O,
    send: (cell: Cell, options: O) => Promise<unknown>,
  ): Promise<FanoutReport> {
    const { signal, timeout = DEFAULT_TIMEOUT_MS } = options;
    const reached: string[] = [];
    const failed: Record<string, Error> = {};
    await Promise.all(this.cells.map(async (cell) => {
      try {
        await cell.settled(timeout);
        if (cell.failure) throw cell.failure;
        const either = signal
          ? AbortSignal.any([signal, cell.loss])
          : cell.loss;
        await send(cell, { ...options, signal: either });
        reached.push(cell.name);
      } catch (error) {
        failed[cell.name] = inCell(cell.name, error) as Error;
      }
    }));
    signal?.throwIfAborted();
    const errors = Object.entries(failed);
    const wrong = errors.find(([, error]) =>
      error instanceof InvalidValueError
    );
    if (wrong) throw wrong[1];
    if (reached.length === 0 && errors[0]) throw errors[0][1];
    for (const [cell, error] of errors) {
      const text = "The fanout {topic}.{method} did not reach a cell: {error}";
      logger("rpc").warn(text, { topic, method, error: error.message }, cell);
    }
    return { reached, failed };
  }

  /** @throws {InvalidValueError | NoRouteError} the route names no cell of this connection. */
  #cellOf(request: CellRequest): Cell {
    const { names } = this;
    const { topic, host, method, eventType } = request;
    const what = method === undefined
      ? `the event ${eventType}`
      : `${topic}.${method}${host === undefined ? "" : ` on host ${host}`}`;
    const name = this.#nameOf(request, what);
    if (name === undefined) {
      const text = `The option route knows no cell for ${what}`;
      throw new NoRouteError(`${text}; the cells are ${listOf(names)}`, {
        data: { topic, host, cells: names },
      });
    }
    const cell = typeof name === "string" ? this.#cells.get(name) : undefined;
    if (!cell) {
      throw unknownCell(`the result of route for ${what}`, name, names);
    }
    return cell;
  }

  #nameOf(request: CellRequest, what: string): unknown {
    const data = { path: "route", cells: this.names };
    const route = this.#route;
    if (!route) {
      throw new InvalidValueError(
        `No cell for ${what}: give the option route, or name the cell with cell(name), one of ${
          listOf(this.names)
        }`,
        { data },
      );
    }
    try {
      return route(request);
    } catch (cause) {
      const reason = cause instanceof Error ? cause.message : String(cause);
      const known = listOf(this.names);
      throw new InvalidValueError(
        `The option route threw for ${what}: ${reason}; the cells are ${known}`,
        { cause, data },
      );
    }
  }
}
