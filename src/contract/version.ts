/** Versions of contracts: `major.minor`. @module */

/** Version of a contract. */
export interface Version {
  /** Major version, which increases with changes that break callers. */
  readonly major: number;
  /** Minor version, which increases with additions. */
  readonly minor: number;
}

/** Version that was parsed last: requests that follow each other usually have the same. */
let last: { readonly text: string; readonly version: Version } | undefined;

const VERSION = /^(\d{1,9})\.(\d{1,9})(?:\.\d{1,9})?$/;

/**
 * Parses a version; returns undefined if the text is not a version. A third part, which oslo.messaging may send, is
 * ignored.
 */
export function parseVersion(text: string): Version | undefined {
  if (last?.text === text) return last.version;
  const match = VERSION.exec(text);
  if (!match) return undefined;
  const version = { major: Number(match[1]), minor: Number(match[2]) };
  last = { text, version };
  return version;
}

/**
 * True if an endpoint of version `served` can serve a request for version `requested` (Nova: same major, no higher
 * minor).
 */
export function isCompatible(served: Version, requested: Version): boolean {
  return served.major === requested.major && requested.minor <= served.minor;
}
