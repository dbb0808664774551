/** What a handler gave, by what came of it when it was parsed. @module */

const isObject = (value: unknown): value is object =>
  typeof value === "object" && value !== null;

/** Remembers of one request. */
export class Given {
  #last: { readonly parsed: unknown; readonly given: unknown } | undefined;
  #items: WeakMap<object, unknown> | undefined;

  /** Only the last one, but of a stream all: whoever wraps its dispatcher may read ahead. */
  remember(parsed: unknown, given: unknown, stream: boolean): void {
    this.#last = { parsed, given };
    if (!stream || !isObject(parsed)) return;
    this.#items ??= new WeakMap();
    this.#items.set(parsed, given);
  }

  /** What was given for a value; undefined if nothing was. */
  for(value: unknown): { readonly given: unknown } | undefined {
    if (this.#last?.parsed === value) return this.#last;
    const known = isObject(value) && this.#items?.has(value);
    return known ? { given: this.#items?.get(value) } : undefined;
  }
}
