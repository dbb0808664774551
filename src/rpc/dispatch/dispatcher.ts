/** From a request to a handler: by namespace, version and listed name alone (Nova: `rpc/dispatcher.py`). @module */
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
import { handlerStream } from "./handler_stream.ts";

/**
 * Anything that takes a request: wrap one in another to add behaviour around handlers.
 * @category Nova's low-level steps
 */
export interface Dispatcher {
  /** Topics of what it serves. */
  readonly topics: readonly string[];
  /** Serves one request; resolves to the result, or to an async iterable for a stream. */
  dispatch(
    context: RequestContext,
    version: string,
    method: string,
    args: Readonly<Record<string, unknown>>,
    namespace?: string,
  ): Promise<unknown>;
}

/** Throws unless it can dispatch: who writes JavaScript may give a manager. */
export function checkDispatcher(dispatcher: Dispatcher): void {
  if (typeof dispatcher?.dispatch === "function") return;
  throw new InvalidValueError(
    "Cannot consume: give a dispatcher, e.g. new RpcDispatcher([manager])",
  );
}

type Handler = (args: unknown, context: RequestContext) => unknown;

/** A procedure that a dispatcher serves. */
export interface ServedProcedure {
  /** Name, as `topic.name`. */
  readonly what: string;
  /** Contract that lists it. */
  readonly contract: Contract;
  /** Its entry there. */
  readonly procedure: Procedure;
}

/** One procedure, ready to run. */
interface BoundProcedure extends ServedProcedure {
  readonly name: string;
  readonly run: Handler;
}

/** One endpoint: a contract in one version. */
interface EndpointVersion {
  readonly version: Version;
  readonly contract: Contract;
  readonly methods: ReadonlyMap<string, BoundProcedure>;
}

function entry(endpoint: Endpoint): EndpointVersion {
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
    const what = `${contract.topic}.${name}`;
    methods.set(name, { name, what, contract, procedure, run });
  }
  return { version, contract, methods };
}

/** Tells the endpoints of a namespace that serve a version. */
function matching(
  version: string,
  namespace: string | undefined,
): (endpoint: EndpointVersion) => boolean {
  const want = parseVersion(version);
  return (endpoint) =>
    want !== undefined && endpoint.contract.namespace === namespace &&
    isCompatible(endpoint.version, want);
}

/** What a request names of a procedure. */
interface ProcedureName {
  readonly version: string;
  readonly method: string;
  readonly namespace: string | undefined;
}

let find: (
  dispatcher: RpcDispatcher,
  name: ProcedureName,
) => ServedProcedure | undefined;

/** The procedure that a dispatcher would run; undefined where it would refuse the request, or is one of a user's own. */
export function findProcedure(
  dispatcher: Dispatcher,
  name: ProcedureName,
): ServedProcedure | undefined {
  return dispatcher instanceof RpcDispatcher
    ? find(dispatcher, name)
    : undefined;
}

/**
 * Serves the endpoints of a topic: several contracts, namespaces and major versions side by side.
 * @category Nova's low-level steps
 */
export class RpcDispatcher implements Dispatcher {
  readonly topics: readonly string[];
  readonly #entries: readonly EndpointVersion[];

  static {
    find = (dispatcher, { version, method, namespace }) =>
      dispatcher.#bound(matching(version, namespace), method);
  }

  /**
   * Serves endpoints; the first that fits a request takes it.
   *
   * @throws {InvalidValueError} if an endpoint lacks a method that its contract lists.
   */
  constructor(endpoints: readonly Endpoint[]) {
    this.#entries = endpoints.map(entry);
    this.topics = [...new Set(endpoints.map(({ contract }) => contract.topic))];
  }

  /**
   * Finds the procedure, parses its arguments, runs it, parses what it returns.
   *
   * @throws {UnsupportedVersionError} no endpoint of that namespace has the version.
   * @throws {NoSuchMethodError} no such endpoint lists the method.
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
    const served = this.#find(version, method, namespace);
    const { procedure, contract, what } = served;
    const server = observerOf(context);
    server?.found(procedure, what);
    if (procedure.maxArgsSize !== undefined) {
      asDispatchError(() => checkArgsSize(procedure, args, what));
    }
    const parsed = procedure.args
      ? await parseArgs(procedure.args, args, `arguments of ${what}`)
      : {};
    const begun = server?.starting(procedure);
    if (begun) await begun;
    if (!server) context.signal.throwIfAborted();
    const run = () => served.run(parsed, context);
    const result = await callHandler(contract, context, run);
    if (procedure.yields) {
      return handlerStream(contract, served.name, result, context);
    }
    return procedure.result
      ? await resultOf(procedure.result, result, what, context)
      : undefined;
  }

  #bound(
    matches: (endpoint: EndpointVersion) => boolean,
    method: string,
  ): BoundProcedure | undefined {
    for (const endpoint of this.#entries) {
      const served = endpoint.methods.get(method);
      if (served && matches(endpoint)) return served;
    }
    return undefined;
  }

  #find(
    version: string,
    method: string,
    namespace: string | undefined,
  ): BoundProcedure {
    const fits = matching(version, namespace);
    const served = this.#bound(fits, method);
    if (served) return served;
    const compatible = this.#entries.filter(fits);
    const asked = `${
      namespace ? `namespace ${oneLine(namespace, 60)}, ` : ""
    }version ${oneLine(version, 20)}`;
    if (compatible.length === 0) {
      const have = this.#entries.map(({ contract }) =>
        `${
          contract.namespace ? `${contract.namespace} ` : ""
        }${contract.version}`
      );
      throw markDispatchError(
        new UnsupportedVersionError(
          `No endpoint for ${asked} of ${this.topics.join(", ")}; served: ${
            have.join(", ")
          }. Attempted method: ${oneLine(method, 60)}`,
          {
            data: {
              version: oneLine(version, 20),
              method: oneLine(method, 60),
              served: have,
            },
          },
        ),
      );
    }
    throw markDispatchError(
      new NoSuchMethodError(
        `No procedure ${oneLine(method, 60)} in ${
          this.topics.join(", ")
        }, ${asked}`,
        {
          data: { method: oneLine(method) },
        },
      ),
    );
  }
}
