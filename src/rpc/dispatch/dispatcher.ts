/**
 * Dispatcher: finds the handler of a request by namespace, version and the names that the contract lists (Nova:
 * `rpc/dispatcher.py`).
 *
 * @module
 */
import {
  InvalidValueError,
  NoSuchMethodError,
  UnsupportedVersionError,
} from "../../errors.ts";
import { oneLine } from "../../logging.ts";
import { checkArgsSize } from "../../contract/args_size.ts";
import type { RequestContext } from "../../contract/request_context.ts";
import type { Contract, Endpoint, Procedure } from "../../contract/types.ts";
import { checkContract } from "../../contract/contract.ts";
import {
  isCompatible,
  parseVersion,
  type Version,
} from "../../contract/version.ts";
import {
  asDispatchError,
  callHandler,
  markDispatchError,
  parseArgs,
  resultOf,
} from "./handler_result.ts";
import { observerOf } from "../served_context.ts";
import { registerProcedure } from "../telemetry/known_procedures.ts";
import { handlerStream } from "./handler_stream.ts";

/**
 * Dispatcher of requests. Wrap a dispatcher in another to add behaviour around all handlers.
 * @category Nova's low-level steps
 */
export interface Dispatcher {
  /** Topics that are served. */
  readonly topics: readonly string[];
  /** Dispatches one request; resolves to the result, or to an async iterable for a stream. */
  dispatch(
    context: RequestContext,
    version: string,
    method: string,
    args: Readonly<Record<string, unknown>>,
    namespace?: string,
  ): Promise<unknown>;
}

/**
 * Checks a dispatcher at run time, since a caller in JavaScript may pass a manager.
 *
 * @throws {InvalidValueError} the value is not a dispatcher.
 */
export function checkDispatcher(dispatcher: Dispatcher): void {
  if (typeof dispatcher?.dispatch === "function") return;
  throw new InvalidValueError(
    "Cannot consume: give a dispatcher, e.g. new RpcDispatcher([manager])",
  );
}

type Handler = (args: unknown, context: RequestContext) => unknown;

/** A procedure that a dispatcher serves. */
export interface ServedProcedure {
  /** Name for errors and logs, `<topic>.<name>`. */
  readonly qualifiedName: string;
  /** Contract that lists the procedure. */
  readonly contract: Contract;
  /** Entry of the contract. */
  readonly procedure: Procedure;
}

/** Served procedure with its handler. */
interface BoundProcedure extends ServedProcedure {
  readonly name: string;
  readonly run: Handler;
}

/** Endpoint: the handlers of a contract in one version. */
interface EndpointVersion {
  readonly version: Version;
  readonly contract: Contract;
  readonly methods: ReadonlyMap<string, BoundProcedure>;
}

function bindEndpoint(endpoint: Endpoint): EndpointVersion {
  const { contract } = endpoint;
  checkContract(contract);
  const version = parseVersion(contract.version) as Version;
  const methods = new Map<string, BoundProcedure>();
  for (const [name, procedure] of Object.entries(contract.procedures)) {
    const handler: unknown = Reflect.get(endpoint, name);
    if (typeof handler !== "function") {
      throw new InvalidValueError(
        `Cannot serve ${contract.topic} ${contract.version}: the manager has no method ${
          oneLine(name)
        }, which its contract lists`,
        { data: { path: name } },
      );
    }
    const run: Handler = (args, context) =>
      Reflect.apply(handler, endpoint, [args, context]);
    const qualifiedName = `${contract.topic}.${name}`;
    methods.set(name, { name, qualifiedName, contract, procedure, run });
    registerProcedure(contract.topic, name);
  }
  return { version, contract, methods };
}

/** Names in a request that select a procedure. */
interface ProcedureName {
  readonly version: string;
  readonly method: string;
  readonly namespace: string | undefined;
}

/** True if an endpoint serves a version of a namespace. */
function serves(
  { version: served, contract }: EndpointVersion,
  { version, namespace }: Omit<ProcedureName, "method">,
): boolean {
  const requested = parseVersion(version);
  return requested !== undefined && contract.namespace === namespace &&
    isCompatible(served, requested);
}

let find: (
  dispatcher: RpcDispatcher,
  name: ProcedureName,
) => ServedProcedure | undefined;

/**
 * Returns the procedure that a dispatcher would run; undefined if it would reject the request, or is not a
 * `RpcDispatcher`.
 */
