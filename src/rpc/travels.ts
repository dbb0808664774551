/** What a contract refuses at compile time. @module */
import type { UnaryProcedure } from "./contract.ts";
import type { Input, Schema } from "./schema.ts";

/** Refuses, at compile time, words that no procedure has. */
export type Exact<P> = {
  readonly [K in keyof P]: {
    readonly [F in Exclude<keyof P[K], keyof UnaryProcedure>]: never;
  };
};

/** Any value that JSON carries, as deep as it may be. */
export type JsonValue =
  | string
  | number
  | boolean
  | null
  | undefined
  | readonly JsonValue[]
  | { readonly [key: string]: JsonValue };

/** What JSON carries of a type; `never` where it cannot. */
export type Json<T> = T extends JsonValue ? T
  : T extends
    | bigint
    | symbol
    | Date
    | ReadonlyMap<unknown, unknown>
    | ReadonlySet<unknown>
    | ArrayBufferView
    | ((...a: never[]) => unknown) ? never
  : T extends object ? { [K in keyof T]: Json<T[K]> }
  : T;
/** Refuses, at compile time, schemas whose input JSON cannot carry. */
export type Travels<P> = {
  readonly [K in keyof P]: {
    readonly [F in keyof P[K]]: P[K][F] extends Schema
      ? Input<P[K][F]> extends Json<Input<P[K][F]>> ? unknown : never
      : unknown;
  };
};
