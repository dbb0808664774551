/** Ping methods that every service of an OpenStack bus has (oslo.messaging `rpc/server.py`; Nova `baserpc.py`). @module */
import { z } from "npm:zod@^4.6.7";
import { type Dispatcher, RpcDispatcher } from "../rpc/dispatch/dispatcher.ts";

/** Ping of oslo.messaging (`rpc_ping_enabled`). */
const PING_METHOD = "oslo_rpc_server_ping";
/** Namespace of Nova's base API, whose `ping` returns its argument. */
const BASE_NAMESPACE = "baseapi";

const pingArgs = z.looseObject({ arg: z.unknown() });
const pingResult = z.object({ service: z.string(), arg: z.unknown() });

/** Adds both ping methods to the dispatcher of a topic; all other methods go to `inner`. */
export function withOpenstackPing(
  inner: Dispatcher,
  topic: string,
): Dispatcher {
  const ping = {
    contract: {
      topic,
      version: "1.0",
      procedures: { [PING_METHOD]: { result: z.string() } },
    },
    [PING_METHOD]: () => "pong",
  };
  const base = {
    contract: {
      topic,
      version: "1.1",
      namespace: BASE_NAMESPACE,
      procedures: { ping: { args: pingArgs, result: pingResult } },
    },
    ping: ({ arg = null }: z.infer<typeof pingArgs>) => ({
      service: topic,
      arg,
    }),
  };
  const own = new RpcDispatcher([ping, base]);
  const isOwn = (method: string, namespace: string | undefined) =>
    namespace === BASE_NAMESPACE ||
    (namespace === undefined && method === PING_METHOD);
  return {
    topics: inner.topics,
    dispatch: (context, version, method, args, namespace) => {
      const dispatcher = isOwn(method, namespace) ? own : inner;
      return dispatcher.dispatch(context, version, method, args, namespace);
    },
  };
}
