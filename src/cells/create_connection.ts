/** Creation of connections: to one broker, or to several cells. @module */
import { ConnectionFailedError } from "../errors.ts";
import { connect } from "../connection/connect.ts";
import { DEFAULT_TIMEOUT_MS } from "../connection/checked_options.ts";
import type { ConnectionContext } from "../connection/connection_context.ts";
import type {
  BrokerUrls,
  ConnectionOptions,
} from "../connection/connection_options.ts";
import { checkConnectionNames } from "../connection/option_names.ts";
import { TOPIC } from "../rpc/notifications/drivers.ts";
import { Cell } from "./cell.ts";
import { CellRouter } from "./cell_router.ts";
import {
  type CellsConnection,
  createCellsConnection,
} from "./cells_connection.ts";
import {
  type CellOptions,
  type CellsOptions,
  checkCellsOptions,
  isCellsOptions,
} from "./cells_options.ts";

/**
 * Connects to a broker, or to several cells. All connection contexts of a process share one connection for publishing
 * and one for consuming to each broker.
 *
 * @throws {ConnectionFailedError} the broker cannot be reached in time, or refuses the login or virtual host; a
 * function that returns the URLs or the credentials fails; or the ledger store does not work. Of several cells: none of
 * them, or one of `waitFor`, can be reached in time.
 * @throws {InvalidValueError} a URL or an option is invalid.
 * @example
 * ```ts
 * import { createConnection } from "@warren/runtime";
 *
 * await using connection = await createConnection("memory:example");
 * await connection.notify("example.start", { at: 1 });
 *
 * await using cells = await createConnection({
 *   cells: { cell1: "memory:cell1", cell2: "memory:cell2" },
 *   route: ({ host }) => host?.startsWith("gb") ? "cell1" : "cell2",
 * });
 * for await (const { host, cell } of cells.services()) console.log(host, cell);
 * ```
 * @category Connections
 */
export async function createConnection(
  url: BrokerUrls,
  options?: ConnectionOptions,
): Promise<ConnectionContext>;
/** Connects to several cells; `options` are those of every cell that has none of its own. */
export async function createConnection(
  cells: CellsOptions,
  options?: ConnectionOptions,
): Promise<CellsConnection>;
export async function createConnection(
  where: BrokerUrls | CellsOptions,
  options: ConnectionOptions = {},
): Promise<ConnectionContext | CellsConnection> {
  checkConnectionNames(options);
  if (!isCellsOptions(where)) return await connect(where, options);
  return await connectCells(where, options);
}

/** Opens all cells at once, and waits for one of them, or for those of `waitFor`. */
async function connectCells(
  where: CellsOptions,
  options: ConnectionOptions,
): Promise<CellsConnection> {
  const { route, waitFor } = where;
  const router = new CellRouter(
    await openCells(checkCellsOptions(where), options),
    route,
  );
  const [eventTopic = TOPIC] = options.notifications?.topics ?? [];
  const connection = createCellsConnection(router, eventTopic);
  try {
    await reachCells(router, waitFor, options);
    return connection;
  } catch (error) {
    await connection[Symbol.asyncDispose]();
    throw error;
  }
}

async function openCells(
  brokers: ReadonlyMap<string, CellOptions>,
  options: ConnectionOptions,
): Promise<ReadonlyMap<string, Cell>> {
  const opening = [...brokers].map(([name, broker]) =>
    Cell.open(name, broker, options)
  );
  const results = await Promise.allSettled(opening);
  const cells = results.filter((result) => result.status === "fulfilled")
    .map(({ value }) => value);
  const failed = results.find((result) => result.status === "rejected");
  if (!failed) return new Map(cells.map((cell) => [cell.name, cell]));
  await Promise.all(cells.map((cell) => cell[Symbol.asyncDispose]()));
  throw failed.reason;
}

/**
 * Waits until one cell is reachable, or those that are named.
 *
 * @throws {ConnectionFailedError} that did not happen in time; the message has the reason of each cell.
 */
async function reachCells(
  router: CellRouter,
  waitFor: readonly string[] | undefined,
  { timeout = DEFAULT_TIMEOUT_MS, signal }: ConnectionOptions,
): Promise<void> {
  const done = new AbortController();
  const signals = signal ? [signal, done.signal] : [done.signal];
  const deadline = {
    at: performance.now() + timeout,
    signal: AbortSignal.any(signals),
  };
  try {
    if (waitFor) {
      const cells = waitFor.map((name) => router.cell(name));
      await Promise.all(cells.map((cell) => cell.reach(deadline)));
    } else {
      await Promise.any(router.cells.map((cell) => cell.reach(deadline)));
    }
  } catch (error) {
    signal?.throwIfAborted();
    if (!(error instanceof AggregateError)) throw error;
    const reasons = error.errors.map(({ message }) => message).join("; ");
    throw new ConnectionFailedError(`No cell can be reached: ${reasons}`, {
      cause: error,
      data: { cells: router.names },
    });
  } finally {
    done.abort();
  }
}
