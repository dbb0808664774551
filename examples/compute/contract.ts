/** The contract of the compute service: the only module that callers and workers share. @module */
import { z } from "npm:zod@^4.6.7";
import { contract, type RpcErrorOptions } from "../../mod.ts";

/** Error for an instance that a host does not have. The contract lists this class, so callers catch it by `instanceof`. */
export class InstanceNotFound extends Error {
  override readonly name = "InstanceNotFound";
  /** Id of the instance, and the host that does not have it. */
  readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, { cause, data = {} }: RpcErrorOptions = {}) {
    super(message, { cause });
    this.data = data;
  }
}

/** Error for a request without a valid token. */
export class Unauthenticated extends Error {
  override readonly name = "Unauthenticated";
}

/** Error for a user who may not do this. */
export class Forbidden extends Error {
  override readonly name = "Forbidden";
}

const Id = z.object({ id: z.string() });

/** An instance, as callers see it. */
const Instance = z.object({
  id: z.string(),
  name: z.string(),
  host: z.string(),
  state: z.enum(["running", "finished", "crashed", "ended"]),
  /** Time of creation: a text on the wire, a `Date` at the caller. */
  at: z.iso.datetime().transform((text) => new Date(text)),
});

/** The compute service. */
export const compute = contract({
  topic: "compute",
  version: "1.0",
  errors: {
    "compute.InstanceNotFound": InstanceNotFound,
    "compute.Unauthenticated": Unauthenticated,
    "compute.Forbidden": Forbidden,
  },
  procedures: {
    /** Starts an instance. It counts the primes below `upTo`. */
    runInstance: {
      args: z.object({
        name: z.string().min(1).max(40),
        upTo: z.int().min(100_000).max(1_000_000_000).default(10_000_000),
      }),
      result: Instance,
    },
    /** Lists the instances of the host that answers. */
    list: { result: z.array(Instance), idempotent: true }, // asked again after a lost connection
    /** Streams the lines that an instance has printed so far, then each new one, until it ends. */
    console: { args: Id, yields: z.string() },
    /** Starts an instance again from its beginning. */
    reboot: { args: Id },
    /** Ends an instance and forgets it. */
    terminate: { args: Id },
    /** Forgets the instances that have stopped. */
    prune: {},
  },
});
