/** Where a connection goes, and as whom: asked anew at each attempt. @module */
import type { Credentials } from "../../transport.ts";

/** The nodes, and the login that holds for each of them. */
export interface Access {
  /** The nodes, any of which will do. */
  readonly urls: (signal: AbortSignal) => Promise<readonly URL[]>;
  /** In place of the login that the URLs have; default: theirs. */
  readonly credentials?:
    | ((signal: AbortSignal) => Promise<Credentials>)
    | undefined;
}

/** One node, and the login there. */
export interface Login {
  /** The node. */
  readonly url: URL;
  /** In place of the login of the URL. */
  readonly credentials?: Credentials | undefined;
}

/** The login of an attempt; by its number the attempts go over all nodes in turn. */
export async function loginOf(
  { urls, credentials }: Access,
  attempt: number,
  signal: AbortSignal,
): Promise<Login> {
  const nodes = await urls(signal);
  return {
    url: nodes[attempt % nodes.length] as URL,
    credentials: await credentials?.(signal),
  };
}

/** How long a login may be refused that was accepted before. Both must be reached: what has changed may need time to arrive. */
export interface LoginRejectionLimits {
  /** Refusals in a row. */
  readonly times: number;
  /** Milliseconds since the first of them. */
  readonly ms: number;
}

/** The usual bounds. */
export const LOGIN_REJECTION_LIMITS: LoginRejectionLimits = {
  times: 5,
  ms: 60_000,
};

/** Refusals since the broker last accepted a login. */
export class LoginRejections {
  readonly #bounds: LoginRejectionLimits;
  /** Time of the first, in milliseconds of `performance.now()`. */
  #since = 0;
  #times = 0;

  /** None yet. */
  constructor(bounds: LoginRejectionLimits) {
    this.#bounds = bounds;
  }

  /** True while the broker has refused none since it accepted one. */
  get none(): boolean {
    return this.#times === 0;
  }

  /** The broker has accepted one. */
  clear(): void {
    this.#times = 0;
  }

  /** One more; returns a text about all of them once they are too many. */
  add(): string | undefined {
    if (this.#times++ === 0) this.#since = performance.now();
    const ms = performance.now() - this.#since;
    return this.#times < this.#bounds.times || ms < this.#bounds.ms
      ? undefined
      : `refused ${this.#times} times in ${Math.round(ms / 1_000)} s`;
  }
}
