/** Values that the interceptors of a service pass to its handlers. @module */

/**
 * Key of a value in {@linkcode Locals}; created by `local`.
 * @category Serving
 */
export interface Local<T> {
  /** Name, for the text of errors. */
  readonly name: string;
  /** Type of the value; never set. */
  readonly type?: T | undefined;
}

/**
 * Creates a key. Two keys with the same name are different keys.
 *
 * @example
 * ```ts
 * import { local, type ServiceInterceptor } from "@warren/runtime";
 *
 * const tenant = local<string>("tenant");
 * export const authenticate: ServiceInterceptor = (request, next) => {
 *   request.context.locals.set(tenant, request.headers.tenant ?? "nobody");
 *   return next(request); // the handler: context.locals.get(tenant)
 * };
 * ```
 * @category Serving
 */
export function local<T>(name: string): Local<T> {
  return Object.freeze({ name });
}

/**
 * Values of one request. No caller can set them: they are never sent, and no other request inherits them.
 * @category Serving
 */
export class Locals {
  #values: Map<Local<unknown>, unknown> | undefined;

  /** Sets a value. */
  set<T>(key: Local<T>, value: T): void {
    this.#values ??= new Map(); // most requests have none
    this.#values.set(key, value);
  }

  /**
   * Gets a value.
   *
   * @throws {Error} no value was set.
   */
  get<T>(key: Local<T>): T {
    if (this.has(key)) return this.#values?.get(key) as T;
    throw new Error(
      `No value for the local ${key.name}: no interceptor has set it`,
    );
  }

  /** True if a value was set, even `undefined`. */
  has(key: Local<unknown>): boolean {
    return this.#values?.has(key) === true;
  }
}
