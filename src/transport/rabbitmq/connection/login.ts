/** URLs and credentials of a connection, which are read again at each attempt. @module */
import { logger } from "../../../logging.ts";
import { ConnectionFailedError } from "../../../errors.ts";
import type { Credentials } from "../../credentials.ts";

/** URLs of the nodes, and the credentials for all of them. */
export interface Access {
  /** Returns the URLs of the nodes; any of them can be used, and the first is preferred. */
  readonly urls: (signal: AbortSignal) => Promise<readonly URL[]>;
  /** Returns the credentials; default: those of the URLs. */
  readonly credentials?:
    | ((signal: AbortSignal) => Promise<Credentials>)
    | undefined;
}

/** URL of one node, and its credentials. */
export interface Login {
  /** URL of the node. */
  readonly url: URL;
  /** Number of nodes of which this is one. */
  readonly nodes: number;
  /** Place of the node among them; the preferred one has the place 0. */
  readonly place: number;
  /** Credentials; default: those of the URL. */
  readonly credentials?: Credentials | undefined;
}

/**
 * Returns a function that puts nodes in a random order, which is always the same: the first is preferred. Clients are spread
 * over the nodes by that, also those that lose one of them, and the connections of one client have the same node.
 */
export function inRandomOrder(): (urls: readonly URL[]) => readonly URL[] {
  const places = new Map<string, number>();
  const placeOf = ({ host }: URL) => {
    const place = places.get(host) ?? Math.random();
    places.set(host, place);
    return place;
  };
  return (urls) => {
    const hosts = new Set(urls.map(({ host }) => host));
    for (const host of places.keys()) {
      if (!hosts.has(host)) places.delete(host); // a function may return other nodes each time
    }
    return urls.toSorted((one, other) => placeOf(one) - placeOf(other));
  };
}

/** Returns the login of an attempt; successive attempts use the nodes in turn. */
export async function loginOf(
  { urls, credentials }: Access,
  attempt: number,
  signal: AbortSignal,
): Promise<Login> {
  const all = await urls(signal);
  const place = attempt % all.length;
  return {
    url: all[place] as URL,
    nodes: all.length,
    place,
    credentials: await credentials?.(signal),
  };
}

/**
 * Limits after which rejections of a login that was accepted before are final. Both must be reached, since a changed
 * password may need time to arrive everywhere.
 */
export interface LoginRejectionLimits {
  /** Number of successive rejections. */
  readonly times: number;
  /** Milliseconds since the first of them. */
  readonly ms: number;
}

/** Default limits. */
export const LOGIN_REJECTION_LIMITS: LoginRejectionLimits = {
  times: 5,
  ms: 60_000,
};

/** Rejections since the broker last accepted a login. */
export class LoginRejections {
  readonly #limits: LoginRejectionLimits;
  /** Time of the first rejection, in milliseconds of `performance.now()`. */
  #since = 0;
  #times = 0;

  /** Starts with no rejections. */
  constructor(bounds: LoginRejectionLimits) {
    this.#limits = bounds;
  }

  /** Records that the broker has accepted a login. */
  clear(): void {
    this.#times = 0;
  }

  /**
   * Records the error of a rejection. Returns the final error once the limits are reached: before that, the broker may
   * only be starting, or may not have a new password yet.
   */
  record(error: Error): ConnectionFailedError | undefined {
    if (this.#times === 0) {
      logger("bus").warn(
        "The broker rejects a login that it accepted before: {error}",
        { error: error.message },
      );
    }
    const exhausted = this.add();
    if (exhausted === undefined) return undefined;
    const { data } = error as ConnectionFailedError;
    const text = `${error.message}; ${exhausted}`;
    return new ConnectionFailedError(text, { data });
  }

  /** Records a rejection; returns a text about all of them once the limits are reached. */
  add(): string | undefined {
    if (this.#times++ === 0) this.#since = performance.now();
    const ms = performance.now() - this.#since;
    return this.#times < this.#limits.times || ms < this.#limits.ms
      ? undefined
      : `refused ${this.#times} times in ${Math.round(ms / 1_000)} s`;
  }
}
