/** What a handler gave, by what came of it when it was parsed. @module */

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null;

/** True for what is no object and travels as it is. */
const isCarried = (value: unknown) =>
  value === null || value === undefined || typeof value === "string" ||
  typeof value === "boolean" || Number.isFinite(value);

/** Number of values of a stream that are no objects and that JSON cannot carry, at most. The latest are remembered. */
const MOST = 1_000;

/** Remembers of one request. */
export class Given {
  #last: { readonly parsed: unknown; readonly given: unknown } | undefined;
  #items: WeakMap<object, unknown> | undefined;
  #others: Map<unknown, unknown> | undefined;

  /** Only the last one, but of a stream all: whoever wraps its dispatcher may read ahead. */
  remember(parsed: unknown, given: unknown, stream: boolean): void {
    this.#last = { parsed, given };
    if (!stream) return;
    if (isObject(parsed)) {
      this.#items ??= new WeakMap();
      this.#items.set(parsed, given);
    } else if (!isCarried(parsed)) {
      this.#others ??= new Map();
      this.#others.set(parsed, given);
      if (this.#others.size <= MOST) return;
      this.#others.delete(this.#others.keys().next().value);
    }
  }

  /** What was given for a value; undefined if nothing was. */
  for(value: unknown): { readonly given: unknown } | undefined {
    if (this.#last && Object.is(this.#last.parsed, value)) return this.#last;
    const known = isObject(value) ? this.#items : this.#others;
    return known?.has(value as object)
      ? { given: known.get(value as object) }
      : undefined;
  }
}
