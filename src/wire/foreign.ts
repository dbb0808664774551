/** Refusals in the words of peers that are not Warren: what they match on is the class and its module. @module */
import {
  type Failure,
  InvalidValueError,
  NoSuchMethodError,
  RpcError,
  UnsupportedVersionError,
} from "../errors.ts";

type Named = Pick<Failure, "module" | "type" | "message" | "data">;

const DISPATCHER = "oslo_messaging.rpc.dispatcher";

/** A refusal as oslo.messaging's server would say it; undefined for an error that it does not know. */
export function toForeign(error: unknown): Named | undefined {
  if (!(error instanceof RpcError)) return undefined;
  const { method, version } = error.data;
  if (error instanceof UnsupportedVersionError) {
    const message =
      `Endpoint does not support RPC version ${version}. Attempted method: ${method}`;
    const type = "UnsupportedVersion";
    return { module: DISPATCHER, type, message, data: {} };
  }
  if (error instanceof NoSuchMethodError) {
    const message = `Endpoint does not support RPC method ${method}`;
    return { module: DISPATCHER, type: "NoSuchMethod", message, data: {} };
  }
  if (error instanceof InvalidValueError) {
    const { message } = error;
    return { module: "builtins", type: "ValueError", message, data: {} };
  }
  return undefined;
}

/** Modules in which Folsom, Grizzly and Havana have their class for a version that is not served. */
const COMMON = /^(nova|\w+)\.(openstack\.common\.)?rpc\.common$/;

/** How Folsom's dispatcher begins to say that there is no such method. */
const NO_FUNCTION = "No such RPC function ";

/** The error of Warren's that a foreign server's refusal is; undefined if it is none. */
export function fromForeign(
  { module, type, message, data }: Failure,
  cause: Error,
): Error | undefined {
  const options = { cause, data };
  const unsupported = module === DISPATCHER && type === "UnsupportedVersion" ||
    COMMON.test(module) && type === "UnsupportedRpcVersion";
  if (unsupported) return new UnsupportedVersionError(message, options);
  const python = module === "exceptions" || module === "builtins";
  const missing = module === DISPATCHER && type === "NoSuchMethod" ||
    python && type === "AttributeError" && message.startsWith(NO_FUNCTION);
  return missing ? new NoSuchMethodError(message, options) : undefined;
}
