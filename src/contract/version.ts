/** Versions of contracts: `major.minor`. @module */

/** Version of a contract. */
export interface Version {
  /** Counts changes that break callers. */
  readonly major: number;
  /** Counts additions. */
  readonly minor: number;
}

const VERSION = /^(\d{1,9})\.(\d{1,9})(?:\.\d{1,9})?$/;

/** Parses a version; undefined if the text is none. A third part, which oslo.messaging may send, is ignored. */
export function parseVersion(text: string): Version | undefined {
  const match = VERSION.exec(text);
  return match
    ? { major: Number(match[1]), minor: Number(match[2]) }
    : undefined;
}

/**
 * True if an endpoint of version `served` can serve a request for version `requested` (Nova: same major, no higher
 * minor).
 */
export function isCompatible(served: Version, requested: Version): boolean {
  return served.major === requested.major && requested.minor <= served.minor;
}
