/** Verbs of a connection for peers without a contract. @module */
import {
  addressed,
  type AnyArgs,
  type CallOptions,
  type CastOptions,
  type FanoutCastOptions,
  type Target,
} from "../rpc/client/call_options.ts";
import type { RpcClient } from "../rpc/client/rpc_client.ts";
import { untypedStream } from "../rpc/client/stream_iterator.ts";
import { ConnectionEvents } from "./connection_events.ts";

/**
 * Untyped verbs, which name the target of each request and check neither arguments nor results.
 * @category Connections
 */
export class UntypedVerbs extends ConnectionEvents {
  readonly #client: RpcClient;

  /** Sends requests by `client`. */
  constructor(client: RpcClient) {
    super();
    this.#client = client;
  }

  /** Untyped call; returns the last item if the procedure has a stream (Nova: `call`). See {@linkcode Client}. */
  async call(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CallOptions = {},
  ): Promise<unknown> {
    this.#client.checkUsable();
    const request = addressed({ target, method, args, options }, "call");
    return (await this.#client.call(request)).value;
  }

  /** Untyped cast: a request without a reply. See {@linkcode Client}. */
  async cast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CastOptions = {},
  ): Promise<void> {
    this.#client.checkUsable();
    const request = addressed({ target, method, args, options }, "cast");
    await this.#client.cast(request);
  }

  /** Untyped cast to every worker. See {@linkcode Client}. */
  async fanoutCast(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: FanoutCastOptions = {},
  ): Promise<void> {
    this.#client.checkUsable();
    const request = addressed({ target, method, args, options }, "fanout");
    await this.#client.fanoutCast(request);
  }

  /** Untyped call with a stream of replies; a procedure without a stream yields its one result. See {@linkcode Client}. */
  multicall(
    target: Target,
    method: string,
    args: AnyArgs = {},
    options: CallOptions = {},
  ): AsyncGenerator<unknown, void, undefined> {
    this.#client.checkUsable();
    const request = addressed({ target, method, args, options }, "call");
    return this.#client.multicall(request, untypedStream);
  }
}
