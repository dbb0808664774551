/** What a contract refuses at compile time. @module */
import type { UnaryProcedure } from "./types.ts";
import type { Input, Schema } from "./schema.ts";

/** Refuses, at compile time, words that no procedure has. */
export type Exact<P> = {
  readonly [K in keyof P]: {
    readonly [F in Exclude<keyof P[K], keyof UnaryProcedure>]: `${
      & F
      & string} is no option of a procedure`;
  };
};

/** Any value that JSON carries, as deep as it may be. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue | undefined };

/** The part of a type that JSON carries; `never` where it cannot. A key that is `undefined` counts as absent. */
export type Json<T> = unknown extends T ? T
  : symbol extends keyof T ? never // a record with symbols for keys
  : T extends JsonValue | undefined ? T
  : T extends NotJson[keyof NotJson] ? never
  : T extends readonly unknown[] ? { [K in keyof T]: JsonItem<T[K]> }
  : T extends object ? { [K in keyof T]: Json<T[K]> }
  : T;

/** The same of an item of a list, which cannot be absent. */
export type JsonItem<T> = unknown extends T ? T
  : Json<Exclude<T, undefined | void>>;

/** Types that JSON cannot carry, by the words for them. */
export interface NotJson {
  /** In any length. */
  readonly "a bigint": bigint;
  /** Unique ones too. */
  readonly "a symbol": symbol;
  /** Methods too. */
  readonly "a function": (...args: never[]) => unknown;
  /** Classes. */
  readonly "a class": abstract new (...args: never[]) => unknown;
  /** Send a text, and parse it. */
  readonly "a Date": Date;
  /** Send its entries, or an object. */
  readonly "a Map": ReadonlyMap<unknown, unknown>;
  /** Send a list. */
  readonly "a Set": ReadonlySet<unknown>;
  /** Send a text, e.g. base64. */
  readonly "bytes": ArrayBufferView | ArrayBuffer;
  /** Await it. */
  readonly "a promise": PromiseLike<unknown>;
}

/** One sentence for each part of a type that JSON cannot carry, with its path; `Depth` is how deep it is looked for. */
export type WhyNot<
  T,
  Path extends string,
  Depth extends readonly unknown[] = [1, 2, 3, 4, 5, 6],
> = [T] extends [Json<T>] ? never
  : Depth extends readonly [unknown, ...infer Less]
    ? T extends NotJson[keyof NotJson] ? {
        [W in keyof NotJson]: T extends NotJson[W]
          ? `${Path}: JSON cannot carry ${W}`
          : never;
      }[keyof NotJson]
    : T extends readonly unknown[] ? WhyNotItem<T[number], `${Path}[]`, Less>
    : symbol extends keyof T ? `${Path}: JSON cannot carry symbols as keys`
    : T extends object
      ? { [K in keyof T]-?: WhyNot<T[K], `${Path}.${K & string}`, Less> }[
        keyof T
      ]
    : never
  : never;

/** The same of an item of a list. */
export type WhyNotItem<
  T,
  Path extends string,
  Depth extends readonly unknown[],
> =
  | (undefined extends T ? `${Path}: JSON cannot carry undefined in a list`
    : never)
  | WhyNot<Exclude<T, undefined | void>, Path, Depth>;

/** The same; one sentence at least where there is anything. */
export type JsonTypeError<T, Path extends string> = [WhyNot<T, Path>] extends
  [never] ? `${Path}: JSON cannot carry all that is in it`
  : WhyNot<T, Path>;

/** Refuses, at compile time, schemas whose input JSON cannot carry, in a sentence with the path and the reason. */
export type JsonProcedures<P> = {
  readonly [K in keyof P]: {
    readonly [F in keyof P[K]]: P[K][F] extends Schema
      ? [Input<P[K][F]>] extends [Json<Input<P[K][F]>>] ? unknown
      : JsonTypeError<Input<P[K][F]>, F & string>
      : unknown;
  };
};
