/** The verbs of a contract at run time: checks, versions, parsing. @module */
import { InvalidResultError, InvalidValueError } from "../../errors.ts";
import { checkArgsSize } from "../../contract/args_size.ts";
import { checkApplicationHeaders } from "../../contract/application_headers.ts";
import {
  checkInterceptors,
  type ClientInterceptor,
  intercept,
  type InterceptedRequest,
  interceptWithin,
} from "../interceptors.ts";
import type { RpcClient } from "./rpc_client.ts";
import type { StreamDecoder } from "./stream_iterator.ts";
import type { CallResult } from "./unary_call.ts";
import { InterceptedStream } from "./intercepted_stream.ts";
import {
  type Client,
  clientNames,
  type ClientOptions,
  type ResolvedProcedure,
  resolveProcedure,
} from "./client.ts";
import type { Contract, Procedure } from "../../contract/types.ts";
import { parseVersion } from "../../contract/version.ts";
import { checkNames, override, withoutUndefined } from "../../option_names.ts";
import { limitsOfCall, limitsOfCast, parentOf } from "./call_limits.ts";
import {
  callNames,
  type CallOptions,
  castNames,
  type CastOptions,
  type ClientRequest,
  type FanoutCastOptions,
  fanoutNames,
  type Target,
} from "./call_options.ts";
import { parse, parseNull } from "../../contract/schema.ts";

type Args = Readonly<Record<string, unknown>>;

/** Options of a request that gives none. */
const NO_OPTIONS = Object.freeze({});

/** Target with a host, or the same target if there is no host. */
const on = (target: Target, host: string | undefined): Target =>
  host === undefined ? target : { ...target, host };

/** The verbs of {@linkcode Client} without their types. */
class TypedClient {
  readonly #client: RpcClient;
  readonly #contract: Contract;
  readonly #defaults: Omit<ClientOptions, "interceptors">;
  readonly #interceptors: readonly ClientInterceptor[] | undefined;
  readonly #plans = new Map<string, ResolvedProcedure>();

  constructor(client: RpcClient, contract: Contract, defaults: ClientOptions) {
    this.#client = client;
    this.#contract = contract;
    checkNames(defaults, clientNames);
    const { interceptors, ...others } = withoutUndefined(defaults);
    this.#defaults = others;
    this.#interceptors = checkInterceptors(interceptors);
    const { versionCap } = defaults;
    if (versionCap !== undefined && !parseVersion(versionCap)) {
      throw new InvalidValueError(
        `Invalid option versionCap ${
          JSON.stringify(versionCap)
        }: give "major.minor"`,
      );
    }
  }

  async call(
    method: string,
    args: Args = {},
    options: CallOptions = NO_OPTIONS,
  ): Promise<unknown> {
    if (options !== NO_OPTIONS) checkNames(options, callNames);
    const plan = this.#plan(method, false);
    const checking = this.#checkArgs(plan, args);
    if (checking) await checking;
    const merged = options === NO_OPTIONS
      ? plan.callDefaults
      : override(plan.callDefaults, options);
    const target = on(plan.target, merged.host);
    const request = { target, method, args, options: merged };
    const { errors } = this.#contract;
    if (this.#interceptors) {
      const send = async (changed: typeof request) =>
        this.#resultOf(plan, await this.#client.call(changed, errors));
      return await this.#interceptUnary("call", request, send);
    }
    return this.#resultOf(plan, await this.#client.call(request, errors));
  }

