/** Versions of contracts: `major.minor`. @module */

/** `major.minor`. */
export interface Version {
  /** Changes that break callers. */
  readonly major: number;
  /** Additions. */
  readonly minor: number;
}

const VERSION = /^(\d{1,9})\.(\d{1,9})(?:\.\d{1,9})?$/;

/** The version in a text; undefined if it is none. oslo.messaging may send a third part, which adds nothing here. */
export function parseVersion(text: string): Version | undefined {
  const parts = VERSION.exec(text);
  return parts
    ? { major: Number(parts[1]), minor: Number(parts[2]) }
    : undefined;
}

/** True if an endpoint of version `have` serves a request of version `want` (Nova: same major, no higher minor). */
export function isCompatible(have: Version, want: Version): boolean {
  return have.major === want.major && want.minor <= have.minor;
}
