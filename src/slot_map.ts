/**
 * Where what is in hand is kept, when it comes and goes thousands of times a second.
 *
 * V8's `Map` and `Set` put a larger or a tidier table in the place of one that is full. The old table goes on holding what it
 * held, and its successor; once one of them is among the old objects, all its successors are garbage that only a full
 * collection finds, with every request that was ever in them. What is kept here is made by classes for a like reason: the
 * objects that a literal makes begin among the old ones when many of them lived long.
 *
 * @module
 */

/** Items by numbers, which are given again. */
export class SlotMap<T> {
  #items: (T | undefined)[] = [];
  #free: number[] = [];

  /** How many there are. */
  get size(): number {
    return this.#items.length - this.#free.length;
  }

  /** All of them, in no order; those that come or go meanwhile may be among them or not. */
  *[Symbol.iterator](): Generator<T> {
    for (const item of this.#items) if (item !== undefined) yield item;
  }

  /** Keeps an item; by the number it is found again. */
  add(item: T): number {
    const number = this.#free.pop() ?? this.#items.length;
    this.#items[number] = item;
    return number;
  }

  /** The item of that number. */
  get(number: number): T | undefined {
    return this.#items[number];
  }

  /** Keeps another item in its place. */
  replace(number: number, item: T): void {
    this.#items[number] = item;
  }

  /** Does nothing if there is none of that number. */
  delete(number: number): void {
    if (this.#items[number] === undefined) return;
    this.#items[number] = undefined;
    this.#free.push(number);
    if (this.size === 0) this.clear();
  }

  /** All of them go. */
  clear(): void {
    this.#items = [];
    this.#free = [];
  }
}

/** Items by keys. Only the keys are left behind. */
export class KeyedSlotMap<K extends string | number, T> {
  readonly #items = new SlotMap<T>();
  readonly #handles = new Map<K, number>();

  /** How many there are. */
  get size(): number {
    return this.#handles.size;
  }

  /** All of them, in no order. */
  [Symbol.iterator](): Generator<T> {
    return this.#items[Symbol.iterator]();
  }

  /** The item of that key. */
  get(key: K): T | undefined {
    const number = this.#handles.get(key);
    return number === undefined ? undefined : this.#items.get(number);
  }

  /** Keeps an item, in place of another of that key. */
  set(key: K, item: T): void {
    const number = this.#handles.get(key);
    if (number !== undefined) this.#items.replace(number, item);
    else this.#handles.set(key, this.#items.add(item));
  }

  /** Does nothing if there is none of that key. */
  delete(key: K): void {
    const number = this.#handles.get(key);
    if (number === undefined) return;
    this.#handles.delete(key);
    this.#items.delete(number);
  }
}

/** How many that have left are kept at most at the head of a line. */
const MAX_EMPTY_HEAD = 1024;

/** Items in the order in which they came, by numbers that count from 0; any of them may leave at any time. */
export class IndexedQueue<T> {
  #items: (T | undefined)[] = [];
  /** Number of the first place. */
  #start = 0;
  /** How many places at the head are empty. */
  #empty = 0;
  #size = 0;

  /** How many there are. */
  get size(): number {
    return this.#size;
  }

  /** The one that came first. */
  get first(): T | undefined {
    return this.#items[this.#empty];
  }

  /** Number of the one that came first; of the next to come, if there is none. */
  get head(): number {
    return this.#start + this.#empty;
  }

  /** The last in the line; returns its number. */
  add(item: T): number {
    this.#size++;
    return this.#start + this.#items.push(item) - 1;
  }

  /** Lets one go; undefined if it has gone. */
  delete(number: number): T | undefined {
    const item = this.#items[number - this.#start];
    if (item === undefined) return undefined;
    this.#items[number - this.#start] = undefined;
    this.#size--;
    this.#tidy();
    return item;
  }

  #tidy(): void {
    const { length } = this.#items;
    while (this.#empty < length && this.#items[this.#empty] === undefined) {
      this.#empty++;
    }
    if (this.#empty < length && this.#empty <= MAX_EMPTY_HEAD) return;
    if (this.#empty === length) this.#items = [];
    else this.#items.splice(0, this.#empty);
    this.#start += this.#empty;
    this.#empty = 0;
  }
}
