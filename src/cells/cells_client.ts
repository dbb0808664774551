/** Typed verbs of a contract whose workers are in several cells. @module */
import type { CallArgs, Contract, UnaryName } from "../contract/types.ts";
import type { Client, ClientOptions, VerbArgs } from "../rpc/client/client.ts";
import type {
  AnyArgs,
  CallOptions,
  FanoutCastOptions,
} from "../rpc/client/call_options.ts";
import type { Cell } from "./cell.ts";
import type { CellRouter, FanoutReport } from "./cell_router.ts";
import type { CellRequest } from "./cells_options.ts";

/**
 * Typed verbs: those of {@linkcode Client}, each in the cell that the option `route` names.
 * @category Cells
 */
export interface CellsClient<C extends Contract>
  extends Omit<Client<C>, "fanoutCast"> {
  /**
   * Sends a request without a reply to every worker of all cells. Resolves with a report once each cell has taken the
   * message or failed; a cell that is down fails at once.
   *
   * @throws {RpcError} no cell took the message.
   */
  fanoutCast<K extends UnaryName<C>>(
    method: K,
    ...rest: VerbArgs<CallArgs<C, K>, FanoutCastOptions>
  ): Promise<FanoutReport>;
}

/** Verbs of a cell's client, without their types. */
interface UntypedClient {
  call(name: string, args: AnyArgs, options: CallOptions): Promise<unknown>;
  cast(name: string, args: AnyArgs, options: CallOptions): Promise<void>;
  fanoutCast(name: string, args: AnyArgs, options: object): Promise<unknown>;
  multicall(
    name: string,
    args: AnyArgs,
    options: CallOptions,
  ): AsyncGenerator<unknown, void, undefined>;
}

/** Creates the client of each cell. */
function clientsOf(
  { cells }: CellRouter,
  contract: Contract,
  defaults: ClientOptions,
): ReadonlyMap<Cell, UntypedClient> {
  return new Map(cells.map((cell) => {
    const client: unknown = cell.context.client(contract, defaults);
    return [cell, client as UntypedClient];
  }));
}

/** Creates the typed verbs of a contract in all cells. */
export function createCellsClient<C extends Contract>(
  router: CellRouter,
  contract: C,
  defaults: ClientOptions = {},
): CellsClient<C> {
  const { topic, namespace } = contract;
  const clients = clientsOf(router, contract, defaults);
  const clientOf = (cell: Cell) => clients.get(cell) as UntypedClient;
  const requestOf = (
    method: string,
    args: AnyArgs,
    { host = defaults.host }: CallOptions = {},
  ): CellRequest => ({ topic, namespace, host, method, args });
  const verbs: UntypedClient = {
    call: (method, args = {}, options = {}) =>
      router.send(
        requestOf(method, args, options),
        (cell) => clientOf(cell).call(method, args, options),
      ),
    cast: (method, args = {}, options = {}) =>
      router.send(
        requestOf(method, args, options),
        (cell) => clientOf(cell).cast(method, args, options),
      ),
    fanoutCast: (method, args = {}, options = {}) =>
      router.fanout(
        requestOf(method, args),
        options,
        (cell, changed) => clientOf(cell).fanoutCast(method, args, changed),
      ),
    multicall: (method, args = {}, options = {}) =>
      router.stream(
        requestOf(method, args, options),
        (cell) => clientOf(cell).multicall(method, args, options),
      ),
  };
  return verbs as unknown as CellsClient<C>;
}
