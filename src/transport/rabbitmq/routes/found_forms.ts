/** Forms in which queues were found, which may be others than those in which this process would create them. @module */
import type { Arguments, Queue, QueueType } from "./entities.ts";

/** Maximum number of queues whose form is remembered; the form of one that is forgotten is found again. */
const MAX_FORMS = 10_000;

/** A form that was found. */
interface FoundForm {
  readonly arguments: Arguments;
  /** True if this process would create the queue with other arguments. */
  readonly isFound: boolean;
}

const typeOf = (args: Arguments) => args["x-queue-type"] as QueueType;

/** Remembers with which arguments queues were found. */
export class FoundForms {
  readonly #forms = new Map<string, FoundForm>();
  #version = 0;
  /** Type of the queue of any type that was declared last: most queues of a broker have the same. */
  #lastType: QueueType | undefined;

  /** Number of changes so far. */
  get version(): number {
    return this.#version;
  }

  /** Returns the queue in the form that it was found in, else in the one in which it is created. */
  of(queue: Queue): Queue {
    const { forms, name } = queue;
    if (!forms) return queue;
    const created = { arguments: forms[forms.preferred], isFound: false };
    return { ...queue, ...(this.#forms.get(name) ?? created) };
  }

  /** Returns the queue in the form in which it probably exists, for a declaration. */
  guess(queue: Queue): Queue {
    const { forms, name } = queue;
    const type = this.#lastType;
    const isKnown = !forms?.anyType || !type || type === forms.preferred ||
      this.#forms.has(name);
    return isKnown
      ? this.of(queue)
      : { ...queue, arguments: forms[type], isFound: true };
  }

  /** Returns the type of a queue that was found; undefined if it is not known. */
  typeOf(name: string): QueueType | undefined {
    const found = this.#forms.get(name);
    return found && typeOf(found.arguments);
  }

  /** Returns the types of the first queues that were found, by their names. */
  types(limit: number): Readonly<Record<string, QueueType>> {
    const first = [...this.#forms].slice(0, limit);
    return Object.fromEntries(
      first.map(([name, found]) => [name, typeOf(found.arguments)]),
    );
  }

  /** Records the arguments of a queue that exists in another form; returns true if none were known. */
  record(name: string, args: Arguments): boolean {
    const isNew = !this.#forms.has(name);
    this.#set(name, { arguments: args, isFound: true });
    this.#version++;
    return isNew;
  }

  /** Records a queue of any type that was declared. */
  declared({ name, forms, arguments: args, isFound = false }: Queue): void {
    if (!forms?.anyType) return;
    this.#lastType = typeOf(args);
    if (this.#forms.has(name)) return;
    if (isFound) this.record(name, args);
    else this.#set(name, { arguments: args, isFound });
  }

  /** Forgets a queue that does not exist any more. */
  forget(name: string): void {
    if (this.#forms.delete(name)) this.#version++;
  }

  #set(name: string, found: FoundForm): void {
    this.#forms.delete(name);
    this.#forms.set(name, found);
    const [oldest = ""] = this.#forms.keys();
    if (this.#forms.size > MAX_FORMS) this.#forms.delete(oldest);
  }
}
