/** Digests, tables of them, and caches of two generations: the same as a plain Map, whatever is done with them. */
import assert from "node:assert/strict";
import { Digest, digestOf } from "../../../src/rpc/cache/digest.ts";
import { DigestTable } from "../../../src/rpc/cache/digest_table.ts";
import { GenerationalCache } from "../../../src/rpc/cache/generational_cache.ts";

const random = (below: number) => Math.floor(Math.random() * below);
const signed = () => random(2 ** 32) | 0;
const words = ({ a, b, c, d }: Digest) => [a, b, c, d];

Deno.test("a table has what a Map has after any operations, while it grows", () => {
  for (let round = 0; round < 20; round++) {
    const table = new DigestTable();
    const model = new Map<string, { first: number; second: number }>();
    const keys = 1 + random(5_000);
    for (let n = 0; n < 2 * keys; n++) {
      const key = `${random(keys)}`;
      if (n % 1_000 < 300 && random(3) === 0) {
        table.delete(digestOf(key));
        model.delete(key);
      } else if (random(3) > 0) {
        const value = { first: signed(), second: n % 7 === 0 ? 0 : signed() };
        table.set(digestOf(key), value);
        model.set(key, value);
      }
      assert.equal(table.size, model.size);
      const other = `${random(keys)}`;
      assert.deepEqual(table.get(digestOf(other)), model.get(other));
    }
    for (let n = 0; n < keys; n++) {
      assert.deepEqual(table.get(digestOf(`${n}`)), model.get(`${n}`));
    }
  }
});

Deno.test("digests that begin alike, and at the end of a table, are told apart", () => {
  const table = new DigestTable();
  // All of them belong at the last entry of every table of up to 2 ** 16 entries.
  const alike = Array.from(
    { length: 1_000 },
    (_, n) => new Digest(-1, n % 10, Math.floor(n / 10) % 10, n),
  );
  for (const [n, digest] of alike.entries()) {
    assert.equal(table.get(digest), undefined);
    table.set(digest, { first: n, second: -1 - n });
  }
  assert.equal(table.size, 1_000);
  for (const [n, digest] of alike.entries()) {
    assert.deepEqual(table.get(digest), { first: n, second: -1 - n });
  }
  assert.equal(table.get(new Digest(-1, 0, 0, 1_000)), undefined);
  const removed = alike.filter(() => random(2) === 0);
  for (const digest of removed) table.delete(digest);
  for (const [n, digest] of alike.entries()) {
    const value = { first: n, second: -1 - n };
    const left = removed.includes(digest) ? undefined : value;
    assert.deepEqual(table.get(digest), left);
  }
});

Deno.test("a digest of zeros is a digest, and none is found in an empty table", () => {
  const table = new DigestTable();
  const zero = new Digest(0, 0, 0, 0);
  assert.equal(table.get(zero), undefined);
  table.set(zero, { first: 0, second: 0 });
  assert.deepEqual(table.get(zero), { first: 0, second: 0 });
  assert.equal(table.size, 1);
  assert.equal(table.get(new Digest(0, 0, 0, 1)), undefined);
});

Deno.test("texts that differ in one character, in their length or in their scope have other digests", () => {
  const texts = ["", "\0", "\0\0", "\0\0\0", "a", "a\0", "ab", "ba", "é", "中"];
  const long = "1 0 32  0123456789abcdef0123456789abcdefwarren.reply.worker";
  for (let at = 0; at < long.length; at++) {
    for (const other of ["?", "\u{100}", "\u{ffff}"]) {
      texts.push(long.slice(0, at) + other + long.slice(at + 1));
    }
  }
  texts.push(long, `${long} `, ` ${long}`);
  const seen = texts.map((text) => words(digestOf(text)).join());
  assert.equal(new Set(seen).size, texts.length);
  assert.deepEqual(words(digestOf(long)), words(digestOf(long)));
  const scopes = [0, 1, 2, 3].map((scope) => digestOf(long).inScope(scope));
  assert.equal(new Set(scopes.map((each) => words(each).join())).size, 4);
  assert.deepEqual(scopes[0], digestOf(long));
});

Deno.test("each bit of a digest is as often 0 as 1, and half of the bits change with one character", () => {
  const ones = new Array<number>(128).fill(0);
  let changed = 0;
  const bits = (text: string) =>
    words(digestOf(text)).flatMap((word) =>
      Array.from({ length: 32 }, (_, bit) => word >>> bit & 1)
    );
  const total = 4_000;
  for (let n = 0; n < total; n++) {
    const own = bits(`request ${n}`);
    const other = bits(`request ${n + 1}`);
    for (const [at, bit] of own.entries()) {
      ones[at] = (ones[at] ?? 0) + bit;
      if (bit !== other[at]) changed++;
    }
  }
  const most = Math.max(...ones.map((count) => Math.abs(count - total / 2)));
  assert.ok(most < 6 * Math.sqrt(total) / 2, `${most}`);
  assert.ok(Math.abs(changed / total - 64) < 1, `${changed / total}`);
});

Deno.test("a cache has its last generation and the one before, and counts those that were evicted early", () => {
  const cache = new GenerationalCache(
    { ms: 600_000, entries: 100, bytes: 1_000 },
    () => ({ added: 0 }),
  );
  const add = (name: string, bytes: number) =>
    cache.set(digestOf(name), bytes, (shared) => ({
      first: ++shared.added,
      second: bytes,
    }));
  for (let n = 0; n < 250; n++) add(`${n}`, 1);
  assert.equal(cache.evictions, 1);
  assert.equal(cache.get(digestOf("99")), undefined);
  assert.deepEqual(cache.get(digestOf("100")), {
    value: { first: 1, second: 1 },
    shared: { added: 100 },
  });
  add("100", 7);
  assert.equal(cache.get(digestOf("100"))?.value.second, 7, "the younger one");
  add("large", 950);
  assert.equal(cache.get(digestOf("100"))?.value.second, 7);
  assert.equal(cache.evictions, 2);
  assert.equal(cache.get(digestOf("150")), undefined);
});
