/** Envelopes of oslo.messaging, and the error classes that its servers and Nova's old ones use. @module */
import {
  type Failure,
  InvalidResultError,
  InvalidValueError,
  NoSuchMethodError,
  RpcError,
  UnsupportedVersionError,
} from "../errors.ts";
import type { JsonObject, ReplyAddress, Request } from "./rpc_message.ts";
import { type Limits, parseJson } from "./json.ts";

const utf8 = new TextEncoder();

/** True for an envelope of any version (Havana `rpc/common.py`, `deserialize_msg`: both keys). */
export function isEnvelope(fields: JsonObject): boolean {
  return "oslo.version" in fields && "oslo.message" in fields;
}

/**
 * Returns the JSON in an envelope, or the reason why it is rejected. Versions of the same major and no higher minor can
 * be read.
 */
export function openEnvelope(
  fields: JsonObject,
  limits: Limits,
): { readonly value: unknown } | { readonly rejected: string } {
  const { "oslo.version": version, "oslo.message": text } = fields;
  if (version !== "2.0") {
    return { rejected: "an envelope of an unknown version" };
  }
  if (typeof text !== "string") {
    return { rejected: "an envelope without a text" };
  }
  // The size of the body was checked before.
  return parseJson(utf8.encode(text), { ...limits, bytes: Infinity });
}

type NamedFailure = Pick<Failure, "module" | "type" | "message" | "data">;

/** Kind of peer whose error classes are used: Folsom, Grizzly or Havana, oslo.messaging. */
export type OsloPeer = "folsom" | "grizzly" | "oslo";

/** Returns the kind of a peer that is not Warren, by the keys of its request. */
export function osloPeer({ form, ids }: ReplyAddress): OsloPeer {
  if (form === "oneMessage") return "oslo";
  return ids === false ? "folsom" : "grizzly";
}

/** Returns the kind of peer whose error classes a caller expects; undefined for Warren. */
export function osloPeerOf(
  { reply, warren }: Pick<Request, "reply" | "warren">,
): OsloPeer | undefined {
  return reply && !warren ? osloPeer(reply) : undefined;
}

const OSLO_DISPATCHER = "oslo_messaging.rpc.dispatcher";

/** Module of the class for an unsupported version, in servers before oslo.messaging. */
const LEGACY_MODULES = {
  folsom: "nova.rpc.common",
  grizzly: "nova.openstack.common.rpc.common",
};
/** Module of Python 2's own exceptions. */
const PYTHON_2 = "exceptions";
/** Module of Python 3's own exceptions. */
const PYTHON_3 = "builtins";

/** Failure without data. */
const named = (
  module: string,
  type: string,
  message: string,
): NamedFailure => ({ module, type, message, data: {} });

/** Describes a dispatcher's error as an oslo.messaging server does. */
function toCurrentFailure(error: RpcError): NamedFailure | undefined {
  const { method, version } = error.data;
  if (error instanceof UnsupportedVersionError) {
    const message =
      `Endpoint does not support RPC version ${version}. Attempted method: ${method}`;
    return named(OSLO_DISPATCHER, "UnsupportedVersion", message);
  }
  if (error instanceof NoSuchMethodError) {
    const message = `Endpoint does not support RPC method ${method}`;
    return named(OSLO_DISPATCHER, "NoSuchMethod", message);
  }
  return builtinFailure(PYTHON_3, error);
}

/** Describes a dispatcher's error as a server of Folsom, Grizzly or Havana does. */
function toLegacyFailure(
  error: RpcError,
  peer: "folsom" | "grizzly",
): NamedFailure | undefined {
  const { method, version } = error.data;
  if (error instanceof UnsupportedVersionError) {
    const message =
      `Specified RPC version, ${version}, not supported by this endpoint.`;
    return named(LEGACY_MODULES[peer], "UnsupportedRpcVersion", message);
  }
  if (error instanceof NoSuchMethodError) {
    const message = `${NO_SUCH_FUNCTION}'${method}'`;
    return named(PYTHON_2, "AttributeError", message);
  }
  return builtinFailure(PYTHON_2, error);
}

/** Wrong arguments are a `ValueError`, as in Python's own functions; a wrong result, the worker's fault, is a `RuntimeError`. */
function builtinFailure(
  module: string,
  error: RpcError,
): NamedFailure | undefined {
  if (error instanceof InvalidValueError) {
    return named(module, "ValueError", error.message);
  }
  return error instanceof InvalidResultError
    ? named(module, "RuntimeError", error.message)
    : undefined;
}

/** Describes a dispatcher's error with the peer's own classes; undefined for an error that the peer has no class for. */
export function toOsloFailure(
  error: unknown,
  peer: OsloPeer,
): NamedFailure | undefined {
  if (!(error instanceof RpcError)) return undefined;
  return peer === "oslo"
    ? toCurrentFailure(error)
    : toLegacyFailure(error, peer);
}

/** Modules in which Folsom, Grizzly and Havana have the class for an unsupported version. */
const LEGACY_MODULE_PATTERN = /^(nova|\w+)\.(openstack\.common\.)?rpc\.common$/;

/** Beginning of the message with which Folsom's dispatcher reports an unknown method. */
const NO_SUCH_FUNCTION = "No such RPC function ";

/** Returns Warren's error for a failure that a dispatcher of a peer reported; undefined for any other failure. */
export function fromOsloFailure(
  { module, type, message, data }: Failure,
  cause: Error,
): Error | undefined {
  const options = { cause, data };
  const unsupported =
    module === OSLO_DISPATCHER && type === "UnsupportedVersion" ||
    LEGACY_MODULE_PATTERN.test(module) && type === "UnsupportedRpcVersion";
  if (unsupported) return new UnsupportedVersionError(message, options);
  const isBuiltin = module === PYTHON_2 || module === PYTHON_3;
  const noSuchMethod = module === OSLO_DISPATCHER && type === "NoSuchMethod" ||
    isBuiltin && type === "AttributeError" &&
      message.startsWith(NO_SUCH_FUNCTION);
  return noSuchMethod ? new NoSuchMethodError(message, options) : undefined;
}
