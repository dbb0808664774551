/** Adoption: queues that exist in another form than the one in which they would be created. @module */
import { TopologyError } from "../../../errors.ts";
import { logger } from "../../../logging.ts";
import type { Arguments, Queue } from "./entities.ts";
import type { FoundForms } from "./found_forms.ts";

/** True for the error of an entity that does not exist. */
export const isOfMissing = (error: unknown): boolean =>
  error instanceof TopologyError && error.data.reason === "missing";

/** Maximum number of declarations of a queue; each reply names one difference. */
const MAX_DECLARATIONS = 8;

/**
 * Declares a queue until it is declared as it is. A queue that differs in type, or in arguments that only one type has, is
 * used as it is; the first such difference is logged.
 *
 * @throws {TopologyError} the queue exists with other differences.
 */
export async function declareAsFound<T>(
  queue: Queue,
  found: FoundForms,
  declare: (queue: Queue) => Promise<T>,
): Promise<T> {
  let isMissing = false;
  for (let turn = 1;; turn++) {
    const wanted = isMissing ? asCreated(queue) : found.guess(queue);
    try {
      const declared = await declare(wanted);
      found.declared(wanted);
      return declared;
    } catch (error) {
      isMissing = isOfMissing(error);
      const isAdopted = turn < MAX_DECLARATIONS &&
        error instanceof TopologyError && adopt(wanted, found, error);
      if (!isAdopted) throw refusalOf(queue, error);
    }
  }
}

/** Returns a queue in the form in which it is created. */
const asCreated = ({ forms, arguments: args, ...queue }: Queue): Queue => ({
  ...queue,
  arguments: forms?.[forms.preferred] ?? args,
  ...(forms && { forms }),
  isFound: false,
});

/** Records the form of a queue after a refused declaration; returns true if the queue can be declared again. */
function adopt(
  queue: Queue,
  found: FoundForms,
  error: TopologyError,
): boolean {
  const { data } = error;
  const { name, isFound, forms } = queue;
  if (isFound && isOfMissing(error)) {
    found.forget(name);
    return true;
  }
  if (data.entity !== `queue ${name}`) return false;
  const args = formWith(queue, `${data.argument}`, `${data.existing}`);
  if (!args) return false;
  if (found.record(name, args) && !forms?.anyType) {
    logger("bus").warn(
      "The queue {queue} is used as it is: its {argument} is {existing}, not {wanted}",
      { queue: name, ...data },
      name,
    );
  }
  return true;
}

/** Returns the arguments of a queue with the existing value of one of them; undefined if the value matters. */
function formWith(
  { forms, arguments: args }: Queue,
  argument: string,
  existing: string,
): Arguments | undefined {
  if (!forms) return undefined;
  if (argument === "x-queue-type") {
    const type = existing === "none" ? "classic" : existing;
    return type === "classic" || type === "quorum" ? forms[type] : undefined;
  }
  const isOfOneType = argument in forms.quorum && !(argument in forms.classic);
  if (!isOfOneType) return undefined;
  const { [argument]: _, ...others } = args;
  return existing === "none" ? others : { ...others, [argument]: existing };
}

/** Returns the error for a queue that the broker refuses to declare, with the way out that there is for this queue. */
function refusalOf({ name, forms }: Queue, error: unknown): unknown {
  if (!(error instanceof TopologyError)) return error;
  const { data } = error;
  const { argument, existing, wanted, entity } = data;
  if (argument === undefined || entity !== `queue ${name}`) return error;
  if (!forms) return error;
  return new TopologyError(
    `Cannot declare queue ${name}: its ${argument} is ${existing}, not ${wanted}; ` +
      "a queue keeps its settings: let the programs of its old form drain it and delete it, so that it is declared anew; " +
      "or serve another topic or virtual host beside it, switch the callers, drain the old queue and delete it",
    { data },
  );
}
