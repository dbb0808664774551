/** Types that reject wrong contracts at compile time. @module */
import type { UnaryProcedure } from "./types.ts";
import type { Input, Schema } from "./schema.ts";

/**
 * Rejects, at compile time, options that procedures do not have.
 * @category Contracts
 */
export type Exact<P> = {
  readonly [K in keyof P]: {
    readonly [F in Exclude<keyof P[K], keyof UnaryProcedure>]: `${
      & F
      & string} is no option of a procedure`;
  };
};

/**
 * Any value that JSON represents, at any depth.
 * @category Contracts
 */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined };

/**
 * Part of a type that JSON can represent; `never` if there is none. A member that is `undefined` counts as absent.
 * @category Contracts
 */
export type Json<T> = unknown extends T ? T
  : symbol extends keyof T ? never // record with symbols as keys
  : T extends JsonValue | undefined ? T
  : T extends NotJson[keyof NotJson] ? never
  : T extends readonly unknown[] ? { [K in keyof T]: JsonItem<T[K]> }
  : T extends object ? { [K in keyof T]: Json<T[K]> }
  : T;

/**
 * Same as `Json`, for an item of an array, which cannot be absent.
 * @category Contracts
 */
export type JsonItem<T> = unknown extends T ? T
  : Json<Exclude<T, undefined | void>>;

/**
 * Types that JSON cannot represent, by their names in error messages.
 * @category Contracts
 */
export interface NotJson {
  /** Bigints, whatever their size. */
  readonly "a bigint": bigint;
  /** Symbols, unique ones included. */
  readonly "a symbol": symbol;
  /** Functions, methods included. */
  readonly "a function": (...args: never[]) => unknown;
  /** Classes. */
  readonly "a class": abstract new (...args: never[]) => unknown;
  /** Dates. Send a string instead, and parse it. */
  readonly "a Date": Date;
  /** Maps. Send the entries, or an object. */
  readonly "a Map": ReadonlyMap<unknown, unknown>;
  /** Sets. Send an array. */
  readonly "a Set": ReadonlySet<unknown>;
  /** Binary data. Send a string, e.g. base64. */
  readonly "bytes": ArrayBufferView | ArrayBuffer;
  /** Promises. Await the value. */
  readonly "a promise": PromiseLike<unknown>;
}

/**
 * One sentence for each member of a type that JSON cannot represent, with its path. `Depth` limits the levels that are
 * searched.
 * @category Contracts
 */
export type WhyNot<
  T,
  Path extends string,
  Depth extends readonly unknown[] = [1, 2, 3, 4, 5, 6],
> = [T] extends [Json<T>] ? never
  : Depth extends readonly [unknown, ...infer Less]
    ? T extends NotJson[keyof NotJson] ? {
        [W in keyof NotJson]: T extends NotJson[W]
          ? `${Path}: JSON cannot represent ${W}`
          : never;
      }[keyof NotJson]
    : T extends readonly unknown[] ? WhyNotItem<T[number], `${Path}[]`, Less>
    : symbol extends keyof T ? `${Path}: JSON cannot represent symbols as keys`
    : T extends object
      ? { [K in keyof T]-?: WhyNot<T[K], `${Path}.${K & string}`, Less> }[
        keyof T
      ]
    : never
  : never;

/**
 * Same as `WhyNot`, for an item of an array.
 * @category Contracts
 */
export type WhyNotItem<
  T,
  Path extends string,
  Depth extends readonly unknown[],
> =
  | (undefined extends T
    ? `${Path}: JSON cannot represent undefined in an array`
    : never)
  | WhyNot<Exclude<T, undefined | void>, Path, Depth>;

/**
 * Same as `WhyNot`, but with at least one sentence, even if the cause is deeper than the levels that are searched.
 * @category Contracts
 */
export type JsonTypeError<T, Path extends string> = [WhyNot<T, Path>] extends
  [never] ? `${Path}: JSON cannot represent a part of it`
  : WhyNot<T, Path>;

/**
 * Rejects, at compile time, schemas whose input JSON cannot represent, in a sentence with the path and the reason.
 * @category Contracts
 */
export type JsonProcedures<P> = {
  readonly [K in keyof P]: {
    readonly [F in keyof P[K]]: P[K][F] extends Schema
      ? [Input<P[K][F]>] extends [Json<Input<P[K][F]>>] ? unknown
      : JsonTypeError<Input<P[K][F]>, F & string>
      : unknown;
  };
};
