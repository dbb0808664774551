/**
 * Program of an instance. It counts primes, block by block, and prints a line for each block. It runs in a Web Worker, so
 * that its host can serve requests meanwhile.
 *
 * @module
 */
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import type { Output, Program } from "./machine.ts";

/** Numbers that are tested for each line. */
const NUMBERS_PER_LINE = 100_000;
/** Milliseconds of pause after a line, which leaves some processor time to others. */
const PAUSE_MS = 20;

function isPrime(n: number): boolean {
  if (n < 4) return n > 1;
  if (n % 2 === 0) return false;
  for (let by = 3; by * by <= n; by += 2) if (n % by === 0) return false;
  return true;
}

function countPrimes(from: number, to: number): number {
  let found = 0;
  for (let n = from; n < to; n++) if (isPrime(n)) found++;
  return found;
}

const tell = (output: Output) => self.postMessage(output);

self.onmessage = async ({ data: { upTo } }: MessageEvent<Program>) => {
  let found = 0;
  for (let from = 0; from < upTo; from += NUMBERS_PER_LINE) {
    const to = Math.min(from + NUMBERS_PER_LINE, upTo);
    found += countPrimes(from, to);
    tell({ line: `${found} primes below ${to}` });
    await new Promise((resolve) => setTimeout(resolve, PAUSE_MS));
  }
  tell({ finished: true });
};
