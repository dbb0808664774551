/** Services of all cells: the discovery of each cell, merged (Nova: `scatter_gather_cells`). @module */
import { ConnectionDisposedError, InvalidValueError } from "../errors.ts";
import { AsyncQueue } from "../async/async_queue.ts";
import type { ServicesOptions } from "../rpc/discovery/discover.ts";
import type { ServiceStatus } from "../rpc/discovery/service_report.ts";
import type { Cell } from "./cell.ts";
import { inCell } from "./cell_errors.ts";

/**
 * Service of a cell, as other processes see it.
 * @category Cells
 */
export interface CellServiceStatus extends ServiceStatus {
  /** Name of the cell in which the service was found. */
  readonly cell: string;
}

/**
 * Services of all cells as they reply, and the cells that did not answer.
 * @category Cells
 */
export interface CellServices
  extends AsyncGenerator<CellServiceStatus, void, undefined> {
  /**
   * Errors of the cells that did not answer, by their names: a cell that is down is there at once, one that is silent
   * after the `timeout`. With `watch`, a cell that is back is removed.
   */
  readonly failed: Readonly<Record<string, Error>>;
}

/** Default of the milliseconds to wait for replies, as in the discovery of one cell. */
const DEFAULT_TIMEOUT_MS = 1_000;

/** Collaborators of the survey of one cell. */
interface Survey {
  readonly options: ServicesOptions;
  readonly statuses: AsyncQueue<CellServiceStatus>;
  readonly failed: Record<string, Error>;
  /** Ends the survey. */
  readonly signal: AbortSignal;
}

/** Yields the services of all cells; `failed` of the returned object has the cells that did not answer. */
export function cellServices(
  cells: readonly Cell[],
  options: ServicesOptions,
): CellServices {
  const ended = new AbortController();
  const failed: Record<string, Error> = {};
  const services = merge(cells, options, failed, ended);
  const { return: end } = services;
  // The generator's own `return` would wait for a pending `next`, which waits for the next change of a service.
  services.return = (value) => {
    ended.abort();
    return end.call(services, value);
  };
  return Object.assign(services, { failed });
}

async function* merge(
  cells: readonly Cell[],
  options: ServicesOptions,
  failed: Record<string, Error>,
  ended: AbortController,
): AsyncGenerator<CellServiceStatus, void, undefined> {
  const statuses = new AsyncQueue<CellServiceStatus>();
  const signal = options.signal
    ? AbortSignal.any([ended.signal, options.signal])
    : ended.signal;
  ended.signal.addEventListener("abort", () => statuses.end());
  const surveys = cells.map((cell) =>
    survey(cell, { options, statuses, failed, signal })
  );
  const done = Promise.all(surveys)
    .then(() => statuses.end(), (error) => statuses.end({ error }));
  try {
    yield* statuses;
  } finally {
    ended.abort();
    await Promise.allSettled([done, ...surveys]);
  }
}

/** Surveys one cell; with `watch` until the end, again whenever a cell that was down is back. */
async function survey(cell: Cell, survey: Survey): Promise<void> {
  const { options, failed, signal } = survey;
  const { watch = false, timeout = DEFAULT_TIMEOUT_MS } = options;
  await cell.settled(timeout);
  for (;;) {
    signal.throwIfAborted();
    const failure = cell.failure ?? await ask(cell, survey, timeout);
    if (failure) failed[cell.name] = failure;
    if (!watch || !failure) return;
    await cell.reach({ at: Infinity, signal });
    delete failed[cell.name];
  }
}

/** Passes on the services of a cell; returns an error if its broker did not answer in time. */
async function ask(
  cell: Cell,
  { options, statuses, failed, signal }: Survey,
  timeout: number,
): Promise<Error | undefined> {
  const { watch = false, store } = options;
  const deadline = { at: performance.now() + timeout, signal };
  const proof = cell.probe(deadline).then(() => undefined, (error) => error);
  if (watch) follow(cell, failed, proof, signal);
  try {
    const found = cell.context.services({
      ...options,
      signal,
      store: store && { list: () => recordsOf(store, cell.name) },
    });
    for await (const status of found) {
      statuses.push({ ...status, cell: cell.name });
    }
  } catch (error) {
    const ends = signal.aborted || error instanceof InvalidValueError ||
      error instanceof ConnectionDisposedError;
    if (ends) throw error;
    return inCell(cell.name, error) as Error;
  }
  return await proof ?? cell.failure;
}

/** Keeps the cell's entry in `failed` right while the cell is watched. */
function follow(
  cell: Cell,
  failed: Record<string, Error>,
  proof: Promise<Error | undefined>,
  signal: AbortSignal,
): void {
  const update = (failure: Error | undefined = cell.failure) => {
    if (failure) failed[cell.name] = failure;
    else delete failed[cell.name];
  };
  for (const type of ["connected", "disconnected", "failed"] as const) {
    cell.context.addEventListener(type, () => update(), { signal });
  }
  void proof.then((failure) => signal.aborted || update(failure));
}

/** Returns the records of the services of one cell, in a store that the cells may share. */
async function recordsOf(
  store: NonNullable<ServicesOptions["store"]>,
  cell: string,
) {
  const records = await store.list();
  return records.filter((record) => record.cell === cell);
}
