/** Messages by which an operator steers services: commands and answers, with their schemas for both ends. @module */
import { z } from "npm:zod@^4.6.7";
import type { Contract, Procedure } from "../../contract/types.ts";
import { registryContract, type ServiceFilter } from "./service_contract.ts";

/** Requests that one service lists, at most. */
export const MAX_LISTED = 1_000;

/** Schema of a name, an id or a short text. */
const shortText = z.string().max(255);
/** Schema of a reason or an error. */
const longText = z.string().max(1_000);
const amount = z.number().nonnegative();

/**
 * Sender of a command, as it names itself.
 * @category Operations
 */
export interface Operator {
  /** User of its login at the broker; undefined if it is not known. */
  readonly user?: string | undefined;
  /** Name of its machine. */
  readonly host: string;
  /** Its process. */
  readonly pid: number;
}

const operatorSchema: z.ZodType<Operator> = z.object({
  user: shortText.optional(),
  host: shortText,
  pid: z.number().int().nonnegative(),
});

/**
 * Record of a pause.
 * @category Operations
 */
export interface Pause {
  /** Reason that the operator gave; undefined if the record could not be read. */
  readonly reason?: string | undefined;
  /** Operator; undefined if the record could not be read. */
  readonly by?: Operator | undefined;
  /** Begin in epoch milliseconds; undefined if the record could not be read. */
  readonly since?: number | undefined;
}

const pauseSchema: z.ZodType<Pause> = z.object({
  reason: longText.optional(),
  by: operatorSchema.optional(),
  since: z.number().optional(),
});

/** Decodes the record of a pause; undefined if it cannot be decoded. */
export function pauseIn(body: Uint8Array): Pause | undefined {
  try {
    const text = new TextDecoder().decode(body);
    return pauseSchema.safeParse(JSON.parse(text)).data;
  } catch {
    return undefined;
  }
}

/**
 * Request that a worker has in hand.
 * @category Operations
 */
export interface RequestInHand {
  /** Id of the request. */
  readonly id: string;
  /** Topic. */
  readonly topic: string;
  /** Name of the procedure, without the topic. */
  readonly procedure: string;
  /** Verb. */
  readonly verb: "call" | "cast" | "fanout" | "multicall";
  /** Arrival at the worker, in epoch milliseconds of its clock. */
  readonly since: number;
  /** Number of the attempt, from 1. */
  readonly attempt: number;
  /** End of the caller's timeout, in epoch milliseconds; undefined if there is none. */
  readonly deadline?: number | undefined;
  /** `running` once its handler has started. */
  readonly state: "running" | "waiting";
}

const requestSchema: z.ZodType<RequestInHand> = z.object({
  id: shortText,
  topic: shortText,
  procedure: shortText,
  verb: z.enum(["call", "cast", "fanout", "multicall"]),
  since: z.number(),
  attempt: amount,
  deadline: z.number().optional(),
  state: z.enum(["running", "waiting"]),
});

/**
 * Outcome of a cancellation by an operator. `cancelled`: its caller has the error, or nobody waits ·
 * `deadLettered`: the cast is a dead letter · `unconfirmed`: the broker did not confirm the dead letter of a cast, which
 * is back in its queue.
 * @category Operations
 */
export type CancelOutcome = "cancelled" | "deadLettered" | "unconfirmed";

/**
 * Queue that a service serves, and its pause.
 * @category Operations
 */
export interface PausedTarget extends Pause {
  /** Topic. */
  readonly topic: string;
  /** Host; undefined for the queue of the topic. */
  readonly host?: string | undefined;
}

