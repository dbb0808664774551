/** The envelope of oslo.messaging, as it arrives: JSON text within JSON. @module */
import {
  type Failure,
  InvalidValueError,
  NoSuchMethodError,
  RpcError,
  UnsupportedVersionError,
} from "../errors.ts";
import type { JsonObject, ReplyAddress } from "./rpc_message.ts";
import { type Limits, parseJson } from "./json.ts";

const utf8 = new TextEncoder();

/** True for an envelope, of whatever version (Havana `rpc/common.py`, `deserialize_msg`: both keys). */
export function isEnvelope(fields: JsonObject): boolean {
  return "oslo.version" in fields && "oslo.message" in fields;
}

/** What is in an envelope, or why it is refused. Readable: the same major version, no newer minor one. */
export function openEnvelope(
  fields: JsonObject,
  limits: Limits,
): { readonly value: unknown } | { readonly refused: string } {
  const { "oslo.version": version, "oslo.message": text } = fields;
  if (version !== "2.0") {
    return { refused: "an envelope of an unknown version" };
  }
  if (typeof text !== "string") {
    return { refused: "an envelope without a text" };
  }
  // The body around it was measured already.
  return parseJson(utf8.encode(text), { ...limits, bytes: Infinity });
}

type Named = Pick<Failure, "module" | "type" | "message" | "data">;

/** The peer whose words are used: Folsom, Grizzly or Havana, oslo.messaging. */
export type OsloPeer = "folsom" | "grizzly" | "oslo";

/** In whose words a caller that is not Warren expects refusals: the keys of its request tell its age. */
export function osloPeer({ form, ids }: ReplyAddress): OsloPeer {
  if (form === "single") return "oslo";
  return ids === false ? "folsom" : "grizzly";
}

const DISPATCHER = "oslo_messaging.rpc.dispatcher";

/** Module of the class for a version that is not served, in servers before oslo.messaging. */
const OLD_COMMON = {
  folsom: "nova.rpc.common",
  grizzly: "nova.openstack.common.rpc.common",
};
/** The module of Python's own exceptions, in its version 2. */
const PYTHON_2 = "exceptions";

/** A refusal as the servers of the peer would say it; undefined for an error that they do not know. */
export function toOsloFailure(
  error: unknown,
  words: OsloPeer,
): Named | undefined {
  if (!(error instanceof RpcError)) return undefined;
  const { method, version } = error.data;
  const old = words !== "oslo";
  const say = (module: string, type: string, message: string): Named => ({
    module,
    type,
    message,
    data: {},
  });
  if (error instanceof UnsupportedVersionError) {
    return old
      ? say(
        OLD_COMMON[words],
        "UnsupportedRpcVersion",
        `Specified RPC version, ${version}, not supported by this endpoint.`,
      )
      : say(
        DISPATCHER,
        "UnsupportedVersion",
        `Endpoint does not support RPC version ${version}. Attempted method: ${method}`,
      );
  }
  if (error instanceof NoSuchMethodError) {
    return old
      ? say(PYTHON_2, "AttributeError", `${NO_FUNCTION}'${method}'`)
      : say(
        DISPATCHER,
        "NoSuchMethod",
        `Endpoint does not support RPC method ${method}`,
      );
  }
  if (error instanceof InvalidValueError) {
    return say(old ? PYTHON_2 : "builtins", "ValueError", error.message);
  }
  return undefined;
}

/** Modules in which Folsom, Grizzly and Havana have their class for a version that is not served. */
const COMMON = /^(nova|\w+)\.(openstack\.common\.)?rpc\.common$/;

/** How Folsom's dispatcher begins to say that there is no such method. */
const NO_FUNCTION = "No such RPC function ";

/** The error of Warren's that a foreign server's refusal is; undefined if it is none. */
export function fromOsloFailure(
  { module, type, message, data }: Failure,
  cause: Error,
): Error | undefined {
  const options = { cause, data };
  const unsupported = module === DISPATCHER && type === "UnsupportedVersion" ||
    COMMON.test(module) && type === "UnsupportedRpcVersion";
  if (unsupported) return new UnsupportedVersionError(message, options);
  const python = module === PYTHON_2 || module === "builtins";
  const missing = module === DISPATCHER && type === "NoSuchMethod" ||
    python && type === "AttributeError" && message.startsWith(NO_FUNCTION);
  return missing ? new NoSuchMethodError(message, options) : undefined;
}