  async cast(
    method: string,
    args: Args = {},
    options: CastOptions = NO_OPTIONS,
  ): Promise<void> {
    if (options !== NO_OPTIONS) checkNames(options, castNames);
    const plan = this.#plan(method, false);
    const checking = this.#checkArgs(plan, args);
    if (checking) await checking;
    const merged = options === NO_OPTIONS
      ? this.#defaults
      : override(this.#defaults, options);
    const target = on(plan.target, merged.host);
    const request = { target, method, args, options: merged };
    if (!this.#interceptors) return await this.#client.cast(request);
    const send = (changed: typeof request) => this.#client.cast(changed);
    await this.#interceptUnary("cast", request, send);
  }

  async fanoutCast(
    method: string,
    args: Args = {},
    options: FanoutCastOptions = {},
  ): Promise<void> {
    checkNames(options, fanoutNames);
    const plan = this.#plan(method, false);
    await this.#checkArgs(plan, args);
    const { target } = plan;
    const merged = override(this.#defaults, options);
    const request = { target, method, args, options: merged };
    if (!this.#interceptors) return await this.#client.fanoutCast(request);
    const send = (changed: typeof request) => this.#client.fanoutCast(changed);
    await this.#interceptUnary("fanout", request, send);
  }

  multicall(
    method: string,
    args: Args = {},
    options: CallOptions = {},
  ): AsyncGenerator<unknown, void, undefined> {
    checkNames(options, callNames);
    const merged = override(this.#defaults, options);
    const plan = this.#plan(method, true);
    const target = on(plan.target, merged.host);
    const request = { target, method, args, options: merged };
    const decoder = this.#decoder(plan);
    const prepare = async () => await this.#checkArgs(plan, args);
    if (!this.#interceptors) {
      return this.#client.multicall(request, { ...decoder, prepare });
    }
    const parent = parentOf(merged); // whoever pulls may serve another request
    return new InterceptedStream({
      name: `${target.topic}.${method}`,
      disposal: this.#client.disposal,
      limits: () => (this.#client.checkUsable(), limitsOfCall(merged, parent)),
      open: async (track) => {
        await prepare();
        const send = (changed: typeof request) =>
          track(this.#client.multicall({ ...changed, parent }, decoder));
        return await this.#intercept("multicall", request, send);
      },
    });
  }

  #resultOf(plan: ResolvedProcedure, result: CallResult): unknown {
    const { result: schema } = plan.procedure;
    return schema ? this.#parsed(plan, schema, result) : undefined;
  }

  #decoder(plan: ResolvedProcedure): StreamDecoder<unknown> {
    const { yields } = plan.procedure;
    return {
      errors: this.#contract.errors,
      item: (item) => yields ? this.#parsed(plan, yields, item) : item.value,
    };
  }

  /** Calls the interceptors around the sending of a request, within its deadline. */
  #interceptUnary<R extends ClientRequest>(
    kind: "call" | "cast" | "fanout",
    request: R,
    send: (request: R) => Promise<unknown>,
  ): Promise<unknown> {
    const { options, target: { topic }, method } = request;
    this.#client.checkUsable();
    const limits = kind === "call"
      ? limitsOfCall(options, parentOf(options))
      : limitsOfCast(options);
    const { disposal } = this.#client;
    const { deadline } = limits;
    const name = `${topic}.${method}`;
    return interceptWithin(
      { name, deadline, disposal },
      (left) =>
        this.#intercept(
          kind,
          request,
          (changed) =>
            send({ ...changed, options: { ...options, timeout: left() } }),
        ),
    );
  }

  /** Calls the interceptors around the sending of a request. */
  #intercept<R extends ClientRequest>(
    kind: InterceptedRequest["kind"],
    request: R,
    send: (request: R) => unknown,
  ): Promise<unknown> {
    const { target: { topic, version }, method: procedure, args } = request;
    const facts = { kind, topic, procedure, version, attempt: 1 };
    return intercept(
      this.#interceptors ?? [],
      { ...facts, args: { ...args }, headers: {} }, // a copy, which an interceptor may write to
      async ({ args, headers }) =>
        await send({
          ...request,
          args,
          headers: checkApplicationHeaders(headers),
        }),
    );
  }

  /**
   * Parses a result by the contract. A worker of Warren has parsed it already, unless JSON could not carry the parsed
   * value.
   */
  #parsed(
    { qualifiedName }: ResolvedProcedure,
    schema: NonNullable<Procedure["result"]>,
    { value, parsed }: CallResult,
  ): unknown {
    if (parsed) return value;
    const what = `result of ${qualifiedName}`;
    return value === null
      ? parseNull(schema, what)
      : parse(schema, value, what, InvalidResultError);
  }

  /**
   * Checks the arguments. They are sent unparsed, since the worker's schema transforms them. Returns a promise only if
   * the schema is asynchronous.
   */
  #checkArgs(
    { qualifiedName, procedure }: ResolvedProcedure,
    args: Args,
  ): Promise<unknown> | undefined {
    checkArgsSize(procedure, args, qualifiedName);
    if (!procedure.args) return undefined;
    const what = `arguments of ${qualifiedName}`;
    const parsed = parse(procedure.args, args, what);
    return parsed instanceof Promise ? parsed : undefined;
  }

  #plan(name: string, stream: boolean): ResolvedProcedure {
    const known = this.#plans.get(name);
    const plan = known ??
      resolveProcedure(this.#contract, name, this.#defaults);
    const { topic } = this.#contract;
    if ((plan.procedure.yields !== undefined) !== stream) {
      const verb = stream
        ? "no stream: use call or cast"
        : "a stream: use multicall";
      throw new InvalidValueError(`${topic}.${name} is ${verb}`);
    }
    if (!known) this.#plans.set(name, plan);
    return plan;
  }
}

/** Creates the typed verbs of a contract on top of a client. */
export function createTypedClient<C extends Contract>(
  client: RpcClient,
  contract: C,
  defaults: ClientOptions = {},
): Client<C> {
  return new TypedClient(client, contract, defaults) as unknown as Client<C>;
}