/** Answer of a service to a command. Members beyond the first are those that the command asks for. */
export interface ControlAnswer {
  /** Id of the run of the program. */
  readonly id: string;
  readonly host: string;
  readonly worker?: number | undefined;
  /** True if the command is for another service. */
  readonly skipped?: boolean | undefined;
  /** Reason why the service does not take the command. */
  readonly refused?: string | undefined;
  /** Requests in hand, and the number of those beyond the limit. */
  readonly requests?: readonly RequestInHand[] | undefined;
  readonly more?: number | undefined;
  /** Outcome of a cancellation; undefined if it is not here. */
  readonly outcome?: CancelOutcome | undefined;
  readonly procedure?: string | undefined;
  /** Handlers that run at once, before and after the command. */
  readonly before?: number | undefined;
  readonly concurrency?: number | undefined;
  /** State of a task: absent here, of another leader, running, or ready to run. */
  readonly task?: "ready" | "running" | "notLeading" | undefined;
  /** Milliseconds of the run of a task, and its error. */
  readonly duration?: number | undefined;
  readonly error?: string | undefined;
  /** Queues that are paused here. */
  readonly paused?: readonly PausedTarget[] | undefined;
}

const pausedTarget: z.ZodType<PausedTarget> = z.object({
  topic: shortText,
  host: shortText.optional(),
  reason: longText.optional(),
  by: operatorSchema.optional(),
  since: z.number().optional(),
});

const answerSchema: z.ZodType<ControlAnswer> = z.object({
  id: shortText,
  host: shortText,
  worker: amount.optional(),
  skipped: z.boolean().optional(),
  refused: longText.optional(),
  requests: z.array(requestSchema).max(MAX_LISTED).optional(),
  more: amount.optional(),
  outcome: z.enum(["cancelled", "deadLettered", "unconfirmed"]).optional(),
  procedure: shortText.optional(),
  before: amount.optional(),
  concurrency: amount.optional(),
  task: z.enum(["ready", "running", "notLeading"]).optional(),
  duration: amount.optional(),
  error: longText.optional(),
  paused: z.array(pausedTarget).max(MAX_LISTED).optional(),
});

/** Decodes a received answer; undefined if it cannot be decoded. */
export const controlAnswerIn = (value: unknown): ControlAnswer | undefined =>
  answerSchema.safeParse(value).data;

/** Arguments that each command has. */
export interface ControlCommand extends ServiceFilter {
  /** Sender. */
  readonly by: Operator;
  /** Only the service with this id. */
  readonly service?: string | undefined;
}

const common = {
  by: operatorSchema,
  topic: shortText.optional(),
  host: shortText.optional(),
  service: shortText.optional(),
};

const command = <A extends Record<string, z.ZodType>>(args: A) =>
  ({
    args: z.strictObject({ ...common, ...args }),
    result: answerSchema,
  }) satisfies Procedure;

const procedures = {
  /** Lists the requests in hand. */
  running: command({}),
  /** Cancels a request. */
  cancel: command({ request: shortText.min(1) }),
  /** Sets the number of handlers that run at once. */
  setConcurrency: command({ handlers: z.number().int().min(1).max(65_535) }),
  /** Finds the services that can run a task. */
  findTask: command({ task: shortText.min(1) }),
  /** Runs a periodic task now. */
  runTask: command({ task: shortText.min(1) }),
  /** Asks services to look whether their queues are paused. */
  look: command({ pause: pauseSchema.optional() }),
  /** Lists the queues that are paused. */
  pauses: command({}),
};

/** Commands, with the arguments that each has beside those of all. */
export interface ControlArguments {
  readonly running: unknown;
  readonly cancel: { readonly request: string };
  readonly setConcurrency: { readonly handlers: number };
  readonly findTask: { readonly task: string };
  readonly runTask: { readonly task: string };
  readonly look: { readonly pause?: Pause | undefined };
  readonly pauses: unknown;
}

/**
 * Contract of commands, on the topic and on the queues of `registryContract`: services take them even while all their
 * handlers are busy.
 */
export const controlContract: Contract<
  Readonly<Record<keyof ControlArguments, Procedure>>
> = {
  topic: registryContract.topic,
  version: "1.0",
  namespace: "warren.control",
  procedures,
};