export function findProcedure(
  dispatcher: Dispatcher,
  name: ProcedureName,
): ServedProcedure | undefined {
  return dispatcher instanceof RpcDispatcher
    ? find(dispatcher, name)
    : undefined;
}

/**
 * Dispatcher for the endpoints of a topic, which may have several contracts, namespaces and major versions.
 * @category Nova's low-level steps
 */
export class RpcDispatcher implements Dispatcher {
  readonly topics: readonly string[];
  readonly #endpoints: readonly EndpointVersion[];

  static {
    find = (dispatcher, name) => dispatcher.#bound(name);
  }

  /**
   * Creates a dispatcher; the first endpoint that matches a request serves it.
   *
   * @throws {InvalidValueError} an endpoint lacks a method that its contract lists.
   */
  constructor(endpoints: readonly Endpoint[]) {
    this.#endpoints = endpoints.map(bindEndpoint);
    this.topics = [...new Set(endpoints.map(({ contract }) => contract.topic))];
  }

  /**
   * Finds the procedure, parses the arguments, runs the handler and parses its result.
   *
   * @throws {UnsupportedVersionError} no endpoint of the namespace has the version.
   * @throws {NoSuchMethodError} no matching endpoint has the method.
   * @throws {InvalidValueError} the arguments do not fit the contract.
   * @throws {InvalidResultError} the handler's result does not fit the contract.
   */
  async dispatch(
    context: RequestContext,
    version: string,
    method: string,
    args: Readonly<Record<string, unknown>>,
    namespace?: string,
  ): Promise<unknown> {
    const name = { version, method, namespace };
    const served = this.#bound(name) ?? this.#notFound(name);
    const { procedure, contract, qualifiedName } = served;
    const server = observerOf(context);
    server?.onProcedure(procedure, qualifiedName);
    if (procedure.maxArgsSize !== undefined) {
      asDispatchError(() => checkArgsSize(procedure, args, qualifiedName));
    }
    let parsed = procedure.args
      ? parseArgs(procedure.args, args, `arguments of ${qualifiedName}`)
      : {};
    if (parsed instanceof Promise) parsed = await parsed;
    const starting = server?.onStart(procedure);
    if (starting) await starting;
    if (!server) context.signal.throwIfAborted();
    const run = () => served.run(parsed, context);
    let result = callHandler(contract, context, run);
    if (result instanceof Promise) result = await result;
    if (procedure.yields) {
      return handlerStream(contract, served.name, result, context);
    }
    return procedure.result
      ? resultOf(procedure.result, result, qualifiedName, context)
      : undefined;
  }

  #bound(name: ProcedureName): BoundProcedure | undefined {
    for (const endpoint of this.#endpoints) {
      const served = endpoint.methods.get(name.method);
      if (served && serves(endpoint, name)) return served;
    }
    return undefined;
  }

  #notFound(name: ProcedureName): never {
    throw markDispatchError(
      this.#endpoints.some((endpoint) => serves(endpoint, name))
        ? this.#noSuchMethod(name)
        : this.#unsupportedVersion(name),
    );
  }

  #noSuchMethod(
    { version, method, namespace }: ProcedureName,
  ): NoSuchMethodError {
    const requested = formatRequested(version, namespace);
    const topics = this.topics.join(", ");
    return new NoSuchMethodError(
      `No procedure ${oneLine(method, 60)} in ${topics}, ${requested}`,
      { data: { method: oneLine(method) } },
    );
  }

  #unsupportedVersion(
    { version, method, namespace }: ProcedureName,
  ): UnsupportedVersionError {
    const served = this.#endpoints.map(({ contract }) =>
      `${contract.namespace ? `${contract.namespace} ` : ""}${contract.version}`
    );
    const name = oneLine(method, 60);
    const requested = formatRequested(version, namespace);
    return new UnsupportedVersionError(
      `No endpoint for ${requested} of ${this.topics.join(", ")}; served: ${
        served.join(", ")
      }. Attempted method: ${name}`,
      { data: { version: oneLine(version, 20), method: name, served } },
    );
  }
}

function formatRequested(
  version: string,
  namespace: string | undefined,
): string {
  const prefix = namespace ? `namespace ${oneLine(namespace, 60)}, ` : "";
  return `${prefix}version ${oneLine(version, 20)}`;
}
