/** Connection to several cells, with the verbs of a connection to one broker. @module */
import type { Contract } from "../contract/types.ts";
import type { ConnectionContext } from "../connection/connection_context.ts";
import type { TransportHealth } from "../transport/transport_health.ts";
import type { ClientOptions } from "../rpc/client/client.ts";
import type { ServicesOptions } from "../rpc/discovery/discover.ts";
import type { NotifyOptions } from "../rpc/notifications/notifier.ts";
import type {
  Notifier,
  NotifierOptions,
} from "../rpc/notifications/typed_notifier.ts";
import type { EventContract } from "../contract/events.ts";
import type {
  AnyArgs,
  CallOptions,
  CastOptions,
  FanoutCastOptions,
  Target,
} from "../rpc/client/call_options.ts";
import type { CellRouter, FanoutReport } from "./cell_router.ts";
import { type CellServices, cellServices } from "./cell_services.ts";
import { type CellsClient, createCellsClient } from "./cells_client.ts";
import { createCellsNotifier } from "./cells_notifier.ts";
import type { CellRequest } from "./cells_options.ts";

/** Creates a connection. Users call `createConnection`. */
export let createCellsConnection: (
  router: CellRouter,
  eventTopic: string,
) => CellsConnection;

/**
 * Connection to several cells, each a broker or a cluster of its own (Nova: cells v2). Created by `createConnection`.
 * Each request goes to the cell that the option `route` names; `cell` is the connection of one cell. A cell that is down
 * delays no other: a request to it waits until its own deadline, and its error names the cell.
 *
 * Disposal disposes of the connections of all cells.
 * @category Cells
 */
export class CellsConnection implements AsyncDisposable {
  readonly #router: CellRouter;
  readonly #eventTopic: string;

  static {
    createCellsConnection = (router, eventTopic) =>
      new CellsConnection(router, eventTopic);
  }

  private constructor(router: CellRouter, eventTopic: string) {
    this.#router = router;
    this.#eventTopic = eventTopic;
  }

  /** Names of the cells. */
  get cells(): readonly string[] {
    return this.#router.names;
  }

  /**
   * Returns the connection of one cell (Nova: `target_cell`). It exists also while the broker of the cell is down, and
   * is disposed with this connection.
   *
   * @throws {InvalidValueError} there is no such cell; the message names the known ones.
   */
  cell(name: string): ConnectionContext {
    return this.#router.cell(name).context;
  }

  /** Creates the typed client of a contract; `defaults` are options of all its calls. */
  client<C extends Contract>(
    contract: C,
    defaults?: ClientOptions,
  ): CellsClient<C> {
    return createCellsClient(this.#router, contract, defaults);
  }

  /** Untyped call in the cell of the request. See {@linkcode CellsClient}. */
  async call(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CallOptions = {},
  ): Promise<unknown> {
    return await this.#router.send(
      requestOf(target, method, args, options),
      ({ context }) => context.call(target, method, args, options),
    );
  }

  /** Untyped cast in the cell of the request. See {@linkcode CellsClient}. */
  async cast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CastOptions = {},
  ): Promise<void> {
    await this.#router.send(
      requestOf(target, method, args, options),
      ({ context }) => context.cast(target, method, args, options),
    );
  }

  /** Untyped cast to every worker of all cells. See {@linkcode CellsClient}. */
  async fanoutCast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: FanoutCastOptions = {},
  ): Promise<FanoutReport> {
    return await this.#router.fanout(
      requestOf(target, method, args),
      options,
      ({ context }, changed) =>
        context.fanoutCast(target, method, args, changed),
    );
  }

  /** Untyped call with a stream of replies in the cell of the request. See {@linkcode CellsClient}. */
  multicall(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CallOptions = {},
  ): AsyncGenerator<unknown, void, undefined> {
    return this.#router.stream(
      requestOf(target, method, args, options),
      ({ context }) => context.multicall(target, method, args, options),
    );
  }

  /** Sends an event in the cell that the route names for it. */
  async notify(
    eventType: string,
    payload: unknown,
    options: NotifyOptions = {},
  ): Promise<void> {
    await this.#router.send(
      { topic: this.#eventTopic, eventType, payload },
      ({ context }) => context.notify(eventType, payload, options),
    );
  }

  /**
   * Creates the sender of the events of a contract; `defaults` are options of all its events. Each event is sent in the cell
   * that the route names for it. `cell(name).createListener` listens in one cell.
   */
  notifier<E extends EventContract>(
    events: E,
    defaults?: NotifierOptions,
  ): Notifier<E> {
    return createCellsNotifier(
      this.#router,
      this.#eventTopic,
      events,
      defaults,
    );
  }

  /**
   * Yields the services of all cells as they reply, each with its cell; with `watch`, also later changes. A cell that is
   * down is never waited for: `failed` of the returned object names it at once, and a silent one after the `timeout`. A
   * store may have the services of all cells; only records with the name of a cell are used.
   *
   * @throws {InvalidValueError} an option is invalid.
   * @throws {ConnectionDisposedError} the connection is disposed while services are watched.
   */
  services(options: ServicesOptions = {}): CellServices {
    return cellServices(this.#router.cells, options);
  }

  /** Health of the connections to each cell, by the names of the cells. */
  health(): Readonly<Record<string, TransportHealth>> {
    return Object.fromEntries(
      this.#router.cells.map(({ name, context }) => [name, context.health()]),
    );
  }

  /** Disposes of the connections of all cells. May be called at any time, and repeatedly. */
  async [Symbol.asyncDispose](): Promise<void> {
    await Promise.all(
      this.#router.cells.map((cell) => cell[Symbol.asyncDispose]()),
    );
  }
}

/** Returns what a route gets of a request. */
function requestOf(
  target: Target,
  method: string,
  args: AnyArgs,
  options: Pick<Target, "host"> = {},
): CellRequest {
  const { topic, namespace } = target;
  return { topic, namespace, host: options.host ?? target.host, method, args };
}
