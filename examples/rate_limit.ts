/**
 * Limits the rate of each caller: a user has a bucket of tokens, which refills at a constant rate, and each request takes one.
 * A request without a token fails with an error that says after how many milliseconds to try again.
 *
 *     deno run -A examples/rate_limit.ts
 *
 * @module
 */
import { z } from "npm:zod@^4.6.7";
import {
  type ClientInterceptor,
  contract,
  createConnection,
  implement,
  InvalidValueError,
  type RpcErrorOptions,
  Service,
  type ServiceInterceptor,
} from "../mod.ts";
import {
  authenticate,
  currentUser,
  Unauthenticated,
  withToken,
} from "./authentication.ts";

/** Error for a request of a user whose bucket is empty. Contracts list this class, so callers catch it by `instanceof`. */
export class RateLimited extends Error {
  override readonly name = "RateLimited";
  /** `retryAfter` in milliseconds. */
  readonly data: Readonly<Record<string, unknown>>;

  constructor(message: string, { cause, data = {} }: RpcErrorOptions = {}) {
    super(message, { cause });
    this.data = data;
  }

  /** Milliseconds after which the user has a token again. */
  get retryAfter(): number {
    const { retryAfter } = this.data; // of a worker, which may be another program
    return typeof retryAfter === "number" && retryAfter > 0
      ? retryAfter
      : 1_000;
  }
}

/** Rate that each user has. */
export interface Rate {
  /** Requests a second in the long run, above 0. */
  readonly perSecond: number;
  /** Requests at once, a whole number above 0. */
  readonly burst: number;
  /** Users that are remembered; default 10 000. Of more, the one that has sent nothing for longest begins with a full bucket again. */
  readonly maxUsers?: number | undefined;
}

/** Tokens of a user at a time of the monotonic clock. */
interface Bucket {
  readonly tokens: number;
  readonly at: number;
}

/** Sums of fractions may be a little less than the whole. */
const ROUNDING = 1e-6;

/** Buckets of the users of one process. */
export class TokenBuckets {
  readonly #perMs: number;
  readonly #burst: number;
  readonly #maxUsers: number;
  /** In the order of the last request. */
  readonly #buckets = new Map<string, Bucket>();

  constructor({ perSecond, burst, maxUsers = 10_000 }: Rate) {
    if (!(perSecond > 0 && burst >= 1 && maxUsers >= 1)) {
      throw new InvalidValueError(
        "Invalid rate: give perSecond above 0, burst and maxUsers of at least 1",
      );
    }
    this.#perMs = perSecond / 1_000;
    this.#burst = burst;
    this.#maxUsers = maxUsers;
  }

  /** Number of users that are remembered. */
  get size(): number {
    return this.#buckets.size;
  }

  /** Takes a token at `now`, and returns 0. If there is none, takes nothing and returns the milliseconds until there is one. */
  take(user: string, now: number = performance.now()): number {
    const { tokens, at } = this.#buckets.get(user) ??
      { tokens: this.#burst, at: now };
    const refilled = tokens + (now - at) * this.#perMs;
    const held = Math.min(this.#burst, refilled);
    const missing = held + ROUNDING < 1;
    this.#buckets.delete(user); // it becomes the last in the order
    if (this.#buckets.size >= this.#maxUsers) {
      for (const oldest of this.#buckets.keys()) {
        this.#buckets.delete(oldest);
        break;
      }
    }
    this.#buckets.set(user, { tokens: missing ? held : held - 1, at: now });
    return missing ? Math.ceil((1 - held) / this.#perMs) : 0;
  }
}

/** Limits the rate of each user of a service. It comes after the interceptor that verifies the user. */
export function rateLimit(rate: Rate): ServiceInterceptor {
  const buckets = new TokenBuckets(rate);
  return (request, next) => {
    const { name } = request.context.locals.get(currentUser);
    const retryAfter = buckets.take(name);
    if (retryAfter === 0) return next(request);
    throw new RateLimited(
      `${name} sends too many requests: try again after ${retryAfter} ms`,
      { data: { retryAfter } },
    );
  };
}

/** Waits as long as the error says, and sends the call again, until its deadline or so many attempts. Not for streams. */
export function patient(attempts: number): ClientInterceptor {
  return async (request, next) => {
    for (let attempt = 1;; attempt++) {
      try {
        return await next(request);
      } catch (error) {
        const isLast = attempt >= attempts;
        if (isLast || !(error instanceof RateLimited)) throw error;
        const { retryAfter } = error;
        await new Promise((resolve) => setTimeout(resolve, retryAfter));
      }
    }
  };
}

const mail = contract({
  topic: "mail",
  version: "1.0",
  errors: {
    "mail.RateLimited": RateLimited,
    "mail.Unauthenticated": Unauthenticated,
  },
  procedures: {
    send: { args: z.object({ to: z.string() }), result: z.string() },
  },
});

if (import.meta.main) {
  const url = Deno.args[0] ?? "memory:rate_limit";
  await using _service = await Service.start({
    url,
    manager: implement(mail, { send: ({ to }) => `sent to ${to}` }),
    interceptors: [authenticate, rateLimit({ perSecond: 1, burst: 3 })],
    signals: false,
  });
  await using connection = await createConnection(url);
  const clientOf = (name: string, ...interceptors: ClientInterceptor[]) =>
    connection.client(mail, {
      interceptors: [...interceptors, withToken({ name, admin: false })],
    });
  for (const name of ["Ada", "Grace"]) {
    const client = clientOf(name);
    const letters = [1, 2, 3, 4, 5].map((n) =>
      client.call("send", { to: `friend ${n}` })
    );
    const results = await Promise.allSettled(letters);
    const refused = results.filter(({ status }) => status === "rejected");
    console.log(`${name}: ${5 - refused.length} sent, ${refused.length} not`);
    for (const { reason } of refused as PromiseRejectedResult[]) {
      if (!(reason instanceof RateLimited)) throw reason;
      console.log(`${name} may try again after ${reason.retryAfter} ms`);
    }
  }
  const ada = clientOf("Ada", patient(3));
  console.log(await ada.call("send", { to: "a patient friend" }));
}
