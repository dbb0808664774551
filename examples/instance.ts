/**
 * What an instance runs: a Web Worker, so it computes on a thread of its own while its host goes on serving. It counts
 * primes, block by block, and prints a line for each.
 *
 * @module
 */
/// <reference no-default-lib="true" />
/// <reference lib="deno.worker" />
import type { Output, Program } from "./machine.ts";

/** Numbers for each line. */
const BLOCK = 100_000;
/** Milliseconds of rest after a block: an instance is a guest, and leaves some of the processor to others. */
const REST = 20;

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
  for (let from = 0; from < upTo; from += BLOCK) {
    const to = Math.min(from + BLOCK, upTo);
    found += countPrimes(from, to);
    tell({ line: `${found} primes below ${to}` });
    await new Promise((resolve) => setTimeout(resolve, REST));
  }
  tell({ finished: true });
};
