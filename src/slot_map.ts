/**
 * Slot maps: collections for short-lived objects that are added and removed thousands of times a second, without
 * garbage in V8's old generation.
 *
 * A `Map` or `Set` of V8 that is full is replaced by a larger or a tidier table. The old table keeps its entries and a
 * reference to its successor. Once one of these tables is in the old generation, all of its successors are garbage that
 * only a full collection finds, together with every request that was ever in them. The objects in a slot map should be
 * instances of classes for a similar reason: V8 allocates objects of a literal in the old generation, if many earlier
 * ones of the same literal lived long.
 *
 * @module
 */

/** Items by handle. Handles are reused. */
export class SlotMap<T> {
  #items: (T | undefined)[] = [];
  #free: number[] = [];

  /** Number of items. */
  get size(): number {
    return this.#items.length - this.#free.length;
  }

  /**
   * Iterates over the items, in no particular order. Items that are added or removed meanwhile may be included or not.
   */
  *[Symbol.iterator](): Generator<T> {
    for (const item of this.#items) if (item !== undefined) yield item;
  }

  /** Adds an item and returns its handle. */
  add(item: T): number {
    const handle = this.#free.pop() ?? this.#items.length;
    this.#items[handle] = item;
    return handle;
  }

  /** Returns the item with that handle. */
  get(handle: number): T | undefined {
    return this.#items[handle];
  }

  /** Replaces the item with that handle. */
  replace(handle: number, item: T): void {
    this.#items[handle] = item;
  }

  /** Removes an item; does nothing if there is none with that handle. */
  delete(handle: number): void {
    if (this.#items[handle] === undefined) return;
    this.#items[handle] = undefined;
    this.#free.push(handle);
    if (this.size === 0) this.clear();
  }

  /** Removes all items. */
  clear(): void {
    this.#items = [];
    this.#free = [];
  }
}

/** Items by key. Only the keys are left in a `Map`. */
export class KeyedSlotMap<K extends string | number, T> {
  readonly #items = new SlotMap<T>();
  readonly #handles = new Map<K, number>();

  /** Number of items. */
  get size(): number {
    return this.#handles.size;
  }

  /** Iterates over the items, in no particular order. */
  [Symbol.iterator](): Generator<T> {
    return this.#items[Symbol.iterator]();
  }

  /** Returns the item with that key. */
  get(key: K): T | undefined {
    const handle = this.#handles.get(key);
    return handle === undefined ? undefined : this.#items.get(handle);
  }

  /** Adds an item, or replaces the one with that key. */
  set(key: K, item: T): void {
    const handle = this.#handles.get(key);
    if (handle !== undefined) this.#items.replace(handle, item);
    else this.#handles.set(key, this.#items.add(item));
  }

  /** Removes an item; does nothing if there is none with that key. */
  delete(key: K): void {
    const handle = this.#handles.get(key);
    if (handle === undefined) return;
    this.#handles.delete(key);
    this.#items.delete(handle);
  }
}

/** Empty slots that are kept at the head of a queue, before its array is shortened. */
const MAX_EMPTY_SLOTS = 1024;

/** Queue of items by position, which counts from 0. Any item may be removed at any time. */
export class IndexedQueue<T> {
  #items: (T | undefined)[] = [];
  /** Position of the first slot of the array. */
  #offset = 0;
  /** Number of empty slots at the head. */
  #empty = 0;
  #size = 0;

  /** Number of items. */
  get size(): number {
    return this.#size;
  }

  /** Oldest item. */
  get first(): T | undefined {
    return this.#items[this.#empty];
  }

  /** Position of the oldest item; that of the next item to be added, if the queue is empty. */
  get head(): number {
    return this.#offset + this.#empty;
  }

  /** Adds an item at the end and returns its position. */
  add(item: T): number {
    this.#size++;
    return this.#offset + this.#items.push(item) - 1;
  }

  /** Removes an item and returns it; undefined if it was removed before. */
  delete(position: number): T | undefined {
    const item = this.#items[position - this.#offset];
    if (item === undefined) return undefined;
    this.#items[position - this.#offset] = undefined;
    this.#size--;
    this.#trim();
    return item;
  }

  #trim(): void {
    const { length } = this.#items;
    while (this.#empty < length && this.#items[this.#empty] === undefined) {
      this.#empty++;
    }
    if (this.#empty < length && this.#empty <= MAX_EMPTY_SLOTS) return;
    if (this.#empty === length) this.#items = [];
    else this.#items.splice(0, this.#empty);
    this.#offset += this.#empty;
    this.#empty = 0;
  }
}
