/** The contract of the compute service: what callers and workers share, and all that they share. @module */
import { z } from "npm:zod@^4.6.7";
import { contract, type RpcErrorOptions } from "../mod.ts";

/** A host does not have the instance. The contract lists this class, so it keeps its identity over the wire. */
export class InstanceNotFound extends Error {
  override readonly name = "InstanceNotFound";
  /** Which instance, and who looked for it. */
  readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, { cause, data = {} }: RpcErrorOptions = {}) {
    super(message, { cause });
    this.data = data;
  }
}

const Id = z.object({ id: z.string() });

/** An instance, as callers see it. */
const Instance = z.object({
  id: z.string(),
  name: z.string(),
  host: z.string(),
  state: z.enum(["running", "finished", "crashed", "ended"]),
  /** When it was made: text on the wire, a `Date` in the hands of the caller. */
  at: z.iso.datetime().transform((text) => new Date(text)),
});

/** The compute service. */
export const compute = contract({
  topic: "compute",
  version: "1.0",
  errors: { "compute.InstanceNotFound": InstanceNotFound },
  procedures: {
    /** Starts an instance. It counts the primes below `upTo`. */
    runInstance: {
      args: z.object({
        name: z.string().min(1).max(40),
        upTo: z.int().min(100_000).max(1_000_000_000).default(10_000_000),
      }),
      result: Instance,
    },
    /** The instances of the host that answers. */
    list: { result: z.array(Instance) },
    /** What an instance has printed so far, then each new line, until it ends. */
    console: { args: Id, yields: z.string() },
    /** Lets an instance begin anew. */
    reboot: { args: Id },
    /** Ends an instance and forgets it. */
    terminate: { args: Id },
    /** Forgets the instances that do not run any more. */
    prune: {},
  },
});
